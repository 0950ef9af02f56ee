//! A closure out of a store into a cache: what is missing there, archive before narinfo, and the
//! pointer after all.

use std::fs::File;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use cairn_formats::narinfo::{Compression, NarInfo};
use cairn_formats::{HashWriter, STORE_DIR, StorePath};
use cairn_store::{PathInfo, Store, tree};

use crate::cache::{Answer, Cache, Revision};
use crate::error::{CacheError, Result, file};
use crate::key::{PublicKey, SecretKey, is_trusted};
use crate::pointer::{MAX_POINTER, Pointer, key_of};

/// Paths at once. Compression keeps the processors busy, requests mostly wait.
const AT_ONCE: usize = 8;
/// zstd's: half the size of its fastest, and still 50 MB a second. Its window is 4 MiB.
const LEVEL: i32 = 9;
const MAX_INFO: u64 = 64 << 10;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uploaded {
    /// Of the closure.
    pub paths: usize,
    /// That the cache lacked.
    pub new: usize,
    /// Their archives.
    pub bytes: u64,
}

/// Puts these paths, which are all that they refer to, into the cache. `progress` is told of bytes.
pub fn upload(
    store: &Store,
    cache: &Cache,
    key: &SecretKey,
    paths: &[StorePath],
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Uploaded> {
    introduce(cache)?;
    let public = key.public();
    let (next, new, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicU64::new(0));
    let failed: Mutex<Option<CacheError>> = Mutex::new(None);
    let work = || {
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            match one(store, cache, key, &public, path) {
                Ok(None) => {}
                Ok(Some(size)) => {
                    new.fetch_add(1, Ordering::Relaxed);
                    bytes.fetch_add(size, Ordering::Relaxed);
                    progress(size);
                }
                Err(error) => {
                    // The others finish what they have begun.
                    next.store(paths.len(), Ordering::Relaxed);
                    if let Ok(mut failed) = failed.lock() {
                        failed.get_or_insert(error);
                    }
                }
            }
        }
    };
    thread::scope(|scope| (0..AT_ONCE.min(paths.len())).for_each(|_| drop(scope.spawn(work))));
    match failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(Uploaded { paths: paths.len(), new: new.into_inner(), bytes: bytes.into_inner() }),
    }
}

/// Says that this is a cache, if nobody has.
fn introduce(cache: &Cache) -> Result<()> {
    const NAME: &str = "nix-cache-info";
    let Some(bytes) = cache.get(NAME, MAX_INFO)? else {
        return cache.put(NAME, format!("StoreDir: {STORE_DIR}\nWantMassQuery: 1\nPriority: 40\n").as_bytes());
    };
    let text = String::from_utf8_lossy(&bytes);
    match text.lines().find_map(|line| line.strip_prefix("StoreDir:")) {
        Some(dir) if dir.trim() == STORE_DIR => Ok(()),
        other => Err(CacheError::Address {
            url: cache.url(NAME),
            reason: format!("it is a cache of the store {}, and ours is {STORE_DIR}", other.unwrap_or("").trim()),
        }),
    }
}

/// The size of the archive, if the path was missing.
fn one(store: &Store, cache: &Cache, key: &SecretKey, public: &PublicKey, path: &StorePath) -> Result<Option<u64>> {
    let info = store.query(path)?.ok_or_else(|| cairn_store::StoreError::NotValid { path: path.clone() })?;
    if info.ca.is_none() {
        return Err(CacheError::NotContentAddressed { path: path.clone() });
    }
    let name = NarInfo::file_name(path);
    let there = cache.get(&name, MAX_INFO)?.and_then(|bytes| NarInfo::parse(&String::from_utf8_lossy(&bytes)).ok());
    if there.is_some_and(|there| is_same(&there, &info, public)) {
        return Ok(None);
    }
    let build = store.build_dir()?;
    let archive = build.path().join("nar.zst");
    let (file_hash, file_size) = pack(store, &info, &archive)?;
    let url = format!("nar/{}.nar.zst", file_hash.nix32());
    if !cache.exists(&url)? {
        cache.put_file(&url, &archive)?;
    }
    let mut narinfo = NarInfo {
        path: info.path,
        url,
        compression: Compression::Zstd,
        file_hash,
        file_size,
        nar_hash: info.nar_hash,
        nar_size: info.nar_size,
        references: info.references,
        ca: info.ca,
        signatures: Vec::new(),
    };
    narinfo.signatures.push(key.sign(narinfo.fingerprint().as_bytes()));
    cache.put(&name, narinfo.text().as_bytes())?;
    Ok(Some(file_size))
}

/// One that is signed by another key, or not at all, is as good as missing: hosts would refuse it.
fn is_same(there: &NarInfo, info: &PathInfo, public: &PublicKey) -> bool {
    let theirs = (&there.path, &there.nar_hash, there.nar_size, &there.references, there.ca);
    theirs == (&info.path, &info.nar_hash, info.nar_size, &info.references, info.ca)
        && is_trusted(std::slice::from_ref(public), there.fingerprint().as_bytes(), &there.signatures)
}

/// Writes the archive; what the store has must be what it says.
fn pack(store: &Store, info: &PathInfo, to: &std::path::Path) -> Result<(cairn_formats::Sha256, u64)> {
    let writing = || file("cannot write", to);
    let out = File::create(to).map_err(writing())?;
    let encoder = zstd::Encoder::new(HashWriter::new(out), LEVEL).map_err(writing())?;
    let mut nar = HashWriter::new(encoder);
    tree::dump(&store.physical(&info.path), &mut nar)?;
    let (encoder, found, _) = nar.finish();
    if found != info.nar_hash {
        let (path, expected) = (info.path.clone(), info.nar_hash);
        return Err(cairn_store::StoreError::HashMismatch { path, expected, found }.into());
    }
    let (_, hash, size) = encoder.finish().map_err(writing())?.finish();
    Ok((hash, size))
}

/// Reads the host's pointer, if there is one, lets `make` make the next one of it, and writes that
/// last of all. Whoever publishes meanwhile to the same folder or bucket is not overwritten.
pub fn write_pointer<E: From<CacheError>>(
    cache: &Cache,
    key: &SecretKey,
    host: &str,
    make: impl FnOnce(Option<Pointer>) -> Result<Pointer, E>,
) -> Result<Pointer, E> {
    let _held = cache.hold()?;
    let name = key_of(host);
    let url = cache.url(&name);
    let (before, revision) = match cache.get_unless(&name, MAX_POINTER, &Revision::Unknown)? {
        Answer::Content { bytes, revision } => (Some(Pointer::open(&bytes, host, &[key.public()], &url)?), revision),
        Answer::Absent | Answer::Unchanged => (None, Revision::Absent),
    };
    let last = before.as_ref().map_or(0, |pointer| pointer.sequence);
    let mut pointer = make(before)?;
    // By the clock, so that it rises even if the pointer before was lost.
    pointer.sequence = u64::try_from(pointer.published).unwrap_or(0).max(last.saturating_add(1));
    cache.put_over(&name, &pointer.seal(key)?, &revision)?;
    Ok(pointer)
}
