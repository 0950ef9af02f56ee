//! What a lock changes, as one line each.

use std::collections::BTreeMap;

use cairn_recipe::Lock;
use cairn_recipe::lock::{Accepted, AcceptedKind, LockedIndex};

/// `name (arch) old → new`, `+ name (arch) new`, `- name (arch) old`; then what else differs: files
/// of one version, signers, stale indexes, the policy.
pub fn changes(previous: &Lock, lock: &Lock) -> Vec<String> {
    let (old, new) = (versions(previous), versions(lock));
    let mut lines = Vec::new();
    for ((name, arch), (version, hashes)) in &new {
        match old.get(&(*name, *arch)) {
            Some((was, had)) if was == version && had == hashes => {}
            Some((was, had)) if was == version => {
                lines.push(format!("{name} ({arch}) {version}: sha256 {} → {}", had.join(" "), hashes.join(" ")));
            }
            Some((was, _)) => lines.push(format!("{name} ({arch}) {was} → {version}")),
            None => lines.push(format!("+ {name} ({arch}) {version}")),
        }
    }
    let gone = old.iter().filter(|(key, _)| !new.contains_key(*key));
    lines.extend(gone.map(|((name, arch), (version, _))| format!("- {name} ({arch}) {version}")));
    for index in &lock.indexes {
        let before = previous.indexes.iter().find(|old| (&old.archive, &old.suite) == (&index.archive, &index.suite));
        lines.extend(before.into_iter().flat_map(|before| of_index(before, index)));
    }
    if previous.exclude_newer != lock.exclude_newer {
        let shown = |time: &Option<String>| time.clone().unwrap_or_else(|| "none".to_owned());
        lines.push(format!("exclude-newer {} → {}", shown(&previous.exclude_newer), shown(&lock.exclude_newer)));
    }
    lines.extend(lock.accepted.iter().filter(|accepted| !previous.accepted.contains(accepted)).map(shown));
    lines
}

type Versions<'a> = BTreeMap<(&'a str, &'a str), (&'a str, Vec<String>)>;

/// Version and hashes by name and architecture. A package may have one file for each platform.
fn versions(lock: &Lock) -> Versions<'_> {
    let debs = lock.debs.iter().map(|deb| ((&*deb.name, &*deb.arch), &*deb.version, deb.sha256));
    let wheels = lock.wheels.iter().map(|wheel| ((&*wheel.name, "wheel"), &*wheel.version, wheel.sha256));
    let mut versions = Versions::new();
    for (key, version, sha256) in debs.chain(wheels) {
        let (known, hashes) = versions.entry(key).or_insert((version, Vec::new()));
        if *known != version {
            (*known, *hashes) = (version, Vec::new());
        }
        if !hashes.contains(&sha256.hex()) {
            hashes.push(sha256.hex());
        }
    }
    versions.values_mut().for_each(|(_, hashes)| hashes.sort());
    versions
}

fn of_index(before: &LockedIndex, now: &LockedIndex) -> Vec<String> {
    let mut lines = Vec::new();
    if before.signed_by != now.signed_by {
        let (old, new) = (before.signed_by.join(" "), now.signed_by.join(" "));
        lines.push(format!("suite {}: signed by {old} → {new}", now.suite));
    }
    match (before.accepted_stale, now.accepted_stale) {
        (true, false) => lines.push(format!("suite {}: its index is no longer stale", now.suite)),
        (false, true) => lines.push(format!("suite {}: a stale index was accepted", now.suite)),
        _ => {}
    }
    lines
}

fn shown(accepted: &Accepted) -> String {
    let Accepted { kind, name, old, new } = accepted;
    match kind {
        AcceptedKind::OlderRelease => format!("accepted: suite {name} from {old} back to {new}"),
        AcceptedKind::Signer => format!("accepted: suite {name} signed by {new} instead of {old}"),
        AcceptedKind::ChangedHash => format!("accepted: another file of {name}, sha256 {new} instead of {old}"),
    }
}
