//! How long each phase of an activation may take.
//!
//! Everything that a phase waits for has a limit of its own: health checks, tasks, starts and stops of
//! units. Here is the sum of them, with room, for whatever none of them covers: a host whose `systemctl`
//! does not answer, a disk that does not, a fault of ours. A phase that takes longer has its process
//! ended, so the host's lock falls; systemd then has the next process revert or finish.

use std::time::Duration;

use cairn_closure::{Health, Manifest, ServiceName, UnitName};

use super::machine::Phase;
use super::plan::Plan;

/// For what a phase does besides waiting, on a slow and busy host.
const ROOM: Duration = Duration::from_secs(300);
/// systemd's own limit, where a unit names none (`DefaultTimeoutStartSec=`).
const SYSTEMD_DEFAULT: Duration = Duration::from_secs(90);

/// Start and stop timeouts of a unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    pub start: Duration,
    pub stop: Duration,
}

impl Timeouts {
    /// As the text of a unit says; systemd's own where it says nothing that can be parsed.
    pub fn of_unit(text: &str) -> Self {
        let value = |key: &str| {
            let mut lines = text.lines().rev().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            lines.next().and_then(span).unwrap_or(SYSTEMD_DEFAULT)
        };
        Self { start: value("TimeoutStartSec"), stop: value("TimeoutStopSec") }
    }
}

/// `30s` or `1500ms`, as our units have it.
fn span(text: &str) -> Option<Duration> {
    if let Some(millis) = text.strip_suffix("ms") {
        return millis.parse().ok().map(Duration::from_millis);
    }
    text.strip_suffix('s').unwrap_or(text).parse().ok().map(Duration::from_secs)
}

/// The limit of a phase. `timeouts` knows the units of both closures; `confirm_within` is the time for
/// the confirmation.
pub fn limit(
    phase: Phase,
    plan: &Plan,
    confirm_within: Duration,
    timeouts: &dyn Fn(&UnitName) -> Timeouts,
) -> Duration {
    let starts = |units: &[UnitName]| units.iter().map(|unit| timeouts(unit).start).sum::<Duration>();
    let stops = |units: &[UnitName]| units.iter().map(|unit| timeouts(unit).stop).sum::<Duration>();
    let of_groups = || {
        let all = plan.starts.iter().flatten();
        all.map(|start| {
            let task: Duration = start.task.iter().map(|task| timeouts(task).start + timeouts(task).stop).sum();
            starts(&start.units) + stops(&start.units) + stops(&start.stops) + task
        })
        .sum::<Duration>()
    };
    let healthy = |manifest: &Manifest| manifest.services.keys().map(|name| health(manifest, name)).sum::<Duration>();
    let drains = |manifest: &Manifest| {
        manifest.services.values().map(|service| service.drain.duration()).max().unwrap_or_default()
    };
    let waits = match phase {
        Phase::Start => of_groups() + healthy(&plan.new),
        Phase::Recheck => {
            let checks: Vec<UnitName> = plan.checks.iter().map(|(_, unit)| unit.clone()).collect();
            healthy(&plan.new) + starts(&checks) + stops(&checks)
        }
        Phase::Confirm => confirm_within,
        Phase::Drain => plan.old.as_ref().map_or(Duration::ZERO, drains) + stops(&plan.retired),
        Phase::Revert => {
            let back = plan.old.as_ref().map_or(Duration::ZERO, |old| healthy(old) + drains(old));
            back + of_groups() + starts(&plan.retired)
        }
        _ => Duration::ZERO,
    };
    ROOM + waits
}

fn health(manifest: &Manifest, name: &ServiceName) -> Duration {
    let health: Option<&Health> = manifest.services.get(name).and_then(|service| service.health.as_ref());
    health.map_or(Duration::from_secs(30), |health| health.timeout.duration())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_those_of_the_unit() {
        for (text, start, stop) in [
            ("TimeoutStartSec=5s\nTimeoutStopSec=1500ms\n", 5_000, 1_500),
            ("[Service]\nType=exec\n", 90_000, 90_000),
            ("TimeoutStartSec=soon\nTimeoutStopSec=7\n", 90_000, 7_000),
        ] {
            let millis = Duration::from_millis;
            assert_eq!(Timeouts::of_unit(text), Timeouts { start: millis(start), stop: millis(stop) }, "{text}");
        }
    }
}
