//! The second pass: arriving contents become files of `.links`.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use cairn_formats::nar;
use cairn_protocol::frame::DataReader;
use cairn_protocol::manifest::{self, Item};
use cairn_store::Store;

use super::arrived::Arrived;
use super::spool::{Spool, current};
use super::survey::Survey;
use super::{ReceiveError, begun, decompressed};
use crate::output;
use crate::paths::Paths;

/// Modification time of everything in a store: one second past the epoch.
pub fn epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1)
}

/// The mode of a file in a store.
pub const fn mode(executable: bool) -> u32 {
    if executable { 0o555 } else { 0o444 }
}

/// Receives the wanted contents in their order and returns their bytes.
pub fn receive(
    store: &Store,
    dir: &Path,
    spool: &Spool,
    survey: &Survey,
    arrived: &Arrived,
    from: DataReader<impl Read>,
) -> Result<u64, ReceiveError> {
    let (links, paths) = (store.links_dir(), Paths::new(store.root()));
    let mut stream = decompressed(from).map_err(ReceiveError::Connection)?;
    let arriving = dir.join("arriving");
    let mut buffer = Vec::with_capacity(BUFFER);
    let mut bytes = 0;
    let mut path = None;
    let mut walk = spool.walk();
    while let Some(step) = walk.next_step()? {
        match (step.item, step.content) {
            (Item::Path(header), _) => path = Some(header.path),
            (Item::File { file, .. }, Some(number)) if survey.wanted.contains(number) => {
                let begun = survey.begun.as_ref().filter(|begun| begun.starts(&file));
                let written = match begun {
                    Some(begun) => {
                        let mut whole = Read::take(&begun.file, begun.bytes).chain(&mut stream);
                        write(&arriving, &file, &mut whole, &mut buffer)
                    }
                    None => write(&arriving, &file, &mut stream, &mut buffer),
                };
                if let Err(ReceiveError::Connection(_)) = written {
                    // Without it, the next attempt has more to send.
                    if let Err(error) = begun::keep(&paths, &arriving, &file.link) {
                        output::warn(&format!("cairn-agent: what arrived of a file is lost: {error}"));
                    }
                }
                let got = written?;
                if begun.is_some() {
                    begun::done(&paths, &file.link).map_err(ReceiveError::file("remove from", &paths.begun()))?;
                }
                if got != file.link {
                    let path = current(path.as_ref())?.clone();
                    return Err(ReceiveError::FileMismatch { path, expected: file.link, got });
                }
                let link = links.join(file.link.nix32());
                fs::rename(&arriving, &link).map_err(ReceiveError::file("create", &link))?;
                bytes += file.size;
                arrived.all_up_to(number);
            }
            _ => {}
        }
    }
    // Whatever comes behind the last file is no part of the copy; reading it ends the stream.
    let mut from = stream.finish().into_inner();
    io::copy(&mut from, &mut io::sink()).map_err(ReceiveError::Connection)?;
    Ok(bytes)
}

const BUFFER: usize = 128 << 10;

/// Writes one file in the form of the store and returns its hash.
fn write(
    to: &Path,
    file: &manifest::File,
    from: &mut impl Read,
    buffer: &mut Vec<u8>,
) -> Result<cairn_formats::Sha256, ReceiveError> {
    let out = File::options().write(true).create_new(true).mode(mode(file.executable)).open(to);
    let mut tee = Tee { from, to: out.map_err(ReceiveError::file("create", to))?, buffer, fault: None };
    // Without the limit it would look for the end of a file in what belongs to the next one.
    let hash = nar::file_hash(file.executable, file.size, &mut Read::take(&mut tee, file.size));
    if let Some(fault) = tee.fault.take() {
        return Err(ReceiveError::file("write", to)(fault));
    }
    // Also what arrived of a file that is not whole.
    let flushed = tee.flush();
    let hash = hash.map_err(ReceiveError::Connection)?;
    let times = fs::FileTimes::new().set_modified(epoch());
    // The mode given on opening is subject to whatever umask the agent was started with.
    let permissions = fs::Permissions::from_mode(mode(file.executable));
    let written = flushed.and_then(|()| tee.to.set_times(times)).and_then(|()| tee.to.set_permissions(permissions));
    written.map_err(ReceiveError::file("write", to))?;
    Ok(hash)
}

/// Passes on what it reads and writes it to a file, in larger pieces than it is read.
struct Tee<'a, R> {
    from: &'a mut R,
    to: File,
    buffer: &'a mut Vec<u8>,
    /// A failed write, told from a failed read.
    fault: Option<io::Error>,
}

impl<R> Tee<'_, R> {
    fn flush(&mut self) -> io::Result<()> {
        let written = self.to.write_all(self.buffer);
        self.buffer.clear();
        written
    }
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(into)?;
        self.buffer.extend_from_slice(&into[..n]);
        if self.buffer.len() + into.len() > BUFFER
            && let Err(fault) = self.flush()
        {
            let kind = fault.kind();
            self.fault = Some(fault);
            return Err(kind.into());
        }
        Ok(n)
    }
}

/// After the disk was full: gives back the space of what arrived and nothing uses yet. Otherwise
/// such files stay, and the next attempt finds them.
pub fn forget(store: &Store, spool: &Spool, survey: &Survey) {
    let links = store.links_dir();
    let _ = begun::forget(&Paths::new(store.root()));
    let mut walk = spool.walk();
    while let Ok(Some(step)) = walk.next_step() {
        if let (Item::File { file, .. }, Some(number)) = (step.item, step.content)
            && survey.wanted.contains(number)
        {
            let link = links.join(file.link.nix32());
            if fs::symlink_metadata(&link).is_ok_and(|meta| meta.nlink() == 1) {
                let _ = fs::remove_file(&link);
            }
        }
    }
}
