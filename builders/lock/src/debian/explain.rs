//! Why there is no solution, told as a chain of who needs what.

use std::fmt;

use cairn_recipe::nearest;

use super::packages::{BadStanza, PackageId};
use super::relation::Relation;
use super::resolver::Search;

/// Why a candidate cannot be taken.
pub(super) enum Obstacle {
    Excluded,
    OtherVersion { chosen: PackageId },
    Conflict(Contradiction),
}

pub(super) struct Contradiction {
    pub with: PackageId,
    /// The relation that forbids it.
    pub says: String,
    /// The package chosen earlier objects to the candidate, not the candidate to it.
    pub objects: bool,
}

/// A clause that nothing can satisfy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsatisfied {
    pub arch: String,
    /// What is needed: `a (>= 1) | b`.
    pub needed: String,
    /// Who needs it, up to the definition.
    pub chain: Vec<String>,
    /// What there is, and why it does not serve.
    pub reasons: Vec<String>,
    pub help: Option<String>,
}

impl fmt::Display for Unsatisfied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: nothing satisfies `{}`", self.arch, self.needed)?;
        for link in &self.chain {
            write!(f, "\n  {link}")?;
        }
        for reason in &self.reasons {
            write!(f, "\n  - {reason}")?;
        }
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

impl Unsatisfied {
    pub(super) fn explain(search: &mut Search, clause: usize) -> Result<Self, BadStanza> {
        let alternatives = search.state.clauses[clause].alternatives.clone();
        let needed_by = search.state.clauses[clause].needed_by;
        let mut reasons = Vec::new();
        for relation in &alternatives {
            let candidates = search.pool.candidates(relation);
            if candidates.is_empty() {
                reasons.push(absent(search, relation));
            }
            for candidate in candidates {
                if let Some(obstacle) = search.obstacle(candidate)? {
                    reasons.push(format!("{} {}", shown(search, candidate), blocked(search, &obstacle)));
                }
            }
        }
        let names: Vec<String> = alternatives.iter().map(ToString::to_string).collect();
        Ok(Self {
            arch: search.pool.arch.to_owned(),
            needed: names.join(" | "),
            chain: chain(search, needed_by),
            reasons,
            help: help(search, &alternatives, needed_by),
        })
    }
}

fn shown(search: &Search, id: PackageId) -> String {
    let package = search.pool.get(id);
    format!("{} {} ({})", package.name, package.version, package.suite)
}

/// `needed by a 1 (s)`, `which b 2 (s) needs`, …, `which the definition names`.
fn chain(search: &Search, mut by: Option<PackageId>) -> Vec<String> {
    let mut chain = Vec::new();
    while let Some(id) = by {
        let words = if chain.is_empty() { "needed by " } else { "which is needed by " };
        chain.push(format!("{words}{}", shown(search, id)));
        let clause = search.state.chosen.iter().find(|(chosen, _)| *chosen == id).map(|(_, clause)| *clause);
        by = clause.and_then(|clause| search.state.clauses[clause].needed_by);
    }
    chain.push(if chain.is_empty() { "named in the definition" } else { "which the definition names" }.to_owned());
    chain
}

fn blocked(search: &Search, obstacle: &Obstacle) -> String {
    let why = |id: PackageId| {
        let clause = search.state.chosen.iter().find(|(chosen, _)| *chosen == id).map(|(_, clause)| *clause);
        let by = clause.map_or_else(Vec::new, |clause| chain(search, search.state.clauses[clause].needed_by));
        by.join(", ")
    };
    match obstacle {
        Obstacle::Excluded => "is excluded in the definition".to_owned(),
        Obstacle::OtherVersion { chosen } => {
            format!("cannot stand beside version {}, {}", search.pool.get(*chosen).version, why(*chosen))
        }
        Obstacle::Conflict(Contradiction { with, says, objects: true }) => {
            format!("is forbidden (`{says}`) by {}, {}", shown(search, *with), why(*with))
        }
        Obstacle::Conflict(Contradiction { with, says, objects: false }) => {
            format!("forbids (`{says}`) {}, {}", shown(search, *with), why(*with))
        }
    }
}

fn absent(search: &Search, relation: &Relation) -> String {
    let named = search.pool.named(relation.name);
    let providers = search.pool.providers(relation.name);
    if named.is_empty() && providers.is_empty() {
        return format!("there is no package `{}`", relation.name);
    }
    let there: Vec<String> =
        named.iter().copied().chain(providers.iter().map(|(id, _)| *id)).take(5).map(|id| shown(search, id)).collect();
    format!("of `{}` there is only {}", relation.name, there.join(", "))
}

fn help(search: &Search, alternatives: &[Relation], needed_by: Option<PackageId>) -> Option<String> {
    let [relation] = alternatives else { return None };
    let unknown = search.pool.named(relation.name).is_empty() && search.pool.providers(relation.name).is_empty();
    if !unknown {
        return None;
    }
    let mut names: Vec<&str> = search.pool.names().collect();
    names.sort_unstable();
    if needed_by.is_none()
        && let Some(near) = nearest(relation.name, names)
    {
        return Some(format!("did you mean `{near}`?"));
    }
    Some("add the suite that has it to `debian.suites`, or exclude it with a reason under `debian.exclude`".to_owned())
}
