#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;

/// The manifest of a host with these services and this system.
fn manifest(services: Value, system: Value) -> Manifest {
    let spec = serde_json::from_value(json!({
        "version": 1, "name": "h", "platform": "linux/amd64",
        "agent": "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent",
        "services": services, "system": system
    }));
    cairn_closure::render(&spec.unwrap()).unwrap().manifest
}

fn service(text: &str) -> Value {
    json!({
        "rootfs": "/nix/store/1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-api", "image": "i",
        "command": ["/bin/x", text], "user": {"name": "app", "uid": 10001, "gid": 10001}
    })
}

/// A unit of the host with this text, and a file whose change reloads another one.
fn system(unit: &str, motd: &str) -> Value {
    json!({
        "etc": {"motd": {"text": motd, "mode": 0o644, "reload": ["ssh.service"]}},
        "units": {"tuning.service": {"text": unit, "start": true}}
    })
}

/// The limits of all phases without the room, in seconds; `-1` for no limit. Units of services start
/// and stop in 100 and 10 s, `tuning.service` as its text says, units of the host in 1000 and 2000 s.
fn limits(old: Option<Manifest>, new: Manifest, adopted: &[&str], tuning: &str) -> [i64; 5] {
    let text = |unit: &str| match unit {
        "tuning.service" => Some(tuning.to_owned()),
        unit if unit.starts_with("cairn-") => Some("TimeoutStartSec=100\nTimeoutStopSec=10\n".to_owned()),
        _ => None,
    };
    let plan = Plan::between(old, new);
    let adopted: Vec<String> = adopted.iter().map(|unit| (*unit).to_owned()).collect();
    let waits = Waits::new(&plan, Duration::from_secs(60), adopted, &text);
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let of_host = waits.of_the_host().into_iter();
    let of_host = of_host.map(|unit| (unit, Timeouts { start: seconds(1000), stop: seconds(2000) })).collect();
    waits.of_host.set(of_host).unwrap();
    [Phase::Start, Phase::Recheck, Phase::Confirm, Phase::Drain, Phase::Revert]
        .map(|phase| waits.limit(phase).map_or(-1, |limit| i64::try_from((limit - ROOM).as_secs()).unwrap()))
}

const FIVE_MINUTES: &str = "TimeoutSec=5min\n";

#[test]
fn each_phase_has_time_for_all_that_it_waits_for() {
    let nothing = || manifest(json!({}), json!({}));
    let api = || manifest(json!({"api": service("one")}), json!({}));
    let with_system = |motd| manifest(json!({}), system("[Service]\n", motd));
    // A health check takes at most 30 s, and services drain in 10 s unless they say otherwise.
    let drain = i64::try_from(api().services.values().next().unwrap().drain.duration().as_secs()).unwrap();
    let new_service = 100 + 10 + 30;
    assert_eq!(limits(None, nothing(), &[], ""), [0, 0, 60, 0, 0]);
    assert_eq!(limits(None, api(), &[], ""), [new_service, 30, 60, 0, 110 + drain]);
    // An adopted unit of the host stops for the trial, and starts again if it goes back.
    assert_eq!(limits(None, api(), &["nginx.service"], "")[0], new_service + 2000);
    assert_eq!(limits(None, api(), &["nginx.service"], "")[3..], [1000, 110 + drain + 1000]);
    // Its own unit (300 + 300 s), and one of the host that a file reloads (1000 + 2000 s).
    assert_eq!(limits(None, with_system("a"), &[], FIVE_MINUTES), [3600, 0, 60, 0, 300 + 3000]);
    assert_eq!(limits(Some(with_system("a")), with_system("a"), &[], FIVE_MINUTES), [0, 0, 60, 0, 0]);
    assert_eq!(limits(Some(with_system("a")), with_system("b"), &[], FIVE_MINUTES), [3000, 0, 60, 0, 3000]);
    assert_eq!(limits(Some(with_system("a")), nothing(), &[], FIVE_MINUTES), [3000, 0, 60, 300, 3600]);
}

#[test]
fn a_unit_that_systemd_waits_for_without_end_has_no_limit_here_either() {
    let with_system = || manifest(json!({}), system("[Service]\n", "a"));
    let once = "[Service]\nType=oneshot\nExecStart=/bin/reindex\n";
    assert_eq!(limits(None, with_system(), &[], once), [-1, 0, 60, 0, 90 + 3000]);
    assert_eq!(limits(None, with_system(), &[], "TimeoutStopSec=infinity\n"), [-1, 0, 60, 0, -1]);
}
