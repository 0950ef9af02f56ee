//! Profiles: a name for what is current, and the generations that one can go back to.
//!
//! `profiles/NAME` links to `NAME-N-link` beside it, which links to `/nix/store/…`: Nix's own
//! form, so each generation link is a garbage-collection root, and `nix-env --profile` reads it.
//! Switching renames one link.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cairn_formats::StorePath;

use crate::error::{At as _, Result, StoreError};
use crate::roots::{is_plain_name, replace_link};
use crate::store::{Store, sync_dir};

/// A profile of a store; it exists on disk once it has a generation.
#[derive(Debug, Clone)]
pub struct Profile {
    store: Store,
    dir: PathBuf,
    name: String,
}

/// One numbered state of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    pub number: u64,
    pub path: StorePath,
    pub created: SystemTime,
}

impl Store {
    pub fn profile(&self, name: &str) -> Result<Profile> {
        if !is_plain_name(name) {
            return Err(StoreError::BadName { what: "profile", name: name.to_owned() });
        }
        Ok(Profile { store: self.clone(), dir: self.layout().profiles(), name: name.to_owned() })
    }
}

impl Profile {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The link that says which generation is current: `ROOT/nix/var/nix/profiles/NAME`.
    pub fn link(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    /// The generation that the profile's link points to.
    pub fn current(&self) -> Result<Option<Generation>> {
        let link = self.link();
        let target = match std::fs::read_link(&link) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.at("read the profile link", &link)?,
        };
        // Nix writes the bare name; some tools write the whole path.
        let number = match target.parent() {
            Some(dir) if dir == Path::new("") || dir == self.dir => {
                target.file_name().and_then(|name| name.to_str()).and_then(|name| self.number_of(name))
            }
            _ => None,
        };
        let generation = number.map(|number| self.generation(number)).transpose()?.flatten();
        generation.map(Some).ok_or(StoreError::BadProfileLink { link, target })
    }

    /// All generations, by number.
    pub fn generations(&self) -> Result<Vec<Generation>> {
        let mut generations = Vec::new();
        for number in self.numbers()? {
            generations.extend(self.generation(number)?);
        }
        Ok(generations)
    }

    /// Creates the next generation, for a valid path, and does not switch to it. From now on the
    /// path lives until the generation is deleted.
    pub fn add(&self, path: &StorePath) -> Result<Generation> {
        self.store.add_temp_root(path)?;
        if !self.store.is_valid(path)? {
            return Err(StoreError::NotValid { path: path.clone() });
        }
        let mut number = self.numbers()?.last().map_or(1, |last| last + 1);
        loop {
            let link = self.generation_link(number);
            match std::os::unix::fs::symlink(path.absolute(), &link) {
                Ok(()) => break,
                // Another process added at the same time.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(e) => return Err(StoreError::io("create the generation link", &link, e)),
            }
        }
        sync_dir(&self.dir)?;
        self.generation(number)?.ok_or_else(|| self.no_generation(number, Vec::new()))
    }

    /// Makes a generation the current one, in one durable step.
    pub fn switch_to(&self, number: u64) -> Result<()> {
        if self.generation(number)?.is_none() {
            return Err(self.no_generation(number, self.numbers()?));
        }
        replace_link(&self.link(), Path::new(&self.link_name(number)))
    }

    /// Forgets a generation other than the current one; the next collection may take its path.
    pub fn delete(&self, number: u64) -> Result<()> {
        if self.current()?.is_some_and(|current| current.number == number) {
            return Err(StoreError::GenerationInUse { profile: self.name.clone(), number });
        }
        let link = self.generation_link(number);
        match std::fs::remove_file(&link) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(self.no_generation(number, self.numbers()?)),
            other => other.at("remove the generation link", &link)?,
        }
        sync_dir(&self.dir)
    }

    fn generation(&self, number: u64) -> Result<Option<Generation>> {
        let link = self.generation_link(number);
        let meta = match link.symlink_metadata() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.at("read the generation link", &link)?,
        };
        let target = std::fs::read_link(&link).at("read the generation link", &link)?;
        let path = self.store.layout().store_path_of(&target);
        let path = path.ok_or_else(|| StoreError::BadProfileLink { link: link.clone(), target })?;
        let created = meta.modified().at("read the time of", &link)?;
        Ok(Some(Generation { number, path, created }))
    }

    fn numbers(&self) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.dir).at("list", &self.dir)? {
            let name = entry.at("list", &self.dir)?.file_name();
            numbers.extend(name.to_str().and_then(|name| self.number_of(name)));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The number in `NAME-N-link`.
    fn number_of(&self, name: &str) -> Option<u64> {
        let number = name.strip_prefix(&self.name)?.strip_prefix('-')?.strip_suffix("-link")?;
        let plain = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
        plain.then(|| number.parse().ok()).flatten()
    }

    fn link_name(&self, number: u64) -> String {
        format!("{}-{number}-link", self.name)
    }

    /// The link that keeps a generation's path alive.
    pub fn generation_link(&self, number: u64) -> PathBuf {
        self.dir.join(self.link_name(number))
    }

    fn no_generation(&self, number: u64, have: Vec<u64>) -> StoreError {
        StoreError::NoGeneration { profile: self.name.clone(), number, have }
    }
}
