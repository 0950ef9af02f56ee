//! A closure out of a cache into a store: what is missing, and nothing that was not checked.
//!
//! First all narinfos, so that it is known what comes, that it is whole and signed, and that there
//! is room; then one archive after the other, references first, each unpacked as it arrives, in
//! constant memory, and taken into the store when its hash is right. What was taken stays if a later
//! one fails, and need not come again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};
use std::thread;
use std::time::{Duration, Instant};

use cairn_formats::StorePath;
use cairn_formats::narinfo::{Compression, NarInfo};
use cairn_store::{PathInfo, Store, tree};

use crate::arriving::{Arriving, Fault};
use crate::cache::Cache;
use crate::error::{CacheError, Result};
use crate::key::{self, PublicKey};

/// References of a thousand paths fit.
const MAX_NARINFO: u64 = 256 << 10;
/// Hosts have some hundred.
const MAX_PATHS: usize = 50_000;
/// Narinfos asked for at once: each is a round trip.
const AT_ONCE: usize = 8;
/// 8 MiB: what zstd needs for its levels up to 19, and what unpacking may take of the memory.
const WINDOW_LOG: u32 = 23;

/// Within what bounds.
pub struct Terms<'a> {
    pub within: Duration,
    /// Bytes that may be unpacked.
    pub room: u64,
    pub progress: &'a dyn Fn(Progress<'_>),
}

impl Default for Terms<'_> {
    fn default() -> Self {
        Self { within: Duration::from_secs(3600), room: u64::MAX, progress: &|_| () }
    }
}

/// What is known before the first archive, and then each that has arrived.
pub enum Progress<'a> {
    Missing { paths: usize, bytes: u64 },
    Arrived { path: &'a StorePath },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fetched {
    pub paths: usize,
    /// As they lay in the cache.
    pub bytes: u64,
}

/// Makes `root` valid in the store with all that it refers to.
pub fn substitute(
    store: &Store,
    cache: &Cache,
    root: &StorePath,
    trusted: &[PublicKey],
    terms: &Terms<'_>,
) -> Result<Fetched> {
    let deadline = Instant::now() + terms.within;
    let late = || CacheError::Late { minutes: terms.within.as_secs() / 60 };
    let missing = missing(store, cache, root, trusted, deadline)?.ok_or_else(late)?;
    let unpacked = missing.values().fold(0u64, |sum, info| sum.saturating_add(info.nar_size));
    if unpacked > terms.room {
        return Err(CacheError::NoRoom { needed: unpacked >> 20, free: terms.room >> 20 });
    }
    let mut fetched = Fetched { paths: missing.len(), bytes: 0 };
    let bytes = missing.values().fold(0u64, |sum, info| sum.saturating_add(info.file_size));
    (terms.progress)(Progress::Missing { paths: fetched.paths, bytes });
    for info in ordered(root, &missing)? {
        fetch(store, cache, info, deadline).map_err(|error| match error {
            Stopped::Late => late(),
            Stopped::Failed(error) => error,
        })?;
        fetched.bytes = fetched.bytes.saturating_add(info.file_size);
        (terms.progress)(Progress::Arrived { path: &info.path });
    }
    Ok(fetched)
}

/// The narinfos of all that the store lacks; `None` when the time is over.
fn missing(
    store: &Store,
    cache: &Cache,
    root: &StorePath,
    trusted: &[PublicKey],
    deadline: Instant,
) -> Result<Option<BTreeMap<StorePath, NarInfo>>> {
    let mut known = BTreeMap::new();
    let mut seen = BTreeSet::from([root.clone()]);
    let mut next = vec![root.clone()];
    while !next.is_empty() {
        // What is here already must not be collected while the rest arrives.
        store.add_temp_roots(&next)?;
        let mut wanted = Vec::new();
        for path in next.drain(..) {
            if !store.is_valid(&path)? {
                wanted.push(path);
            }
        }
        for some in wanted.chunks(AT_ONCE) {
            if Instant::now() >= deadline {
                return Ok(None);
            }
            for info in in_parallel(some, |path| narinfo(cache, path, trusted)) {
                let info = info?;
                next.extend(info.references.iter().filter(|path| seen.insert((*path).clone())).cloned());
                known.insert(info.path.clone(), info);
            }
            if seen.len() > MAX_PATHS {
                return Err(CacheError::TooMany { limit: MAX_PATHS });
            }
        }
    }
    Ok(Some(known))
}

fn in_parallel<T: Send>(paths: &[StorePath], work: impl Fn(&StorePath) -> T + Sync) -> Vec<T> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = paths.iter().map(|path| scope.spawn(move || work(path))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
    })
}

/// What a trusted key has signed about this very path.
fn narinfo(cache: &Cache, path: &StorePath, trusted: &[PublicKey]) -> Result<NarInfo> {
    let name = NarInfo::file_name(path);
    let url = cache.url(&name);
    let bytes = cache.get(&name, MAX_NARINFO)?.ok_or_else(|| CacheError::Absent { url: url.clone() })?;
    let text = String::from_utf8_lossy(&bytes);
    let info = NarInfo::parse(&text).map_err(|source| CacheError::NarInfo { url: url.clone(), source })?;
    if info.path != *path {
        return Err(CacheError::OtherPath { url, wanted: path.clone(), found: info.path });
    }
    if !key::is_trusted(trusted, info.fingerprint().as_bytes(), &info.signatures) {
        let (trusted, signed) = (key::names(trusted), key::signers(&info.signatures));
        return Err(CacheError::Untrusted { url, trusted, signed });
    }
    // The file's size is not signed; compressed it cannot be much larger than what is.
    if info.file_size > info.nar_size.saturating_add(info.nar_size / 64).saturating_add(1 << 20) {
        return Err(CacheError::TooLong { url: cache.url(&info.url), limit: info.nar_size });
    }
    Ok(info)
}

/// References first. Depth first on a stack of our own, as a chain may be longer than the thread's.
fn ordered<'i>(root: &StorePath, missing: &'i BTreeMap<StorePath, NarInfo>) -> Result<Vec<&'i NarInfo>> {
    let mut order = Vec::with_capacity(missing.len());
    let (mut done, mut open) = (BTreeSet::new(), BTreeSet::new());
    let Some(first) = missing.get(root) else { return Ok(order) };
    let mut stack = vec![(first, first.references.iter())];
    open.insert(&first.path);
    while let Some((info, references)) = stack.last_mut() {
        match references.next().map(|path| (path, missing.get(path))) {
            Some((path, Some(_))) if open.contains(path) => return Err(CacheError::Circle { path: path.clone() }),
            Some((path, Some(next))) if !done.contains(path) => {
                open.insert(&next.path);
                stack.push((next, next.references.iter()));
            }
            Some(_) => {}
            None => {
                open.remove(&info.path);
                done.insert(&info.path);
                order.push(*info);
                stack.pop();
            }
        }
    }
    Ok(order)
}

enum Stopped {
    Late,
    Failed(CacheError),
}

impl From<CacheError> for Stopped {
    fn from(error: CacheError) -> Self {
        Self::Failed(error)
    }
}

impl From<cairn_store::StoreError> for Stopped {
    fn from(error: cairn_store::StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// One archive, unpacked beside the store and taken in.
fn fetch(store: &Store, cache: &Cache, info: &NarInfo, deadline: Instant) -> Result<(), Stopped> {
    let url = cache.url(&info.url);
    let build = store.build_dir()?;
    let tree = build.path().join("tree");
    let left = deadline.saturating_duration_since(Instant::now());
    let archive = cache.read(&info.url, left).map_err(|error| match error {
        CacheError::Slow { .. } => Stopped::Late,
        other => other.into(),
    })?;
    let mut arriving = Arriving::new(archive, info.file_size, deadline);
    let unpacked = unpack(&mut arriving, info, &tree);
    let (hash, length) = arriving.finish().map_err(|fault| match fault {
        Fault::Late => Stopped::Late,
        Fault::TooLong => CacheError::TooLong { url: url.clone(), limit: info.file_size }.into(),
        Fault::Network(message) => CacheError::Network { url: url.clone(), message }.into(),
    })?;
    if hash != info.file_hash || length != info.file_size {
        let path = info.path.clone();
        return Err(CacheError::FileHash { url, path, expected: info.file_hash, got: hash }.into());
    }
    unpacked.map_err(|error| match error {
        // The file is the one that was meant, so the disk is at fault, or whoever made it.
        cairn_store::StoreError::Nar { source, .. } => {
            CacheError::Archive { url, path: info.path.clone(), reason: source.to_string() }
        }
        other => other.into(),
    })?;
    // Its hash, and that the path follows from it, are checked there.
    store.import(vec![(
        tree,
        PathInfo {
            path: info.path.clone(),
            nar_hash: info.nar_hash,
            nar_size: info.nar_size,
            references: info.references.clone(),
            ca: info.ca,
            registered: 0,
            deriver: None,
        },
    )])?;
    Ok(())
}

fn unpack(from: impl Read, info: &NarInfo, tree: &std::path::Path) -> cairn_store::Result<()> {
    let unreadable = |source: io::Error| cairn_store::StoreError::Nar { path: tree.to_owned(), source: source.into() };
    match info.compression {
        Compression::None => tree::restore(from.take(info.nar_size), tree),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(BufReader::new(from)).map_err(unreadable)?;
            decoder.window_log_max(WINDOW_LOG).map_err(unreadable)?;
            tree::restore(decoder.take(info.nar_size), tree)
        }
    }
}
