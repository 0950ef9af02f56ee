//! The numeric users of services must exist on the host: systemd looks each up there, and refuses
//! to start a unit whose `User=` has no entry (status 217), even when it is a number.
//!
//! They are made with systemd-sysusers, named after their number (`cairn-10001`), without a
//! shell or a home, and stay: files may belong to them.

use std::collections::BTreeMap;

use cairn_closure::Manifest;

use crate::error::{Fault, Result};
use crate::process;

/// The host's databases of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Database {
    Users,
    Groups,
}

impl Database {
    const fn word(self) -> &'static str {
        match self {
            Self::Users => "user",
            Self::Groups => "group",
        }
    }
}

/// The names that these ids have on the host; ids without one are left out.
fn names_of(database: Database, ids: &[u32]) -> Result<BTreeMap<u32, String>> {
    let table = match database {
        Database::Users => "passwd",
        Database::Groups => "group",
    };
    if ids.is_empty() {
        // Without a key getent prints everything.
        return Ok(BTreeMap::new());
    }
    let mut arguments = vec![table.to_owned()];
    arguments.extend(ids.iter().map(ToString::to_string));
    // It exits with 2 if any is missing, and still prints the others.
    let output = process::output("getent", &arguments)?;
    let entries = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(entries.lines().filter_map(entry).collect())
}

/// `NAME:x:ID:…`
pub(crate) fn entry(line: &str) -> Option<(u32, String)> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    Some((fields.nth(1)?.parse().ok()?, name))
}

/// Makes users and groups, by lines of sysusers.d(5).
fn sysusers(lines: &[String]) -> Result<()> {
    let arguments = [&["--inline".to_owned()], lines].concat();
    process::run("systemd-sysusers", &arguments).map(drop)
}

/// A user's or group's own name on the host.
fn host_name(id: u32) -> String {
    format!("cairn-{id}")
}

/// The ids that the closure's services run with.
fn ids(manifest: &Manifest, database: Database) -> Vec<u32> {
    let users = manifest.services.values().map(|service| &service.user);
    let mut ids: Vec<u32> = users
        .map(|user| match database {
            Database::Users => user.uid,
            Database::Groups => user.gid,
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Refuses ids that belong to somebody else on this host. Changes nothing.
pub fn check(manifest: &Manifest) -> Result<()> {
    check_ids(&ids(manifest, Database::Users), &ids(manifest, Database::Groups))
}

/// As [`check`], by the ids alone.
pub fn check_ids(users: &[u32], groups: &[u32]) -> Result<()> {
    for (database, wanted) in [(Database::Users, users), (Database::Groups, groups)] {
        if let Some((id, owner)) = stranger(&names_of(database, wanted)?) {
            let kind = database.word();
            return Err(Fault::new(format!(
                "the {kind} id {id} belongs to {owner:?} on this host, so a service must not run with it"
            ))
            .advice(format!("give the image's user another {kind} id, such as one above 10000"))
            .into());
        }
    }
    Ok(())
}

fn stranger(names: &BTreeMap<u32, String>) -> Option<(u32, &str)> {
    names.iter().find(|(id, name)| **name != host_name(**id)).map(|(id, name)| (*id, name.as_str()))
}

/// Users and groups that were made for services, of whatever generation: names.
pub fn made() -> Result<(Vec<String>, Vec<String>)> {
    let all = |table: &str| -> Result<Vec<String>> {
        let output = process::output("getent", &[table])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let ours = |(id, name): (u32, String)| (name == host_name(id)).then_some(name);
        Ok(text.lines().filter_map(entry).filter_map(ours).collect())
    };
    Ok((all("passwd")?, all("group")?))
}

/// Makes those that are missing.
pub fn ensure(manifest: &Manifest) -> Result<()> {
    let [users, groups] = [Database::Users, Database::Groups].map(|d| ids(manifest, d));
    let have_users = names_of(Database::Users, &users)?;
    let have_groups = names_of(Database::Groups, &groups)?;
    let mut lines = Vec::new();
    for gid in groups.iter().filter(|gid| !have_groups.contains_key(gid)) {
        lines.push(format!("g {} {gid}", host_name(*gid)));
    }
    for service in manifest.services.values() {
        let (uid, gid) = (service.user.uid, service.user.gid);
        if !have_users.contains_key(&uid) {
            lines.push(format!("u {} {uid}:{gid} \"Service of Cairn\"", host_name(uid)));
        }
    }
    lines.dedup();
    if lines.is_empty() {
        return Ok(());
    }
    sysusers(&lines)?;
    let made = names_of(Database::Users, &users)?;
    match users.iter().find(|uid| !made.contains_key(uid)) {
        None => Ok(()),
        Some(uid) => Err(Fault::new(format!("systemd-sysusers did not make a user with id {uid}"))
            .advice(format!("make it by hand: `useradd --system --uid {uid} {}`", host_name(*uid)))
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_by_id() {
        assert_eq!(entry("app:x:10001:10001::/:/none"), Some((10001, "app".to_owned())));
        assert_eq!(entry("broken"), None);
    }

    #[test]
    fn an_id_of_somebody_else_is_refused() {
        let own = (10001, "cairn-10001".to_owned());
        let alice = (1000, "alice".to_owned());
        assert_eq!(stranger(&[own.clone()].into()), None);
        assert_eq!(stranger(&[own, alice].into()), Some((1000, "alice")));
    }
}
