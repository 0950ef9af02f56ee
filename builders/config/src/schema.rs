//! The schema of an image's environment, checked when it is read.

use std::path::{Path, PathBuf};

use regex_lite::Regex;

use crate::{ConfigError, Faults, Kind, Place, read};

/// The variables that an image reads, in the order of the file.
#[derive(Debug, Clone)]
pub struct Schema {
    pub(crate) file: PathBuf,
    pub(crate) variables: Vec<Variable>,
}

/// One variable.
#[derive(Debug, Clone)]
pub struct Variable {
    /// `[A-Z][A-Z0-9_]*`
    pub name: String,
    pub category: String,
    /// One line.
    pub help: String,
    pub kind: Kind,
    /// What a value, or each item of a list, must match somewhere; `^` and `$` bind it to the ends.
    pub pattern: Option<Regex>,
    pub example: Option<String>,
    /// The value is never written in clear; a secret has no default.
    pub secret: bool,
    pub absent: Absent,
    /// Where the schema describes it.
    pub place: Place,
}

/// What holds for a variable that no layer sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absent {
    Default(String),
    /// The environment is without it.
    Unset,
    /// It is required.
    Refused,
}

impl Schema {
    /// Reads `images/NAME/config.toml`.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(file).map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
        Ok(Self::parse(file, &text)?)
    }

    /// The schema in `text`, or everything that is wrong with it; `file` is for messages.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Faults> {
        read::schema(file, text)
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    pub fn get(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|variable| variable.name == name)
    }

    /// The variables by category; categories, and variables in them, in the order of the file.
    pub fn categories(&self) -> Vec<(&str, Vec<&Variable>)> {
        let mut categories: Vec<(&str, Vec<&Variable>)> = Vec::new();
        for variable in &self.variables {
            match categories.iter_mut().find(|(category, _)| *category == variable.category) {
                Some((_, variables)) => variables.push(variable),
                None => categories.push((&variable.category, vec![variable])),
            }
        }
        categories
    }
}

impl Variable {
    /// What its secret is called unless a definition says otherwise: `jwt-secret` of `JWT_SECRET`.
    pub fn secret_name(&self) -> String {
        self.name.to_lowercase().replace('_', "-")
    }

    /// `integer from 1 to 20`, `string matching ^sk_`
    pub fn describe(&self) -> String {
        let pattern = self.pattern.as_ref().map(|pattern| format!(" matching {pattern}"));
        self.kind.describe() + &pattern.unwrap_or_default()
    }
}
