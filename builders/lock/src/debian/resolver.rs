//! Which packages an image gets: a small deterministic solver with backtracking.
//!
//! The rules, in the order in which they decide:
//! 1. Each requirement of the definition and each `Pre-Depends` and `Depends` clause of a chosen
//!    package holds; no chosen package conflicts with or breaks another; one version of a name.
//! 2. Clauses that only one name can satisfy go first, so that a choice between alternatives sees
//!    what is there anyway (`default-mta | mail-transport-agent` takes a mail server that
//!    something else needs).
//! 3. Alternatives in the order written; for each the real package, then those that provide the
//!    name, by name; of each the newest version of all suites.
//! 4. If a choice leads to a contradiction, the latest choice is taken back and its next
//!    candidate tried.
//!
//! The order of the definition and of the indexes does not matter: requirements and packages are
//! sorted first. Recommended, suggested and essential packages are not added: an image holds what
//! was asked for and what that needs. Edges to names under `exclude` are not followed.
//!
//! Why not `resolvo`, a SAT solver: it wants each virtual name modelled as a package of its own,
//! its search follows activity rather than the rules above, and its explanations speak of solver
//! clauses. Debian's stable suites are solved here without taking back a single choice (the
//! archive is kept installable), so what counts is a plain order and a plain explanation.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::explain::{Contradiction, Obstacle, Unsatisfied};
use super::packages::{BadStanza, PackageId, Pool};
use super::relation::Relation;
use super::requirement::Requirement;

/// Choices made, taken back or not, before the search is given up. Real images need as many as
/// they have packages.
const MAX_CHOICES: usize = 50_000;

/// A package of the solution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen<'a> {
    pub package: PackageId,
    /// Names of chosen packages that it needs, sorted.
    pub depends: Vec<&'a str>,
}

#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("{0}")]
    Unsatisfied(Box<Unsatisfied>),
    #[error(
        "{arch}: no set of packages found after trying {MAX_CHOICES} choices; the first contradiction was:\n{first}"
    )]
    TooHard { arch: String, first: Box<Unsatisfied> },
    #[error(
        "`{name}` is both required and excluded\n  help: remove it from `debian.packages` or from `debian.exclude`"
    )]
    RequiredAndExcluded { name: String },
    #[error(transparent)]
    Stanza(#[from] BadStanza),
}

/// Finds the packages, sorted by name.
pub fn resolve<'a>(
    pool: &Pool<'a>,
    requirements: &[Requirement<'a>],
    exclude: &BTreeMap<String, String>,
) -> Result<Vec<Chosen<'a>>, ResolveError> {
    let mut requirements = requirements.to_vec();
    requirements.sort();
    requirements.dedup();
    if let Some(Requirement(relation)) = requirements.iter().find(|r| exclude.contains_key(r.0.name)) {
        return Err(ResolveError::RequiredAndExcluded { name: relation.name.to_owned() });
    }
    let mut search = Search { pool, exclude, facts: HashMap::new(), state: State::default(), choices: Vec::new() };
    for requirement in requirements {
        search.add_clause(vec![requirement.0], None);
    }
    search.run()?;
    search.solution()
}

/// Somebody needs one of these.
pub(super) struct Clause<'a> {
    pub alternatives: Vec<Relation<'a>>,
    /// `None`: the definition.
    pub needed_by: Option<PackageId>,
    candidates: Vec<PackageId>,
}

struct Facts<'a> {
    depends: Vec<Vec<Relation<'a>>>,
    conflicts: Vec<Relation<'a>>,
}

/// What has been chosen so far. Everything only grows, so that taking back is cutting off.
#[derive(Default)]
pub(super) struct State<'a> {
    /// With the clause that it was chosen for.
    pub chosen: Vec<(PackageId, usize)>,
    by_name: HashMap<&'a str, PackageId>,
    pub clauses: Vec<Clause<'a>>,
    /// What chosen packages do not stand beside them.
    conflicts: Vec<(PackageId, Relation<'a>)>,
}

/// A point to return to.
struct Choice {
    chosen: usize,
    clauses: usize,
    conflicts: usize,
    clause: usize,
    /// Candidates not tried yet, best last.
    remaining: Vec<PackageId>,
}

pub(super) struct Search<'p, 'a> {
    pub pool: &'p Pool<'a>,
    pub exclude: &'p BTreeMap<String, String>,
    facts: HashMap<PackageId, Rc<Facts<'a>>>,
    pub state: State<'a>,
    choices: Vec<Choice>,
}

/// What to do next.
enum Next {
    Done,
    Decide { clause: usize, candidates: Vec<PackageId> },
    Contradiction { clause: usize },
}

impl<'a> Search<'_, 'a> {
    fn run(&mut self) -> Result<(), ResolveError> {
        let mut first = None;
        for _ in 0..MAX_CHOICES {
            match self.next()? {
                Next::Done => return Ok(()),
                Next::Decide { clause, mut candidates } => {
                    candidates.reverse();
                    let best = candidates.pop();
                    self.choices.push(Choice {
                        chosen: self.state.chosen.len(),
                        clauses: self.state.clauses.len(),
                        conflicts: self.state.conflicts.len(),
                        clause,
                        remaining: candidates,
                    });
                    if let Some(best) = best {
                        self.choose(best, clause)?;
                    }
                }
                Next::Contradiction { clause } => {
                    // The first one met follows from the preferred choices alone: it tells most.
                    if first.is_none() {
                        first = Some(Box::new(Unsatisfied::explain(self, clause)?));
                    }
                    if !self.take_back()? {
                        break;
                    }
                }
            }
        }
        match first {
            Some(first) if self.choices.is_empty() => Err(ResolveError::Unsatisfied(first)),
            Some(first) => Err(ResolveError::TooHard { arch: self.pool.arch.to_owned(), first }),
            // Only a solution larger than any archive gets here.
            None => Ok(()),
        }
    }

    fn next(&mut self) -> Result<Next, BadStanza> {
        let mut decision: Option<(usize, Vec<PackageId>)> = None;
        for n in 0..self.state.clauses.len() {
            if self.state.clauses[n].candidates.iter().any(|c| self.is_chosen(*c)) {
                continue;
            }
            let mut viable = Vec::new();
            for candidate in self.state.clauses[n].candidates.clone() {
                if self.obstacle(candidate)?.is_none() {
                    viable.push(candidate);
                }
            }
            let Some(best) = viable.first() else { return Ok(Next::Contradiction { clause: n }) };
            let name = self.pool.get(*best).name;
            if viable.iter().all(|c| self.pool.get(*c).name == name) {
                return Ok(Next::Decide { clause: n, candidates: viable });
            }
            decision.get_or_insert((n, viable));
        }
        Ok(decision.map_or(Next::Done, |(clause, candidates)| Next::Decide { clause, candidates }))
    }

    /// Undoes the latest choice that has a candidate left, and takes that. False if there is none.
    fn take_back(&mut self) -> Result<bool, BadStanza> {
        while let Some(choice) = self.choices.last_mut() {
            for (id, _) in self.state.chosen.drain(choice.chosen..) {
                self.state.by_name.remove(self.pool.get(id).name);
            }
            self.state.clauses.truncate(choice.clauses);
            self.state.conflicts.truncate(choice.conflicts);
            let clause = choice.clause;
            match choice.remaining.pop() {
                Some(next) => {
                    self.choose(next, clause)?;
                    return Ok(true);
                }
                None => self.choices.pop(),
            };
        }
        Ok(false)
    }

    fn choose(&mut self, id: PackageId, clause: usize) -> Result<(), BadStanza> {
        let facts = self.facts(id)?;
        self.state.chosen.push((id, clause));
        self.state.by_name.insert(self.pool.get(id).name, id);
        self.state.conflicts.extend(facts.conflicts.iter().map(|relation| (id, relation.clone())));
        for alternatives in &facts.depends {
            if !self.is_excluded(alternatives) {
                self.add_clause(alternatives.clone(), Some(id));
            }
        }
        Ok(())
    }

    fn add_clause(&mut self, alternatives: Vec<Relation<'a>>, needed_by: Option<PackageId>) {
        let mut candidates = Vec::new();
        for candidate in alternatives.iter().flat_map(|relation| self.pool.candidates(relation)) {
            if !candidates.contains(&candidate) {
                candidates.push(candidate);
            }
        }
        self.state.clauses.push(Clause { alternatives, needed_by, candidates });
    }

    fn facts(&mut self, id: PackageId) -> Result<Rc<Facts<'a>>, BadStanza> {
        if let Some(facts) = self.facts.get(&id) {
            return Ok(facts.clone());
        }
        let package = self.pool.get(id);
        let (depends, conflicts) = (package.depends(self.pool.arch)?, package.conflicts(self.pool.arch)?);
        let facts = Rc::new(Facts { depends, conflicts });
        self.facts.insert(id, facts.clone());
        Ok(facts)
    }

    fn is_chosen(&self, id: PackageId) -> bool {
        self.state.by_name.get(self.pool.get(id).name) == Some(&id)
    }

    /// The definition says not to follow edges to one of these.
    fn is_excluded(&self, alternatives: &[Relation]) -> bool {
        alternatives.iter().any(|relation| self.exclude.contains_key(relation.name))
    }

    /// Why the package cannot be added to what is chosen.
    pub(super) fn obstacle(&mut self, id: PackageId) -> Result<Option<Obstacle>, BadStanza> {
        let name = self.pool.get(id).name;
        if self.exclude.contains_key(name) {
            return Ok(Some(Obstacle::Excluded));
        }
        if let Some(other) = self.state.by_name.get(name).filter(|other| **other != id) {
            return Ok(Some(Obstacle::OtherVersion { chosen: *other }));
        }
        // A package may conflict with a name that it provides itself: that means all others.
        let objector =
            self.state.conflicts.iter().find(|(by, relation)| {
                *by != id && self.pool.get(*by).name != name && self.pool.satisfies(id, relation)
            });
        if let Some((by, relation)) = objector {
            return Ok(Some(Obstacle::Conflict(Contradiction {
                with: *by,
                says: relation.to_string(),
                objects: true,
            })));
        }
        let facts = self.facts(id)?;
        for relation in &facts.conflicts {
            let named = self.state.by_name.get(relation.name).copied();
            let providers = self.pool.providers(relation.name).iter().map(|(provider, _)| *provider);
            let present = named.into_iter().chain(providers.filter(|p| self.is_chosen(*p)));
            let mut objectionable = present.filter(|p| *p != id && self.pool.satisfies(*p, relation));
            if let Some(with) = objectionable.next() {
                return Ok(Some(Obstacle::Conflict(Contradiction {
                    with,
                    says: relation.to_string(),
                    objects: false,
                })));
            }
        }
        Ok(None)
    }

    fn solution(&mut self) -> Result<Vec<Chosen<'a>>, ResolveError> {
        let mut solution = Vec::new();
        for (id, _) in self.state.chosen.clone() {
            let mut depends = Vec::new();
            for alternatives in &self.facts(id)?.depends {
                let candidates = alternatives.iter().flat_map(|relation| self.pool.candidates(relation));
                let used = candidates.into_iter().find(|c| self.is_chosen(*c)).filter(|c| *c != id);
                depends.extend(used.map(|c| self.pool.get(c).name));
            }
            depends.sort_unstable();
            depends.dedup();
            solution.push(Chosen { package: id, depends });
        }
        solution.sort_by_key(|c| self.pool.get(c.package).name);
        Ok(solution)
    }
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
