//! What lies in a binary cache: archives, narinfos, pointers, and the keys that sign them.

use std::io::{self, Read};
use std::sync::LazyLock;

use cairn_cache::{Pointer, PublicKey, SecretKey};
use cairn_formats::nar::{self, Encoder, Sink};
use cairn_formats::narinfo::NarInfo;
use cairn_formats::{ContentAddress, RelPath, Sha256, StorePath};

use crate::input::text;

/// A key for tests alone: the secret half of the seeds' signatures.
const KEY: &str = include_str!("../../keys/cache.secret");
static SECRET: LazyLock<SecretKey> = LazyLock::new(|| match SecretKey::parse(KEY) {
    Ok(key) => key,
    Err(error) => panic!("the key of the tests: {error}"),
});

/// An archive. One that is read is the only spelling of its tree.
pub fn nar(input: &[u8]) {
    let mut again = match Encoder::new(Vec::new()) {
        Ok(encoder) => Rewriter { encoder, open: Vec::new() },
        Err(error) => unreachable!("memory can be written: {error}"),
    };
    if nar::decode(input, &mut again).is_ok() {
        let written = again.finish();
        assert_eq!(Some(&*written), input.get(..written.len()), "an archive with two spellings");
    }
}

/// Encodes what the decoder reports.
struct Rewriter {
    encoder: Encoder<Vec<u8>>,
    /// The open folders.
    open: Vec<RelPath>,
}

impl Rewriter {
    /// Ends the folders that `path` is not in, and begins its entry.
    fn enter(&mut self, path: &RelPath) -> io::Result<()> {
        while let Some(folder) = self.open.last() {
            if path.parent().as_ref() == Some(folder) {
                return self.encoder.entry(path.file_name());
            }
            self.leave()?;
        }
        Ok(())
    }

    fn leave(&mut self) -> io::Result<()> {
        self.encoder.end()?;
        self.open.pop();
        if self.open.is_empty() { Ok(()) } else { self.encoder.close_entry() }
    }

    /// Closes the entry of a node without entries of its own.
    fn close(&mut self) -> io::Result<()> {
        if self.open.is_empty() { Ok(()) } else { self.encoder.close_entry() }
    }

    fn finish(mut self) -> Vec<u8> {
        while !self.open.is_empty() {
            if let Err(error) = self.leave() {
                unreachable!("memory can be written: {error}");
            }
        }
        self.encoder.finish()
    }
}

impl Sink for Rewriter {
    fn directory(&mut self, path: &RelPath) -> io::Result<()> {
        self.enter(path)?;
        self.encoder.directory()?;
        self.open.push(path.clone());
        Ok(())
    }

    fn regular(&mut self, path: &RelPath, executable: bool, _: u64, data: &mut dyn Read) -> io::Result<()> {
        self.enter(path)?;
        let mut content = Vec::new();
        data.read_to_end(&mut content)?;
        self.encoder.regular(executable, content.len() as u64, &mut &*content)?;
        self.close()
    }

    fn symlink(&mut self, path: &RelPath, target: &[u8]) -> io::Result<()> {
        self.enter(path)?;
        self.encoder.symlink(target)?;
        self.close()
    }
}

/// What a cache says of a store path. What we write of it reads the same.
pub fn narinfo(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(info) = NarInfo::parse(&text) {
        assert!(!info.url.starts_with('/') && !info.url.split('/').any(|part| part == ".." || part.is_empty()));
        assert_eq!(NarInfo::parse(&info.text()).as_ref(), Ok(&info));
        assert!(info.fingerprint().lines().count() == 1);
    }
}

/// A pointer as it lies in the cache. Only one that our key signed can be read.
pub fn pointer(input: &[u8]) {
    let trusted = [SECRET.public()];
    if let Ok(pointer) = Pointer::open(input, "web-1", &trusted, "cache") {
        let pointer = pointer.pointer;
        assert_eq!(pointer.host, "web-1");
        let sealed = pointer.seal(&SECRET).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(Pointer::open(&sealed, "web-1", &trusted, "cache").ok().map(|opened| opened.pointer), Some(pointer));
    }
}

/// The payload of a pointer whose signature is good.
pub fn pointer_payload(input: &[u8]) {
    let Ok(pointer) = serde_json::from_slice::<Pointer>(input) else { return };
    for now in [0, 1_795_000_000, i64::MAX] {
        let _ = pointer.check_fresh(None, now, "cache");
    }
    let sealed = pointer.seal(&SECRET).unwrap_or_else(|error| panic!("{error}"));
    if let Ok(opened) = Pointer::open(&sealed, &pointer.host, &[SECRET.public()], "cache") {
        assert_eq!(opened.pointer, pointer);
    }
}

/// The texts of keys, hashes, names and addresses of the store.
pub fn key(input: &[u8]) {
    let Some(text) = text(input) else { return };
    if let Ok(key) = PublicKey::parse(text) {
        assert_eq!(PublicKey::parse(&key.to_string()).ok(), Some(key));
    }
    let _ = SecretKey::parse(text);
    if let Ok(hash) = Sha256::parse_any(text) {
        for spelling in [hash.hex(), hash.sri(), format!("sha256:{}", hash.nix32())] {
            assert_eq!(Sha256::parse_any(&spelling), Ok(hash));
        }
    }
    if let Ok(path) = StorePath::parse(text) {
        assert_eq!(StorePath::from_absolute(&path.absolute()), Ok(path));
    }
    if let Ok(address) = text.parse::<ContentAddress>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    let _ = cairn_cache::fuzzing::aws_credentials(text, "default");
    let _ = cairn_cache::fuzzing::instance_role(text);
}
