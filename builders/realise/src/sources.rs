//! From a locked archive to the addresses it may be had at.

use cairn_fetch::{Download, FetchError, Mirrors, Progress};
use cairn_formats::StorePath;
use cairn_recipe::Node;
use cairn_recipe::graph::{Origin, Source};

use crate::{Event, Listener, RealiseError, Realiser};

/// Finds out where an archive is.
pub trait Locate: Sync {
    fn locate(&self, source: &Source) -> Result<Vec<String>, FetchError>;
}

/// Asks a Python index where a package's wheel is.
pub type FindWheel<'a> = dyn Fn(&str, &Source) -> Result<Vec<String>, FetchError> + Sync + 'a;

/// The project's mirrors.
pub struct Mirrored<'a> {
    pub mirrors: &'a Mirrors,
    pub wheel: &'a FindWheel<'a>,
}

impl Locate for Mirrored<'_> {
    fn locate(&self, source: &Source) -> Result<Vec<String>, FetchError> {
        match &source.origin {
            Origin::Debian { archive, pool, .. } => {
                let bases = self.mirrors.debian(archive)?;
                Ok(bases.iter().map(|base| format!("{}/{pool}", base.trim_end_matches('/'))).collect())
            }
            Origin::Pypi { package, .. } => (self.wheel)(package, source),
        }
    }
}

/// Downloads an archive, verified, into the store.
pub fn fetch(
    realiser: &Realiser,
    node: &Node,
    source: &Source,
    listener: &Listener,
) -> Result<StorePath, RealiseError> {
    let what = describe(source);
    let fail = |source| RealiseError::Fetch { what: what.clone(), source: Box::new(source) };
    listener(Event::FetchStarted { file: &source.file, size: source.size });
    let mut download = Download {
        what: what.clone(),
        urls: Vec::new(),
        sha256: source.sha256,
        size: Some(source.size),
        file_name: source.file.clone(),
    };
    // What `deploy lock` has fetched needs no address: no index is asked for it.
    let file = match realiser.fetcher.found(&download).map_err(fail)? {
        Some(file) => file,
        None => {
            download.urls = realiser.locate.locate(source).map_err(fail)?;
            realiser.fetcher.fetch(&download, &Told { file: &source.file, listener }).map_err(fail)?
        }
    };
    let path = realiser.store.add_flat(&file, &node.name)?.path;
    listener(Event::FetchFinished { file: &source.file });
    Ok(path)
}

fn describe(source: &Source) -> String {
    match &source.origin {
        Origin::Debian { package, version, .. } => format!("package {package} {version} ({})", source.file),
        Origin::Pypi { package, version } => format!("wheel {package} {version} ({})", source.file),
    }
}

/// Turns the fetcher's progress into events.
struct Told<'a> {
    file: &'a str,
    listener: &'a Listener<'a>,
}

impl Progress for Told<'_> {
    fn advanced(&self, _what: &str, bytes: u64) {
        (self.listener)(Event::FetchAdvanced { file: self.file, bytes });
    }
}
