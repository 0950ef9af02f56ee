//! What a host remembers of pointers and of attempts, and for how long.
#![allow(clippy::unwrap_used)]
use cairn_cache::{POINTER_VERSION, SecretKey};
use cairn_formats::StorePath;
use cairn_protocol::Retention;

use super::*;

fn pointer(sequence: u64) -> Pointer {
    Pointer {
        version: POINTER_VERSION,
        host: "web".to_owned(),
        sequence,
        closure: StorePath::parse("0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-host").unwrap(),
        operator: "a@desk".to_owned(),
        message: None,
        published: 5,
        expires: None,
        source: None,
        retention: Retention::DEFAULT,
        secrets: Vec::new(),
    }
}

#[test]
fn what_was_reverted_waits_for_the_pointer_and_what_was_refused_for_its_time() {
    let mut attempt = Attempt::default();
    assert_eq!(attempt.waits(0), None);
    for (refusals, pause) in [(1, 60), (2, 120), (3, 240), (7, 3600), (60, 3600)] {
        attempt.refused = refusals - 1;
        attempt.ended(Ending::Refused, None, 1000);
        assert!(attempt.waits(1000 + pause - 1).is_some(), "{refusals}");
        assert_eq!(attempt.waits(1000 + pause), None, "{refusals}");
        // The clock was ahead when it was refused, and has been set right.
        assert_eq!(attempt.waits(999), None, "{refusals}");
    }
    attempt.ended(Ending::Reverted, Some("ill".to_owned()), 0);
    assert!(attempt.waits(i64::MAX).is_some_and(|why| why.contains("until the pointer moves") && why.contains("ill")));
}

#[test]
fn another_host_forgets_and_another_cache_keeps_the_number() {
    let root = tempfile::tempdir().unwrap();
    let paths = Paths::new(root.path());
    let config = |cache: &str, host: &str| PullConfig {
        cache: cache.to_owned(),
        host: host.to_owned(),
        trusted_public_keys: Vec::new(),
    };
    let mut state = State::load(&paths, &config("http://a", "web")).unwrap();
    assert_eq!(state.revision(), Revision::Unknown);
    let trusted = [SecretKey::generate("k-1").unwrap().0.public()];
    let opened = OpenedPointer { pointer: pointer(5), signers: trusted.to_vec() };
    state.accept(&opened, &trusted, 5, "u").unwrap();
    state.tag = Some("\"x\"".to_owned());
    state.pointer = Some("{}".to_owned());
    state.save(&paths).unwrap();
    assert_eq!(State::load(&paths, &config("http://a", "web")).unwrap(), state);
    let elsewhere = State::load(&paths, &config("http://b", "web")).unwrap();
    assert_eq!((elsewhere.seen_by_key, elsewhere.seen, elsewhere.tag), (state.seen_by_key, state.seen, None));
    let other = State::load(&paths, &config("http://a", "db")).unwrap();
    assert!(other.seen.is_none() && other.seen_by_key.is_empty());
}

/// As the versions before wrote it: one number, whatever the key.
fn old_format(sequence: u64, checked: i64) -> String {
    format!(
        r#"{{
  "host": "web",
  "cache": "http://a",
  "tag": "\"x\"",
  "pointer": "{{}}",
  "seen": {{
    "sequence": {sequence},
    "closure": "0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-host"
  }},
  "attempt": {{
    "sequence": {sequence},
    "activation": null,
    "interrupted": 0,
    "refused": 2,
    "refused_at": 7,
    "failed": null
  }},
  "checked": {checked},
  "problem": "no route"
}}
"#
    )
}

fn load(text: &str) -> (tempfile::TempDir, State) {
    let root = tempfile::tempdir().unwrap();
    let paths = Paths::new(root.path());
    files::make_directories(&paths.state_dir()).unwrap();
    std::fs::write(paths.pull_state(), text).unwrap();
    let config = PullConfig { cache: "http://a".to_owned(), host: "web".to_owned(), trusted_public_keys: Vec::new() };
    let state = State::load(&paths, &config).unwrap();
    (root, state)
}

const NOW: i64 = 1_795_000_000;

#[test]
fn the_format_with_one_number_is_read_and_counts_for_every_key() {
    let number = NOW.unsigned_abs() - 10;
    let (root, mut state) = load(&old_format(number, NOW));
    assert_eq!(state.attempt.as_ref().map(|attempt| attempt.refused), Some(2));
    let [old, new] = ["k-1", "k-2"].map(|name| SecretKey::generate(name).unwrap().0.public());
    let trusted = [old, new];
    state.migrate(&trusted, NOW);
    for key in &trusted {
        let opened = |sequence| OpenedPointer { pointer: pointer(sequence), signers: vec![key.clone()] };
        let error = state.clone().accept(&opened(number - 1), &trusted, NOW, "u").unwrap_err().to_string();
        assert!(error.contains("an earlier pointer was put back"), "{error}");
        state.clone().accept(&opened(number), &trusted, NOW, "u").unwrap();
    }
    // What is written can be read by the versions before: the one number is still there.
    let paths = Paths::new(root.path());
    state.save(&paths).unwrap();
    let written: serde_json::Value = serde_json::from_slice(&std::fs::read(paths.pull_state()).unwrap()).unwrap();
    assert_eq!(written["seen"]["sequence"], number);
    assert_eq!(written["seen_by_key"].as_object().unwrap().len(), 2);
}

#[test]
fn a_host_that_took_the_highest_number_of_a_stolen_key_comes_free() {
    let (_root, mut state) = load(&old_format(u64::MAX, NOW - 300));
    let [old, new] = ["k-1", "k-1"].map(|name| SecretKey::generate(name).unwrap().0.public());
    let trusted = [new.clone()];
    assert!(state.migrate(&trusted, NOW));
    // The number that an agent of an earlier version goes by is a sane one, too.
    assert_eq!(state.seen.as_ref().map(|seen| seen.pointer.sequence), Some(NOW.unsigned_abs()));
    assert!(!state.migrate(&trusted, NOW));
    let opened = |sequence, key: &PublicKey| OpenedPointer { pointer: pointer(sequence), signers: vec![key.clone()] };
    let now = NOW.unsigned_abs();
    // What was signed before the key was replaced stays refused.
    assert!(state.clone().accept(&opened(now - 600, &new), &trusted, NOW, "u").is_err());
    state.accept(&opened(now + 5, &new), &trusted, NOW + 5, "u").unwrap();
    assert_eq!(state.seen.as_ref().map(|seen| seen.pointer.sequence), Some(now + 5));
    // And the number that has blocked it is not taken again, whichever key signs it.
    let both = [old.clone(), new];
    let error = state.accept(&opened(u64::MAX, &old), &both, NOW + 5, "u").unwrap_err().to_string();
    assert!(error.contains("more than a day after"), "{error}");
}

#[test]
fn a_clock_that_was_lost_forgets_no_number() {
    let number = NOW.unsigned_abs();
    let (_root, mut state) = load(&old_format(number, NOW + 60));
    let trusted = [SecretKey::generate("k-1").unwrap().0.public()];
    state.migrate(&trusted, 0);
    assert_eq!(state.seen_by_key.newest(&trusted).map(|seen| seen.sequence), Some(number));
}

#[test]
fn each_key_has_its_number_and_a_replaced_key_has_none() {
    let (mut state, [old, new]) =
        (State::default(), ["k-1", "k-2"].map(|name| SecretKey::generate(name).unwrap().0.public()));
    let opened = |sequence, key: &PublicKey| OpenedPointer { pointer: pointer(sequence), signers: vec![key.clone()] };
    let now = NOW.unsigned_abs();
    let both = [old.clone(), new.clone()];
    state.accept(&opened(now + 80_000, &old), std::slice::from_ref(&old), NOW, "u").unwrap();
    // While both are trusted, the other key does not lead back either.
    let error = state.accept(&opened(now, &new), &both, NOW, "u").unwrap_err().to_string();
    assert!(error.contains("an earlier pointer was put back"), "{error}");
    // The old key is replaced.
    state.accept(&opened(now, &new), std::slice::from_ref(&new), NOW, "u").unwrap();
    assert!(state.accept(&opened(now - 1, &new), std::slice::from_ref(&new), NOW, "u").is_err());
    assert_eq!(state.seen.map(|seen| seen.pointer.sequence), Some(now));
}
