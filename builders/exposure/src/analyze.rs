//! Asking `systemd-analyze`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;

const PROGRAM: &str = "systemd-analyze";

/// Why there are no scores.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unscored {
    #[error("this computer has no `systemd-analyze`\n  help: install systemd 250 or later")]
    Missing,
    #[error("`systemd-analyze security --offline=true` gave no score: {said}\n  help: it takes systemd 250 or later")]
    Failed { said: String },
}

/// What one directive adds to a score.
#[derive(Debug, Clone, PartialEq)]
pub struct Cost {
    /// With `=`, and for a part of a directive with what is missing: `SystemCallFilter=~@mount`.
    pub directive: String,
    pub description: String,
    pub exposure: f64,
}

/// The score of each unit file.
pub fn scores<'a>(units: impl Iterator<Item = &'a PathBuf> + Clone) -> Result<BTreeMap<PathBuf, f64>, Unscored> {
    scores_by(PROGRAM, units)
}

fn scores_by<'a>(
    program: &str,
    units: impl Iterator<Item = &'a PathBuf> + Clone,
) -> Result<BTreeMap<PathBuf, f64>, Unscored> {
    if units.clone().next().is_none() {
        return Ok(BTreeMap::new());
    }
    let output = security(program, &[], units.clone()).map_err(|_| Unscored::Missing)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let by_name = overall(&text);
    let score = |unit: &PathBuf| {
        let name = unit.file_name().and_then(OsStr::to_str).unwrap_or_default();
        by_name.get(name).map(|score| (unit.clone(), *score)).ok_or_else(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.trim().lines().next_back().unwrap_or("it said nothing").to_owned();
            Unscored::Failed { said: last }
        })
    };
    units.map(score).collect()
}

/// What makes a unit's score, costliest first; empty where that cannot be had.
pub fn costs(unit: &Path) -> Vec<Cost> {
    let Ok(output) = security(PROGRAM, &["--json=short"], std::iter::once(unit)) else { return Vec::new() };
    let rows: Vec<Row> = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let mut costs: Vec<Cost> = rows.into_iter().filter_map(Row::cost).collect();
    costs.sort_by(|a, b| b.exposure.total_cmp(&a.exposure).then_with(|| a.directive.cmp(&b.directive)));
    costs
}

fn security(program: &str, options: &[&str], units: impl Iterator<Item: AsRef<OsStr>>) -> std::io::Result<Output> {
    Command::new(program)
        .args(["security", "--offline=true", "--no-pager"])
        .args(options)
        .args(units)
        .env("LC_ALL", "C")
        .env("SYSTEMD_COLORS", "0")
        .output()
}

/// `-> Overall exposure level for cairn-api-0123456789ab-1.service: 1.2 OK :-)`. The JSON output
/// has the rows alone.
fn overall(text: &str) -> BTreeMap<&str, f64> {
    text.lines()
        .filter_map(|line| {
            let (unit, verdict) = line.split_once("Overall exposure level for ")?.1.rsplit_once(": ")?;
            let score = verdict.split(' ').next()?.parse().ok()?;
            Some((unit, score))
        })
        .collect()
}

/// A row of the JSON output. A setting that costs nothing has no exposure.
#[derive(Deserialize)]
struct Row {
    name: String,
    description: String,
    exposure: Option<String>,
}

impl Row {
    fn cost(self) -> Option<Cost> {
        let exposure = self.exposure?.parse().ok()?;
        Some(Cost { directive: self.name, description: self.description, exposure })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::PathBuf;

    use super::{Unscored, overall, scores_by};

    #[test]
    fn a_computer_that_cannot_score_says_why() {
        let unit = PathBuf::from("/nonexistent/a.service");
        let by = |program: &str| scores_by(program, std::iter::once(&unit)).unwrap_err();
        assert_eq!(by("/nonexistent/systemd-analyze"), Unscored::Missing);
        // An old one knows no `--offline`, as `ls` does not.
        let Unscored::Failed { said } = by("ls") else { panic!("there is an `ls`") };
        assert!(!said.is_empty());
        assert_eq!(by("true"), Unscored::Failed { said: "it said nothing".to_owned() });
    }

    #[test]
    fn scores_are_read_by_unit() {
        let text = "  NAME DESCRIPTION EXPOSURE\n\n-> Overall exposure level for a.service: 1.2 OK :-)\n\
            → Overall exposure level for b.service: 10.0 DANGEROUS 😨\nOverall exposure level for c: none\n";
        assert_eq!(overall(text).into_iter().collect::<Vec<_>>(), [("a.service", 1.2), ("b.service", 10.0)]);
    }
}
