//! Setting, reading and re-encrypting committed secrets.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use cairn_secrets::{Generator, HostPattern, NewValue, OpenError, SecretsError, Vault, open};
use common::{Project, anyone, given, name};

const PLANTED: &str = "pl4nted-s3cret-value";

#[test]
fn a_value_is_readable_by_operators_and_matching_hosts_and_by_nobody_else() {
    let project = Project::new();
    let (alice, mallory) = (project.operator("alice"), project.operator("mallory"));
    let (web, mail) = (project.host("web-1"), project.host("mail"));
    let mut vault = project.index(&format!(
        "[operators]\nalice = \"{}\"\n[hosts]\nweb-1 = \"{}\"\nmail = \"{}\"\n[secrets.token]\nhosts = [\"web-*\"]\n",
        alice.public, web.public, mail.public
    ));
    assert_eq!(vault.set(&name("token"), given(PLANTED), &[], &mut anyone).unwrap(), 1);

    assert_eq!(vault.reveal(&name("token"), &alice.identities()).unwrap().expose(), PLANTED.as_bytes());
    assert_eq!(open(&project.file("token"), &web.private()).unwrap().expose(), PLANTED.as_bytes());
    assert_eq!(open(&project.file("token"), &mail.private()).unwrap_err(), OpenError::NotARecipient);
    let error = vault.reveal(&name("token"), &mallory.identities()).unwrap_err();
    assert!(matches!(&error, SecretsError::Open { source: OpenError::NotARecipient, .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("token.age") && said.contains("mallory.txt") && said.contains("rekey token"), "{said}");

    let file = project.path("secrets/token.age");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o644);
    assert!(project.file("token").starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----\n"));
    let (shown, index) = (format!("{vault:?}"), project.index_text());
    assert!(!shown.contains(PLANTED) && !index.contains(PLANTED));
    assert!(index.contains("version = 1") && index.contains("sealed-to = [\"alice ") && index.contains("\"web-1 "));
}

#[test]
fn a_new_value_raises_the_version_and_rekey_does_not() {
    let project = Project::new();
    let (alice, bob) = (project.operator("alice"), project.operator("bob"));
    let text = format!(
        "[operators]\nalice = \"{}\" # lead\n\n[secrets.a]\nhosts = []\n\n[secrets.b]\nhosts = [\"web\"]\n",
        alice.public
    );
    let mut vault = project.index(&text);
    vault.set(&name("a"), given("one"), &[], &mut anyone).unwrap();
    assert_eq!(vault.set(&name("a"), given("two"), &[], &mut anyone).unwrap(), 2);
    vault.set(&name("b"), given("bee"), &[], &mut anyone).unwrap();

    // Nothing has changed: nothing is written.
    let before = (project.file("a"), project.index_text());
    assert_eq!(vault.rekey(&[], &alice.identities(), &mut anyone).unwrap(), []);
    assert_eq!((project.file("a"), project.index_text()), before);

    // Bob comes: both files. A host comes: only the one that it may read.
    let mut vault = project.edit_index("# lead\n", &format!("# lead\nbob = \"{}\"\n", bob.public));
    let done = vault.rekey(&[], &alice.identities(), &mut anyone).unwrap();
    assert_eq!(
        done.iter().map(|r| (r.name.as_str(), r.added.join(","))).collect::<Vec<_>>(),
        [("a", "bob".into()), ("b", "bob".into())]
    );
    assert_eq!(vault.reveal(&name("a"), &bob.identities()).unwrap().expose(), b"two");
    let a = project.file("a");
    assert!(vault.set_host_key("web", &project.host("web").public).unwrap());
    let done = vault.rekey(&[], &bob.identities(), &mut anyone).unwrap();
    assert_eq!(done.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(project.file("a"), a);

    // Alice goes.
    let mut vault = project.edit_index(&format!("alice = \"{}\" # lead\n", alice.public), "");
    let done = vault.rekey(&[name("a")], &bob.identities(), &mut anyone).unwrap();
    assert_eq!(done[0].removed, ["alice"]);
    assert!(vault.reveal(&name("a"), &alice.identities()).is_err());
    assert_eq!(vault.entry(&name("a")).unwrap().version, 2);
}

#[test]
fn a_file_put_back_from_an_older_commit_is_not_taken_as_up_to_date() {
    let project = Project::new();
    let alice = project.operator("alice");
    let web = project.host("web");
    let mut vault =
        project.index(&format!("[operators]\nalice = \"{}\"\n[secrets.a]\nhosts = [\"web\"]\n", alice.public));
    vault.set(&name("a"), given("one"), &[], &mut anyone).unwrap();
    let old = project.file("a");
    vault.set_host_key("web", &web.public).unwrap();
    vault.rekey(&[], &alice.identities(), &mut anyone).unwrap();
    assert!(vault.is_up_to_date(&name("a")).unwrap());
    fs::write(project.path("secrets/a.age"), old).unwrap();
    assert!(!vault.is_up_to_date(&name("a")).unwrap());
    assert_eq!(vault.rekey(&[], &alice.identities(), &mut anyone).unwrap().len(), 1);
    assert_eq!(open(&project.file("a"), &web.private()).unwrap().expose(), b"one");
}

#[test]
fn one_file_that_cannot_be_decrypted_keeps_rekey_from_changing_any() {
    let project = Project::new();
    let alice = project.operator("alice");
    let mut vault = project.index(&format!(
        "[operators]\nalice = \"{}\"\n[secrets.a]\nhosts = []\n[secrets.b]\nhosts = []\n",
        alice.public
    ));
    for secret in ["a", "b"] {
        vault.set(&name(secret), given("x"), &[], &mut anyone).unwrap();
    }
    let bob = project.operator("bob");
    let mut vault = project.edit_index("[operators]\n", &format!("[operators]\nbob = \"{}\"\n", bob.public));
    let damaged = String::from_utf8(project.file("b")).unwrap().replace("-----END", "AAAA\n-----END");
    fs::write(project.path("secrets/b.age"), damaged).unwrap();
    let before = (project.file("a"), project.index_text());
    let error = vault.rekey(&[], &alice.identities(), &mut anyone).unwrap_err().to_string();
    assert!(error.contains("b.age") && error.contains("version control"), "{error}");
    assert_eq!((project.file("a"), project.index_text()), before);
    let files: Vec<_> = fs::read_dir(project.path("secrets")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(files.len(), 3, "{files:?}");
}

#[test]
fn values_are_made_declared_or_refused() {
    let project = Project::new();
    let alice = project.operator("alice");
    let text = format!(
        "[operators]\nalice = \"{}\"\n[secrets.made]\nhosts = []\ngenerate = \"hex:16\"\n[secrets.typed]\nhosts = []\n",
        alice.public
    );
    let mut vault = project.index(&text);
    vault.set(&name("made"), NewValue::Generated(None), &[], &mut anyone).unwrap();
    assert_eq!(vault.reveal(&name("made"), &alice.identities()).unwrap().len(), 32);
    vault.set(&name("made"), NewValue::Generated(Some(Generator::Password(20))), &[], &mut anyone).unwrap();
    assert_eq!(vault.reveal(&name("made"), &alice.identities()).unwrap().len(), 20);
    assert!(project.index_text().contains("generate = \"password:20\""));

    let hosts = [HostPattern::parse("web-*").unwrap()];
    vault.set(&name("fresh"), given("x"), &hosts, &mut anyone).unwrap();
    assert!(
        project.index_text().contains("[secrets.fresh]\nhosts = [\"web-*\"]\nversion = 1\n"),
        "{}",
        project.index_text()
    );

    let index = project.index_text();
    for (secret, value, hosts, said) in [
        ("made", given(PLANTED), &[][..], "is made, not typed"),
        ("typed", NewValue::Generated(None), &[], "--generate password:32"),
        ("typed", given(""), &[], "an empty value"),
        ("typed", given(&"x".repeat(1024 * 1024 + 1)), &[], "longer than 1 MiB"),
        ("typd", given(PLANTED), &[], "did you mean `typed`?"),
        ("typed", given(PLANTED), &hosts, "is declared already"),
    ] {
        let error = vault.set(&name(secret), value, hosts, &mut anyone).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.to_string().contains("help:"), "{error}");
        assert!(!format!("{error} {error:?}").contains(PLANTED));
    }
    assert_eq!(project.index_text(), index);
    let mut nobody = project.index("[secrets.a]\nhosts = []\n");
    let error = nobody.set(&name("a"), given(PLANTED), &[], &mut anyone).unwrap_err().to_string();
    assert!(error.contains("no operators") && error.contains("deploy secrets init"), "{error}");
}

#[test]
fn changes_by_others_in_between_are_kept() {
    let project = Project::new();
    let alice = project.operator("alice");
    let text = format!("[operators]\nalice = \"{}\"\n[secrets.a]\nhosts = []\n[secrets.b]\nhosts = []\n", alice.public);
    let mut first = project.index(&text);
    let mut second = project.vault();
    first.set(&name("a"), given("1"), &[], &mut anyone).unwrap();
    second.set(&name("b"), given("2"), &[], &mut anyone).unwrap();
    assert_eq!(first.set(&name("b"), given("3"), &[], &mut anyone).unwrap(), 2);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let root = project.root().to_owned();
            std::thread::spawn(move || {
                Vault::open(&root).unwrap().set(&name("a"), given("x"), &[], &mut anyone).unwrap()
            })
        })
        .collect();
    let mut versions: Vec<u64> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    versions.sort_unstable();
    assert_eq!(versions, [2, 3, 4, 5]);
}

#[test]
fn a_project_without_secrets_says_how_to_begin() {
    let project = Project::new();
    let error = Vault::open(project.root()).unwrap_err().to_string();
    assert!(error.contains("secrets.toml") && error.contains("deploy secrets init"), "{error}");
}
