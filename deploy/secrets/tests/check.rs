//! `check` tells every fault at once, and `init` makes a vault that has none.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use cairn_secrets::{Findings, Identities, ProjectHost, State, Vault, init};
use common::{Project, anyone, given, name};

fn host(name: &str) -> ProjectHost {
    ProjectHost { name: name.to_owned(), is_machine: false, pinned_key: None }
}

fn machine(name: &str) -> ProjectHost {
    ProjectHost { is_machine: true, ..host(name) }
}

#[test]
fn a_sound_vault_has_no_faults_with_or_without_an_identity() {
    let project = Project::new();
    let alice = project.operator("alice");
    let mut vault = project.index(&format!(
        "[operators]\nalice = \"{}\"\n[secrets.a]\nhosts = [\"web-*\"]\n[secrets.b]\nhosts = [\"local\"]\ngenerate = \"hex:16\"\n",
        alice.public
    ));
    vault.set(&name("a"), given("x"), &[], &mut anyone).unwrap();
    fs::write(project.path("secrets/README.md"), "").unwrap();
    let hosts = [host("web-1"), machine("local")];
    assert_eq!(vault.check(&hosts, &alice.identities()).unwrap(), Findings::default());
    assert_eq!(vault.check(&hosts, &Identities::none()).unwrap(), Findings::default());
    assert_eq!(vault.state(&name("a"), &hosts).unwrap(), State::UpToDate);
    assert_eq!(vault.state(&name("b"), &hosts).unwrap(), State::PerComputer);
    assert_eq!(vault.state(&name("b"), &[host("local")]).unwrap(), State::NoValue);
}

/// A clean clone: whoever looks at it has done nothing wrong.
#[test]
fn a_vault_that_nobody_has_begun_with_has_no_faults_but_values_that_must_be_typed() {
    let made = "[secrets.made]\nhosts = [\"*\"]\ngenerate = \"hex:16\"\n";
    let project = Project::new();
    let check = |text: &str, hosts: &[ProjectHost]| project.index(text).check(hosts, &Identities::none()).unwrap();
    let problems = |found: &Findings| found.faults.iter().map(|f| f.problem.clone()).collect::<Vec<_>>();

    let found = check(made, &[machine("local")]);
    assert_eq!((found.faults, found.notes.len()), (vec![], 1), "{:?}", found.notes);
    let found = check(made, &[machine("local"), host("web")]);
    assert_eq!(found.faults, []);
    assert!(found.notes[1].contains("web needs made: `deploy secrets init`"), "{:?}", found.notes);

    // Nobody can make what must be typed, and a name that matches nothing is wrong from the start.
    let found = check(&format!("{made}[secrets.typed]\nhosts = [\"local\"]\n"), &[machine("local")]);
    assert_eq!(problems(&found), ["secret `typed` has no value"]);
    let found = check(&made.replace('*', "locol"), &[machine("local")]);
    assert!(problems(&found)[0].contains("`locol` matches no host"), "{found:?}");

    // Values that once were somebody's, and nobody's now.
    let found = check(&format!("{made}version = 1\n"), &[host("web")]);
    assert_eq!(
        problems(&found),
        ["secret `made` has no value", "there are no operators, so nobody can change a secret"]
    );
    let alice = project.operator("alice");
    let operators = format!("[operators]\nalice = \"{}\"\n", alice.public);
    let found = check(&format!("{operators}{made}"), &[host("web")]);
    assert_eq!((problems(&found), found.notes), (vec!["secret `made` has no value".to_owned()], vec![]));
    project.vault().set(&name("made"), cairn_secrets::NewValue::Generated(None), &[], &mut anyone).unwrap();
    let orphaned = project.edit_index(&operators, "");
    let found = orphaned.check(&[host("web")], &Identities::none()).unwrap();
    let told = problems(&found);
    assert!(
        told.iter().any(|p| p.contains("no operators")) && told.iter().any(|p| p.contains("exactly those")),
        "{told:?}"
    );
}

#[test]
fn every_kind_of_fault_is_told_in_one_run() {
    let project = Project::new();
    let (alice, web) = (project.operator("alice"), project.host("web"));
    let mut text = format!(
        "[operators]\nalice = \"{}\"\n[hosts]\nweb = \"{}\"\ngone = \"{}\"\n",
        alice.public,
        web.public,
        project.host("gone").public
    );
    for secret in ["absent", "damaged", "foreign", "link", "loose", "stale", "typo"] {
        let hosts = if secret == "typo" { "wep" } else { "web" };
        text.push_str(&format!("[secrets.{secret}]\nhosts = [\"{hosts}\"]\n"));
    }
    let mut vault = project.index(&text);
    for secret in ["damaged", "foreign", "link", "loose", "stale", "typo"] {
        vault.set(&name(secret), given("x"), &[], &mut anyone).unwrap();
    }
    let path = |file: &str| project.path(&format!("secrets/{file}"));
    fs::write(path("damaged.age"), "-----BEGIN AGE").unwrap();
    fs::rename(path("link.age"), project.path("elsewhere")).unwrap();
    symlink(project.path("elsewhere"), path("link.age")).unwrap();
    fs::set_permissions(path("loose.age"), fs::Permissions::from_mode(0o666)).unwrap();
    fs::write(path("stray.age"), "").unwrap();
    // Encrypted to somebody else's key by hand.
    let mallory = project.operator("mallory");
    fs::write(project.path("plain"), "x").unwrap();
    common::tool(
        std::process::Command::new("age")
            .args(["-a", "-r", mallory.public.as_str(), "-o"])
            .args([path("foreign.age"), project.path("plain")]),
    );
    let vault = project.edit_index("[secrets.stale]\nhosts = [\"web\"]", "[secrets.stale]\nhosts = []");

    let pinned = ProjectHost { pinned_key: Some(project.host("other").public.to_string()), ..host("web") };
    let faults = vault.check(&[pinned], &alice.identities()).unwrap().faults;
    let told: Vec<(String, &str)> = faults
        .iter()
        .map(|f| (f.file.file_name().unwrap().to_string_lossy().into_owned(), f.problem.as_str()))
        .collect();
    for (file, problem) in [
        ("absent.age", "has no value"),
        ("damaged.age", "no age file"),
        ("foreign.age", "does not say which secret it holds"),
        ("link.age", "no plain file"),
        ("loose.age", "others may change it"),
        ("stale.age", "not encrypted to exactly"),
        ("stray.age", "no secret of the index"),
        ("secrets.toml", "`wep` matches no host"),
        ("secrets.toml", "hosts.gone: this project has no such host"),
        ("secrets.toml", "pins another host key"),
    ] {
        assert!(told.iter().any(|(f, p)| f == file && p.contains(problem)), "{file}: {problem}\n{told:#?}");
    }
    assert_eq!(faults.len(), 10, "{told:#?}");
    assert!(faults.iter().all(|fault| !fault.help.is_empty()));
    let by_another = vault.check(&[], &mallory.identities()).unwrap().faults;
    let told =
        |f: &cairn_secrets::Fault| f.file.ends_with("loose.age") && f.problem.contains("cannot be decrypted with");
    assert!(by_another.iter().any(told), "{by_another:#?}");
}

#[test]
fn init_makes_what_is_missing_and_then_nothing() {
    let project = Project::new();
    fs::remove_dir(project.path("secrets")).unwrap();
    let identity = project.path("home/identity.txt");
    let named = [identity.clone()];
    let done = init(project.root(), "alice", &named, &[], &mut anyone).unwrap();
    assert_eq!(done.identity.as_ref(), Some(&identity));
    assert_eq!(done.operator.as_deref(), Some("alice"));
    assert_eq!(fs::metadata(&identity).unwrap().mode() & 0o777, 0o600);
    let text = project.index_text();
    assert!(text.starts_with("# Who may read which secret."), "{text}");
    assert!(!text.contains("AGE-SECRET-KEY"));

    // Declared values are made, except those that each computer makes for its own machines.
    let text = format!(
        "{text}\n[secrets.shared]\nhosts = [\"web\"]\ngenerate = \"hex:16\"\n[secrets.own]\nhosts = [\"local\"]\ngenerate = \"hex:16\"\n[secrets.typed]\nhosts = [\"web\"]\n"
    );
    project.index(&text);
    let hosts = [host("web"), machine("local")];
    let done = init(project.root(), "alice", &named, &hosts, &mut anyone).unwrap();
    assert_eq!((done.generated, done.left_to_machines), (vec![name("shared")], vec![name("own")]));
    assert_eq!((done.identity, done.operator, done.index), (None, None, None));
    let before = project.index_text();
    let done = init(project.root(), "alice", &named, &hosts, &mut anyone).unwrap();
    assert!(done.generated.is_empty());
    assert_eq!(project.index_text(), before);

    // A second operator: another name, and told what is not readable yet.
    let other = [project.operator("bob").file];
    let done = init(project.root(), "alice", &other, &hosts, &mut anyone).unwrap();
    assert_eq!((done.operator.as_deref(), done.unreadable), (Some("alice-2"), vec![name("shared")]));
    let mut vault = Vault::open(project.root()).unwrap();
    assert!(vault.reveal(&name("shared"), &Identities::read(&other).unwrap()).is_err());
    vault.rekey(&[], &Identities::read(&named).unwrap(), &mut anyone).unwrap();
    assert_eq!(vault.reveal(&name("shared"), &Identities::read(&other).unwrap()).unwrap().len(), 32);
}

#[test]
fn an_identity_that_others_may_read_or_that_is_none_is_refused() {
    let project = Project::new();
    let alice = project.operator("alice");
    let private = String::from_utf8(alice.private()).unwrap();
    fs::set_permissions(&alice.file, fs::Permissions::from_mode(0o644)).unwrap();
    let error = Identities::read(std::slice::from_ref(&alice.file)).unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
    let secret = private.lines().last().unwrap();
    for (text, said) in [
        ("# nothing\n", "no identity in it"),
        ("hello\n", "neither"),
        (&private[..private.len() - 5], "neither"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "OpenSSH's format"),
    ] {
        let file = project.path("keys/bad");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let error = Identities::read(std::slice::from_ref(&file)).unwrap_err();
        assert!(error.to_string().contains(said) && error.to_string().contains("keys/bad"), "{error}");
        assert!(!format!("{error} {error:?}").contains(&secret[..30]));
    }
    assert!(!format!("{:?}", project.operator("carol").identities()).contains("AGE-SECRET"));
}
