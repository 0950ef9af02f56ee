//! A document as a message for people, as Slack's incoming webhooks take it: `{"text": …}`.

use std::collections::BTreeSet;

use cairn_fleet::Outcome;
use cairn_formats::printable;
use serde_json::{Value, json};

use crate::document::{Document, Event, Facts, HostOutcome, Member, Verdict};

/// Of hosts, log lines and characters, more would not be read.
const HOSTS: usize = 20;
const LOG_LINES: usize = 10;
const LINE: usize = 200;
const MESSAGE: usize = 500;

pub(crate) fn message(document: &Document) -> Value {
    json!({ "text": text(&document.event) })
}

fn text(event: &Event) -> String {
    match event {
        Event::Started { facts, hosts } => {
            format!(":rocket: {} has begun\n{}", head(facts, hosts), about(facts, hosts, None))
        }
        Event::Interrupted { facts, hosts } => format!(
            ":raised_hand: {} was interrupted: no other host is begun, those under way come to their end\n{}",
            head(facts, hosts),
            about(facts, hosts, None)
        ),
        Event::Ended { facts, outcome, seconds, hosts, .. } => {
            let members: Vec<Member> = hosts.iter().map(|host| host.member.clone()).collect();
            let (sign, word) = match outcome {
                Verdict::Success => (":white_check_mark:", "succeeded"),
                Verdict::Revert => (":leftwards_arrow_with_hook:", "failed and went back"),
                Verdict::Failure => (":x:", "failed"),
            };
            let first = format!("{sign} {} {word}\n{}", head(facts, &members), about(facts, &[], Some(*seconds)));
            let mut text: String = first + &hosts.iter().take(HOSTS).map(line).collect::<String>();
            if hosts.len() > HOSTS {
                text.push_str(&format!("• and {} more\n", hosts.len() - HOSTS));
            }
            text + &hosts.iter().find_map(evidence).unwrap_or_default()
        }
        Event::Test { operator } => {
            format!(":wave: `deploy notify test` by {}: messages arrive here", escape(operator))
        }
        // No other event is for people.
        other => other.name().to_owned(),
    }
}

/// `*production*: switch`
fn head(facts: &Facts, hosts: &[Member]) -> String {
    let names: BTreeSet<&str> = hosts.iter().map(|member| member.fleet.as_deref().unwrap_or(&member.host)).collect();
    let mut shown: Vec<String> = names.iter().take(5).map(|name| escape(name)).collect();
    if names.len() > shown.len() {
        shown.push(format!("{} more", names.len() - shown.len()));
    }
    format!("*{}*: {}", shown.join(", "), escape(&facts.command))
}

/// Who, what, why, how long.
fn about(facts: &Facts, hosts: &[Member], seconds: Option<f64>) -> String {
    let mut parts = vec![format!("by {}", escape(&facts.operator))];
    if let Some(revision) = &facts.revision {
        let short: String = revision.chars().take(10).collect();
        let mark = if facts.clean == Some(false) { "+" } else { "" };
        parts.push(format!("revision {}{mark}", escape(&short)));
    }
    match hosts.len() {
        0 | 1 => {}
        many => parts.push(format!("{many} hosts")),
    }
    parts.extend(seconds.map(|seconds| format!("{seconds:.0} s")));
    let mut text = format!("{}\n", parts.join(" · "));
    for line in facts.message.iter().flat_map(|message| cut(message, MESSAGE).lines().map(escape).collect::<Vec<_>>()) {
        text.push_str(&format!("> {line}\n"));
    }
    text
}

/// `• web-1: switched, generation 3 → 4`
fn line(host: &HostOutcome) -> String {
    let outcome = serde_json::to_value(host.outcome).ok();
    let outcome = outcome.as_ref().and_then(Value::as_str).unwrap_or_default();
    let generation = match (host.previous, host.generation) {
        (Some(before), Some(now)) if before != now => format!(", generation {before} → {now}"),
        (_, Some(now)) => format!(", generation {now}"),
        (_, None) => String::new(),
    };
    // The first line says what happened; the help after it is for whoever ran the command.
    let error = host.error.as_ref().and_then(|error| error.lines().next());
    let error = error.map(|error| format!(": {}", escape(&cut(error, LINE)))).unwrap_or_default();
    format!("• {}: {outcome}{generation}{error}\n", escape(&host.member.host))
}

/// The last lines of the unit that failed.
fn evidence(host: &HostOutcome) -> Option<String> {
    if host.log.is_empty() || host.outcome == Outcome::Skipped {
        return None;
    }
    let of = host.unit.as_ref().or(host.service.as_ref()).map_or("the last lines".to_owned(), |unit| escape(unit));
    let last = &host.log[host.log.len().saturating_sub(LOG_LINES)..];
    // Three of them would end the block.
    let lines: Vec<String> = last.iter().map(|line| escape(&cut(line, LINE)).replace("```", "'''")).collect();
    Some(format!("{of} on {}:\n```\n{}\n```\n", escape(&host.member.host), lines.join("\n")))
}

/// Slack's three: without them a text could call people (`<!channel>`) or hide where a link leads. And
/// what a reader would not see, or would see in another order.
fn escape(text: &str) -> String {
    printable::line(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn member(host: &str, fleet: Option<&str>) -> Member {
        Member { host: host.to_owned(), fleet: fleet.map(str::to_owned) }
    }

    fn facts() -> Facts {
        Facts {
            command: "switch".to_owned(),
            operator: "alice@desk".to_owned(),
            message: Some("prices & <!channel>\nsecond line".to_owned()),
            revision: Some("0123456789abcdef".to_owned()),
            clean: Some(false),
        }
    }

    fn host(name: &str, outcome: Outcome, error: Option<&str>, log: &[&str]) -> HostOutcome {
        HostOutcome {
            member: member(name, Some("web")),
            outcome,
            generation: Some(4),
            previous: Some(3),
            changed: true,
            bytes_sent: 0,
            seconds: 1.0,
            error: error.map(str::to_owned),
            service: None,
            unit: Some("cairn-api-0123456789ab-1.service".to_owned()),
            log: log.iter().map(|line| (*line).to_owned()).collect(),
        }
    }

    #[test]
    fn a_failure_is_told_with_its_evidence_and_nothing_in_it_is_markup() {
        let log: Vec<String> = (1..=12).map(|n| format!("line {n} <b> ```")).collect();
        let log: Vec<&str> = log.iter().map(String::as_str).collect();
        let hosts = vec![
            host("web-1", Outcome::RolledBack, Some("web-1: taken back, because web-2 failed"), &[]),
            host("web-2", Outcome::Reverted, Some("web-2: not <healthy>\n  help: look"), &log),
        ];
        let ended = Event::Ended { facts: facts(), outcome: Verdict::Revert, exit_code: 4, seconds: 41.6, hosts };
        let lines = "line 3 &lt;b&gt; '''\nline 4 &lt;b&gt; '''\nline 5 &lt;b&gt; '''\nline 6 &lt;b&gt; '''\n\
                     line 7 &lt;b&gt; '''\nline 8 &lt;b&gt; '''\nline 9 &lt;b&gt; '''\nline 10 &lt;b&gt; '''\n\
                     line 11 &lt;b&gt; '''\nline 12 &lt;b&gt; '''";
        let wanted = format!(
            ":leftwards_arrow_with_hook: *web*: switch failed and went back\n\
             by alice@desk · revision 0123456789+ · 42 s\n\
             > prices &amp; &lt;!channel&gt;\n> second line\n\
             • web-1: rolled-back, generation 3 → 4: web-1: taken back, because web-2 failed\n\
             • web-2: reverted, generation 3 → 4: web-2: not &lt;healthy&gt;\n\
             cairn-api-0123456789ab-1.service on web-2:\n```\n{lines}\n```\n"
        );
        assert_eq!(text(&ended), wanted);
    }

    #[test]
    fn what_cannot_be_seen_is_shown() {
        let hostile = "x\x1b[2J\u{202e}\u{200b}\n• web-2: switched";
        let hosts = vec![host("web-1", Outcome::Failed, Some(hostile), &[hostile])];
        let ended = Event::Ended { facts: facts(), outcome: Verdict::Failure, exit_code: 1, seconds: 1.0, hosts };
        let shown = text(&ended);
        assert!(!shown.contains(['\x1b', '\u{202e}', '\u{200b}']), "{shown:?}");
        assert!(shown.contains("x\\u{1b}[2J\\u{202e}\\u{200b}") && !shown.contains("\n• web-2"), "{shown}");
        // In a document of the stream, too, with the value as it is.
        let document = Document { version: 1, run: String::new(), number: 1, time: String::new(), event: ended };
        let json = document.json().unwrap();
        assert!(!json.contains(['\x1b', '\u{202e}', '\u{200b}']), "{json:?}");
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["hosts"][0]["error"], hostile);
    }

    #[test]
    fn a_message_stays_short() {
        let many: Vec<Member> = (1..=30).map(|n| member(&format!("host-{n:02}"), None)).collect();
        let began = text(&Event::Started { facts: Facts { message: None, ..facts() }, hosts: many });
        assert_eq!(
            began,
            ":rocket: *host-01, host-02, host-03, host-04, host-05, 25 more*: switch has begun\n\
             by alice@desk · revision 0123456789+ · 30 hosts\n"
        );
        let long = "ü".repeat(10_000);
        let hosts =
            (0..100).map(|n| host(&format!("web-{n}"), Outcome::Failed, Some(&long), &[long.as_str(); 50])).collect();
        let facts = Facts { message: Some(long.clone()), ..facts() };
        let ended = text(&Event::Ended { facts, outcome: Verdict::Failure, exit_code: 4, seconds: 1.0, hosts });
        assert!(ended.chars().count() < 8_000 && ended.contains("• and 80 more\n"), "{}", ended.chars().count());
    }
}
