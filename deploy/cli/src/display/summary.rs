//! What became of each host, at the end.

use cairn_fleet::HostReport;

use super::{size, table};
use crate::terminal::Stream;

/// The outcome as `--json` spells it.
pub fn outcome(report: &HostReport) -> String {
    let outcome = serde_json::to_value(report.outcome).ok();
    outcome.as_ref().and_then(|word| word.as_str()).unwrap_or_default().to_owned()
}

/// In columns for a terminal, else one line for each host.
pub fn summary(reports: &[HostReport]) -> String {
    if Stream::Out.is_terminal() { columns(reports) } else { reports.iter().map(line).collect() }
}

fn columns(reports: &[HostReport]) -> String {
    let mut rows = vec![["HOST", "OUTCOME", "GENERATION", "SENT", "SECONDS"].map(str::to_owned).to_vec()];
    for report in reports {
        let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
        let generation = match (report.previous, report.generation) {
            (Some(before), Some(now)) if before != now => format!("{before} → {now}"),
            (_, now) => number(now),
        };
        let sent = if report.bytes_sent > 0 { size(report.bytes_sent) } else { "-".to_owned() };
        rows.push(vec![report.name.clone(), outcome(report), generation, sent, format!("{:.1}", report.seconds)]);
    }
    table(&rows)
}

fn line(report: &HostReport) -> String {
    let generation = report.generation.map_or("no generation".to_owned(), |g| format!("generation {g}"));
    let sent = if report.bytes_sent > 0 { format!(", {} sent", size(report.bytes_sent)) } else { String::new() };
    format!("{}: {}, {generation}{sent}, {:.1} s\n", report.name, outcome(report), report.seconds)
}

#[cfg(test)]
mod tests {
    use cairn_fleet::{HostReport, Outcome};

    use super::*;

    fn reports() -> [HostReport; 2] {
        let mut switched = HostReport::interrupted("web-1");
        (switched.outcome, switched.previous, switched.generation) = (Outcome::Switched, Some(1), Some(2));
        (switched.bytes_sent, switched.seconds) = (2048, 12.34);
        [switched, HostReport::interrupted("edge-10")]
    }

    #[test]
    fn columns_line_up_and_lines_say_the_same() {
        let wanted = "HOST     OUTCOME   GENERATION  SENT     SECONDS\n\
                      web-1    switched  1 → 2       2.0 KiB  12.3\n\
                      edge-10  skipped   -           -        0.0\n";
        assert_eq!(columns(&reports()), wanted);
        let lines: String = reports().iter().map(line).collect();
        assert_eq!(
            lines,
            "web-1: switched, generation 2, 2.0 KiB sent, 12.3 s\nedge-10: skipped, no generation, 0.0 s\n"
        );
    }
}
