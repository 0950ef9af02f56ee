//! The sender's side of a manifest. The caller walks the trees in the order of their names; the
//! reader on the host refuses any other order.

use std::io::{self, Write};

use cairn_formats::{ContentAddress, Sha256};

use super::{File, Header, Item, tag};

pub struct Writer<W: Write> {
    to: W,
}

impl<W: Write> Writer<W> {
    pub const fn new(to: W) -> Self {
        Self { to }
    }

    pub fn item(&mut self, item: &Item) -> io::Result<()> {
        match item {
            Item::Path(header) => self.path(header),
            Item::Directory { name } => self.directory(name),
            Item::Leave => self.leave(),
            Item::File { name, file } => self.file(name, file),
            Item::Symlink { name, target } => self.symlink(name, target),
            Item::Same { name } => self.same(name),
        }
    }

    pub fn path(&mut self, header: &Header) -> io::Result<()> {
        self.to.write_all(&[tag::PATH])?;
        self.string(header.path.base().as_bytes())?;
        self.to.write_all(header.nar_hash.as_bytes())?;
        self.number(header.nar_size)?;
        self.number(header.references.len() as u64)?;
        for reference in &header.references {
            self.string(reference.base().as_bytes())?;
        }
        match &header.ca {
            None => self.to.write_all(&[0])?,
            Some(ContentAddress::Recursive(hash)) => self.tagged_hash(1, hash)?,
            Some(ContentAddress::Flat(hash)) => self.tagged_hash(2, hash)?,
        }
        self.string(header.base.as_ref().map_or(&[], |base| base.base().as_bytes()))
    }

    pub fn directory(&mut self, name: &[u8]) -> io::Result<()> {
        self.node(name, tag::DIRECTORY)
    }

    pub fn leave(&mut self) -> io::Result<()> {
        self.number(0)
    }

    pub fn file(&mut self, name: &[u8], file: &File) -> io::Result<()> {
        self.node(name, tag::FILE)?;
        let executable = if file.executable { tag::EXECUTABLE } else { 0 };
        let fresh = if file.fresh { tag::FRESH } else { 0 };
        self.to.write_all(&[executable | fresh])?;
        self.number(file.size)?;
        self.to.write_all(file.link.as_bytes())
    }

    pub fn symlink(&mut self, name: &[u8], target: &[u8]) -> io::Result<()> {
        self.node(name, tag::SYMLINK)?;
        self.string(target)
    }

    pub fn same(&mut self, name: &[u8]) -> io::Result<()> {
        self.node(name, tag::SAME)
    }

    pub fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&[tag::END])?;
        Ok(self.to)
    }

    /// The root of a path has no name; the length 0 would read as the end of a directory.
    fn node(&mut self, name: &[u8], tag: u8) -> io::Result<()> {
        if !name.is_empty() {
            self.string(name)?;
        }
        self.to.write_all(&[tag])
    }

    fn tagged_hash(&mut self, tag: u8, hash: &Sha256) -> io::Result<()> {
        self.to.write_all(&[tag])?;
        self.to.write_all(hash.as_bytes())
    }

    fn string(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.number(bytes.len() as u64)?;
        self.to.write_all(bytes)
    }

    fn number(&mut self, mut value: u64) -> io::Result<()> {
        while value >= 0x80 {
            self.to.write_all(&[(value & 0x7f) as u8 | 0x80])?;
            value >>= 7;
        }
        self.to.write_all(&[value as u8])
    }
}
