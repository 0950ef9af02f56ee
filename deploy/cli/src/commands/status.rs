//! `deploy status`: what hosts run and how they are.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use cairn_certificates::Roots;
use cairn_fleet::{Fleet, StatusEntry};
use cairn_formats::StorePath;
use cairn_protocol::{PullStatus, StalePointer, span};
use cairn_recipe::project::Host;
use serde::Serialize;

use super::{certs, of_service};
use crate::arguments::StatusOptions;
use crate::context::Context;
use crate::display::{size, table};
use crate::terminal::{self, Stream, hanging};

/// A disk that is used so far wants somebody to look.
const FULL: u8 = 90;
/// As `deploy certs status` has it.
const DAYS: i64 = 21;

#[derive(Serialize)]
struct Report {
    hosts: Vec<StatusEntry>,
}

pub fn run(context: &Context, options: &StatusOptions) -> Result<u8> {
    let project = context.project()?;
    let names = if options.hosts.is_empty() { project.host_names()? } else { options.hosts.clone() };
    let hosts = context.hosts(&project, &names)?;
    let store = context.store()?;
    let agents = of_service::agents(context, &project, &store, &hosts)?;
    let fleet = context.fleet(&store)?;
    // Only the days that are left are asked for, so nothing is lost but them.
    let roots = Roots::system(&[]).map_err(|error| context.display.note(&format!("certificates: {error}"))).ok();
    loop {
        let report = Report { hosts: ask(&fleet, &hosts, &agents, roots.as_ref()) };
        if options.watch.is_some() && !context.display.json && Stream::Out.is_terminal() {
            terminal::clear()?;
        }
        context.display.result(&report, || text(&report))?;
        match options.watch {
            Some(seconds) => thread::sleep(Duration::from_secs(seconds)),
            None => return Ok(u8::from(report.hosts.iter().any(|host| !faults(host).is_empty()))),
        }
    }
}

/// All at once.
fn ask(fleet: &Fleet, hosts: &[Host], agents: &[StorePath], roots: Option<&Roots>) -> Vec<StatusEntry> {
    let one = |host: &Host, agent: &StorePath| {
        let mut entry = fleet.status(host, agent, &|_| ());
        // A host without a generation serves nothing yet.
        if entry.generation.is_some()
            && let Some(roots) = roots
            && let Ok(reached) = fleet.reach(host, false, &|_| ())
        {
            entry.certificate = certs::soonest(host, &reached.address, roots);
        }
        entry
    };
    thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> =
            hosts.iter().zip(agents).map(|(host, agent)| scope.spawn(move || one(host, agent))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
    })
}

/// Everything that is not well; a machine that is stopped is no fault.
fn faults(host: &StatusEntry) -> Vec<String> {
    let mut faults = Vec::new();
    if !matches!(host.health.as_str(), "healthy" | "empty" | "stopped" | "starting" | "pulls") {
        faults.push(format!("it is {}", host.health));
    }
    faults.extend(host.pull.iter().filter_map(|pull| Some(format!("pull: {}", pull.problem.as_ref()?))));
    faults.extend(host.pull.iter().filter_map(|pull| Some(format!("pull: {}", stale(pull, now())?))));
    faults.extend(host.condition.drift.iter().map(|drift| format!("{} {}", drift.unit, drift.problem)));
    faults.extend(host.condition.reboot.iter().map(|why| format!("wants a reboot: {why}")));
    for disk in host.condition.disks.iter().filter(|disk| disk.used_percent >= FULL) {
        faults.push(format!("{} is used to {} %, {} are free", disk.path, disk.used_percent, size(disk.free_bytes)));
    }
    for certificate in host.certificate.iter().filter(|certificate| certificate.days_left < DAYS) {
        faults.push(format!("the certificate for {} has {} days left", certificate.name, certificate.days_left));
    }
    faults
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |at| i64::try_from(at.as_secs()).unwrap_or(i64::MAX))
}

/// Why the newest pointer is a risk. A cache that keeps the host at it shows no other sign.
fn stale(pull: &PullStatus, now: i64) -> Option<String> {
    Some(match pull.stale(now)? {
        StalePointer::Expired { at } => format!(
            "its pointer has expired at {}: a fresh host starts with nothing; `deploy publish {}`",
            cairn_fleet::rfc3339(at),
            pull.host
        ),
        StalePointer::Old { age, warn_after } => format!(
            "its newest pointer is {} old (pull.warn_after is {}): `deploy publish {}`; if that was done since, \
             look at what the host gets from {}",
            span(age),
            span(warn_after),
            pull.host,
            pull.cache
        ),
    })
}

/// What a host that pulls has last heard.
fn pulls(pull: &PullStatus, now: i64) -> String {
    let number = pull.sequence.map_or("no pointer yet".to_owned(), |number| format!("pointer {number}"));
    let age = pull.age(now).map_or(String::new(), |age| format!(", published {} ago", span(age)));
    let expires = pull.expires.map_or(String::new(), |at| format!(", expires {}", cairn_fleet::rfc3339(at)));
    let looked = pull.checked.map_or(String::new(), |at| format!(", looked at {}", cairn_fleet::rfc3339(at)));
    format!("pulls {} from {}: {number}{age}{expires}{looked}", pull.host, pull.cache)
}

fn text(report: &Report) -> String {
    let heading = ["HOST", "GENERATION", "SINCE", "HEALTH", "DRIFT", "REBOOT", "DISK", "CERTS", "STATE", "ENDPOINTS"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let mut notes = String::new();
    for host in &report.hosts {
        rows.push(row(host));
        let mut note = |text: String| notes.push_str(&format!("{}: {}\n", host.name, hanging(&text)));
        for service in host.services.iter().filter(|s| s.health != cairn_protocol::Health::Healthy) {
            note(format!("{} ({}): {}", service.service, service.unit, service.detail));
        }
        if host.error.is_none() {
            faults(host).into_iter().for_each(&mut note);
        }
        for service in &host.condition.maintenance {
            let by = service.operator.as_ref().map_or("by hand".to_owned(), |by| format!("by {by}"));
            let since = service.since.map_or(String::new(), |at| format!(" since {}", cairn_fleet::rfc3339(at)));
            let reason = service.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
            let until = service.until.map_or(String::new(), |at| format!(" until {}", cairn_fleet::rfc3339(at)));
            note(format!("{} is in maintenance{since}{until}, {by}{reason}", service.service));
        }
        if let Some(pull) = &host.pull {
            note(pulls(pull, now()));
        }
        if let Some(activation) = &host.activation {
            note(format!("activation {activation} is under way"));
        }
        if let Some(error) = &host.error {
            notes.push_str(&format!("{}\n", hanging(error)));
        }
    }
    format!("{}{notes}", table(&rows))
}

fn row(host: &StatusEntry) -> Vec<String> {
    let none = || "-".to_owned();
    let asked = host.error.is_none();
    let condition = &host.condition;
    let disk = condition.disks.iter().map(|disk| disk.used_percent).max();
    let mut state = Vec::new();
    state.extend(host.activation.as_ref().map(|_| "activation"));
    state.extend((!condition.maintenance.is_empty()).then_some("maintenance"));
    let urls: Vec<&str> = host.endpoints.iter().map(|endpoint| endpoint.url.as_str()).collect();
    vec![
        host.name.clone(),
        host.generation.map_or_else(none, |number| number.to_string()),
        host.since.clone().unwrap_or_else(none),
        host.health.clone(),
        if asked { condition.drift.len().to_string() } else { none() },
        if asked { condition.reboot.as_ref().map_or("no", |_| "yes").to_owned() } else { none() },
        disk.map_or_else(none, |percent| format!("{percent}%")),
        host.certificate.as_ref().map_or_else(none, |found| format!("{} d", found.days_left)),
        if state.is_empty() { none() } else { state.join(",") },
        urls.join(" "),
    ]
}

#[cfg(test)]
mod tests {
    use cairn_fleet::CertificateStatus;
    use cairn_protocol::{Condition, Disk, Drift, Maintained};

    use super::*;

    fn entry() -> StatusEntry {
        StatusEntry {
            name: "web-1".to_owned(),
            generation: Some(3),
            since: Some("2026-11-18T11:06:40Z".to_owned()),
            health: "healthy".to_owned(),
            endpoints: Vec::new(),
            services: Vec::new(),
            activation: None,
            condition: Condition::default(),
            pull: None,
            certificate: None,
            error: None,
        }
    }

    /// As a service can make it: by the body of its health answer.
    #[test]
    fn what_services_answer_is_harmless() {
        let hostile = "503: \x1b[2J\x1b]0;owned\x07\u{202e}\nweb-2: healthy";
        let service = cairn_protocol::ServiceStatus {
            service: "api".to_owned(),
            unit: hostile.to_owned(),
            health: cairn_protocol::Health::Unhealthy,
            detail: hostile.to_owned(),
            memory_bytes: None,
            restarts: 0,
        };
        let error = Some(hostile.to_owned());
        let report = Report {
            hosts: vec![
                StatusEntry { services: vec![service], health: hostile.to_owned(), ..entry() },
                StatusEntry { error, ..entry() },
            ],
        };
        for json in [false, true] {
            let display = crate::display::Display::new(json, false);
            let shown = terminal::capture::of(|| display.result(&report, || text(&report)).expect("a result"));
            assert!(!shown.contains(['\x1b', '\x07', '\u{202e}']), "{shown:?}");
            assert!(!shown.contains("\nweb-2"), "{shown}");
            assert!(shown.contains(if json { "503: \\u001b[2J" } else { "503: \\u{1b}[2J" }), "{shown}");
        }
    }

    #[test]
    fn an_old_and_an_expired_pointer_are_faults_that_say_what_to_do() {
        let pulling = |published: i64, expires: Option<i64>| {
            let mut host = entry();
            host.pull = Some(PullStatus {
                cache: "https://cache.example".to_owned(),
                host: "web".to_owned(),
                sequence: Some(7),
                closure: None,
                published: Some(published),
                expires,
                warn_after: Some(7 * 86_400),
                checked: None,
                problem: None,
            });
            host
        };
        let now = now();
        assert_eq!(faults(&pulling(now - 7 * 86_400 + 60, Some(now + 86_400))), [""; 0]);
        let old = faults(&pulling(now - 8 * 86_400, None));
        assert!(old.len() == 1 && old[0].contains("8 days old (pull.warn_after is 7 days)"), "{old:?}");
        assert!(old[0].contains("`deploy publish web`") && old[0].contains("https://cache.example"), "{old:?}");
        let expired = faults(&pulling(now, Some(0)));
        assert!(expired.len() == 1 && expired[0].contains("expired at 1970-01-01T00:00:00Z"), "{expired:?}");
    }

    #[test]
    fn what_is_not_well_is_told_and_counts() {
        let mut host = entry();
        host.condition.disks = vec![Disk { path: "/".to_owned(), used_percent: 89, free_bytes: 1 << 30 }];
        host.certificate = Some(CertificateStatus { name: "example.com".to_owned(), days_left: 21 });
        host.activation = Some("1".to_owned());
        host.condition.maintenance = vec![Maintained {
            service: "proxy".to_owned(),
            on: true,
            operator: None,
            since: None,
            reason: None,
            until: Some(1_795_000_000),
        }];
        assert_eq!(faults(&host), [""; 0]);
        let shown = text(&Report { hosts: vec![host] });
        for part in
            ["89%", "21 d", "activation,maintenance", "proxy is in maintenance until 2026-11-18T11:06:40Z, by hand"]
        {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }

        let mut host = entry();
        host.health = "degraded".to_owned();
        let unit = "cairn-api.target".to_owned();
        host.condition.drift = vec![Drift { unit, problem: "is masked".to_owned() }];
        host.condition.reboot = Some("kernel".to_owned());
        host.condition.disks = vec![Disk { path: "/nix".to_owned(), used_percent: 90, free_bytes: 0 }];
        host.certificate = Some(CertificateStatus { name: "example.com".to_owned(), days_left: -1 });
        let told = faults(&host);
        assert_eq!(told.len(), 5, "{told:?}");
        let shown = text(&Report { hosts: vec![host] });
        assert!(shown.contains("web-1: cairn-api.target is masked\n"), "{shown}");
        let mut host = entry();
        host.pull = Some(cairn_protocol::PullStatus {
            cache: "https://cache.example".to_owned(),
            host: "web".to_owned(),
            sequence: Some(7),
            closure: None,
            published: Some(now() - 2 * 86_400),
            expires: None,
            warn_after: Some(7 * 86_400),
            checked: Some(0),
            problem: Some("no route".to_owned()),
        });
        assert_eq!(faults(&host), ["pull: no route"]);
        let shown = text(&Report { hosts: vec![host] });
        let expected =
            "pulls web from https://cache.example: pointer 7, published 2 days ago, looked at 1970-01-01T00:00:00Z";
        assert!(shown.contains(expected), "{shown}");
        let mut stopped = entry();
        stopped.health = "stopped".to_owned();
        assert_eq!(faults(&stopped), [""; 0]);

        // The reason alone says it.
        let mut host = entry();
        host.health = "unreachable".to_owned();
        host.error = Some("web-1: no route".to_owned());
        assert_eq!(faults(&host).len(), 1);
        assert!(text(&Report { hosts: vec![host] }).ends_with("-\nweb-1: no route\n"));
    }
}
