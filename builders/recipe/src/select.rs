//! Which hosts a command means: `web-1`, a fleet's `staging`, `@TAG`, or a pattern such as `edge-*`.

use std::collections::BTreeSet;

use cairn_formats::glob;
use serde::Deserialize;

use crate::error::{DefinitionError, nearest};
use crate::project::Project;
use crate::sources::Sources;

/// A host as a selection sees it.
#[derive(Debug, Clone, Default)]
struct Candidate {
    name: String,
    fleet: Option<String>,
    tags: Vec<String>,
}

/// What fits nothing.
#[derive(Debug, PartialEq, Eq)]
struct NoMatch {
    kind: &'static str,
    text: String,
    help: Option<String>,
}

impl Project {
    /// The hosts that these texts stand for, each once: in the order of the texts, and by name.
    pub fn hosts_named(&self, texts: &[String]) -> Result<Vec<String>, DefinitionError> {
        let tagged = texts.iter().any(|text| text.starts_with('@'));
        let mut candidates = Vec::new();
        for host in self.host_files()? {
            let fleet = host.fleet.as_ref().and_then(|folder| Some(folder.file_name()?.to_str()?.to_owned()));
            let tags = match tagged {
                true => Sources::read(&self.files, &host.file, host.fleet.as_deref())?.parse::<Tags>()?.tags,
                false => Vec::new(),
            };
            candidates.push(Candidate { name: host.name, fleet, tags });
        }
        candidates.sort_by(|a, b| a.name.cmp(&b.name));
        select(texts, &candidates).map_err(|NoMatch { kind, text, help }| DefinitionError::Unknown {
            kind,
            name: text,
            dir: self.root.join("hosts"),
            help,
        })
    }
}

/// All that a selection needs of a definition: a fault elsewhere in the file of a host that is not
/// meant is told to whoever means it.
#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Vec<String>,
}

fn select(texts: &[String], candidates: &[Candidate]) -> Result<Vec<String>, NoMatch> {
    let mut selected = Vec::new();
    for text in texts {
        let of_fleet = |host: &Candidate| host.fleet.as_ref() == Some(text);
        let fits = |host: &Candidate| match text.strip_prefix('@') {
            Some(tag) => host.tags.iter().any(|own| own == tag),
            None if glob::is_pattern(text) => glob::matches(text.as_bytes(), host.name.as_bytes()),
            None if candidates.iter().any(of_fleet) => of_fleet(host),
            None => host.name == *text,
        };
        let before = selected.len();
        selected.extend(candidates.iter().filter(|host| fits(host)).map(|host| host.name.clone()));
        if selected.len() == before {
            return Err(no_match(text, candidates));
        }
    }
    let mut seen = BTreeSet::new();
    selected.retain(|host| seen.insert(host.clone()));
    Ok(selected)
}

fn no_match(text: &str, candidates: &[Candidate]) -> NoMatch {
    let names: BTreeSet<&str> = candidates.iter().map(|host| host.name.as_str()).collect();
    let text = text.to_owned();
    if let Some(tag) = text.strip_prefix('@') {
        let tags: BTreeSet<&str> = candidates.iter().flat_map(|host| &host.tags).map(String::as_str).collect();
        let help = match nearest(tag, tags.iter().copied()) {
            Some(near) => Some(format!("did you mean `@{near}`?")),
            None if tags.is_empty() => Some(format!("add tags = [\"{tag}\"] to the definitions of those you mean")),
            None => list(tags.iter().map(|tag| format!("@{tag}"))),
        };
        return NoMatch { kind: "host with the tag", text, help };
    }
    if glob::is_pattern(&text) {
        // What the pattern says literally, against the beginnings of names.
        let literal = text.replace(['*', '?', '[', ']'], "");
        let beginning = |name: &'_ str| name.get(..literal.len()).unwrap_or(name).to_owned();
        let beginnings: Vec<String> = names.iter().map(|name| beginning(name)).collect();
        let near = nearest(&literal, beginnings.iter().map(String::as_str));
        let near = near.and_then(|near| names.iter().find(|name| beginning(name) == near));
        let help = near.map(|near| format!("the nearest name is `{near}`")).or_else(|| list(names.iter()));
        return NoMatch { kind: "host that matches", text, help };
    }
    let known: BTreeSet<&str> =
        names.iter().copied().chain(candidates.iter().filter_map(|h| h.fleet.as_deref())).collect();
    let help = match nearest(&text, known.iter().copied()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None => list(known.iter()),
    };
    NoMatch { kind: "host", text, help }
}

fn list(names: impl Iterator<Item = impl ToString>) -> Option<String> {
    let names: Vec<String> = names.map(|name| name.to_string()).collect();
    (!names.is_empty()).then(|| format!("there are: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hosts() -> Vec<Candidate> {
        [
            ("edge-1", None, vec!["edge"]),
            ("edge-2", None, vec!["edge", "canary"]),
            ("local", None, vec![]),
            ("production-web-1", Some("production"), vec!["web"]),
            ("production-web-2", Some("production"), vec!["web", "canary"]),
        ]
        .map(|(name, fleet, tags)| Candidate {
            name: name.to_owned(),
            fleet: fleet.map(str::to_owned),
            tags: tags.into_iter().map(str::to_owned).collect(),
        })
        .to_vec()
    }

    fn selected(texts: &[&str]) -> Result<Vec<String>, NoMatch> {
        select(&texts.iter().map(|text| text.to_string()).collect::<Vec<_>>(), &hosts())
    }

    #[test]
    fn hosts_fleets_tags_and_patterns_are_meant() {
        for (texts, wanted) in [
            (&["local"][..], &["local"][..]),
            (&["production"], &["production-web-1", "production-web-2"]),
            (&["@canary"], &["edge-2", "production-web-2"]),
            (&["edge-*"], &["edge-1", "edge-2"]),
            (&["edge-[2-9]", "*-web-?"], &["edge-2", "production-web-1", "production-web-2"]),
            // Each once, where it was first meant.
            (
                &["local", "@web", "production-web-1", "production", "local"],
                &["local", "production-web-1", "production-web-2"],
            ),
        ] {
            assert_eq!(selected(texts).unwrap(), wanted, "{texts:?}");
        }
    }

    #[test]
    fn what_fits_nothing_names_what_is_near() {
        for (text, kind, help) in [
            ("locla", "host", "did you mean `local`?"),
            ("prodution", "host", "did you mean `production`?"),
            ("@wbe", "host with the tag", "did you mean `@web`?"),
            ("@everything", "host with the tag", "there are: @canary, @edge, @web"),
            ("egde-*", "host that matches", "the nearest name is `edge-1`"),
            ("database-*", "host that matches", "there are: edge-1, edge-2, local, production-web-1, production-web-2"),
        ] {
            let NoMatch { kind: found, text: named, help: helped } = selected(&["local", text]).unwrap_err();
            assert_eq!((found, named.as_str(), helped.as_deref()), (kind, text, Some(help)), "{text}");
        }
        let untagged = select(&["@web".to_owned()], &[Candidate::default()]).unwrap_err();
        assert!(untagged.help.unwrap().contains("add tags"));
    }
}
