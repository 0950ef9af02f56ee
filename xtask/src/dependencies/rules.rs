//! `deny.toml`: the part of cargo-deny's format that is checked here.

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// Keys that are not checked here are errors: a rule that nothing enforces would be taken for one.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    #[serde(default)]
    pub licenses: Licenses,
    #[serde(default)]
    pub bans: Bans,
    #[serde(default)]
    pub sources: Sources,
    #[serde(default)]
    pub advisories: Advisories,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Licenses {
    pub allow: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bans {
    pub deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ban {
    #[serde(rename = "crate")]
    pub name: String,
    pub reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sources {
    pub allow_registry: Vec<String>,
}

/// What is known of a crate and accepted. cargo-deny looks for others, where there is a network.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advisories {
    pub ignore: Vec<Advisory>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advisory {
    pub id: String,
    pub reason: String,
}

impl Rules {
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).context("cannot parse deny.toml")
    }
}
