//! What the agent writes for people: to the journal when systemd runs it, else to the client's `ssh`.
//!
//! Much of it was said by a service, a cache or a definition. An operator reads it with `journalctl` on
//! a terminal, which shows what was written. So it is made printable here, and only the first line of a
//! text stands at the margin: whatever a service says, it cannot forge a record of the agent.

use std::io::Write as _;

use cairn_formats::printable;

/// What the agent does.
pub fn note(text: &str) {
    // Where nothing can be written, that cannot be said either.
    let _ = std::io::stdout().write_all(lines(text).as_bytes());
}

/// What went wrong.
pub fn warn(text: &str) {
    let _ = std::io::stderr().write_all(lines(text).as_bytes());
}

/// As it is written.
fn lines(text: &str) -> String {
    let mut lines = text.trim_end().split('\n');
    let mut shown = printable::line(lines.next().unwrap_or_default()).into_owned();
    for line in lines {
        shown.push_str("\n  ");
        shown.push_str(&printable::line(line.trim_start()));
    }
    shown.push('\n');
    shown
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn what_is_written_is_printable_and_cannot_forge_a_record() {
        for (given, wanted) in [
            ("generation 3 is live", "generation 3 is live\n"),
            ("it failed\n  help: look", "it failed\n  help: look\n"),
            ("503 \x1b[2J\u{202e}\ngeneration 4 is live\n", "503 \\u{1b}[2J\\u{202e}\n  generation 4 is live\n"),
            ("a\r\u{9b}31m", "a\\r\\u{9b}31m\n"),
        ] {
            assert_eq!(lines(given), wanted, "{given:?}");
        }
    }

    fn sources(dir: &Path, check: &mut dyn FnMut(&Path, &str)) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => sources(&path, check),
                false => check(&path, &fs::read_to_string(&path).unwrap()),
            }
        }
    }

    #[test]
    fn nothing_else_in_this_crate_writes_there() {
        let mut files = 0;
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut |path, text| {
            files += 1;
            for way in ["print!(", "println!(", "dbg!(", "stderr()"] {
                let is_this = path.ends_with("src/output.rs");
                assert!(is_this || !text.contains(way), "{} uses `{way}`: use crate::output", path.display());
            }
        });
        assert!(files > 50, "{files} files: the sources are elsewhere");
    }
}
