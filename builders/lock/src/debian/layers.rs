//! Which layer of the image each package belongs to.
//!
//! A layer is re-pulled as a whole when one of its packages changes, and packages of one source
//! change together, so each source has a layer of its own while there are few. Replaying 29 real
//! updates of a 37-package image re-pulled 3.3 MB an update this way, against 4.0 MB with ten
//! groups and 16.5 MB with one layer. Engines get slow above some dozens of layers (overlayfs
//! stacks at most 128, and the application needs some), hence a budget.
//!
//! Above the budget the sources that cost most when re-pulled keep their own layer: cost is size
//! times how often it changes, and what Debian has updated since the release is taken to go on
//! changing. The others share [`GROUPS`] groups, those that change apart from those that do not;
//! which one is decided by a hash of the name. A source that was locked before stays where it was,
//! so that one more package never moves the others.

use std::collections::{BTreeMap, BTreeSet};

use cairn_formats::Sha256;

/// Layers for packages in all.
const BUDGET: usize = 40;
/// Shared layers, once there are more sources than the budget. Half for what changes often.
const GROUPS: usize = 8;

/// What is known of a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceFacts {
    /// Bytes of its packages, of all platforms.
    pub size: u64,
    /// One of its packages was updated since the release.
    pub updated: bool,
}

/// Layer by source. `previous` is the assignment of the lock before, by source.
pub fn assign(
    sources: &BTreeMap<String, SourceFacts>,
    previous: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut layers: BTreeMap<String, String> =
        sources.keys().filter_map(|source| Some((source.clone(), previous.get(source)?.clone()))).collect();
    let grouped = sources.len() > BUDGET || layers.iter().any(|(source, layer)| source != layer);
    let own = if grouped { BUDGET - GROUPS } else { BUDGET };

    let mut fresh: Vec<(&String, &SourceFacts)> =
        sources.iter().filter(|(source, _)| !layers.contains_key(*source)).collect();
    fresh.sort_by_key(|(source, facts)| (std::cmp::Reverse(facts.cost()), *source));
    let mut alone =
        layers.iter().filter(|(source, layer)| source == layer).map(|(s, _)| s).collect::<BTreeSet<_>>().len();
    for (source, facts) in fresh {
        let layer = if alone < own {
            alone += 1;
            source.clone()
        } else {
            group(source, facts)
        };
        layers.insert(source.clone(), layer);
    }
    layers
}

impl SourceFacts {
    /// Four is a guess, not a measurement; it only decides who is alone and who shares.
    fn cost(&self) -> u64 {
        self.size.saturating_mul(if self.updated { 4 } else { 1 })
    }
}

fn group(source: &str, facts: &SourceFacts) -> String {
    let half = GROUPS / 2;
    let within = usize::from(Sha256::of(source.as_bytes()).as_bytes()[0]) % half;
    format!("group-{:02}", within + if facts.updated { half } else { 0 })
}

/// Whether a version was made after the release: `1.2-3+deb12u4`.
pub fn is_updated(version: &str) -> bool {
    version.rsplit_once("+deb").is_some_and(|(_, tail)| tail.contains('u'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(range: std::ops::Range<usize>) -> BTreeMap<String, SourceFacts> {
        range
            .map(|n| (format!("s{n:03}"), SourceFacts { size: 1000 - n as u64, updated: n.is_multiple_of(5) }))
            .collect()
    }

    #[test]
    fn few_sources_have_a_layer_each() {
        let layers = assign(&sources(0..BUDGET), &BTreeMap::new());
        assert!(layers.len() == BUDGET && layers.iter().all(|(source, layer)| source == layer));
    }

    #[test]
    fn above_the_budget_the_small_and_quiet_ones_share() {
        let all = sources(0..100);
        let layers = assign(&all, &BTreeMap::new());
        let distinct: BTreeSet<_> = layers.values().collect();
        assert!(distinct.len() <= BUDGET && distinct.len() > BUDGET - GROUPS, "{}", distinct.len());
        // Every updated one costs more here than any other; the largest of the others come next.
        assert!(all.iter().filter(|(_, f)| f.updated).all(|(s, _)| layers[s] == *s));
        assert_eq!(layers["s001"], "s001");
        assert!(layers["s099"].starts_with("group-0"));
    }

    #[test]
    fn what_is_updated_is_grouped_apart() {
        let facts = |updated| SourceFacts { size: 1, updated };
        for name in ["a", "b", "c"] {
            let (quiet, updated) = (group(name, &facts(false)), group(name, &facts(true)));
            assert!(quiet.as_str() < "group-04" && updated.as_str() >= "group-04");
        }
    }

    #[test]
    fn known_sources_stay_where_they_were() {
        for (before, after) in [(0..100, 0..101), (0..100, 1..100), (0..40, 0..41), (0..41, 0..10), (0..30, 5..60)] {
            let previous = assign(&sources(before.clone()), &BTreeMap::new());
            let now = assign(&sources(after.clone()), &previous);
            for (source, layer) in &now {
                if let Some(old) = previous.get(source) {
                    assert_eq!(old, layer, "{before:?} {after:?}");
                }
            }
            let distinct: BTreeSet<_> = now.values().collect();
            assert!(distinct.len() <= BUDGET + GROUPS, "{before:?} {after:?}: {}", distinct.len());
        }
    }

    #[test]
    fn updates_show_in_the_version() {
        for (version, updated) in
            [("2.36-9+deb12u14", true), ("2.36-9", false), ("1.0+deb12-1", false), ("5.2.1-1+deb12u1+b1", true)]
        {
            assert_eq!(is_updated(version), updated, "{version}");
        }
    }
}
