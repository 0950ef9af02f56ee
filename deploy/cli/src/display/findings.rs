//! What checks of a host have found.

use cairn_formats::printable;
use cairn_protocol::{Finding, Level};

use crate::terminal::hanging;

/// Those that are not well, each with why it matters and the next step; `all`: the others as well.
pub fn findings(found: &[Finding], all: bool) -> String {
    let mut text = String::new();
    let width = found.iter().map(|finding| printable::line(&finding.check).chars().count()).max().unwrap_or(0);
    for finding in found.iter().filter(|finding| all || finding.level != Level::Good) {
        let mark = match finding.level {
            Level::Good => "ok   ",
            Level::Note => "note ",
            Level::Wrong => "WRONG",
        };
        let check = printable::line(&finding.check);
        text.push_str(&format!("{mark}  {check:<width$}  {}\n", hanging(&finding.what)));
        for (word, said) in [("why", &finding.why), ("next", &finding.next)] {
            text.extend(said.iter().map(|said| format!("       {word}: {}\n", hanging(said))));
        }
    }
    text
}

pub fn count(found: &[Finding], level: Level) -> usize {
    found.iter().filter(|finding| finding.level == level).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_with_the_next_step() {
        let found = [Finding::good("clock", "right"), Finding::wrong("systemd", "version 230", "too old", "upgrade")];
        assert_eq!(findings(&found, false), "WRONG  systemd  version 230\n       why: too old\n       next: upgrade\n");
        assert!(findings(&found, true).starts_with("ok     clock    right\n"));
        assert_eq!((count(&found, Level::Wrong), count(&found, Level::Note)), (1, 0));
    }
}
