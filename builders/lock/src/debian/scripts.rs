//! Maintainer scripts: none is ever run, so each must be known not to be missed.
//!
//! A script passes when
//! 1. it consists of nothing but fragments that debhelper generates and that have no effect in an
//!    image, or one that the builder reproduces ([`super::debhelper`]); or
//! 2. it stands in `scripts.toml`, by package, script and hash, with its effect and the reason
//!    (some scripts hold the version of their package, so each release would have another hash:
//!    the list's hashes are taken with [`VERSION_MARK`] in place of it); or
//! 3. the definition acknowledges it, by package, script and hash.
//!
//! Only `preinst` and `postinst` matter: what a package does when it is removed never happens in
//! an image, so `prerm` and `postrm` are never an error, and neither is `config`, which only asks
//! questions for a `postinst` to use.

use std::fmt;
use std::sync::LazyLock;

use cairn_formats::Sha256;
use cairn_recipe::image::Acknowledged;
use serde::Deserialize;

use super::debhelper;

/// Lines of an unknown script that a message shows.
const SHOWN_LINES: usize = 40;

/// Stands for a package's own version in a script whose hash is in the list.
pub const VERSION_MARK: &str = "@VERSION@";

/// What a known script does to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The builder writes `ld.so.cache`.
    Ldconfig,
    /// The builder compiles Python files.
    Py3compile,
    /// A link that `update-alternatives` would make; the definition declares it if it is wanted.
    Alternatives,
    /// Users or groups; the definition declares those that it runs services as.
    Users,
    /// The builder writes the certificate bundle.
    Certificates,
    /// A file under `/etc` made from a template of the package; the definition adds its own.
    Configuration,
    /// Only matters on a running machine, or when an old version is replaced.
    NoneInImage,
}

/// An entry of `scripts.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownScript {
    pub package: String,
    pub script: String,
    /// [`listed_hash`] of the script.
    pub sha256: Sha256,
    pub effect: Effect,
    pub why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    script: Vec<KnownScript>,
}

static KNOWN: LazyLock<Vec<KnownScript>> = LazyLock::new(|| {
    let file: File = toml::from_str(include_str!("scripts.toml")).expect("a test reads this very text");
    file.script
});

/// The scripts that were read and judged.
pub fn known() -> &'static [KnownScript] {
    &KNOWN
}

/// A script that nobody has judged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownScript {
    pub package: String,
    pub version: String,
    pub script: String,
    pub sha256: Sha256,
    pub text: String,
}

/// Why a script passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    Debhelper,
    Known(Effect),
    Acknowledged,
}

/// A script of a package.
#[derive(Debug, Clone, Copy)]
pub struct Script<'a> {
    pub package: &'a str,
    pub version: &'a str,
    /// `preinst` or `postinst`.
    pub name: &'a str,
    pub content: &'a [u8],
}

/// The hash that the list holds: of the script with its package's version replaced.
pub fn listed_hash(script: Script) -> Sha256 {
    match std::str::from_utf8(script.content) {
        Ok(text) => Sha256::of(text.replace(script.version, VERSION_MARK).as_bytes()),
        Err(_) => Sha256::of(script.content),
    }
}

/// Judges one script. `None` when it is unknown.
pub fn judge(script: Script, acknowledged: &[Acknowledged]) -> Option<Judged> {
    if std::str::from_utf8(script.content).is_ok_and(debhelper::is_all_generated) {
        return Some(Judged::Debhelper);
    }
    let listed = listed_hash(script);
    let is_this = |k: &&KnownScript| k.package == script.package && k.script == script.name && k.sha256 == listed;
    if let Some(known) = known().iter().find(is_this) {
        return Some(Judged::Known(known.effect));
    }
    let sha256 = Sha256::of(script.content);
    let by_definition = |a: &Acknowledged| a.package == script.package && a.script == script.name && a.sha256 == sha256;
    acknowledged.iter().any(by_definition).then_some(Judged::Acknowledged)
}

impl fmt::Display for UnknownScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { package, version, script, sha256, text } = self;
        writeln!(f, "the {script} script of package {package} {version} is not known")?;
        let lines = text.lines().count();
        for line in text.lines().take(SHOWN_LINES) {
            writeln!(f, "  | {}", line.replace(|c: char| c.is_control() && c != '\t', "\u{fffd}"))?;
        }
        if lines > SHOWN_LINES {
            writeln!(f, "  | … ({} more lines)", lines - SHOWN_LINES)?;
        }
        writeln!(f, "  help: maintainer scripts are not run. Read it: if the image works without what it does, or if")?;
        writeln!(f, "  you do that in the definition (links, users, files), acknowledge it in image.toml:\n")?;
        writeln!(f, "[[debian.acknowledge]]\npackage = \"{package}\"\nscript = \"{script}\"\nsha256 = \"{sha256}\"")?;
        write!(f, "reason = \"…\"")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_list_is_sorted_reasoned_and_without_repetition() {
        let keys: Vec<_> = known().iter().map(|k| (&k.package, &k.script, k.sha256)).collect();
        assert!(keys.is_sorted());
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
        assert!(known().iter().all(|k| k.why.len() > 15 && ["preinst", "postinst"].contains(&k.script.as_str())));
    }

    fn judged(package: &str, name: &str, content: &[u8], list: &[Acknowledged]) -> Option<Judged> {
        judge(Script { package, version: "1.2-3", name, content }, list)
    }

    #[test]
    fn the_version_of_the_package_does_not_change_the_hash() {
        let hash = |version: &str| {
            let text = format!("#!/bin/sh\n[ \"$2\" = \"{version}\" ]\n");
            listed_hash(Script { package: "a", version, name: "postinst", content: text.as_bytes() })
        };
        assert_eq!(hash("2.36-9+deb12u14"), hash("2.36-9+deb12u15"));
    }

    #[test]
    fn a_script_passes_by_list_or_by_acknowledgement_of_its_very_bytes() {
        let text = b"#!/bin/sh\nadduser --system me\n";
        let acknowledged = Acknowledged {
            package: "me".into(),
            script: "postinst".into(),
            sha256: Sha256::of(text),
            reason: "declared".into(),
        };
        let list = [acknowledged];
        assert_eq!(judged("me", "postinst", text, &list), Some(Judged::Acknowledged));
        assert_eq!(judged("me", "postinst", b"#!/bin/sh\nadduser --system you\n", &list), None);
        assert_eq!(judged("you", "postinst", text, &list), None);
        assert_eq!(judged("me", "preinst", text, &list), None);
        assert_eq!(judged("me", "postinst", b"#!/bin/sh\nset -e\nexit 0\n", &[]), Some(Judged::Debhelper));
        assert_eq!(judged("me", "postinst", b"\xff\xfe", &[]), None);
    }

    #[test]
    fn an_unknown_script_is_shown_with_the_block_that_acknowledges_it() {
        let text: String = (0..50).map(|n| format!("line {n} \x1b[31m\n")).collect();
        let unknown = UnknownScript {
            package: "foo".into(),
            version: "1-2".into(),
            script: "postinst".into(),
            sha256: Sha256::of(text.as_bytes()),
            text,
        };
        let message = unknown.to_string();
        assert!(message.contains("line 39") && !message.contains("line 40") && message.contains("(10 more lines)"));
        assert!(!message.contains('\x1b'));
        let block = &message[message.find("[[debian").unwrap()..];
        #[derive(Deserialize)]
        struct Debian {
            acknowledge: Vec<Acknowledged>,
        }
        #[derive(Deserialize)]
        struct Definition {
            debian: Debian,
        }
        let parsed: Definition = toml::from_str(block).unwrap();
        let expected = (&unknown.package, &unknown.script, unknown.sha256);
        let entry = &parsed.debian.acknowledge[0];
        assert_eq!((&entry.package, &entry.script, entry.sha256), expected);
    }
}
