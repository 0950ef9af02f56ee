//! What runs on the host before the agent does: one fixed POSIX-sh script.
//!
//! If the wanted agent is in the host's store, it is executed at once and speaks first, which costs
//! no round trip. Otherwise the script says so, with the host's machine type and whether it has a
//! `gzip`; it reads the number of bytes that come, and then the agent, into a fresh private directory
//! and executes that; the agent then removes the directory itself. The script holds no single quote,
//! exclamation mark or newline, so that one pair of single quotes carries it through any login shell
//! (`csh` expands `!`, `fish` has other escapes); its parameters are a base name of restricted
//! characters and a number.
//!
//! `/tmp` may be mounted without permission to execute, so each candidate directory is tried with a
//! small script first.

use cairn_formats::StorePath;
use cairn_protocol::{BOOTSTRAP, PREAMBLE};
use std::io::{self, BufRead};

/// Exit codes of the script, apart from those of `ssh` (255) and shells (126, 127).
pub const NO_DIRECTORY: i32 = 90;
pub const NOT_WRITTEN: i32 = 91;
pub const NO_SUDO: i32 = 92;

const SCRIPT: &str = concat!(
    "a=/nix/store/$1/bin/cairn-agent; ",
    "s=; [ \"$(id -u)\" = 0 ] || s=\"sudo -n\"; ",
    "if [ -x \"$a\" ]; then exec $s \"$a\" serve; fi; ",
    "[ -z \"$s\" ] || $s true || exit 92; ",
    "umask 077; d=; ",
    "for t in \"${TMPDIR:-/tmp}\" /var/tmp \"$HOME\" /run; do ",
    "d=$(mktemp -d \"$t/cairn-agent.XXXXXXXXXX\" 2>/dev/null) || { d=; continue; }; ",
    // Without a `#!` line: a shell runs such a file itself, but only if the mount lets it execute.
    "echo exit 0 > \"$d/t\" && chmod 700 \"$d/t\" && \"$d/t\" 2>/dev/null && rm \"$d/t\" && break; ",
    "rm -rf \"$d\"; d=; done; ",
    "[ -n \"$d\" ] || exit 90; ",
    "trap \"rm -rf \\\"\\$d\\\"\" EXIT; trap \"exit 1\" HUP INT TERM; ",
    "z=cat; f=plain; if command -v gzip >/dev/null 2>&1; then z=\"gzip -dc\"; f=gzip; fi; ",
    "printf \"\\ncairn-bootstrap 1 %s %s\\n\" \"$(uname -m)\" $f; ",
    "read -r n && head -c \"$n\" | $z > \"$d/cairn-agent\" && [ \"$(wc -c < \"$d/cairn-agent\")\" -eq \"$2\" ] ",
    "&& chmod 700 \"$d/cairn-agent\" || exit 91; ",
    "exec $s \"$d/cairn-agent\" serve --remove-self",
);

/// The remote command for `ssh`.
pub fn remote_command(agent: &StorePath, size: u64) -> String {
    // A base name holds none of the characters that mean something to a shell within single quotes.
    format!("exec sh -c '{SCRIPT}' cairn '{}' {size}", agent.base())
}

/// What the host's first line of ours says.
#[derive(Debug, PartialEq, Eq)]
pub enum Opening {
    /// The agent runs; its hello follows.
    Serving,
    /// The host lacks the agent; its `uname -m`, and whether it can be sent compressed.
    NeedsAgent { machine: String, gzip: bool },
}

/// Text of login scripts that we are willing to skip.
const MAX_NOISE: usize = 64 << 10;

/// Skips what login scripts print and reads up to the first line of ours; `None` if the stream ends
/// before one. The skipped text is returned for messages.
pub fn read_opening(from: &mut impl BufRead) -> io::Result<(Option<Opening>, String)> {
    let mut noise = Vec::new();
    loop {
        let mut line = Vec::new();
        let limit = (MAX_NOISE - noise.len()) as u64;
        io::Read::take(&mut *from, limit).read_until(b'\n', &mut line)?;
        let opening = opening(&line);
        if opening.is_some() || line.is_empty() {
            return Ok((opening, String::from_utf8_lossy(&noise).trim().to_owned()));
        }
        noise.extend_from_slice(&line);
    }
}

fn opening(line: &[u8]) -> Option<Opening> {
    if line == PREAMBLE.trim_start().as_bytes() {
        return Some(Opening::Serving);
    }
    let line = line.strip_prefix(BOOTSTRAP.as_bytes())?.strip_suffix(b"\n")?;
    let line = String::from_utf8_lossy(line);
    let (machine, form) = line.split_once(' ')?;
    Some(Opening::NeedsAgent { machine: machine.to_owned(), gzip: form == "gzip" })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_script_survives_any_shells_single_quotes() {
        assert!(!SCRIPT.contains(['\'', '\n', '!']));
        let path = StorePath::parse("0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent").unwrap();
        let command = remote_command(&path, 12);
        assert!(command.ends_with("' cairn '0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent' 12"));
    }

    #[test]
    fn the_opening_is_found_behind_noise() {
        let needs = |machine: &str, gzip| Opening::NeedsAgent { machine: machine.to_owned(), gzip };
        for (wire, expected, noise) in [
            ("\ncairn-serve 1\nrest", Some(Opening::Serving), ""),
            ("Welcome\nto web-1\ncairn-serve 1\n", Some(Opening::Serving), "Welcome\nto web-1"),
            ("hi\ncairn-bootstrap 1 arm64 gzip\n", Some(needs("arm64", true)), "hi"),
            ("cairn-bootstrap 1 x86_64 plain\n", Some(needs("x86_64", false)), ""),
            ("cairn-serve 2\n", None, "cairn-serve 2"),
            ("cairn-bootstrap 1 x86", None, "cairn-bootstrap 1 x86"),
            ("", None, ""),
        ] {
            assert_eq!(read_opening(&mut wire.as_bytes()).unwrap(), (expected, noise.to_owned()), "{wire:?}");
        }
        let endless = "x".repeat(MAX_NOISE + 10);
        assert_eq!(read_opening(&mut endless.as_bytes()).unwrap().0, None);
    }

    #[test]
    fn what_follows_the_opening_is_left_alone() {
        let mut wire = &b"\ncairn-serve 1\n\0\0rest"[..];
        read_opening(&mut wire).unwrap();
        assert_eq!(wire, b"\0\0rest");
    }
}
