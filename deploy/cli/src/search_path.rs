//! `PATH` without entries that are relative to the current folder, for every program that `deploy` runs.
//!
//! With `.` or an empty entry in it, `ssh`, `git`, an editor or any tool of the system could be a file of
//! the repository that one happens to stand in.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use cairn_fetch::search_path;

/// The usual search path, for a `PATH` without any absolute entry.
const DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts this program again if `PATH` has such entries, since a process cannot change the environment that
/// its threads read. Returns if there is nothing to do.
pub fn make_absolute() -> io::Result<()> {
    let now = std::env::var_os("PATH");
    let Some(absolute) = other(now.as_deref(), search_path()) else { return Ok(()) };
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let program = std::env::current_exe()?;
    // It returns only if it fails.
    Err(Command::new(program).arg0(name).args(arguments).env("PATH", absolute).exec())
}

/// The value that `PATH` should have, if it is another one.
fn other(now: Option<&OsStr>, absolute: OsString) -> Option<OsString> {
    let wanted = if absolute.is_empty() { DEFAULT.into() } else { absolute };
    (now != Some(&wanted)).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_entries_stay() {
        let other = |now: Option<&str>, absolute: &str| other(now.map(OsStr::new), absolute.into());
        assert_eq!(other(Some("/usr/bin:/bin"), "/usr/bin:/bin"), None);
        assert_eq!(other(Some(".:/usr/bin"), "/usr/bin"), Some("/usr/bin".into()));
        assert_eq!(other(Some("."), ""), Some(DEFAULT.into()));
        assert_eq!(other(None, ""), Some(DEFAULT.into()));
        assert_eq!(other(Some(DEFAULT), DEFAULT), None);
    }
}
