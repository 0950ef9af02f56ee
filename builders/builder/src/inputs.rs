//! The inputs of a step: absolute paths by the label under which the step looks for them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::{Error, Result};

/// Within one label the order counts.
#[derive(Debug, Default, Clone)]
pub struct Inputs(BTreeMap<String, Vec<PathBuf>>);

impl From<&cairn_recipe::step::Inputs> for Inputs {
    fn from(inputs: &cairn_recipe::step::Inputs) -> Self {
        let paths = |paths: &Vec<String>| paths.iter().map(PathBuf::from).collect();
        Self(inputs.iter().map(|(label, list)| (label.clone(), paths(list))).collect())
    }
}

impl Inputs {
    /// Exactly one path.
    pub fn one(&self, label: &str) -> Result<&PathBuf> {
        match self.all(label) {
            [path] => Ok(path),
            other => Err(Error::Input { label: label.to_owned(), needs: "exactly one", got: other.len() }),
        }
    }

    /// At least one path.
    pub fn several(&self, label: &str) -> Result<&[PathBuf]> {
        match self.all(label) {
            [] => Err(Error::Input { label: label.to_owned(), needs: "at least one", got: 0 }),
            paths => Ok(paths),
        }
    }

    /// Any number of paths, none as well.
    pub fn all(&self, label: &str) -> &[PathBuf] {
        self.0.get(label).map_or(&[], Vec::as_slice)
    }
}
