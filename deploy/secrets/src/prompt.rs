//! Asks on the terminal for something that is not to be seen.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;

use cairn_formats::printable;
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::value::{MAX_VALUE, SecretBytes};
use crate::{Result, SecretsError};

/// Reads one line from the terminal without showing it. `what` stands in the prompt; `help` says
/// what to do where there is no terminal.
pub fn ask_hidden(what: &str, help: &'static str) -> Result<SecretBytes> {
    let none = |_| SecretsError::NoTerminal { what: what.to_owned(), help };
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(none)?;
    let failed = |source| SecretsError::Io { action: "ask on", path: "/dev/tty".into(), source };
    let line = {
        let quiet = Quiet::new(&terminal).map_err(failed)?;
        // It may be the name of a file that somebody else has chosen.
        write!(terminal, "{} (not shown): ", printable::line(what)).map_err(failed)?;
        let line = read_line(&mut terminal).map_err(failed)?;
        drop(quiet);
        line
    };
    writeln!(terminal).map_err(failed)?;
    line.map(SecretBytes::new).ok_or(SecretsError::Interrupted)
}

/// A terminal that neither echoes nor turns keys into signals, so that Ctrl-C comes here and the
/// terminal is put back before anything else happens.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn new(terminal: &File) -> io::Result<Self> {
        let terminal = terminal.try_clone()?;
        let before = tcgetattr(terminal.as_fd())?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO | LocalFlags::ECHONL | LocalFlags::ICANON | LocalFlags::ISIG);
        quiet.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        quiet.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        tcsetattr(terminal.as_fd(), SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that went away.
        let _ = tcsetattr(self.terminal.as_fd(), SetArg::TCSAFLUSH, &self.before);
    }
}

/// `None` for Ctrl-C, and for Ctrl-D or a hang-up before anything was typed.
fn read_line(from: &mut impl io::Read) -> io::Result<Option<Vec<u8>>> {
    // Never grows, so that no copy is left behind in memory.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_VALUE));
    let mut key = [0];
    loop {
        let read = from.read(&mut key)?;
        match key[0] {
            _ if read == 0 => break,
            b'\r' | b'\n' => break,
            CTRL_C => return Ok(None),
            CTRL_D if line.is_empty() => return Ok(None),
            CTRL_D => break,
            BACKSPACE | DELETE => erase(&mut line),
            CTRL_U => line.clear(),
            byte if line.len() < MAX_VALUE => line.push(byte),
            _ => {}
        }
    }
    Ok((!line.is_empty()).then(|| std::mem::take(&mut *line)))
}

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const BACKSPACE: u8 = 8;
const CTRL_U: u8 = 21;
const DELETE: u8 = 127;

/// The last character: its continuation bytes and its first.
fn erase(line: &mut Vec<u8>) {
    while line.pop().is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000) {}
}

/// The whole of a stream, at most [`MAX_VALUE`] bytes and one more, by which too much is noticed.
pub fn read_all(from: &mut dyn io::Read) -> io::Result<SecretBytes> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_VALUE + 2));
    from.take(MAX_VALUE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(SecretBytes::new(std::mem::take(&mut *bytes)))
}

#[cfg(test)]
mod tests {
    use super::read_line;

    #[test]
    fn keys_edit_the_line() {
        for (typed, line) in [
            (&b"secret\rmore"[..], Some(&b"secret"[..])),
            (b"secrex\x7ft\n", Some(b"secret")),
            ("aé\u{8}b\n".as_bytes(), Some(b"ab")),
            (b"wrong\x15right\n", Some(b"right")),
            (b"half\x03", None),
            (b"\x04", None),
            (b"whole\x04", Some(b"whole")),
            (b"hang-up", Some(b"hang-up")),
            (b"\n", None),
        ] {
            let read = read_line(&mut &typed[..]).expect("reading from memory");
            assert_eq!(read.as_deref(), line, "{typed:?}");
        }
    }
}
