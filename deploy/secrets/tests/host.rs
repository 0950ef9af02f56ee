//! What a host is given when it is deployed to.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::Command;

use base64::Engine as _;
use cairn_secrets::{
    ForHost, Generator, Identities, LocalVault, OpenError, Sealed, SecretsError, Vault, open, open_secret,
};
use common::{Party, Project, anyone, given, name, tool};

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

/// A pull request cannot decrypt, and can move files.
#[test]
fn a_host_opens_a_secret_only_under_its_own_name() {
    let (project, alice, web, vault) = project();
    let other = project.host("web-3");
    for (host, identities) in [(("web", &web), Identities::none()), (("web-3", &other), alice.identities())] {
        let sealed = vault.for_host(&remote(host.0, host.1), &[name("token")], &identities).unwrap();
        let key = host.1.private();
        assert_eq!(open_secret("token", &sealed[0].ciphertext, &key).unwrap().expose(), PLANTED.as_bytes());
        let error = open_secret("typed", &sealed[0].ciphertext, &key).unwrap_err();
        assert_eq!(error, OpenError::OtherSecret { holds: "token".to_owned() });
    }
    // A name that is changed in the header breaks the file.
    let binary = binary(&project.file("token"));
    let at = binary.windows(12).position(|window| window == b"secret token").unwrap();
    let renamed = [&binary[..at], b"secret typed", &binary[at + 12..]].concat();
    assert_eq!(open_secret("token", &binary, &web.private()).unwrap().expose(), PLANTED.as_bytes());
    assert_eq!(open_secret("typed", &renamed, &web.private()).unwrap_err(), OpenError::Damaged);
}

/// The file without its armour.
fn binary(armoured: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(armoured.to_vec()).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}

/// Takes out what files say of themselves, by age itself; the first file of them, and the vault.
fn without_labels(project: &Project, alice: &Party, web: &Party, names: &[&str]) -> (Vec<u8>, Vault) {
    for name in names {
        let (file, plain) = (project.path(&format!("secrets/{name}.age")), project.path("plain"));
        tool(Command::new("age").arg("-d").arg("-i").arg(&alice.file).arg("-o").arg(&plain).arg(&file));
        let mut age = Command::new("age");
        age.args(["-a", "-r", alice.public.as_str()]);
        if *name == "token" {
            age.args(["-r", web.public.as_str()]);
        }
        tool(age.arg("-o").arg(&file).arg(&plain));
    }
    let text = project.index_text();
    let line = text.lines().find(|line| line.starts_with("vault = ")).unwrap().to_owned();
    (project.file(names[0]), project.edit_index(&line, ""))
}

#[test]
fn a_file_that_holds_another_secret_is_refused_whatever_its_name() {
    let (project, alice, web, mut vault) = project();
    vault.set(&name("typed"), given("harmless"), &[], &mut anyone).unwrap();
    // As an earlier version has it, without labels, until the next rekey of all.
    let (unlabelled, mut old) = without_labels(&project, &alice, &web, &["token", "typed"]);
    assert!(old.is_up_to_date(&name("token")).unwrap());
    assert_eq!(old.reveal(&name("token"), &alice.identities()).unwrap().expose(), PLANTED.as_bytes());
    assert_eq!(old.rekey(&[], &alice.identities(), &mut anyone).unwrap().len(), 2);
    let vault = project.vault();
    assert!(vault.index().vault.is_some() && vault.is_up_to_date(&name("token")).unwrap());
    assert_eq!(vault.entry(&name("token")).unwrap().version, 1);
    assert!(project.vault().rekey(&[], &alice.identities(), &mut anyone).unwrap().is_empty());

    let (typed, token) = (project.path("secrets/typed.age"), project.file("token"));
    let own = project.file("typed");
    // Of another project of the same operator, under the same name.
    let foreign = {
        let text = project.index_text();
        let id = vault.index().vault.clone().unwrap();
        let mut other = project.index(&text.replace(&id, &"0".repeat(32)));
        other.set(&name("typed"), given("of another project"), &[], &mut anyone).unwrap();
        let foreign = project.file("typed");
        project.index(&text);
        foreign
    };
    for (planted, said) in [
        (&token, "it holds the secret `token`"),
        (&unlabelled, "it does not say which secret it holds"),
        (&foreign, "it belongs to another project"),
    ] {
        fs::write(&typed, planted).unwrap();
        let vault = project.vault();
        for error in [
            vault.reveal(&name("typed"), &alice.identities()).unwrap_err(),
            vault.for_host(&remote("web", &web), &[name("typed")], &alice.identities()).unwrap_err(),
            vault.for_host(&remote("web", &web), &[name("typed")], &Identities::none()).unwrap_err(),
            project.vault().rekey(&[], &alice.identities(), &mut anyone).unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(error.contains(said) && error.contains("typed.age"), "{error}");
        }
        let found = vault.check(&[], &alice.identities()).unwrap();
        assert!(found.faults.iter().any(|fault| fault.problem.contains(said)), "{found:?}");
    }
    fs::write(&typed, &own).unwrap();
    assert_eq!(project.vault().reveal(&name("typed"), &alice.identities()).unwrap().expose(), b"harmless");
    // The line is taken out, so that nothing is compared.
    let text = project.index_text();
    let line = text.lines().find(|line| line.starts_with("vault = ")).unwrap();
    let without = project.edit_index(line, "");
    let error = without.reveal(&name("typed"), &alice.identities()).unwrap_err().to_string();
    assert!(error.contains("has lost its line `vault = "), "{error}");
}

#[test]
fn no_link_of_the_repository_is_followed() {
    let (project, alice, web, _) = project();
    let elsewhere = project.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("token.age"), project.file("token")).unwrap();
    fs::copy(project.path("secrets/secrets.toml"), elsewhere.join("secrets.toml")).unwrap();
    let token = project.path("secrets/token.age");
    fs::remove_file(&token).unwrap();
    symlink(elsewhere.join("token.age"), &token).unwrap();
    for error in [
        project.vault().reveal(&name("token"), &alice.identities()).unwrap_err(),
        project.vault().for_host(&remote("web", &web), &[name("token")], &Identities::none()).unwrap_err(),
    ] {
        assert!(error.to_string().contains("it is a link"), "{error}");
    }
    fs::remove_dir_all(project.path("secrets")).unwrap();
    symlink(&elsewhere, project.path("secrets")).unwrap();
    let error = Vault::open(project.root()).unwrap_err().to_string();
    assert!(error.contains("it is a link"), "{error}");
    assert!(cairn_secrets::init(project.root(), "bob", std::slice::from_ref(&alice.file), &[], &mut anyone).is_err());
}

#[test]
fn a_local_vault_that_the_repository_brings_is_refused() {
    let victim = |project: &Project, mode: u32| {
        let victim = project.path("victim");
        fs::create_dir_all(&victim).unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(mode)).unwrap();
        victim
    };
    type Plant<'a> = (&'a str, &'a dyn Fn(&Project));
    let plants: [Plant<'_>; 4] = [
        ("it is not a folder", &|project| symlink(victim(project, 0o700), project.path(".cairn/secrets")).unwrap()),
        ("it is not a folder", &|project| {
            fs::remove_dir(project.path(".cairn")).unwrap();
            symlink(victim(project, 0o700), project.path(".cairn")).unwrap();
        }),
        ("does not belong to this user alone", &|project| {
            fs::create_dir(project.path(".cairn/secrets")).unwrap();
            fs::set_permissions(project.path(".cairn/secrets"), fs::Permissions::from_mode(0o755)).unwrap();
        }),
        ("it is not a regular file", &|project| {
            fs::create_dir(project.path(".cairn/secrets")).unwrap();
            fs::set_permissions(project.path(".cairn/secrets"), fs::Permissions::from_mode(0o700)).unwrap();
            symlink(victim(project, 0o700).join("key"), project.path(".cairn/secrets/identity.txt")).unwrap();
        }),
    ];
    for (said, plant) in plants {
        let project = Project::new();
        fs::create_dir(project.path(".cairn")).unwrap();
        plant(&project);
        let local = LocalVault::of(project.root());
        let error = local.value(&name("made"), Generator::Hex(32)).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains(".cairn"), "{error}");
        if let Ok(entries) = fs::read_dir(project.path("victim")) {
            assert_eq!(entries.count(), 0, "{said}");
        }
    }
}

#[test]
fn a_value_is_for_notifications_if_it_was_made_for_them() {
    let (project, alice, _, _) = project();
    let allow = |vault: &Vault| vault.is_for_notifications(&name("token")).unwrap();
    project.vault().set(&name("token"), given(PLANTED), &[], &mut anyone).unwrap();
    let flagged = project.edit_index("[secrets.token]\n", "[secrets.token]\nnotifications = true\n");
    assert!(!allow(&flagged), "a pull request has added the line");
    project.vault().set_host_key("web-9", &project.host("web-9").public).unwrap();
    assert_eq!(project.vault().rekey(&[], &alice.identities(), &mut anyone).unwrap().len(), 1);
    assert!(!allow(&project.vault()), "rekey changes nothing of it");
    project.vault().set(&name("token"), given(PLANTED), &[], &mut anyone).unwrap();
    assert!(allow(&project.vault()));
    project.vault().set_host_key("web-8", &project.host("web-8").public).unwrap();
    assert_eq!(project.vault().rekey(&[], &alice.identities(), &mut anyone).unwrap().len(), 1);
    assert!(allow(&project.vault()));
    assert!(!allow(&project.edit_index("notifications = true", "notifications = false")));
}
