//! The index of secrets, and sealed files.

use std::path::Path;
use std::sync::LazyLock;

use cairn_secrets::{Index, MAX_FILE, Recipient, SecretName, fuzzing, open};

use crate::input::text;

/// A host key for tests alone; the seeds are sealed to it.
const HOST_KEY: &[u8] = include_bytes!("../../keys/ssh_host_ed25519_key");
const OPERATOR: &str = include_str!("../../keys/operator.pub");
static NEW: LazyLock<(Recipient, SecretName)> =
    LazyLock::new(|| match (Recipient::parse(OPERATOR), SecretName::parse("fuzz")) {
        (Ok(operator), Ok(name)) => (operator, name),
        _ => panic!("the operator of the tests has no key"),
    });

/// `secrets.toml`, read and changed.
pub fn index(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let file = Path::new("secrets/secrets.toml");
    let Ok(index) = Index::parse(file, text) else { return };
    for entry in index.secrets.values() {
        assert!(index.readers(entry).len() <= index.operators.len() + index.hosts.len());
        let _ = index.is_up_to_date(entry);
    }
    let (operator, name) = &*NEW;
    if let Ok((written, changed)) = fuzzing::edit(file, text, operator, name) {
        assert!(changed.operators.values().any(|key| key == operator), "{written}");
        assert!(changed.secrets.contains_key(name), "{written}");
        // What was there stays.
        assert!(index.hosts.iter().all(|(host, key)| changed.hosts.get(host) == Some(key)), "{written}");
    }
}

/// A sealed file and the key of the host that it is sealed to.
pub fn sealed(input: &[u8]) {
    let _ = fuzzing::header(input);
    if let Ok(value) = open(input, HOST_KEY) {
        assert!(value.expose().len() <= MAX_FILE);
    }
    // The key's own file is foreign as well: an operator names it.
    let _ = open(input, input);
}
