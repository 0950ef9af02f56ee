//! Reads who asked for what from a `requirements.txt` that uv annotated:
//!
//! ```text
//! anyio==4.12.1             # via starlette, watchfiles
//! fastapi==0.109.0          # via -r requirements.in
//! ```
//!
//! The edges are for people (which package brought this one?); nothing is decided by them, so an
//! annotation in a form that is not known is passed over.

use std::collections::{BTreeMap, BTreeSet};

use super::requirement::normalise;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Edges {
    versions: BTreeMap<String, String>,
    /// From a package to what it needs.
    needs: BTreeMap<String, BTreeSet<String>>,
}

impl Edges {
    pub fn of(&self, name: &str) -> impl Iterator<Item = &String> {
        self.needs.get(name).into_iter().flatten()
    }

    pub fn version(&self, name: &str) -> Option<&String> {
        self.versions.get(name)
    }

    pub fn len(&self) -> usize {
        self.versions.len()
    }
}

pub fn parse(text: &str) -> Edges {
    let mut edges = Edges::default();
    for line in text.lines() {
        let (pin, annotation) = line.split_once('#').unwrap_or((line, ""));
        let Some((name, version)) = pin.split_once("==") else { continue };
        let name = normalise(name.split('[').next().unwrap_or_default().trim());
        edges.versions.insert(name.clone(), version.trim().to_owned());
        let Some(parents) = annotation.trim().strip_prefix("via ") else { continue };
        for parent in parents.split(',').map(str::trim) {
            // `-r requirements.in` asked, not a package.
            let is_name = !parent.is_empty() && !parent.starts_with('-') && !parent.contains([' ', '/', '(']);
            if is_name {
                edges.needs.entry(normalise(parent)).or_default().insert(name.clone());
            }
        }
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_become_edges() {
        let edges = parse(
            "anyio==4.12.1             # via starlette, watchfiles\n\
             fastapi==0.109.0          # via -r requirements.in\n\
             h11==0.14.0               # via -r requirements.in, uvicorn\n\
             Starlette==0.35.1         # via fastapi\n\
             alone==1.0\n\
             odd==1.0                  # because\n\
             # a comment == with signs\n\
             \n\
             nonsense\n",
        );
        let of = |name: &str| edges.of(name).cloned().collect::<Vec<_>>();
        assert_eq!(of("starlette"), ["anyio"]);
        assert_eq!(of("watchfiles"), ["anyio"]);
        assert_eq!(of("fastapi"), ["starlette"]);
        assert_eq!(of("uvicorn"), ["h11"]);
        assert_eq!(of("anyio"), [""; 0]);
        assert_eq!(edges.version("starlette").map(String::as_str), Some("0.35.1"));
        assert_eq!(edges.len(), 6);
    }
}
