//! The environment as `deploy` and the programs that it runs should find it.
//!
//! - `PATH` has no entries that are relative to the current folder. With `.` or an empty entry in it, `ssh`,
//!   `git`, an editor or any tool of the system could be a file of the repository that one stands in.
//! - An empty `DEPLOY_…` variable is one that is not set: CI systems pass unset ones on as empty.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use cairn_fetch::search_path;

/// The usual search path, for a `PATH` without any absolute entry.
const DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts this program again in a corrected environment, since a process cannot change the one that its
/// threads read. Returns if there is nothing to correct.
pub fn correct() -> io::Result<()> {
    let path = other_path(std::env::var_os("PATH").as_deref(), search_path());
    let empty: Vec<OsString> =
        std::env::vars_os().filter(|(name, value)| is_unset(name, value)).map(|(name, _)| name).collect();
    if path.is_none() && empty.is_empty() {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    // The very file, also when an upgrade has just replaced it.
    let mut again = Command::new("/proc/self/exe");
    again.arg0(arguments.next().unwrap_or_default()).args(arguments);
    again.envs(path.map(|path| ("PATH", path)));
    for name in &empty {
        again.env_remove(name);
    }
    // It returns only if it fails.
    Err(again.exec())
}

/// The value that `PATH` should have, if it is another one.
fn other_path(now: Option<&OsStr>, absolute: OsString) -> Option<OsString> {
    let wanted = if absolute.is_empty() { DEFAULT.into() } else { absolute };
    (now != Some(&wanted)).then_some(wanted)
}

fn is_unset(name: &OsStr, value: &OsStr) -> bool {
    value.is_empty() && name.as_bytes().starts_with(b"DEPLOY_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_entries_stay() {
        let other = |now: Option<&str>, absolute: &str| other_path(now.map(OsStr::new), absolute.into());
        assert_eq!(other(Some("/usr/bin:/bin"), "/usr/bin:/bin"), None);
        assert_eq!(other(Some(".:/usr/bin"), "/usr/bin"), Some("/usr/bin".into()));
        assert_eq!(other(Some("."), ""), Some(DEFAULT.into()));
        assert_eq!(other(None, ""), Some(DEFAULT.into()));
        assert_eq!(other(Some(DEFAULT), DEFAULT), None);
    }

    #[test]
    fn an_empty_variable_of_ours_is_not_set() {
        let unset = |name: &str, value: &str| is_unset(name.as_ref(), value.as_ref());
        assert!(unset("DEPLOY_ALLOW_OUTSIDE", ""));
        assert!(!unset("DEPLOY_ALLOW_OUTSIDE", "/x") && !unset("NO_COLOR", ""));
    }
}
