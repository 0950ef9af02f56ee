//! What is to be sent, and on what the host has it can build.

use std::collections::{BTreeMap, HashMap, HashSet};

use cairn_formats::StorePath;
use cairn_protocol::{Request, Response, manifest};
use cairn_store::Store;

use crate::{Session, TransportError};

pub struct Plan {
    /// What the host lacks, in the order of the closure.
    pub missing: Vec<manifest::Header>,
    /// What it has: by place in the hello, and by name.
    pub announced: Vec<u32>,
    pub named: Vec<StorePath>,
    /// Whether the state of the local store may stand in for reading files.
    pub shortcuts: bool,
}

impl Plan {
    pub fn make(session: &mut Session, store: &Store, paths: &[StorePath]) -> Result<Self, TransportError> {
        let hello = session.hello();
        let places: HashMap<&StorePath, u32> = hello.valid.iter().zip(0..).collect();
        let announced = paths.iter().filter_map(|path| places.get(path).copied()).collect();
        let unknown: Vec<StorePath> = paths.iter().filter(|path| !places.contains_key(path)).cloned().collect();
        let told = hello.all_valid || unknown.is_empty();
        let missing = if told { unknown.clone() } else { ask(session, &unknown)? };
        let bases = Bases::of(&session.hello().valid, store)?;
        let headers = missing.iter().map(|path| header(store, path, &bases)).collect::<Result<_, _>>()?;
        let lacking: HashSet<&StorePath> = missing.iter().collect();
        let named = unknown.iter().filter(|path| !lacking.contains(path)).cloned().collect();
        Ok(Self { missing: headers, announced, named, shortcuts: true })
    }

    /// The same paths, described in full from the bytes of their files.
    pub fn without_shortcuts(&self) -> Self {
        let plain = |header: &manifest::Header| manifest::Header { base: None, ..header.clone() };
        Self {
            missing: self.missing.iter().map(plain).collect(),
            announced: self.announced.clone(),
            named: self.named.clone(),
            shortcuts: false,
        }
    }
}

/// Only a host with more paths than a hello names is asked.
fn ask(session: &mut Session, paths: &[StorePath]) -> Result<Vec<StorePath>, TransportError> {
    match session.request(&Request::Missing { paths: paths.to_vec() }, &mut |_| ())? {
        Response::Missing { paths: missing } => {
            let missing: HashSet<StorePath> = missing.into_iter().collect();
            Ok(paths.iter().filter(|path| missing.contains(path)).cloned().collect())
        }
        other => Err(session.unexpected(&other)),
    }
}

fn header(store: &Store, path: &StorePath, bases: &Bases) -> Result<manifest::Header, TransportError> {
    let info = store.query(path)?.ok_or_else(|| TransportError::NotLocal { path: path.clone() })?;
    Ok(manifest::Header {
        path: info.path,
        nar_hash: info.nar_hash,
        nar_size: info.nar_size,
        references: info.references,
        ca: info.ca,
        base: bases.for_path(path).cloned(),
    })
}

/// Paths that are valid on both sides, by their name part. The first of a name wins: the hello
/// names the current generation's paths first, and those resemble a new generation's most.
struct Bases<'a>(BTreeMap<&'a str, &'a StorePath>);

impl<'a> Bases<'a> {
    fn of(valid: &'a [StorePath], store: &Store) -> Result<Self, TransportError> {
        let mut bases = BTreeMap::new();
        for path in valid {
            if !bases.contains_key(path.name()) && store.is_valid(path)? {
                bases.insert(path.name(), path);
            }
        }
        Ok(Self(bases))
    }

    fn for_path(&self, path: &StorePath) -> Option<&StorePath> {
        self.0.get(path.name()).copied()
    }
}
