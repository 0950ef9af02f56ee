//! A closure out of a store into a cache: what is missing there, each archive before its narinfo.

use std::fs::File;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use cairn_formats::narinfo::{Compression, NarInfo};
use cairn_formats::{HashWriter, STORE_DIR, StorePath};
use cairn_store::{PathInfo, Store, tree};

use crate::cache::Cache;
use crate::error::{CacheError, Result, file, short};
use crate::key::{PublicKey, SecretKey, is_trusted};

/// Paths at once. Compression keeps the processors busy, requests mostly wait.
const AT_ONCE: usize = 8;
/// zstd's: half the size of its fastest, and still 50 MB a second. Its window is 4 MiB.
const LEVEL: i32 = 9;
const MAX_INFO: u64 = 64 << 10;
/// Signatures of other keys that stay in a narinfo, and bytes of one: its key's name, and 88 of base64.
const MAX_OTHERS: usize = 8;
const MAX_SIGNATURE: usize = 256;

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
            reason: format!(
                "it is a cache of the store {}, and ours is {STORE_DIR}",
                short(other.unwrap_or("").trim(), 100)
            ),
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
    if there.as_ref().is_some_and(|there| is_same(there, &info, public)) {
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
    narinfo.signatures = there.map_or_else(Vec::new, |there| others(there, &narinfo));
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

/// Signatures of other keys over the same content. They stay, so that hosts that trust only another key
/// (an old one during a rotation, that of another definition in this cache) still find the path.
fn others(there: NarInfo, ours: &NarInfo) -> Vec<String> {
    if there.fingerprint() != ours.fingerprint() {
        return Vec::new();
    }
    there.signatures.into_iter().filter(|signature| signature.len() <= MAX_SIGNATURE).take(MAX_OTHERS).collect()
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
