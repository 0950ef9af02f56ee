//! Where programs of the machine are looked for.

use std::ffi::{OsStr, OsString};

/// `PATH` without its relative and empty entries: with those, the project that lies in the current
/// folder would decide which program runs.
pub fn search_path() -> OsString {
    absolute(&std::env::var_os("PATH").unwrap_or_default())
}

fn absolute(path: &OsStr) -> OsString {
    let entries = std::env::split_paths(path).filter(|entry| entry.is_absolute());
    // Entries that were split at colons hold none.
    std::env::join_paths(entries).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_folder_is_never_searched() {
        for (path, expected) in [
            ("/usr/bin:/bin", "/usr/bin:/bin"),
            (":/usr/bin", "/usr/bin"),
            ("/usr/bin:", "/usr/bin"),
            (".:/usr/bin:bin:../x:", "/usr/bin"),
            ("", ""),
        ] {
            assert_eq!(absolute(OsStr::new(path)), expected, "{path}");
        }
    }
}
