//! What Debian mirrors serve, and what the machine's apt is configured with.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use cairn_fetch::fuzzing::apt_sources_below;
use cairn_lock::debian::clearsign::ClearSigned;
use cairn_lock::debian::keyring::Keyring;
use cairn_lock::debian::packages::{Index, Pool};
use cairn_lock::debian::relation::{Relation, parse_field};
use cairn_lock::debian::release::Release;
use cairn_lock::debian::stanza::{Stanza, stanzas};
use cairn_lock::debian::{date, debhelper, version};

use crate::input::{parts, text, with_scratch};

const KEYRING: &[u8] = include_bytes!("../../corpus/keyring/archive.gpg");
/// The texts that the keyring's owner has signed.
const SIGNED: [&str; 2] =
    [include_str!("../../corpus/inrelease/inline"), include_str!("../../corpus/inrelease/dashes")];
static TRUSTED: LazyLock<Keyring> = LazyLock::new(|| match Keyring::parse(KEYRING) {
    Ok(keyring) => keyring,
    Err(fault) => panic!("the keyring of the tests: {fault}"),
});

/// December 2026, when the seeds were signed.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_797_000_000)
}

/// A clear-signed release. Only a text that the keyring's owner signed may count as signed.
pub fn inrelease(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let Ok(signed) = ClearSigned::parse(text) else { return };
    assert!(!signed.canonical().is_empty() || signed.text.is_empty());
    if TRUSTED.verify(&signed, now()).is_ok() {
        let known = SIGNED.iter().any(|file| ClearSigned::parse(file).is_ok_and(|known| known.text == signed.text));
        assert!(known, "an unsigned text counts as signed: {:?}", signed.text);
        let _ = Release::parse(&signed.text);
    }
}

/// A keyring. Only one with the signer's key finds the signature good.
pub fn keyring(input: &[u8]) {
    let Ok(keyring) = Keyring::parse(input) else { return };
    let Ok(signed) = ClearSigned::parse(SIGNED[0]) else { panic!("the release of the tests is not signed") };
    let expected = TRUSTED.verify(&signed, now());
    if let Ok(found) = keyring.verify(&signed, now()) {
        assert_eq!(Ok(found), expected, "another key counts as the signer's");
    }
}

/// The text of a release.
pub fn release(input: &[u8]) {
    let Some(text) = text(input) else { return };
    if let Ok(release) = Release::parse(text) {
        assert!(release.age(now()).is_ok(), "the dates were checked");
        assert!(!release.is(""));
    }
    let _ = date::parse(text);
}

/// An index of packages.
pub fn packages(input: &[u8]) {
    let Some(text) = text(input) else { return };
    for stanza in stanzas(text) {
        assert!(stanza.fields().all(|(name, value)| name.len() + value.len() < text.len()));
    }
    let _ = Stanza::first(text).get("Package");
    let pool = Pool::new("amd64", &[Index { archive: "debian", suite: "bookworm", text }]);
    let mut names: Vec<&str> = pool.names().collect();
    names.sort_unstable();
    for id in names.iter().take(50).flat_map(|name| pool.named(name)) {
        let package = pool.get(*id);
        if let Ok(file) = package.file() {
            assert!(!file.pool.starts_with('/') && !file.pool.split('/').any(|part| part == ".."), "{}", file.pool);
        }
        let _ = package.conflicts("amd64");
        for relation in package.depends("amd64").unwrap_or_default().iter().flatten().take(50) {
            let found = pool.candidates(relation);
            assert!(found.iter().all(|id| pool.satisfies(*id, relation)));
        }
    }
}

/// A field of relations. What is shown of one reads the same.
pub fn relation(input: &[u8]) {
    let Some(text) = text(input) else { return };
    for relation in parse_field(text, "amd64").unwrap_or_default().into_iter().flatten() {
        let shown = relation.to_string();
        assert_eq!(Relation::parse(&shown, "amd64"), Ok(Some(relation)), "{shown}");
    }
    let _ = debhelper::is_all_generated(text);
}

/// Three versions, one a line: their order must be one.
pub fn version(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let mut lines = text.lines();
    let [a, b, c] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let compare = version::compare;
    assert_eq!(compare(a, b), compare(b, a).reverse());
    assert!(compare(a, a).is_eq());
    if compare(a, b).is_le() && compare(b, c).is_le() {
        assert!(compare(a, c).is_le(), "{a} <= {b} <= {c}");
    }
}

/// Both forms of apt's sources: `sources.list`, and a file in `sources.list.d`.
pub fn apt_sources(input: &[u8]) {
    let [lines, stanzas] = parts(input);
    with_scratch(|scratch| {
        scratch.write("apt/sources.list", lines);
        scratch.write("apt/sources.list.d/fuzz.sources", stanzas);
        for source in apt_sources_below(&scratch.path().join("apt")) {
            let _ = (source.may_serve("debian"), source.may_serve("debian-security"));
            assert!(["http://", "https://", "file://"].iter().any(|scheme| source.uri.starts_with(scheme)));
        }
    });
}
