//! What is wrong and where. A fault names the variable, the value unless it could be a secret, the
//! place it was written and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

use cairn_formats::report::Position;

use crate::Problem;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {source}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Faults(#[from] Faults),
}

/// Where something was written. The position is unknown for what a program added.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: PathBuf,
    pub position: Option<Position>,
}

impl Place {
    pub(crate) fn at(file: &Path, text: &str, offset: usize) -> Self {
        Self { file: file.to_owned(), position: Some(Position::of(text, offset)) }
    }
}

/// `hosts/local.toml:12:5`
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        self.position.map_or(Ok(()), |position| write!(f, ":{position}"))
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub place: Place,
    /// `LOG_LEVEL`, `LOG_LEVEL.default`; empty when the whole file is meant.
    pub subject: String,
    /// The value as written; absent where there is none or where it could be a secret.
    pub value: Option<String>,
    pub problem: Problem,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.place)?;
        if !self.subject.is_empty() {
            write!(f, " {}", self.subject)?;
        }
        if let Some(value) = &self.value {
            write!(f, " = {value:?}")?;
        }
        write!(f, " {}", self.problem)?;
        self.problem.remedy().map_or(Ok(()), |remedy| write!(f, "\n  help: {remedy}"))
    }
}

/// Everything that is wrong, at least one fault, in the order of the files.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// `Ok` when there is nothing to report.
    pub(crate) fn none(faults: Vec<Fault>) -> Result<(), Self> {
        if faults.is_empty() { Ok(()) } else { Err(Self(faults)) }
    }

    pub(crate) fn one(fault: Fault) -> Self {
        Self(vec![fault])
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let between = if index == 0 { "" } else { "\n" };
            write!(f, "{between}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
