//! Hosts as they are switched: plans, the steps of an activation, what went wrong.

use cairn_fleet::{Change, Event, HostReport, Plan};
use cairn_formats::printable;
use cairn_protocol::{ActivationEvent, Problem, ServiceState};

use super::screen::{Screen, by_host};
use super::{outcome, size};
use crate::terminal::{self, hanging};

/// Shows the events of hosts: one line each, with the host's name in front; on a terminal one line
/// for each host that is worked on, and above them what is worth keeping.
pub struct HostProgress {
    quiet: bool,
    screen: Option<Screen>,
}

impl HostProgress {
    pub fn new(quiet: bool, terminal: bool) -> Self {
        Self { quiet, screen: (terminal && !quiet).then(Screen::default) }
    }

    pub fn on(&self, event: &Event) {
        match &self.screen {
            _ if self.quiet => {}
            None => {
                if let Some((host, text)) = describe(event) {
                    terminal::say(by_host(host, &text));
                }
            }
            Some(screen) => match (event, describe(event)) {
                (Event::Ended { host, report }, _) => screen.ended(host, &end(report)),
                (Event::Watched { host }, _) => screen.done(host),
                (Event::Copying { host, bytes }, _) => screen.now(host, &format!("copying, {} of files", size(*bytes))),
                (Event::Connected { host, .. }, None) => screen.now(host, "connected"),
                (event, Some((host, text))) if is_kept(event) => screen.keep(&by_host(host, &text)),
                (_, Some((host, text))) => screen.now(host, text.trim_start()),
                (_, None) => {}
            },
        }
    }

    /// What is drawn in place.
    #[cfg(test)]
    pub fn drawn(&self) -> String {
        self.screen.as_ref().map(Screen::drawn).unwrap_or_default()
    }

    /// Nothing is worked on any more.
    pub fn clear(&self) {
        self.screen.iter().for_each(Screen::clear);
    }

    /// Runs `talk`, which writes to the terminal itself.
    pub fn aside<T>(&self, talk: impl FnOnce() -> T) -> T {
        match &self.screen {
            Some(screen) => screen.aside(talk),
            None => talk(),
        }
    }

    /// Says something from elsewhere in the middle of it.
    pub fn speaker(&self) -> impl FnOnce(&str) + Send + 'static {
        let screen = self.screen.clone();
        move |text| match screen {
            Some(screen) => screen.keep(text),
            None => terminal::say(text),
        }
    }
}

/// What somebody may want to read again when all is over.
fn is_kept(event: &Event) -> bool {
    use ActivationEvent::{Note, Output, Problem};
    match event {
        Event::Activation { line, .. } => matches!(line.event, Output { .. } | Note { .. } | Problem { .. }),
        Event::TakingBack { .. } => true,
        _ => false,
    }
}

fn end(report: &HostReport) -> String {
    let generation = report.generation.map_or(String::new(), |generation| format!(", generation {generation}"));
    format!("{}{generation}, {:.1} s", outcome(report), report.seconds)
}

fn describe<'a>(event: &'a Event) -> Option<(&'a str, String)> {
    Some(match event {
        Event::Machine { host, text } => (host, text.clone()),
        Event::Connected { host, bootstrapped: true } => (host, "connected, agent sent along".to_owned()),
        Event::Connected { .. } | Event::Copying { .. } | Event::Watched { .. } | Event::Ended { .. } => return None,
        Event::Copied { host, bytes, files } => (host, format!("copied {files} files, {} sent", size(*bytes))),
        Event::Secrets { host, count: 1 } => (host, "1 secret sent, sealed to the host".to_owned()),
        Event::Secrets { host, count } => (host, format!("{count} secrets sent, each sealed to the host")),
        Event::Activation { host, line } => (host, activation(&line.event)?),
        Event::Watching { host, wait } => {
            (host, format!("watched for {:.0} s before the next hosts begin", wait.as_secs_f64().ceil()))
        }
        Event::TakingBack { host, because } if host == because => (host, "taken back, as it is not healthy".to_owned()),
        Event::TakingBack { host, because } => (host, format!("taken back, because {because} failed")),
    })
}

fn activation(event: &ActivationEvent) -> Option<String> {
    Some(match event {
        ActivationEvent::Step { step } => step.text().to_owned(),
        ActivationEvent::Service { service, state, detail, .. } => {
            let state = match state {
                ServiceState::Unchanged => return None,
                ServiceState::Starting => "starting",
                ServiceState::Started => "started",
                ServiceState::Reloaded => "reads its configuration again",
                ServiceState::Healthy => "healthy",
                ServiceState::Unhealthy => "not healthy",
                ServiceState::Failed => "failed",
                ServiceState::Draining => "finishing its requests",
                ServiceState::Stopped => "stopped",
                ServiceState::Running => "running",
                ServiceState::Done => "done",
            };
            let detail = detail.as_ref().map(|d| format!(" ({d})")).unwrap_or_default();
            format!("  {service}: {state}{detail}")
        }
        ActivationEvent::Note { text } => text.clone(),
        ActivationEvent::Output { service, line } => format!("  {service} | {line}"),
        ActivationEvent::Problem { problem } => format!("problem: {}", problem.message),
        ActivationEvent::Started { .. }
        | ActivationEvent::AwaitingConfirmation { .. }
        | ActivationEvent::Confirmed { .. }
        | ActivationEvent::Ended { .. } => return None,
    })
}

/// A plan for people.
pub fn plan(plan: &Plan) -> String {
    let from = plan.current.map_or("no generation".to_owned(), |n| format!("generation {n}"));
    let mut text = format!("{}: {from} → {}\n", plan.host, plan.closure.name());
    for (service, change) in &plan.services {
        let (sign, words) = self::change(*change);
        text.push_str(&format!("  {sign} {}: {words}\n", printable::line(service)));
    }
    text.push_str(&system(&plan.system));
    if plan.missing_paths > 0 {
        let paths = plan.missing_paths;
        text.push_str(&format!("  {paths} store paths to bring up to date, {} unpacked\n", size(plan.missing_bytes)));
    }
    text
}

/// What changes of the host itself.
pub fn system(changes: &[(String, Change)]) -> String {
    let line = |(what, change): &(String, Change)| {
        let (sign, words) = match change {
            Change::Replaced => ('~', "changed"),
            other => self::change(*other),
        };
        format!("  {sign} {}: {words}\n", printable::line(what))
    };
    changes.iter().map(line).collect()
}

/// A sign, and words.
pub fn change(change: Change) -> (char, &'static str) {
    match change {
        Change::Unchanged => (' ', "unchanged"),
        Change::New => ('+', "new"),
        Change::Reload => ('~', "reloaded: it goes on running and reads its configuration again"),
        Change::ReplaceBeside => ('~', "replaced beside the old one, nothing dropped"),
        Change::Restart => ('~', "restarted: the old one stops first"),
        Change::Replaced => ('~', "replaced"),
        Change::Removed => ('-', "removed"),
        Change::Unknown => ('?', "not known: the live closure is not in this store"),
    }
}

/// The evidence that a host kept.
pub fn problem(problem: &Problem) -> String {
    let mut text = String::new();
    if let Some(unit) = &problem.unit {
        text.push_str(&format!("  unit: {}\n", printable::line(unit)));
    }
    if let Some(health) = &problem.health {
        text.push_str(&format!("  last health answer: {}\n", printable::line(health)));
    }
    if !problem.log.is_empty() {
        text.push_str("  last log lines:\n");
        for line in &problem.log {
            text.push_str(&format!("    {}\n", printable::line(line)));
        }
    }
    if let Some(advice) = &problem.advice {
        text.push_str(&format!("  help: {}\n", hanging(advice)));
    }
    text
}
