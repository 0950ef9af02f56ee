//! Everything we ask of systemd, through its own command-line tools.
//!
//! Calls are batched (one `systemctl start a b c`, one `show` for all units), since each costs a
//! process.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use cairn_closure::UnitName;
use cairn_formats::time::rfc3339;

use crate::error::{AgentError, Result, file};
use crate::process::run;

/// What systemd knows of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitState {
    /// `loaded`, `not-found`, `bad-setting`, `error`.
    pub load: String,
    pub load_error: String,
    /// `active`, `activating`, `failed`, `inactive`, `deactivating`.
    pub active: String,
    pub sub: String,
    /// `success`, or the kind of failure.
    pub result: String,
    pub main_pid: Option<i32>,
    /// Automatic restarts so far.
    pub restarts: u32,
    pub memory_bytes: Option<u64>,
}

impl UnitState {
    pub fn is_active(&self) -> bool {
        self.active == "active"
    }

    /// Whether it runs or is about to.
    pub fn is_live(&self) -> bool {
        matches!(self.active.as_str(), "active" | "activating" | "reloading" | "deactivating")
    }

    pub fn describe(&self) -> String {
        format!("{}/{}", self.active, self.sub)
    }
}

/// The properties that [`UnitState`] is read from.
const PROPERTIES: &str = "Id,LoadState,LoadError,ActiveState,SubState,Result,MainPID,NRestarts,MemoryCurrent";

fn systemctl(verb: &[&str], units: &[UnitName]) -> Result<Output> {
    let mut arguments = vec!["--no-ask-password", "--quiet"];
    arguments.extend(verb);
    arguments.push("--");
    arguments.extend(units.iter().map(UnitName::as_str));
    run("systemctl", &arguments)
}

/// Starts the units and waits until each has been executed, or one failed.
pub fn start(units: &[UnitName]) -> Result<()> {
    if units.is_empty() {
        return Ok(());
    }
    systemctl(&["start"], units).map(drop)
}

/// Starts the units, and nothing that they want.
pub fn start_alone(units: &[UnitName]) -> Result<()> {
    if units.is_empty() {
        return Ok(());
    }
    systemctl(&["start", "--job-mode=ignore-dependencies"], units).map(drop)
}

/// Stops what runs of the units, and starts them.
pub fn restart(units: &[UnitName]) -> Result<()> {
    systemctl(&["restart"], units).map(drop)
}

/// Stops the units and waits for their end; units that are unknown have ended.
pub fn stop(units: &[UnitName]) -> Result<()> {
    let known: Vec<UnitName> = states(units)?
        .into_iter()
        .filter(|(_, state)| state.is_live() || state.active == "failed")
        .map(|(unit, _)| unit)
        .collect();
    if known.is_empty() {
        return Ok(());
    }
    systemctl(&["stop"], &known)?;
    // A unit that ended in failure would stay listed, and counted, for ever.
    let failed: Vec<UnitName> =
        states(&known)?.into_iter().filter(|(_, state)| state.active == "failed").map(|(unit, _)| unit).collect();
    if failed.is_empty() {
        return Ok(());
    }
    systemctl(&["reset-failed"], &failed).map(drop)
}

/// Sends a signal to the main process of each unit that runs.
pub fn signal(units: &[UnitName], name: &str) -> Result<()> {
    let running: Vec<UnitName> =
        states(units)?.into_iter().filter(|(_, state)| state.is_active()).map(|(unit, _)| unit).collect();
    if running.is_empty() {
        return Ok(());
    }
    systemctl(&["kill", "--kill-whom=main", &format!("--signal={name}")], &running).map(drop)
}

/// The signal that stops each of the units, as a number.
pub fn stop_signals(units: &[UnitName]) -> Result<BTreeMap<UnitName, String>> {
    let output = systemctl(&["show", "--property=Id,KillSignal"], units)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let pair = |paragraph: &str| {
        let value = |key: &str| paragraph.lines().find_map(|line| line.strip_prefix(key));
        Some((UnitName::parse(value("Id=")?).ok()?, value("KillSignal=")?.to_owned()))
    };
    Ok(text.split("\n\n").filter_map(pair).collect())
}

/// Whether the host shuts down or reboots.
pub fn is_going_down() -> Result<bool> {
    let output = run("systemctl", &["--no-ask-password", "show", "--property=SystemState"])?;
    Ok(String::from_utf8_lossy(&output.stdout).trim() == "SystemState=stopping")
}

pub fn reload() -> Result<()> {
    run("systemctl", &["--no-ask-password", "--quiet", "daemon-reload"]).map(drop)
}

/// The state of each unit; a unit that systemd does not know has `load == "not-found"`.
pub fn states(units: &[UnitName]) -> Result<BTreeMap<UnitName, UnitState>> {
    if units.is_empty() {
        return Ok(BTreeMap::new());
    }
    let property = format!("--property={PROPERTIES}");
    let output = systemctl(&["show", &property], units)?;
    Ok(parse_states(&String::from_utf8_lossy(&output.stdout)))
}

/// `KEY=VALUE` lines, one paragraph for each unit.
pub(crate) fn parse_states(text: &str) -> BTreeMap<UnitName, UnitState> {
    let mut states = BTreeMap::new();
    for paragraph in text.split("\n\n") {
        let mut id = None;
        let mut state = UnitState::default();
        for (key, value) in paragraph.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "Id" => id = UnitName::parse(value).ok(),
                "LoadState" => state.load = value.to_owned(),
                "LoadError" => state.load_error = value.to_owned(),
                "ActiveState" => state.active = value.to_owned(),
                "SubState" => state.sub = value.to_owned(),
                "Result" => state.result = value.to_owned(),
                "MainPID" => state.main_pid = value.parse().ok().filter(|pid| *pid > 0),
                "NRestarts" => state.restarts = value.parse().unwrap_or(0),
                // "[not set]", or the largest number where memory is not accounted for.
                "MemoryCurrent" => {
                    state.memory_bytes = value.parse().ok().filter(|b| *b < u64::MAX);
                }
                _ => {}
            }
        }
        if let Some(id) = id {
            states.insert(id, state);
        }
    }
    states
}

/// The replicas, sockets and targets of services that are up or failed, of whatever closure.
pub fn instances() -> Result<Vec<UnitName>> {
    let output = run(
        "systemctl",
        &[
            "--no-ask-password",
            "--no-legend",
            "--plain",
            "--full",
            "list-units",
            "cairn-*.service",
            "cairn-*.socket",
            "cairn-*.timer",
            "cairn-*.target",
        ],
    )?;
    Ok(parse_instances(&String::from_utf8_lossy(&output.stdout)))
}

/// Every unit with a name of ours that systemd has in memory, the agent's own among them.
pub fn ours() -> Result<Vec<UnitName>> {
    let arguments = ["--no-ask-password", "--no-legend", "--plain", "--full", "--all", "list-units", "cairn*"];
    let output = run("systemctl", &arguments)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = |line: &str| {
        let mut columns = line.split_whitespace();
        let unit = UnitName::parse(columns.next()?).ok()?;
        let gone = columns.next() == Some("not-found") && columns.next() == Some("inactive");
        (!gone).then_some(unit)
    };
    Ok(text.lines().filter_map(line).collect())
}

/// The first column of each line, if it is one of ours and not one of the agent's own.
pub(crate) fn parse_instances(text: &str) -> Vec<UnitName> {
    text.lines()
        .filter_map(|line| UnitName::parse(line.split_whitespace().next()?).ok())
        .filter(|unit| unit.is_socket() || unit.is_replica() || unit.is_target_of_service())
        .collect()
}

/// The last lines a unit logged, with what systemd said about it, oldest first. Evidence only:
/// without a journal it is empty.
pub fn last_lines(unit: &str, count: u32) -> Vec<String> {
    let count = count.to_string();
    let arguments = ["--no-pager", "--quiet", "--output=cat", "--lines", &count, "--unit", unit];
    match run("journalctl", &arguments) {
        Ok(output) => String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect(),
        Err(_) => Vec::new(),
    }
}

/// Now, as [`lines_since`] takes it.
pub fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("@{}.{:06}", since.as_secs(), since.subsec_micros())
}

/// What a unit wrote since then, at most the last `count` lines.
pub fn lines_since(unit: &str, since: &str, count: u32) -> Vec<String> {
    // The journal takes in lines a little later than a unit ends.
    let _ = run("journalctl", &["--sync"]);
    let count = count.to_string();
    let arguments = [
        "--no-pager",
        "--quiet",
        "--output=cat",
        "--lines",
        &count,
        "--since",
        since,
        "--unit",
        unit,
        "_TRANSPORT=stdout",
    ];
    match run("journalctl", &arguments) {
        Ok(output) => String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect(),
        Err(_) => Vec::new(),
    }
}

/// A process of its own, whose end systemd answers with `after_end`, however it ended. One that was
/// killed is then started again, in case `after_end` was killed as well.
pub struct Transient<'a> {
    pub unit: &'a str,
    pub description: &'a str,
    pub command: &'a [&'a str],
    pub after_end: &'a [&'a str],
    /// For `after_end`, which may have to wait for services to stop.
    pub end_within_seconds: u32,
}

impl Transient<'_> {
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--unit={}", self.unit),
            format!("--description={}", self.description),
            "--quiet".to_owned(),
            "--collect".to_owned(),
            "--service-type=exec".to_owned(),
            // If memory runs short, the activation must not be the one to go.
            "--property=OOMScoreAdjust=-900".to_owned(),
            "--property=KillMode=mixed".to_owned(),
            "--property=Restart=on-abnormal".to_owned(),
            "--property=StartLimitIntervalSec=0".to_owned(),
            format!("--property=TimeoutStopSec={}", self.end_within_seconds),
        ];
        if !self.after_end.is_empty() {
            arguments.push(format!("--property=ExecStopPost={}", self.after_end.join(" ")));
        }
        arguments.push("--".to_owned());
        arguments.extend(self.command.iter().map(|word| (*word).to_owned()));
        arguments
    }

    pub fn spawn(&self) -> Result<()> {
        run("systemd-run", &self.arguments()).map(drop)
    }
}

/// Runs a command at that time (seconds since 1970), by a timer that is gone after a reboot. One of
/// the same name stays.
pub fn at(unit: &str, seconds: i64, command: &[&str]) -> Result<()> {
    if is_live(&format!("{unit}.timer"))? {
        return Ok(());
    }
    run("systemd-run", &timer_arguments(unit, seconds, command)).map(drop)
}

fn timer_arguments(unit: &str, seconds: i64, command: &[&str]) -> Vec<String> {
    let time = rfc3339(seconds).replace('T', " ").replace('Z', " UTC");
    let mut arguments = vec![
        format!("--unit={unit}"),
        "--quiet".to_owned(),
        "--collect".to_owned(),
        // At boot it is not waited for what comes later.
        "--no-block".to_owned(),
        format!("--on-calendar={time}"),
        "--timer-property=AccuracySec=1s".to_owned(),
        "--".to_owned(),
    ];
    arguments.extend(command.iter().map(|word| (*word).to_owned()));
    arguments
}

/// Whether a unit (not necessarily one of ours) is active or about to be.
pub fn is_live(unit: &str) -> Result<bool> {
    let output = run("systemctl", &["--no-ask-password", "show", "--property=ActiveState", "--", unit])?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(["active", "activating", "deactivating", "reloading"]
        .iter()
        .any(|state| text.trim() == format!("ActiveState={state}")))
}

/// Whether a unit is about to be active, or waits for its turn.
pub fn is_awaited(unit: &str) -> Result<bool> {
    let output = run("systemctl", &["--no-ask-password", "show", "--property=ActiveState,Job", "--", unit])?;
    Ok(says_awaited(&String::from_utf8_lossy(&output.stdout)))
}

fn says_awaited(text: &str) -> bool {
    text.lines().any(|line| match line.split_once('=') {
        Some(("ActiveState", state)) => state == "activating",
        Some(("Job", number)) => number.parse().is_ok_and(|number: u32| number > 0),
        _ => false,
    })
}

/// How long systemd has run.
pub fn uptime() -> Result<Duration> {
    let output = run("systemctl", &["--no-ask-password", "show", "--property=UserspaceTimestampMonotonic"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    let began = text.trim().split_once('=').and_then(|(_, microseconds)| microseconds.parse().ok());
    let began = began
        .map(Duration::from_micros)
        .ok_or_else(|| AgentError::Unsupported(format!("systemctl show says {text:?} of its start")))?;
    let path = Path::new("/proc/uptime");
    let text = fs::read_to_string(path).map_err(file("cannot read", path))?;
    let seconds = text.split(' ').next().and_then(|seconds| seconds.parse().ok());
    let seconds =
        seconds.ok_or_else(|| AgentError::Content { path: path.to_owned(), reason: format!("{text:?} is no time") })?;
    Ok(Duration::from_secs_f64(seconds).saturating_sub(began))
}

/// The number in `systemd 252 (252.39-1)`.
pub fn version() -> Result<u32> {
    let output = run("systemctl", &["--version"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| AgentError::Unsupported(format!("systemctl --version says {text:?}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_unit_with_a_job_is_awaited() {
        for (text, awaited) in [
            ("Job=17\nActiveState=inactive\n", true),
            ("Job=17\nActiveState=activating\n", true),
            ("ActiveState=activating\n", true),
            ("Job=0\nActiveState=inactive\n", false),
            ("ActiveState=active\n", false),
            ("ActiveState=failed\n", false),
            ("", false),
        ] {
            assert_eq!(says_awaited(text), awaited, "{text:?}");
        }
    }

    #[test]
    fn states_are_read_by_paragraph() {
        let text = "Id=cairn-api-0123456789ab-1.service\nLoadState=loaded\nLoadError=\nActiveState=active\nSubState=running\n\
            Result=success\nMainPID=77\nNRestarts=2\nMemoryCurrent=4096\n\nId=cairn-b.socket\nLoadState=not-found\nActiveState=inactive\n\
            SubState=dead\nMainPID=0\nMemoryCurrent=[not set]\n";
        let states = parse_states(text);
        let api = &states["cairn-api-0123456789ab-1.service"];
        assert!(api.is_active());
        assert_eq!((api.main_pid, api.restarts, api.memory_bytes), (Some(77), 2, Some(4096)));
        let socket = &states["cairn-b.socket"];
        assert_eq!(socket.load, "not-found");
        assert!(!socket.is_live());
        assert_eq!((socket.main_pid, socket.memory_bytes), (None, None));
    }

    #[test]
    fn a_timer_fires_once_at_a_time() {
        assert_eq!(
            timer_arguments("cairn-maintenance-1", 1_795_000_000, &["/agent", "expire"]),
            [
                "--unit=cairn-maintenance-1",
                "--quiet",
                "--collect",
                "--no-block",
                "--on-calendar=2026-11-18 11:06:40 UTC",
                "--timer-property=AccuracySec=1s",
                "--",
                "/agent",
                "expire"
            ]
        );
    }

    #[test]
    fn the_agents_own_units_are_no_instances() {
        let text = "cairn-activation-1795409227776-63.service loaded active running Cairn: switch\n\
            cairn-api-527e9101fede-1.service loaded active running api 1 (api)\n\
            cairn-boot.service loaded active exited x\n\
            cairn-maintenance-1795409227.timer loaded active waiting x\n\
            cairn-proxy-0.0.0.0:8080.socket loaded active running x\n\
            cairn-old.target not-found active active x\ncairn.target loaded active active x\n";
        let names: Vec<String> = parse_instances(text).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["cairn-api-527e9101fede-1.service", "cairn-proxy-0.0.0.0:8080.socket", "cairn-old.target"]);
    }

    #[test]
    fn an_activation_runs_detached_and_systemd_reverts_when_it_ends() {
        let transient = Transient {
            unit: "cairn-activation-x",
            description: "d",
            command: &["/agent", "activate", "x"],
            after_end: &["/agent", "revert", "x"],
            end_within_seconds: 600,
        };
        assert_eq!(
            transient.arguments(),
            [
                "--unit=cairn-activation-x",
                "--description=d",
                "--quiet",
                "--collect",
                "--service-type=exec",
                "--property=OOMScoreAdjust=-900",
                "--property=KillMode=mixed",
                "--property=Restart=on-abnormal",
                "--property=StartLimitIntervalSec=0",
                "--property=TimeoutStopSec=600",
                "--property=ExecStopPost=/agent revert x",
                "--",
                "/agent",
                "activate",
                "x"
            ]
        );
    }
}
