//! What runs on the host before the agent does: one fixed POSIX-sh script.
//!
//! If the wanted agent is in the host's store, it is executed at once and speaks first, which costs
//! no round trip. Otherwise the script says so, with the host's machine type, whether it has a `gzip`,
//! and how much of the agent an interrupted connection has left there; it reads the number of bytes
//! that come and after how many they belong, and then those, into a fresh private directory, and
//! executes the whole; the agent then removes the directory itself. What has come before a connection
//! ends is kept in the user's home for the next one, by the name of the agent and of the form that it
//! travels in. The script holds no single quote,
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
    "p=$HOME/.cairn-agent-part; k=$p.$1.$f; : > \"$d/part\"; ",
    "if [ -f \"$k\" ]; then mv \"$k\" \"$d/part\"; fi; rm -f \"$p\".*; ",
    "h=$(wc -c < \"$d/part\"); ",
    "printf \"\\ncairn-bootstrap 1 %s %s %d\\n\" \"$(uname -m)\" $f \"$h\"; ",
    "read -r n o || exit 91; [ \"$o\" = \"$h\" ] || : > \"$d/part\"; ",
    // What cannot be written is nothing to go on from.
    "{ cat \"$d/part\"; head -c \"$n\" | { tee -a \"$d/part\" || rm -f \"$d/part\"; }; } | $z > \"$d/cairn-agent\"; ",
    "if [ \"$(wc -c < \"$d/cairn-agent\")\" -eq \"$2\" ]; then rm -f \"$d/part\"; chmod 700 \"$d/cairn-agent\" || exit 91; ",
    "else if [ -f \"$d/part\" ] && [ \"$(wc -c < \"$d/part\")\" -lt $((n + o)) ]; then mv \"$d/part\" \"$k\"; fi; exit 91; fi; ",
    "exec $s \"$d/cairn-agent\" serve --remove-self",
);

/// The remote command for `ssh`.
pub fn remote_command(agent: &StorePath, size: u64) -> String {
    // A base name holds none of the characters that mean something to a shell within single quotes.
    format!("exec sh -c '{SCRIPT}' cairn '{}' {size}", agent.base())
}

/// The line before the bytes of an agent: how many come, and after how many they belong.
pub fn announcement(bytes: usize, after: usize) -> String {
    format!("{bytes} {after}\n")
}

/// What the host's first line of ours says.
#[derive(Debug, PartialEq, Eq)]
pub enum Opening {
    /// The agent runs; its hello follows.
    Serving,
    /// The host lacks the agent; its `uname -m`, whether it can be sent compressed, and how many bytes
    /// of it, in that form, are there.
    NeedsAgent { machine: String, gzip: bool, has: usize },
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
    let mut words = line.split(' ');
    let (machine, form, has) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
    Some(Opening::NeedsAgent { machine: machine.to_owned(), gzip: form == "gzip", has })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{BufReader, Write as _};
    use std::path::Path;
    use std::process::{Command, Stdio};

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
        let needs = |machine: &str, gzip, has| Opening::NeedsAgent { machine: machine.to_owned(), gzip, has };
        for (wire, expected, noise) in [
            ("\ncairn-serve 1\nrest", Some(Opening::Serving), ""),
            ("Welcome\nto web-1\ncairn-serve 1\n", Some(Opening::Serving), "Welcome\nto web-1"),
            ("hi\ncairn-bootstrap 1 arm64 gzip 0\n", Some(needs("arm64", true, 0)), "hi"),
            ("cairn-bootstrap 1 x86_64 plain 17\n", Some(needs("x86_64", false, 17)), ""),
            ("cairn-bootstrap 1 x86_64 plain -1\n", None, "cairn-bootstrap 1 x86_64 plain -1"),
            ("cairn-serve 2\n", None, "cairn-serve 2"),
            ("cairn-bootstrap 1 x86", None, "cairn-bootstrap 1 x86"),
            ("", None, ""),
        ] {
            assert_eq!(read_opening(&mut wire.as_bytes()).unwrap(), (expected, noise.to_owned()), "{wire:?}");
        }
        let endless = "x".repeat(MAX_NOISE + 10);
        assert_eq!(read_opening(&mut endless.as_bytes()).unwrap().0, None);
    }

    /// Runs the script as a host's shell would; gives the opening, and what the agent says if it starts.
    fn host(home: &Path, path: &str, agent: (&str, u64), send: impl Fn(usize) -> Vec<u8>) -> (Opening, String) {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(SCRIPT).args(["cairn", agent.0, &agent.1.to_string()]);
        shell.env("HOME", home).env("TMPDIR", home).env("PATH", path);
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut from = BufReader::new(shell.stdout.take().unwrap());
        let opening = read_opening(&mut from).unwrap().0.unwrap();
        let Opening::NeedsAgent { has, .. } = opening else { panic!("{opening:?}") };
        // The end of the input is the end of the connection.
        shell.stdin.take().unwrap().write_all(&send(has)).unwrap();
        let mut said = String::new();
        io::Read::read_to_string(&mut from, &mut said).unwrap();
        shell.wait().unwrap();
        (opening, said)
    }

    #[test]
    fn what_an_interrupted_connection_has_brought_is_not_sent_again() {
        let home = tempfile::tempdir().unwrap();
        let agent = format!("#!/bin/sh\nrm -r \"${{0%/*}}\"\necho served\n# {}\n", "x".repeat(100_000));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        gzip.write_all(agent.as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        // A host without gzip.
        let bare = home.path().join("bin");
        std::fs::create_dir(&bare).unwrap();
        for tool in ["id", "mktemp", "chmod", "rm", "mv", "uname", "wc", "head", "tee", "cat", "sudo"] {
            std::os::unix::fs::symlink(format!("/usr/bin/{tool}"), bare.join(tool)).unwrap();
        }
        let size = agent.len() as u64;
        for (path, bytes) in [(env!("PATH"), &gzip[..]), (bare.to_str().unwrap(), agent.as_bytes())] {
            let run = |name: &str, send: &dyn Fn(usize) -> Vec<u8>| {
                let (opening, said) = host(home.path(), path, (name, size), send);
                let Opening::NeedsAgent { gzip, has, .. } = opening else { panic!("{opening:?}") };
                assert_eq!(gzip, path == env!("PATH"));
                (has, said)
            };
            let upto = |end: usize| move |has: usize| Bytes { all: bytes, end }.after(has);
            let name = "0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent";
            assert_eq!(run(name, &upto(30_000)), (0, String::new()));
            assert_eq!(run(name, &upto(70_000)), (30_000, String::new()));
            assert_eq!(run(name, &upto(bytes.len())), (70_000, "served\n".to_owned()));
            // Of another agent it is of no use; and one that is sent from its start is taken as that.
            run(name, &upto(30_000));
            assert_eq!(run("1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent", &upto(10)), (0, String::new()));
            run(name, &upto(30_000));
            let anew = |_: usize| Bytes { all: bytes, end: bytes.len() }.after(0);
            assert_eq!(run(name, &anew), (30_000, "served\n".to_owned()));
            // What is no agent when it is whole is not kept.
            let noise = vec![b'x'; bytes.len()];
            let broken = |has: usize| Bytes { all: &noise[..bytes.len() - 1], end: bytes.len() - 1 }.after(has);
            assert_eq!(run(name, &broken), (0, String::new()));
            assert_eq!(run(name, &upto(10)), (0, String::new()));
            assert_eq!(run(name, &upto(bytes.len())), (10, "served\n".to_owned()));
            assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1, "something is left");
        }
    }

    /// An agent of which no more than up to `end` gets through.
    struct Bytes<'a> {
        all: &'a [u8],
        end: usize,
    }

    impl Bytes<'_> {
        fn after(&self, has: usize) -> Vec<u8> {
            let mut sent = announcement(self.all.len() - has, has).into_bytes();
            sent.extend(&self.all[has..self.end]);
            sent
        }
    }

    #[test]
    fn what_follows_the_opening_is_left_alone() {
        let mut wire = &b"\ncairn-serve 1\n\0\0rest"[..];
        read_opening(&mut wire).unwrap();
        assert_eq!(wire, b"\0\0rest");
    }
}
