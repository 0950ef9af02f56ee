//! The real `age` reads our files, and we read its; with its own keys and with SSH host keys.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::process::Command;

use cairn_secrets::{Identities, OpenError, Recipient, Vault, open};
use common::{Party, Project, anyone, given, name, tool};

fn age(arguments: &[&std::ffi::OsStr]) -> Vec<u8> {
    tool(Command::new("age").args(arguments))
}

/// An operator and a host, and a secret for both.
fn shared(project: &Project) -> (Party, Party, Vault) {
    let (alice, host) = (project.operator("alice"), project.host("web"));
    let vault = project.index(&format!(
        "[operators]\nalice = \"{}\"\n[hosts]\nweb = \"{}\"\n[secrets.a]\nhosts = [\"web\"]\n",
        alice.public, host.public
    ));
    (alice, host, vault)
}

#[test]
fn age_reads_our_files() {
    let project = Project::new();
    let (alice, host, mut vault) = shared(&project);
    let long = "0123456789\n".repeat(90_000);
    for value in ["x", "two\nlines\n", long.as_str()] {
        vault.set(&name("a"), given(value), &[], &mut anyone).unwrap();
        let file = project.path("secrets/a.age");
        for key in [&alice.file, &host.file] {
            let read = age(&["-d".as_ref(), "-i".as_ref(), key.as_os_str(), file.as_os_str()]);
            assert!(read == value.as_bytes(), "{} bytes by {}", read.len(), key.display());
        }
    }
}

#[test]
fn we_read_the_files_of_age_armoured_or_not() {
    let project = Project::new();
    let identity = project.path("age-keygen.txt");
    tool(Command::new("age-keygen").arg("-o").arg(&identity));
    let identities = Identities::read(&[identity]).unwrap();
    let public = identities.public().next().unwrap().to_string();
    let host = project.host("web");
    let plain = project.path("plain");
    fs::write(&plain, "from age\n").unwrap();
    for armour in [true, false] {
        let out = project.path("secrets/a.age");
        let mut command = Command::new("age");
        if armour {
            command.arg("-a");
        }
        command.args(["-r", &public, "-r", host.public.as_str(), "-o"]).arg(&out).arg(&plain);
        tool(&mut command);
        let vault = project.index(&format!("[operators]\nalice = \"{public}\"\n[secrets.a]\nhosts = []\n"));
        assert_eq!(vault.reveal(&name("a"), &identities).unwrap().expose(), b"from age\n");
        assert_eq!(open(&project.file("a"), &host.private()).unwrap().expose(), b"from age\n");
    }
}

/// An SSH key as an operator's identity.
#[test]
fn an_operator_may_use_an_ssh_key() {
    let project = Project::new();
    let key = project.ssh_key("id_ed25519", "");
    assert_eq!(key.identities().public().collect::<Vec<_>>(), [&key.public]);
    let mut vault = project.index(&format!("[operators]\nalice = \"{}\"\n[secrets.a]\nhosts = []\n", key.public));
    vault.set(&name("a"), given("value"), &[], &mut anyone).unwrap();
    assert_eq!(vault.reveal(&name("a"), &key.identities()).unwrap().expose(), b"value");
}

#[test]
fn files_and_keys_that_are_damaged_or_of_another_kind_are_told_apart() {
    let project = Project::new();
    let (_, host, mut vault) = shared(&project);
    vault.set(&name("a"), given("value"), &[], &mut anyone).unwrap();
    let good = project.file("a");
    let key = host.private();

    // Every place that is cut or changed is noticed.
    for cut in (0..good.len() - 1).step_by(7) {
        assert!(open(&good[..cut], &key).is_err(), "cut at {cut}");
    }
    let body = 60..good.len() - 60;
    for at in body.step_by(5).filter(|at| good[*at] != b'\n') {
        let mut changed = good.clone();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        if changed != good {
            assert!(open(&changed, &key).is_err(), "changed at {at}");
        }
    }
    assert_eq!(open(b"no age file", &key).unwrap_err(), OpenError::Damaged);
    assert_eq!(open(&vec![b'x'; 3 << 20], &key).unwrap_err(), OpenError::TooLong);

    let locked = project.ssh_key("locked", "passphrase");
    let rsa = project.path("keys/rsa");
    tool(Command::new("ssh-keygen").args(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f"]).arg(&rsa));
    for (key, said) in [
        (locked.private(), "passphrase"),
        (fs::read(&rsa).unwrap(), "not an ed25519 key"),
        (b"rubbish".to_vec(), "OpenSSH's format"),
    ] {
        let error = open(&good, &key).unwrap_err();
        assert!(matches!(error, OpenError::HostKey { .. }) && error.to_string().contains(said), "{error}");
    }
    let public = fs::read_to_string(rsa.with_extension("pub")).unwrap();
    assert!(Recipient::parse(&public).unwrap_err().contains("ssh-keygen -t ed25519"));
}
