//! The host's side of a manifest: nothing is believed. Names must be single parts in strictly
//! ascending order, so that no entry is made twice and none leaves the tree; every length is
//! bounded before memory is taken for it.

use std::collections::BTreeSet;
use std::io::{self, Read};

use cairn_formats::{ContentAddress, Sha256, StorePath};

use super::{File, Header, Item, MAX_DEPTH, MAX_NAME, MAX_REFERENCES, MAX_TARGET, tag};

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the manifest ended early or could not be read: {0}")]
    Io(#[from] io::Error),
    #[error("the manifest of {path} breaks the format: {reason}")]
    Malformed { path: String, reason: String },
}

/// Yields the items of a stream one by one; memory does not grow with the stream.
pub struct Reader<R: Read> {
    from: R,
    /// Base name of the path being read, for messages.
    path: String,
    has_base: bool,
    /// The last name seen in each open directory.
    open: Vec<Vec<u8>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    BetweenPaths,
    Root,
    Inside,
    Done,
}

impl<R: Read> Reader<R> {
    pub fn new(from: R) -> Self {
        Self { from, path: "(none yet)".to_owned(), has_base: false, open: Vec::new(), state: State::BetweenPaths }
    }

    /// The next item; `None` after the last.
    pub fn next_item(&mut self) -> Result<Option<Item>, ReadError> {
        match self.state {
            State::Done => Ok(None),
            State::BetweenPaths => match self.byte()? {
                tag::END => {
                    self.state = State::Done;
                    Ok(None)
                }
                tag::PATH => {
                    let header = self.header()?;
                    self.state = State::Root;
                    Ok(Some(Item::Path(Box::new(header))))
                }
                other => Err(self.malformed(format!("byte {other} where a path must begin"))),
            },
            State::Root => {
                let item = self.node(Vec::new())?;
                self.state = if self.open.is_empty() { State::BetweenPaths } else { State::Inside };
                Ok(Some(item))
            }
            State::Inside => {
                let item = match self.entry_name()? {
                    Some(name) => self.node(name)?,
                    None => {
                        self.open.pop();
                        Item::Leave
                    }
                };
                if self.open.is_empty() {
                    self.state = State::BetweenPaths;
                }
                Ok(Some(item))
            }
        }
    }

    fn header(&mut self) -> Result<Header, ReadError> {
        let path = self.store_path()?;
        self.path = path.base().to_owned();
        let nar_hash = self.hash()?;
        let nar_size = self.number()?;
        let count = self.number()?;
        if count > MAX_REFERENCES {
            return Err(self.malformed(format!("{count} references")));
        }
        let mut references = BTreeSet::new();
        for _ in 0..count {
            references.insert(self.store_path()?);
        }
        let ca = match self.byte()? {
            0 => None,
            1 => Some(ContentAddress::Recursive(self.hash()?)),
            2 => Some(ContentAddress::Flat(self.hash()?)),
            other => return Err(self.malformed(format!("content address of kind {other}"))),
        };
        let base = self.string(MAX_NAME)?;
        let base = if base.is_empty() { None } else { Some(self.parse_path(&base)?) };
        self.has_base = base.is_some();
        Ok(Header { path, nar_hash, nar_size, references, ca, base })
    }

    /// The name of the next entry of the innermost directory, or `None` at its end.
    fn entry_name(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        let name = self.string(MAX_NAME)?;
        if name.is_empty() {
            return Ok(None);
        }
        let part = name != b"." && name != b".." && !name.iter().any(|b| matches!(b, b'/' | 0));
        let ascending = self.open.last().is_some_and(|last| last.as_slice() < name.as_slice());
        if !part || !ascending {
            let fault = if part { "out of order" } else { "not a single name" };
            return Err(self.malformed(format!("entry `{}` is {fault}", String::from_utf8_lossy(&name))));
        }
        if let Some(last) = self.open.last_mut() {
            last.clone_from(&name);
        }
        Ok(Some(name))
    }

    fn node(&mut self, name: Vec<u8>) -> Result<Item, ReadError> {
        match self.byte()? {
            tag::DIRECTORY => {
                if self.open.len() == MAX_DEPTH {
                    return Err(self.malformed(format!("directories more than {MAX_DEPTH} deep")));
                }
                self.open.push(Vec::new());
                Ok(Item::Directory { name })
            }
            tag::FILE => {
                let flags = self.byte()?;
                if flags & !(tag::EXECUTABLE | tag::FRESH) != 0 {
                    return Err(self.malformed(format!("file flags {flags}")));
                }
                let size = self.number()?;
                let link = self.hash()?;
                let file =
                    File { executable: flags & tag::EXECUTABLE != 0, size, link, fresh: flags & tag::FRESH != 0 };
                Ok(Item::File { name, file })
            }
            tag::SYMLINK => {
                let target = self.string(MAX_TARGET)?;
                if target.is_empty() || target.contains(&0) {
                    return Err(self.malformed("a symbolic link without a proper target".to_owned()));
                }
                Ok(Item::Symlink { name, target })
            }
            tag::SAME if self.has_base => Ok(Item::Same { name }),
            tag::SAME => Err(self.malformed("a subtree of a base that was not named".to_owned())),
            other => Err(self.malformed(format!("byte {other} where a node must begin"))),
        }
    }

    fn store_path(&mut self) -> Result<StorePath, ReadError> {
        let base = self.string(MAX_NAME)?;
        self.parse_path(&base)
    }

    fn parse_path(&self, base: &[u8]) -> Result<StorePath, ReadError> {
        StorePath::parse(&String::from_utf8_lossy(base)).map_err(|e| self.malformed(e.to_string()))
    }

    fn byte(&mut self) -> Result<u8, ReadError> {
        let mut byte = [0];
        self.from.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn hash(&mut self) -> Result<Sha256, ReadError> {
        let mut bytes = [0; 32];
        self.from.read_exact(&mut bytes)?;
        Ok(Sha256::from_bytes(bytes))
    }

    fn string(&mut self, limit: u64) -> Result<Vec<u8>, ReadError> {
        let length = self.number()?;
        if length > limit {
            return Err(self.malformed(format!("a string of {length} bytes where at most {limit} are allowed")));
        }
        let mut bytes = vec![0; length as usize];
        self.from.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u64, ReadError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits.checked_shl(shift).is_none_or(|b| b >> shift != bits) {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed("a number of more than 64 bits".to_owned()))
    }

    fn malformed(&self, reason: String) -> ReadError {
        ReadError::Malformed { path: self.path.clone(), reason }
    }
}
