//! What a host is given when it is deployed to.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use cairn_secrets::{ForHost, Identities, LocalVault, Sealed, SecretsError, Vault, open};
use common::{Party, Project, anyone, given, name};

const PLANTED: &str = "pl4nted-s3cret-value";

fn remote<'a>(name: &'a str, host: &'a Party) -> ForHost<'a> {
    ForHost { name, key: &host.public, local: None }
}

/// `web` with a committed key, and a secret for `web*`.
fn project() -> (Project, Party, Party, Vault) {
    let project = Project::new();
    let (alice, web) = (project.operator("alice"), project.host("web"));
    let mut vault = project.index(&format!(
        "[operators]\nalice = \"{}\"\n[hosts]\nweb = \"{}\"\n[secrets.token]\nhosts = [\"web*\"]\n\
         [secrets.made]\nhosts = [\"*\"]\ngenerate = \"password:32\"\n[secrets.typed]\nhosts = [\"*\"]\n",
        alice.public, web.public
    ));
    vault.set(&name("token"), given(PLANTED), &[], &mut anyone).unwrap();
    (project, alice, web, vault)
}

#[test]
fn an_operator_encrypts_to_the_one_host_whatever_the_index_knows_of_it() {
    let (_project, alice, web, vault) = project();
    let other = _project.host("web-2");
    let sealed = vault.for_host(&remote("web-2", &other), &[name("token")], &alice.identities()).unwrap();
    let [Sealed { name: _, version: 1, ciphertext }] = &sealed[..] else { panic!("{sealed:?}") };
    assert_eq!(open(ciphertext, &other.private()).unwrap().expose(), PLANTED.as_bytes());
    assert!(open(ciphertext, &web.private()).is_err());
}

#[test]
fn without_an_identity_the_committed_file_is_handed_out_to_the_very_host() {
    let (project, _alice, web, vault) = project();
    let sealed = vault.for_host(&remote("web", &web), &[name("token")], &Identities::none()).unwrap();
    assert_eq!(sealed[0].ciphertext, project.file("token"));
    assert_eq!(open(&sealed[0].ciphertext, &web.private()).unwrap().expose(), PLANTED.as_bytes());

    // Another host: nobody here can encrypt to it.
    let other = project.host("web-2");
    for identities in [Identities::none(), project.operator("mallory").identities()] {
        let error = vault.for_host(&remote("web-2", &other), &[name("token")], &identities).unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, SecretsError::Unreadable { .. }), "{said}");
        assert!(said.contains(other.public.as_str()) && said.contains("DEPLOY_IDENTITY"), "{said}");
    }
}

#[test]
fn a_host_gets_only_what_it_may_read_and_only_under_its_own_key() {
    let (project, alice, web, vault) = project();
    let mail = project.host("mail");
    let error = vault.for_host(&remote("mail", &mail), &[name("token")], &alice.identities()).unwrap_err();
    assert!(matches!(error, SecretsError::NotForHost { .. }), "{error}");
    let error = vault.for_host(&remote("web", &mail), &[name("token")], &alice.identities()).unwrap_err().to_string();
    assert!(error.contains(mail.public.as_str()) && error.contains(web.public.as_str()), "{error}");
    let error = vault.for_host(&remote("web", &web), &[name("typed")], &alice.identities()).unwrap_err().to_string();
    assert!(error.contains("deploy secrets set typed"), "{error}");
    let error = vault.for_host(&remote("web", &web), &[name("made")], &alice.identities()).unwrap_err().to_string();
    assert!(error.contains("deploy secrets set made --generate"), "{error}");
    let error = vault.for_host(&remote("../web", &web), &[name("token")], &alice.identities()).unwrap_err();
    assert!(matches!(error, SecretsError::HostName { .. }), "{error}");
}

/// From a clean clone, without anybody's key.
#[test]
fn a_machine_on_this_computer_gets_generated_values_that_stay() {
    let (project, _alice, _web, vault) = project();
    let (local, machine) = (LocalVault::of(project.root()), project.host("machine"));
    let host = ForHost { name: "local", key: &machine.public, local: Some(&local) };
    assert!(local.existing(&name("made")).unwrap().is_none());
    let first = vault.for_host(&host, &[name("made")], &Identities::none()).unwrap();
    let value = open(&first[0].ciphertext, &machine.private()).unwrap();
    assert_eq!(value.len(), 32);

    // Made anew, with another key: the same value.
    let again = project.host("machine-again");
    let host = ForHost { key: &again.public, ..host };
    let second = vault.for_host(&host, &[name("made")], &Identities::none()).unwrap();
    assert_eq!(open(&second[0].ciphertext, &again.private()).unwrap().expose(), value.expose());
    assert_eq!(first[0].version, second[0].version);
    assert_eq!(local.existing(&name("made")).unwrap().unwrap().expose(), value.expose());

    let mode = |below: &str| fs::metadata(project.path(below)).unwrap().mode() & 0o777;
    assert_eq!(mode(".cairn/secrets"), 0o700);
    assert_eq!(mode(".cairn/secrets/identity.txt"), 0o600);
    assert_eq!(mode(".cairn/secrets/made.age"), 0o600);
    let stored = fs::read(project.path(".cairn/secrets/made.age")).unwrap();
    assert!(!stored.windows(32).any(|window| window == value.expose()));

    // What is not generated cannot come from there, and nothing that is committed does.
    assert!(vault.for_host(&host, &[name("typed")], &Identities::none()).is_err());
    let mut vault = vault;
    vault.set(&name("made"), cairn_secrets::NewValue::Generated(None), &[], &mut anyone).unwrap();
    let error = vault.for_host(&host, &[name("made")], &Identities::none()).unwrap_err();
    assert!(matches!(error, SecretsError::Unreadable { .. }), "{error}");
    let third = vault.for_host(&host, &[name("made")], &_alice.identities()).unwrap();
    assert_ne!(third[0].version, first[0].version);
    assert_ne!(open(&third[0].ciphertext, &again.private()).unwrap().expose(), value.expose());
}

#[test]
fn a_local_value_whose_key_was_lost_says_what_to_do() {
    let (project, _alice, _web, vault) = project();
    let (local, machine) = (LocalVault::of(project.root()), project.host("machine"));
    let host = ForHost { name: "local", key: &machine.public, local: Some(&local) };
    vault.for_host(&host, &[name("made")], &Identities::none()).unwrap();
    fs::remove_file(project.path(".cairn/secrets/identity.txt")).unwrap();
    cairn_secrets::make_identity(&project.path(".cairn/secrets/identity.txt")).unwrap();
    let error = vault.for_host(&host, &[name("made")], &Identities::none()).unwrap_err().to_string();
    assert!(error.contains(".cairn/secrets/made.age") && error.contains("remove the file"), "{error}");
}
