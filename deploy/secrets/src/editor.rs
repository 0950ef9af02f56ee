//! Changes a value in the user's editor without writing it to a disk.
//!
//! The file lies in a folder of its own on a file system in RAM: an editor's backup and swap files
//! come to lie beside it and go away with it. While the editor runs, Ctrl-C belongs to the editor;
//! a termination or a hang-up ends the editor first. Either way every file is overwritten and
//! removed before this returns.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::Pid;
use rand::RngCore as _;

use crate::error::at;
use crate::files::create;
use crate::name::SecretName;
use crate::prompt::read_all;
use crate::value::SecretBytes;
use crate::{Result, SecretsError};

/// Opens `editor` (a command line, as in `$EDITOR`) on the value. `None`: it was left as it was.
pub fn edit(name: &SecretName, before: &SecretBytes, editor: &str) -> Result<Option<SecretBytes>> {
    let signals = Signals::caught()?;
    let folder = RamFolder::new(name)?;
    let file = folder.path.join(name.as_str());
    create(&file, before.expose(), 0o600).map_err(at("write", &file))?;
    // The variable holds a command line with arguments and quotes, which a shell takes apart; the
    // file's name is an argument of its own.
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("exec {editor} \"$@\"")).arg(editor).arg(&file);
    let failed = |why: String| SecretsError::Editor { editor: editor.to_owned(), why };
    let child = command.spawn().map_err(|e| failed(format!("cannot be started: {e}")))?;
    let status = signals.wait(child).map_err(at("wait for the editor of", &file))?;
    match status {
        None => return Err(SecretsError::Interrupted),
        Some(status) if !status.success() => return Err(failed(format!("ended with {status}"))),
        Some(_) => {}
    }
    let after = fs::File::open(&file).and_then(|mut f| read_all(&mut f)).map_err(at("read", &file))?;
    // Most editors end the last line; a value that had no end of line keeps none.
    let after = if before.expose().ends_with(b"\n") { after } else { after.without_final_newline() };
    Ok((after.expose() != before.expose()).then_some(after))
}

/// A folder in RAM, for this user alone, that is wiped when it goes.
struct RamFolder {
    path: PathBuf,
}

impl RamFolder {
    fn new(name: &SecretName) -> Result<Self> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
        let places = [Some(OsStr::new("/dev/shm")), runtime.as_deref()];
        for place in places.into_iter().flatten().map(Path::new) {
            if !statfs(place).is_ok_and(|fs| fs.filesystem_type() == TMPFS_MAGIC) {
                continue;
            }
            let path = place.join(format!("deploy-{:016x}", rand::rngs::OsRng.next_u64()));
            if DirBuilder::new().mode(0o700).create(&path).is_ok() {
                return Ok(Self { path });
            }
        }
        Err(SecretsError::NoRam { name: name.clone() })
    }
}

impl Drop for RamFolder {
    fn drop(&mut self) {
        // A file that cannot be wiped can still be removed, and the other way round.
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                let _ = wipe(&entry.path());
            }
        }
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Overwrites a file; in RAM the same pages are written.
fn wipe(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let length = file.metadata()?.len();
    file.rewind()?;
    let zeros = [0; 4096];
    let mut left = length;
    while left > 0 {
        let now = left.min(zeros.len() as u64) as usize;
        file.write_all(&zeros[..now])?;
        left -= now as u64;
    }
    file.sync_all()
}

/// Signals that would end this program, noted instead. They stay without effect after this value is
/// gone, which suits a command that only has to write a file then.
struct Signals {
    /// The number of the last one; 0 for none.
    caught: Arc<AtomicUsize>,
    ids: Vec<signal_hook::SigId>,
}

impl Signals {
    fn caught() -> Result<Self> {
        let mut signals = Self { caught: Arc::default(), ids: Vec::new() };
        for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP] {
            let number = signal as usize;
            let id = signal_hook::flag::register_usize(signal as i32, Arc::clone(&signals.caught), number);
            let failed = |source| SecretsError::Io { action: "catch signals for", path: "the editor".into(), source };
            signals.ids.push(id.map_err(failed)?);
        }
        Ok(signals)
    }

    /// Waits for the editor. `None`: this program was told to end, and the editor was ended.
    fn wait(&self, mut child: Child) -> io::Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            let number = self.caught.swap(0, Ordering::SeqCst) as i32;
            if number == Signal::SIGTERM as i32 || number == Signal::SIGHUP as i32 {
                end(&mut child)?;
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

/// Asks the editor to end, then makes it.
fn end(child: &mut Child) -> io::Result<()> {
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    let _ = kill(pid, Signal::SIGTERM);
    let patience = Instant::now() + Duration::from_secs(2);
    while Instant::now() < patience {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait().map(|_| ())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name() -> SecretName {
        SecretName::parse("token").unwrap()
    }

    fn edited(before: &str, editor: &str) -> Result<Option<SecretBytes>> {
        edit(&name(), &SecretBytes::new(before.into()), editor)
    }

    #[test]
    fn an_editor_changes_the_value_or_leaves_it() {
        let value = edited("old", "sh -c 'printf \"new\\n\" > \"$1\"' editor").unwrap().unwrap();
        assert_eq!(value.expose(), b"new");
        let value = edited("old\n", "sh -c 'printf \"new\\n\" > \"$1\"' editor").unwrap().unwrap();
        assert_eq!(value.expose(), b"new\n");
        assert!(edited("old", "true").unwrap().is_none());
        // As editors do that write a new file and rename it.
        let renaming = "sh -c 'printf other > \"$1~\" && mv \"$1~\" \"$1\"' editor";
        assert_eq!(edited("old", renaming).unwrap().unwrap().expose(), b"other");
    }

    /// The editor reports where its file lay, leaves files beside it, and fails.
    #[test]
    fn nothing_is_left_behind_and_the_file_lay_in_ram() {
        let told = tempfile::NamedTempFile::new().unwrap();
        let editor = format!(
            "sh -c 'stat -f -c %T \"$1\" > {0}; stat -c %a \"$1\" >> {0}; dirname \"$1\" >> {0}; cp \"$1\" \"$1.swp\"; exit 3' editor",
            told.path().display()
        );
        let error = edited("s3cr3t-value", &editor).unwrap_err();
        assert!(error.to_string().contains("ended with exit status: 3"), "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cr3t-value"));
        let told = fs::read_to_string(told.path()).unwrap();
        let [kind, mode, folder] = told.lines().collect::<Vec<_>>()[..] else { panic!("{told}") };
        assert_eq!((kind, mode), ("tmpfs", "600"));
        assert!(!Path::new(folder).exists(), "{folder}");
    }

    #[test]
    fn a_wiped_file_holds_zeros_only() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), vec![b'x'; 9000]).unwrap();
        wipe(file.path()).unwrap();
        assert_eq!(fs::read(file.path()).unwrap(), vec![0; 9000]);
    }
}
