//! The secrets of a project that earlier versions wrote are still read and opened.
//!
//! The private keys beside them are throw-away keys of the tests.
//! `tests/fixtures/README.md` says how the files are written.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::PathBuf;

use cairn_secrets::{
    Accepted, Generator, HostPattern, Identities, NewValue, Sealing, Vault, Way, make_identity, open, open_secret,
};
use common::{anyone, given, name, tool};

const TYPED: &str = "a value of the tests, and no secret";

fn file(version: &str, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(version).join("secrets").join(name)
}

fn project() -> PathBuf {
    file("fbaba72", "project")
}

/// An identity is private: Git does not keep that.
fn identities(version: &str) -> (tempfile::TempDir, Identities) {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("identity.txt");
    fs::copy(file(version, "keys/alice.txt"), &own).unwrap();
    fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let identities = Identities::read(&[own]).unwrap();
    (folder, identities)
}

#[test]
fn an_index_of_fbaba72_is_read_as_it_was_written() {
    let vault = Vault::open(&project()).unwrap();
    let index = vault.index();
    let public = |file_name: &str| fs::read_to_string(file("fbaba72", file_name)).unwrap();
    let (alice, web) = (public("keys/alice.pub"), public("keys/web-1.pub"));
    assert_eq!(index.operators.keys().collect::<Vec<_>>(), ["alice"]);
    assert_eq!(index.operators["alice"].to_string(), alice.trim());
    assert_eq!(index.hosts.keys().collect::<Vec<_>>(), ["web-1"]);
    assert!(web.starts_with(&index.hosts["web-1"].to_string()), "{web}");

    let typed = vault.entry(&name("typed")).unwrap();
    assert_eq!(typed.hosts, [HostPattern::parse("web-*").unwrap(), HostPattern::parse("mail").unwrap()]);
    assert_eq!((typed.generate, typed.help.as_str(), typed.version), (None, "of the API's own role", 2));
    let readers: Vec<&str> = typed.sealed_to.iter().map(|reader| reader.name.as_str()).collect();
    assert_eq!(readers, ["alice", "web-1"]);
    let made = vault.entry(&name("made")).unwrap();
    assert_eq!((made.generate, made.version, made.sealed_to.len()), (Some(Generator::Password(32)), 1, 1));
    let bare = vault.entry(&name("bare")).unwrap();
    assert_eq!((bare.hosts.len(), bare.generate, bare.help.as_str(), bare.version), (0, None, "", 0));
    assert!(bare.sealed_to.is_empty());
    for name in ["typed", "made"].map(name) {
        assert!(vault.is_up_to_date(&name).unwrap(), "{name}");
    }
}

#[test]
fn files_of_fbaba72_are_opened_by_operators_and_hosts() {
    let vault = Vault::open(&project()).unwrap();
    let (_folder, identities) = identities("fbaba72");
    let value = vault.reveal(&name("typed"), &identities).unwrap();
    assert_eq!(value.expose(), TYPED.as_bytes());
    assert_eq!(vault.reveal(&name("made"), &identities).unwrap().expose().len(), 32);
    let sealed = vault.ciphertext(&name("typed")).unwrap().unwrap();
    let host_key = fs::read(file("fbaba72", "keys/web-1")).unwrap();
    assert_eq!(open(&sealed, &host_key).unwrap().expose(), TYPED.as_bytes());
    let other = vault.ciphertext(&name("made")).unwrap().unwrap();
    assert!(open(&other, &host_key).is_err());
    assert!(vault.index().vault.is_none() && !vault.is_for_notifications(&name("made")).unwrap());
}

/// Since then files say what they hold, and a record says what was accepted.
#[test]
fn files_of_94cae9d_say_what_they_hold() {
    const VERSION: &str = "94cae9d";
    let vault = Vault::open(&file(VERSION, "project")).unwrap();
    let (_folder, identities) = identities(VERSION);
    assert_eq!(vault.index().vault.as_ref().unwrap().len(), 32);
    for name in ["typed", "made"].map(name) {
        assert!(vault.is_up_to_date(&name).unwrap(), "{name}");
    }
    assert_eq!(vault.reveal(&name("typed"), &identities).unwrap().expose(), TYPED.as_bytes());
    assert_eq!(["typed", "made"].map(|n| vault.is_for_notifications(&name(n)).unwrap()), [false, true]);
    let sealed = vault.ciphertext(&name("typed")).unwrap().unwrap();
    let host_key = fs::read(file(VERSION, "keys/web-1")).unwrap();
    assert_eq!(open_secret("typed", &sealed, &host_key).unwrap().expose(), TYPED.as_bytes());
    assert!(open_secret("made", &sealed, &host_key).is_err());

    let state = tempfile::tempdir().unwrap();
    let record = Accepted::open(state.path(), state.path()).unwrap().file().to_owned();
    fs::copy(file(VERSION, "accepted.toml"), record).unwrap();
    let accepted = Accepted::open(state.path(), state.path()).unwrap();
    accepted.check_vault(vault.index(), &vault.index_file()).unwrap();
    let key = &vault.index().hosts["web-1"];
    assert!(!accepted.is_first_use() && accepted.other_key("web-1", key).is_none());
    assert_eq!(accepted.unsent("web-1", &[name("typed"), name("made"), name("bare")]), [&name("bare")]);
    assert_eq!(accepted.outside(), [PathBuf::from("/srv/shared")]);
    let sealings = [Sealing { name: &name("typed"), readers: vault.readers(&name("typed")).unwrap() }];
    assert!(accepted.new_readers(&sealings, &[]).is_empty());
}

#[test]
#[ignore = "writes fixtures: see tests/fixtures/README.md"]
fn write_fixtures() {
    let version = std::env::var("CAIRN_FIXTURES").expect("CAIRN_FIXTURES: the version to write fixtures of");
    let keys = file(&version, "keys");
    fs::create_dir_all(&keys).unwrap();
    fs::create_dir_all(file(&version, "project/secrets")).unwrap();
    let alice = make_identity(&keys.join("alice.txt")).unwrap();
    fs::write(keys.join("alice.pub"), format!("{alice}\n")).unwrap();
    let comment = "throw-away-key-of-the-tests";
    let mut keygen = std::process::Command::new("ssh-keygen");
    tool(keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"]).arg(keys.join("web-1")));
    let web = fs::read_to_string(keys.join("web-1.pub")).unwrap();
    let index = format!(
        "[operators]\nalice = \"{alice}\"\n\n[hosts]\nweb-1 = \"{}\"\n\n[secrets.bare]\nhosts = []\n\n\
         [secrets.made]\nhosts = [\"mail\"]\ngenerate = \"password:32\"\nnotifications = true\n\n\
         [secrets.typed]\nhosts = [\"web-*\", \"mail\"]\nhelp = \"of the API's own role\"\n",
        web.trim().trim_end_matches(comment).trim()
    );
    let project = file(&version, "project");
    fs::write(project.join("secrets/secrets.toml"), index).unwrap();
    let mut vault = Vault::open(&project).unwrap();
    vault.set(&name("typed"), given("before"), &[], &mut anyone).unwrap();
    vault.set(&name("typed"), given(TYPED), &[], &mut anyone).unwrap();
    vault.set(&name("made"), NewValue::Generated(None), &[], &mut anyone).unwrap();

    let state = tempfile::tempdir().unwrap();
    let mut accepted = Accepted::open(state.path(), state.path()).unwrap();
    let sealings = [Sealing { name: &name("typed"), readers: vault.readers(&name("typed")).unwrap() }];
    accepted.accept(vault.index(), &sealings).unwrap();
    let (key, id) = (&vault.index().hosts["web-1"], vault.index().vault.as_deref());
    accepted.accept_host("web-1", Way::Switch, key, &[name("made")], id).unwrap();
    accepted.accept_outside(std::path::Path::new("/srv/shared")).unwrap();
    let text = fs::read_to_string(accepted.file()).unwrap();
    let line = text.lines().find(|line| line.starts_with("project = ")).unwrap().to_owned();
    fs::write(file(&version, "accepted.toml"), text.replace(&line, "project = \"/srv/project\"")).unwrap();
}
