//! People: entries of `/etc/passwd` and `/etc/group`, made and removed by the host's own useradd(8)
//! and userdel(8), so that everything on the host sees them, whatever its nsswitch.conf says.
//!
//! Their homes stay. Their `authorized_keys` is a link into the files that a switch renames
//! ([`super::etc`]), so keys change with all the rest. A home belongs to its user, who may have put a
//! link anywhere in it: nothing in it is opened through one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cairn_closure::layout::{ETC_DIR, KEYS_DIR};
use cairn_closure::{Account, System, UserName};
use cairn_protocol::Drift;

use crate::error::{Fault, Result};
use crate::files;
use crate::folder::Folder;
use crate::paths::Paths;
use crate::private;
use crate::process;

#[cfg(test)]
#[path = "../fixtures/people.rs"]
mod fixtures;

/// The file that sshd reads.
const KEYS: &str = "authorized_keys";

/// Users that may be ours, and their ids; written before one is made.
pub type Record = BTreeMap<UserName, u32>;

/// One line of getent(1): its fields.
fn entry(database: &str, key: &str) -> Result<Option<Vec<String>>> {
    let output = process::output("getent", &[database, key])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().next().map(|line| line.split(':').map(str::to_owned).collect()))
}

/// The id and the shell that somebody has.
fn user(key: &str) -> Result<Option<(String, u32, String)>> {
    Ok(entry("passwd", key)?.and_then(|fields| {
        let [name, _, uid, _, _, _, shell] = fields.as_slice() else { return None };
        Some((name.clone(), uid.parse().ok()?, shell.clone()))
    }))
}

fn group(key: &str) -> Result<Option<(String, u32)>> {
    Ok(entry("group", key)?.and_then(|fields| Some((fields.first()?.clone(), fields.get(2)?.parse().ok()?))))
}

pub fn record(paths: &Paths) -> Result<Record> {
    Ok(files::read_json(&paths.people_record())?.unwrap_or_default())
}

fn save(paths: &Paths, record: &Record) -> Result<()> {
    if record.is_empty() {
        return files::remove(&paths.people_record());
    }
    private::make_state_dir(paths)?;
    files::replace_json(&paths.people_record(), record)
}

/// Refuses names and ids that belong to somebody else. Changes nothing.
pub fn check(paths: &Paths, system: &System) -> Result<()> {
    if system.users.is_empty() {
        return Ok(());
    }
    let ours = record(paths)?;
    let refuse = |message: String, advice: &str| Err(Fault::new(message).advice(advice).into());
    for (name, account) in &system.users {
        let uid = account.uid;
        match (user(name.as_str())?, ours.get(name)) {
            (Some(_), None) => {
                return refuse(
                    format!("the host has a user {name} already, and it is not Cairn's"),
                    "declare another name, or remove that one on the host: `userdel`",
                );
            }
            (Some((_, other, _)), Some(_)) if other != uid => {
                return refuse(
                    format!("user {name} has the id {other}, and {uid} is declared"),
                    "ids stay as they are, since files belong to them: declare another name",
                );
            }
            _ => {}
        }
        let taken = user(&uid.to_string())?.map(|(other, ..)| other).filter(|other| other != name.as_str());
        if let Some(other) = taken {
            return refuse(format!("the user id {uid} of {name} belongs to {other:?}"), "declare another id");
        }
        let by_id = group(&uid.to_string())?.filter(|(other, _)| other != name.as_str());
        let by_name = group(name.as_str())?.filter(|(_, gid)| *gid != uid);
        if let Some((other, gid)) = by_id.or(by_name) {
            let message =
                format!("user {name} needs a group {name} with the id {uid}, and there is {other:?} with {gid}");
            return refuse(message, "declare another id or name");
        }
        for wanted in &account.groups {
            if group(wanted)?.is_none() {
                return refuse(
                    format!("user {name} is to be in the group {wanted}, which the host does not have"),
                    "make it, or install what brings it along",
                );
            }
        }
        if !paths.at(&account.shell).exists() {
            return refuse(
                format!("the host does not have {}, the shell of {name}", account.shell),
                "declare another one",
            );
        }
        let keys = home(paths, name).join(".ssh/authorized_keys");
        let there = fs::symlink_metadata(&keys).is_ok() && files::target(&keys) != Some(target(name));
        if there && !account.keys.is_empty() {
            let message = format!("{} exists, and is not Cairn's", keys.display());
            return refuse(message, "move its keys into the definition, and it away");
        }
    }
    Ok(())
}

fn home(paths: &Paths, name: &UserName) -> PathBuf {
    paths.at("/home").join(name.as_str())
}

fn target(name: &UserName) -> PathBuf {
    Path::new(ETC_DIR).join("current").join(KEYS_DIR).join(name.as_str())
}

/// Makes those that are missing, and the others as they are declared.
pub fn ensure(paths: &Paths, system: &System) -> Result<()> {
    entries(paths, system)?;
    system.users.iter().try_for_each(|(name, account)| link_keys(paths, name, account))
}

/// The same, without a look into their homes, which may not be mounted yet.
pub fn entries(paths: &Paths, system: &System) -> Result<()> {
    let ours = record(paths)?;
    let mut all = ours.clone();
    all.extend(system.users.iter().map(|(name, account)| (name.clone(), account.uid)));
    if all != ours {
        save(paths, &all)?;
    }
    for (name, account) in &system.users {
        let groups: Vec<&str> = account.groups.iter().map(String::as_str).collect();
        let groups = groups.join(",");
        let id = account.uid.to_string();
        match user(name.as_str())? {
            None => {
                if group(name.as_str())?.is_none() {
                    process::run("groupadd", &["--gid", &id, name.as_str()])?;
                }
                // No password fits, and yet sshd does not take it for locked.
                let mut arguments = vec!["--uid", &id, "--gid", &id, "--password", "*", "--create-home"];
                let home = format!("/home/{name}");
                arguments.extend(["--home-dir", &home, "--shell", &account.shell, "--groups", &groups, name.as_str()]);
                process::run("useradd", &arguments)?;
            }
            Some(_) if is_so(name, account)? => {}
            Some(_) => {
                process::run("usermod", &["--shell", &account.shell, "--groups", &groups, name.as_str()])?;
            }
        }
    }
    Ok(())
}

fn is_so(name: &UserName, account: &Account) -> Result<bool> {
    let shell = user(name.as_str())?.map(|(.., shell)| shell);
    let output = process::output("id", &["-nG", name.as_str()])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut groups: Vec<&str> = text.split_whitespace().filter(|group| *group != name.as_str()).collect();
    groups.sort_unstable();
    Ok(shell.as_deref() == Some(account.shell.as_str()) && groups.iter().eq(account.groups.iter()))
}

fn link_keys(paths: &Paths, name: &UserName, account: &Account) -> Result<()> {
    if account.keys.is_empty() {
        return unlink_keys(paths, name);
    }
    let home = Folder::open(&paths.at("/home"), Path::new(name.as_str()))?.ok_or_else(|| {
        Fault::new(format!("user {name} has no home: {} is missing", home(paths, name).display()))
            .advice("make it and give it to the user, or remove the user and switch again")
    })?;
    let (ssh, _) = home.make(".ssh", 0o700)?;
    // Just made, or left by a process that was killed then. The user may have exchanged it.
    if ssh.owner()? == 0 && ssh.names()?.is_empty() {
        ssh.give(0o700, Some((account.uid, account.uid)))?;
    }
    match ssh.target(KEYS) {
        Some(led) if led == target(name) => Ok(()),
        _ => ssh.link_new(KEYS, &target(name)),
    }
}

fn unlink_keys(paths: &Paths, name: &UserName) -> Result<()> {
    let Some(ssh) = Folder::find(&paths.at("/home"), &Path::new(name.as_str()).join(".ssh"))? else { return Ok(()) };
    if ssh.target(KEYS) == Some(target(name)) { ssh.remove(KEYS) } else { Ok(()) }
}

/// Removes those of ours that are not declared. Their homes stay.
pub fn sweep(paths: &Paths, system: &System) -> Result<()> {
    let mut ours = record(paths)?;
    let gone: Vec<(UserName, u32)> =
        ours.iter().filter(|(name, _)| !system.users.contains_key(*name)).map(|(n, id)| (n.clone(), *id)).collect();
    for (name, uid) in gone {
        unlink_keys(paths, &name)?;
        if user(name.as_str())?.is_some_and(|(_, found, _)| found == uid) {
            // Also while somebody of that name is logged in; not with `--remove`, so the home stays.
            process::run("userdel", &["--force", name.as_str()])?;
        }
        if group(name.as_str())?.is_some_and(|(_, gid)| gid == uid) {
            process::run("groupdel", &[name.as_str()])?;
        }
        ours.remove(&name);
        save(paths, &ours)?;
    }
    Ok(())
}

pub fn drift(system: &System) -> Result<Vec<Drift>> {
    let mut found = Vec::new();
    for (name, account) in &system.users {
        let problem = match user(name.as_str())? {
            None => "is gone",
            Some((_, uid, _)) if uid != account.uid => "has another id",
            Some(_) if !is_so(name, account)? => "has another shell or other groups",
            Some(_) => continue,
        };
        found.push(Drift { unit: format!("user {name}"), problem: problem.to_owned() });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn keys_are_linked_and_never_through_a_link_of_the_user() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path());
        let name = UserName::parse("alice").unwrap();
        let uid = nix::unistd::getuid().as_raw();
        let account = |keys: &[&str]| Account {
            uid,
            groups: Default::default(),
            shell: "/bin/sh".to_owned(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        };
        let home = home(&paths, &name);
        fs::create_dir_all(&home).unwrap();
        let keys = home.join(".ssh/authorized_keys");
        for _ in 0..2 {
            link_keys(&paths, &name, &account(&["ssh-ed25519 A"])).unwrap();
            assert_eq!(fs::read_link(&keys).unwrap(), Path::new("/run/cairn/etc/current/.keys/alice"));
        }
        link_keys(&paths, &name, &account(&[])).unwrap();
        assert!(fs::symlink_metadata(&keys).is_err());

        let elsewhere = root.path().join("root-ssh");
        fs::create_dir(&elsewhere).unwrap();
        fs::remove_dir(home.join(".ssh")).unwrap();
        symlink(&elsewhere, home.join(".ssh")).unwrap();
        assert!(link_keys(&paths, &name, &account(&["ssh-ed25519 A"])).is_err());
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    }
}
