//! `/etc/passwd` and `/etc/group`: root, nobody, and the users of the definition.
//!
//! Debian's other accounts come from a script of `base-passwd` and own nothing in an image. There
//! is no shadow file: `*` in the field of the password lets nobody in (passwd(5)).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cairn_recipe::step::User;

use crate::error::{Error, Result};

/// The id of nobody and of the group nogroup, in Debian and in the kernel.
const NOBODY: u32 = 65534;
const NO_LOGIN: &str = "/usr/sbin/nologin";

/// The texts of `/etc/passwd` and `/etc/group`.
#[derive(Debug, PartialEq, Eq)]
pub struct Accounts {
    pub passwd: String,
    pub group: String,
}

impl Accounts {
    pub fn new(users: &BTreeMap<String, User>) -> Result<Self> {
        let mut passwd = BTreeMap::from([
            (0, "root:*:0:0:root:/root:".to_owned()),
            (NOBODY, format!("nobody:*:{NOBODY}:{NOBODY}:nobody:/nonexistent:")),
        ]);
        let mut group = BTreeMap::from([(0, "root"), (NOBODY, "nogroup")]);
        for (name, user) in users {
            check(name, user, &group)?;
            let line = format!("{name}:*:{}:{}:{name}:{}:", user.uid, user.gid, user.home);
            if let Some(other) = passwd.insert(user.uid, line) {
                let other = other.split(':').next().unwrap_or_default().to_owned();
                return Err(wrong(name, format!("its uid {} is that of `{other}` already", user.uid)));
            }
            // Users may share a group; the first of them gives it its name.
            group.entry(user.gid).or_insert(name);
        }
        Ok(Self {
            passwd: passwd.values().fold(String::new(), |text, line| text + line + NO_LOGIN + "\n"),
            group: group.iter().fold(String::new(), |mut text, (gid, name)| {
                _ = writeln!(text, "{name}:*:{gid}:");
                text
            }),
        })
    }
}

/// Refuses what would break the line, or take a name that is taken.
fn check(name: &str, user: &User, groups: &BTreeMap<u32, &str>) -> Result<()> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    if !first || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b)) {
        return Err(wrong(name, "a name begins with a letter and goes on with a-z, 0-9, `-` and `_`"));
    }
    if matches!(name, "root" | "nobody" | "nogroup") {
        return Err(wrong(name, "it is always there, with the id that it has everywhere"));
    }
    if groups.iter().any(|(gid, group)| *group == name && *gid != user.gid) {
        return Err(wrong(name, "there is a group of this name with another id"));
    }
    if !user.home.starts_with('/') || user.home.contains([':', '\n']) {
        return Err(wrong(name, format!("its home `{}` must be an absolute path without `:`", user.home)));
    }
    Ok(())
}

fn wrong(name: &str, reason: impl Into<String>) -> Error {
    Error::parameter("users", name, reason)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn users(list: &[(&str, u32, u32, &str)]) -> BTreeMap<String, User> {
        list.iter()
            .map(|(name, uid, gid, home)| ((*name).into(), User { uid: *uid, gid: *gid, home: (*home).into() }))
            .collect()
    }

    #[test]
    fn accounts_sorted_by_id() {
        let accounts = Accounts::new(&users(&[("web", 2000, 1000, "/srv"), ("app", 1000, 1000, "/srv/app")])).unwrap();
        assert_eq!(
            accounts.passwd,
            "root:*:0:0:root:/root:/usr/sbin/nologin\n\
             app:*:1000:1000:app:/srv/app:/usr/sbin/nologin\n\
             web:*:2000:1000:web:/srv:/usr/sbin/nologin\n\
             nobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        );
        assert_eq!(accounts.group, "root:*:0:\napp:*:1000:\nnogroup:*:65534:\n");
    }

    #[test]
    fn what_would_break_the_files_is_refused() {
        for (bad, expected) in [
            (("root", 5, 5, "/"), "always there"),
            (("app", 0, 5, "/"), "`root` already"),
            (("app", 65534, 5, "/"), "`nobody` already"),
            (("a:b", 5, 5, "/"), "a-z"),
            (("", 5, 5, "/"), "a-z"),
            (("1a", 5, 5, "/"), "a-z"),
            (("app", 5, 5, "srv"), "absolute"),
            (("app", 5, 5, "/a:b"), "absolute"),
        ] {
            let error = Accounts::new(&users(&[bad])).unwrap_err().to_string();
            assert!(error.contains(expected), "{bad:?}: {error}");
        }
    }
}
