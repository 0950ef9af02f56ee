//! The licence texts of what is compiled into each program, as the program prints them.
//!
//! A file for each program, committed beside its sources and compiled into it, so that a copy of the
//! program alone, as the agent on a host, has its notices. One file for all programs would change the
//! agent, and send it to every host again, with a crate that only `deploy` has.
//!
//! Texts come from the crates' own folders in cargo's home. Most differ in the line that names the
//! holder of the copyright and in nothing else, so those lines stand apart and each text stands once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::graph::{Graph, Package};
use crate::root;

pub struct Program {
    pub package: &'static str,
    name: &'static str,
    file: &'static str,
}

pub const PROGRAMS: [Program; 3] = [
    Program { package: "cairn-cli", name: "deploy", file: "deploy/cli/THIRD-PARTY-NOTICES" },
    Program { package: "cairn-agent", name: "cairn-agent", file: "deploy/agent/THIRD-PARTY-NOTICES" },
    Program { package: "cairn-builder", name: "cairn-builder", file: "builders/builder/THIRD-PARTY-NOTICES" },
];

/// What the compiler links besides crates: name, licence, text.
const RUNTIME: [[&str; 3]; 2] = [
    ["Rust standard library", "MIT OR Apache-2.0", include_str!("runtime/rust.txt")],
    ["musl", "MIT", include_str!("runtime/musl.txt")],
];

/// Sources of C libraries lie up to this deep in a crate: `zstd-sys/zstd/LICENSE`.
const DEPTH: usize = 4;

/// Writes the files.
pub fn run() -> Result<()> {
    let graph = Graph::read()?;
    for program in &PROGRAMS {
        let path = root().join(program.file);
        fs::write(&path, text(&graph, program)?).with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {}", program.file);
    }
    Ok(())
}

/// One line for each file that is not what `run` would write.
pub fn outdated(graph: &Graph) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for program in &PROGRAMS {
        let now = fs::read_to_string(root().join(program.file)).unwrap_or_default();
        if now != text(graph, program)? {
            faults.push(format!("{} is not up to date with Cargo.lock: run `cargo xtask notices`", program.file));
        }
    }
    Ok(faults)
}

/// One licence text, and those whose it is.
#[derive(Default)]
struct Notice {
    /// As it was first met, without its lines of copyright.
    body: String,
    /// Crate and version → its lines of copyright.
    holders: BTreeMap<String, BTreeSet<String>>,
}

fn text(graph: &Graph, program: &Program) -> Result<String> {
    let linked = graph.linked(program.package)?;
    let mut notices: BTreeMap<String, Notice> = BTreeMap::new();
    let mut without = Vec::new();
    for [name, _, text] in RUNTIME {
        add(&mut notices, name, text);
    }
    for package in &linked {
        let folder = package.manifest_path.parent().unwrap_or(Path::new("/"));
        let files = licence_files(folder)?;
        for file in &files {
            let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            add(&mut notices, &label(package), &String::from_utf8_lossy(&bytes));
        }
        if files.is_empty() {
            without.push(*package);
        }
    }
    Ok(render(program, &linked, &without, &notices))
}

fn label(package: &Package) -> String {
    format!("{} {}", package.name, package.version)
}

fn add(notices: &mut BTreeMap<String, Notice>, owner: &str, text: &str) {
    let (copyright, body) = split(text);
    if body.trim_start().starts_with("GNU ") {
        return; // see `licence_files`
    }
    let body = without_appendix(&body);
    // Line breaks, marks of emphasis and `https` differ between copies of one text.
    let words = body.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(|word| word.to_lowercase().replace("https", "http")).collect();
    let notice = notices.entry(words.join(" ")).or_default();
    if notice.body.is_empty() {
        notice.body = body;
    }
    notice.holders.entry(owner.to_owned()).or_default().extend(copyright);
}

/// The Apache licence without the advice to authors at its end, which some copies have and others not.
fn without_appendix(body: &str) -> String {
    let Some((terms, appendix)) = body.split_once("END OF TERMS AND CONDITIONS") else { return body.to_owned() };
    let rest = match appendix.trim_start().starts_with("APPENDIX: How to apply") {
        true => appendix.split_once("limitations under the License.").map_or("", |(_, rest)| rest),
        false => appendix,
    };
    format!("{}\n{}", terms.trim_end(), rest.trim_end()).trim_end().to_owned()
}

/// Lines that name who holds the copyright, and the rest.
fn split(text: &str) -> (Vec<String>, String) {
    let mut copyright = Vec::new();
    let mut body: Vec<String> = Vec::new();
    for line in text.lines() {
        let line: String = line.chars().filter(|c| !c.is_control() && *c != '\u{feff}').collect();
        let line = line.trim_end();
        if is_copyright(line) {
            copyright.push(line.trim().to_owned());
        } else if !(line.is_empty() && body.last().is_none_or(String::is_empty)) {
            body.push(line.to_owned());
        }
    }
    while body.last().is_some_and(String::is_empty) {
        body.pop();
    }
    (copyright, body.join("\n"))
}

/// `Copyright (c) 2020 A`, `Copyright 2020 A`, `© 2020 A`; not a sentence that begins with the word, not
/// a point (c) of a list, and not the line to be filled in at the end of the Apache licence.
fn is_copyright(line: &str) -> bool {
    let line = line.trim();
    let mark = |text: &str| ["(c)", "(C)", "©"].iter().any(|mark| text.starts_with(mark));
    let rest = line.strip_prefix("Copyright").map(|rest| rest.trim_start_matches([':', ' ']));
    let year =
        |text: &str| text.trim_start_matches(|c: char| !c.is_alphanumeric()).starts_with(|c: char| c.is_ascii_digit());
    let bare = ["(c)", "(C)", "©"].iter().find_map(|mark| line.strip_prefix(mark));
    bare.is_some_and(year) || rest.is_some_and(|rest| mark(rest) || rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Files of licences and notices, in the order of their names. Left out are the texts of the GPL: every
/// crate that has one can be had under another licence, which is the one that is taken.
fn licence_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut next = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = next.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type()?;
            if kind.is_dir() && depth < DEPTH && !["tests", "benches", "examples"].contains(&name.as_str()) {
                next.push((entry.path(), depth + 1));
            } else if kind.is_file() && is_licence(&name) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_licence(name: &str) -> bool {
    let name = name.to_uppercase();
    let words = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
    let rest = words.iter().find_map(|word| name.strip_prefix(word));
    let program = [".RS", ".C", ".H", ".SH", ".PY", ".TOML", ".JSON", ".HTML"].iter().any(|end| name.ends_with(end));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '_'])) && !program && !name.contains("GPL")
}

fn render(program: &Program, linked: &[&Package], without: &[&Package], notices: &BTreeMap<String, Notice>) -> String {
    let mut text = format!(
        "Third-party notices of {}\n\nThis program contains the software listed here, under the licences named beside it. Where a\n\
         licence can be chosen, none of the GPL's family is. The texts follow.\n\n",
        program.name
    );
    for [name, license, _] in RUNTIME {
        text.push_str(&format!("{name}: {license}\n"));
    }
    for package in linked {
        text.push_str(&format!("{}: {}\n", label(package), package.license.as_deref().unwrap_or("unknown")));
    }
    if !without.is_empty() {
        text.push_str("\nThese come without a text of their own; that of the licence named above applies:\n\n");
        for package in without {
            let authors =
                if package.authors.is_empty() { "their authors".to_owned() } else { package.authors.join(", ") };
            text.push_str(&format!("{}, by {authors}\n", label(package)));
        }
    }
    // By their first owner: a new crate moves no other text.
    let mut notices: Vec<&Notice> = notices.values().collect();
    notices.sort_by_key(|notice| (notice.holders.keys().next(), &notice.body));
    for notice in notices {
        text.push_str(&format!("\n{}\n", "=".repeat(100)));
        for (owner, lines) in &notice.holders {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            text.push_str(&format!("{owner}{}{}\n", if lines.is_empty() { "" } else { ": " }, lines.join("; ")));
        }
        text.push_str(&format!("\n{}\n", notice.body));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn texts_that_differ_in_their_holder_stand_once_and_every_holder_stands() {
        let mut notices = BTreeMap::new();
        let text = |holder: &str, rest: &str| format!("{holder}\r\n\r\nPermission is granted,\n{rest}\n\n");
        add(&mut notices, "a 1.0", &text("Copyright (c) 2020 A", "free of charge."));
        add(&mut notices, "b 2.0", &text("Copyright © 2021 B", "free  of charge."));
        add(&mut notices, "c 1.0", &text("Copyright 2022 C", "for money."));
        let notice = |first: &str| notices.values().find(|notice| notice.holders.contains_key(first)).unwrap();
        assert_eq!(notices.len(), 2);
        assert_eq!(notice("a 1.0").body, "Permission is granted,\nfree of charge.");
        assert_eq!(notice("a 1.0").holders["b 2.0"], BTreeSet::from(["Copyright © 2021 B".to_owned()]));
    }

    #[test]
    fn a_sentence_that_begins_with_copyright_belongs_to_its_text() {
        for (line, expected) in [
            ("Copyright (c) 2014 The Rust Project Developers", true),
            ("   Copyright 2016 Nicolas Silva", true),
            ("Copyright: (C) 2020 X", true),
            ("© 2020 X", true),
            ("(c) 2020 X", true),
            ("(c) You must retain, in the Source form", false),
            ("copyright notice that is included in or attached to the work", false),
            ("Copyright [yyyy] [name of copyright owner]", false),
            ("Copyright notices must be kept", false),
        ] {
            assert_eq!(is_copyright(line), expected, "{line}");
        }
    }

    #[test]
    fn copies_of_the_apache_licence_are_one_whether_or_not_they_have_its_appendix() {
        let mut notices = BTreeMap::new();
        let appendix = "\n\n   APPENDIX: How to apply the Apache License to your work.\n\n   Copyright 2020 A\n\n   \
                        See the License for the specific language and\n   limitations under the License.\n";
        add(&mut notices, "a 1.0", &format!("Apache License\nterms\n\nEND OF TERMS AND CONDITIONS{appendix}"));
        add(&mut notices, "b 1.0", "  Apache License\n  terms\n\n  END OF TERMS AND CONDITIONS\n");
        add(&mut notices, "c 1.0", &format!("Apache License\nterms\nEND OF TERMS AND CONDITIONS{appendix}\nAnd more."));
        add(&mut notices, "d 1.0", "GNU GENERAL PUBLIC LICENSE\nVersion 2");
        let owners: Vec<Vec<&String>> = notices.values().map(|notice| notice.holders.keys().collect()).collect();
        assert_eq!(owners, [vec!["a 1.0", "b 1.0"], vec!["c 1.0"]]);
    }

    #[test]
    fn files_of_licences_are_told_by_their_names() {
        for (name, expected) in [
            ("LICENSE", true),
            ("LICENSE-MIT", true),
            ("license.md", true),
            ("LICENSE_APACHE.txt", true),
            ("COPYING.0BSD", true),
            ("UNLICENSE", true),
            ("NOTICE", true),
            ("COPYING.GPLv2", false),
            ("license.rs", false),
            ("license-check.sh", false),
            ("licenses", false),
            ("README.md", false),
        ] {
            assert_eq!(is_licence(name), expected, "{name}");
        }
    }

    /// What the programs print names every crate of their dependency graph, and has a text for each.
    #[test]
    fn the_notices_name_every_crate_that_is_linked() {
        let graph = Graph::read().unwrap();
        assert_eq!(outdated(&graph).unwrap(), Vec::<String>::new());
        for program in &PROGRAMS {
            let text = fs::read_to_string(root().join(program.file)).unwrap();
            let (list, texts) = text.split_once(&"=".repeat(100)).unwrap();
            let linked = graph.linked(program.package).unwrap();
            assert!(linked.len() > 50, "{}: {}", program.package, linked.len());
            for package in linked {
                let label = label(package);
                assert!(list.contains(&format!("\n{label}: ")), "{}: {label}", program.file);
                let has_text = texts.contains(&format!("\n{label}\n")) || texts.contains(&format!("\n{label}: "));
                assert!(has_text || list.contains(&format!("\n{label}, by ")), "{}: {label}", program.file);
            }
        }
    }
}
