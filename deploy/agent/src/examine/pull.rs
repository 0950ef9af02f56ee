//! A host that pulls: whether it runs what its pointer says, and how old that pointer is.
//!
//! A cache cannot change what a host runs, but it can keep newer pointers from it. Nothing fails then,
//! on the host or anywhere else: the age of the newest pointer is the only sign.

use cairn_formats::time::rfc3339;
use cairn_protocol::{Finding, PullStatus, StalePointer, span};

use crate::activation::record;
use crate::paths::Paths;
use crate::pull;

/// Empty on a host that does not pull.
pub fn findings(paths: &Paths, warn_after: Option<u64>) -> Vec<Finding> {
    pull::status(paths).map_or_else(Vec::new, |status| judge(&PullStatus { warn_after, ..status }, record::seconds()))
}

fn judge(status: &PullStatus, now: i64) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(problem) = &status.problem {
        let next = "`journalctl -u cairn-pull` on the host says more; `systemctl start cairn-pull` looks again";
        found.push(Finding::wrong("pull", problem, "the host does not run what its pointer says", next));
    }
    found.push(match (status.stale(now), status.age(now)) {
        (Some(StalePointer::Expired { at }), _) => Finding::wrong(
            "pointer",
            format!("it has expired at {}", rfc3339(at)),
            "this host stays as it is, and a fresh one starts with nothing",
            format!("`deploy publish {}`", status.host),
        ),
        (Some(StalePointer::Old { age, warn_after }), _) => Finding::note(
            "pointer",
            format!("it is {} old, more than {}", span(age), span(warn_after)),
            "a cache that keeps newer pointers from the host looks like this",
            format!(
                "`deploy publish {}`; if that was done since, look at what the host gets from {}",
                status.host, status.cache
            ),
        ),
        (None, Some(age)) => Finding::good("pointer", format!("{} old", span(age))),
        (None, None) => Finding::note(
            "pointer",
            "the host has accepted none yet",
            "without one it runs nothing",
            format!("`deploy publish {}`", status.host),
        ),
    });
    found
}

#[cfg(test)]
mod tests {
    use cairn_protocol::Level;

    use super::*;

    #[test]
    fn an_old_pointer_is_a_note_and_an_expired_one_is_wrong() {
        let now = 1_795_000_000;
        let status = |published: Option<i64>, expires: Option<i64>, problem: Option<&str>| PullStatus {
            cache: "https://cache.example".to_owned(),
            host: "web".to_owned(),
            sequence: None,
            closure: None,
            published,
            expires,
            warn_after: Some(7 * 86_400),
            checked: None,
            problem: problem.map(str::to_owned),
        };
        for (status, levels, said) in [
            (status(Some(now - 86_400), None, None), vec![Level::Good], "1 day old"),
            (status(Some(now - 8 * 86_400), None, None), vec![Level::Note], "8 days old, more than 7 days"),
            (status(Some(now - 86_400), Some(now - 1), None), vec![Level::Wrong], "2026-11-18T11:06:39Z"),
            (status(None, None, Some("no route")), vec![Level::Wrong, Level::Note], "no route"),
        ] {
            let found = judge(&status, now);
            assert_eq!(found.iter().map(|finding| finding.level).collect::<Vec<_>>(), levels, "{found:?}");
            assert!(found[0].what.contains(said), "{found:?}");
            let advised = |finding: &Finding| finding.level == Level::Good || finding.next.is_some();
            assert!(found.iter().all(advised), "{found:?}");
        }
    }
}
