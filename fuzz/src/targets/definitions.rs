//! What a repository brings: locks and definitions.

use std::path::Path;

use cairn_config::{Schema, Settings, documentation, resolve, template};
use cairn_formats::time;
use cairn_protocol::{ActivationId, decode_word, encode_word};
use cairn_recipe::host::HostDefinition;
use cairn_recipe::{ImageDefinition, Lock, Project, duration};

use crate::input::{parts, text, with_scratch};

/// `image.lock`. Written again it is the same lock, and no path in it leads out of a mirror.
pub fn image_lock(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let file = Path::new("images/fuzz/image.lock");
    let Ok(lock) = Lock::parse(file, text) else { return };
    for deb in &lock.debs {
        assert!(!deb.pool.split('/').any(|part| part == ".."), "{}", deb.pool);
    }
    match Lock::parse(file, &lock.to_toml()) {
        Ok(again) => assert_eq!(again, lock),
        Err(error) => panic!("our own lock is refused: {error}"),
    }
    let mut sorted = lock;
    sorted.sort();
}

pub fn image(input: &[u8]) {
    let Some(text) = text(input) else { return };
    if let Ok(definition) = ImageDefinition::parse(Path::new("images/fuzz/image.toml"), text) {
        assert_eq!(definition.lock_hash(), definition.lock_hash());
        let _ = definition.user("root");
    }
}

pub fn host(input: &[u8]) {
    let Some(text) = text(input) else { return };
    if let Ok(definition) = HostDefinition::parse(Path::new("hosts/fuzz.toml"), text) {
        let _ = definition.has_tasks();
    }
}

/// `deploy.toml`
pub fn project(input: &[u8]) {
    with_scratch(|scratch| {
        scratch.write("project/deploy.toml", input);
        let _ = Project::open(&scratch.path().join("project"));
    });
}

/// The schema of an image's environment, and values for it.
pub fn configuration(input: &[u8]) {
    let [schema, values] = parts(input);
    let (Some(schema), Some(values)) = (text(schema), text(values)) else { return };
    let Ok(schema) = Schema::parse(Path::new("images/fuzz/config.toml"), schema) else { return };
    let _ = (documentation(&schema), template(&schema));
    if let Ok(settings) = toml::from_str::<Settings>(values) {
        let _ = resolve(&schema, &[settings.layer(Path::new("hosts/fuzz.toml"), values)]);
    }
}

/// Small words: durations, dates, names of activations, arguments that travel as one word.
pub fn words(input: &[u8]) {
    assert_eq!(decode_word(&encode_word(input)).as_deref(), Some(input));
    let Some(text) = text(input) else { return };
    let _ = decode_word(text);
    let _ = duration::parse(text);
    if let Some(seconds) = time::parse_rfc3339(text) {
        assert_eq!(time::parse_rfc3339(&time::rfc3339(seconds)), Some(seconds));
        let _ = time::http_date(seconds);
    }
    if let Ok(id) = ActivationId::parse(text) {
        assert_eq!(ActivationId::parse(id.as_str()).ok(), Some(id));
    }
}
