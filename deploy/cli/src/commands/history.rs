//! `deploy history`: what was tried on hosts, by whom, and how it ended.

use anyhow::Result;
use cairn_protocol::{Attempt, Changes, Ending, Goal, Request, Response, Source};
use serde::Serialize;

use super::each::{self, Answer};
use crate::arguments::HistoryOptions;
use crate::context::Context;
use crate::display::table;
use crate::source;

#[derive(Serialize)]
struct Report {
    /// The newest first.
    attempts: Vec<Entry>,
    /// Hosts that did not answer.
    errors: Vec<Answer<()>>,
}

#[derive(Serialize)]
struct Entry {
    host: String,
    activation: String,
    /// RFC 3339.
    began: String,
    operator: String,
    /// `switch` or `rollback`.
    what: &'static str,
    from: Option<u64>,
    to: Option<u64>,
    outcome: Ending,
    store_path: String,
    source: Option<Source>,
    changes: Option<Changes>,
    message: Option<String>,
    problem: Option<String>,
}

pub fn run(context: &Context, options: &HistoryOptions) -> Result<u8> {
    let project = context.project()?;
    let names = if options.hosts.is_empty() { project.host_names()? } else { options.hosts.clone() };
    let store = context.store()?;
    let hosts = each::with_agents(context, &project, &store, &names)?;
    let fleet = context.fleet(&store)?;
    let request = |_: &_| Request::History { limit: options.limit };
    let answers = each::ask(&fleet, &hosts, request, |response| match response {
        Response::History { attempts } => Some(attempts),
        _ => None,
    });
    let code = each::exit_code(&answers);
    let mut found: Vec<(String, Attempt)> = Vec::new();
    let mut errors = Vec::new();
    for answer in answers {
        match answer.answer {
            Some(attempts) => found.extend(attempts.into_iter().map(|attempt| (answer.name.clone(), attempt))),
            None => errors.push(answer.without()),
        }
    }
    // An id begins with its time.
    found.sort_by(|(_, a), (_, b)| b.id.cmp(&a.id));
    let report = Report { attempts: found.into_iter().map(|(host, attempt)| entry(host, attempt)).collect(), errors };
    context.display.result(&report, || text(&report))?;
    Ok(code)
}

fn entry(host: String, attempt: Attempt) -> Entry {
    Entry {
        host,
        activation: attempt.id.to_string(),
        began: cairn_fleet::rfc3339(attempt.began),
        operator: attempt.operator,
        what: match attempt.goal {
            Goal::Switch => "switch",
            Goal::Rollback { .. } => "rollback",
        },
        from: attempt.from,
        to: attempt.to,
        outcome: attempt.ending,
        store_path: attempt.closure.absolute(),
        source: attempt.source,
        changes: attempt.changes,
        message: attempt.reason,
        problem: attempt.problem,
    }
}

fn text(report: &Report) -> String {
    if report.attempts.is_empty() {
        return if report.errors.is_empty() { "nothing was tried yet".to_owned() } else { String::new() };
    }
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let heading = ["WHEN", "HOST", "WHO", "WHAT", "GENERATION", "OUTCOME", "REVISION", "MESSAGE"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for entry in &report.attempts {
        let words = entry.message.iter().chain(&entry.problem).map(|text| text.replace('\n', " "));
        rows.push(vec![
            entry.began.clone(),
            entry.host.clone(),
            entry.operator.clone(),
            entry.what.to_owned(),
            format!("{} → {}", number(entry.from), number(entry.to)),
            entry.outcome.word().to_owned(),
            source::short(entry.source.as_ref()),
            words.collect::<Vec<_>>().join("; "),
        ]);
    }
    table(&rows)
}
