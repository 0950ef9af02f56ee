//! What a host shows the agent: its closure, its services' answers, systemd, the kernel.

use cairn_agent::fuzzing;
use cairn_closure::{HostSpec, Manifest, render};

use crate::input::{parts, text};

/// `closure.json` of a host closure.
pub fn closure(input: &[u8]) {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(input) else { return };
    let written = serde_json::to_vec(&manifest).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(serde_json::from_slice::<Manifest>(&written).ok(), Some(manifest.clone()));
    let units = manifest.all_units();
    assert!(manifest.milestones().all(|unit| units.contains(unit)));
    let _ = manifest.secrets();
}

/// The specification that a build step renders. What is rendered is a closure that the agent reads.
pub fn spec(input: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<HostSpec>(input) else { return };
    // A definition checks the number; here it would only make the fuzzer write units.
    if spec.services.values().any(|service| u64::from(service.replicas) > 64) {
        return;
    }
    if let Ok(closure) = render(&spec) {
        let written = serde_json::to_vec(&closure.manifest).unwrap_or_else(|error| panic!("{error}"));
        match serde_json::from_slice::<Manifest>(&written) {
            Ok(read) => assert_eq!(read, closure.manifest),
            Err(error) => panic!("the agent refuses what was rendered: {error}"),
        }
    }
}

/// A service's answer to a health check. Evidence is short.
pub fn http_answer(input: &[u8]) {
    if let Ok(answer) = fuzzing::http_answer(input) {
        assert!(answer.body.chars().count() <= 400);
        assert!(answer.to_string().len() < 2048);
    }
}

/// Lines of the journal.
pub fn journal(input: &[u8]) {
    let Some(text) = text(input) else { return };
    for line in text.lines() {
        if let Some(found) = fuzzing::journal_line(line) {
            assert!(found.message.len() <= 3 * line.len());
        }
    }
}

/// What `systemctl show` and `systemctl list-units` print.
pub fn systemctl(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (states, instances, loaded) = fuzzing::systemctl(&text);
    let lines = text.lines().count();
    assert!(states <= lines && instances <= lines && loaded <= lines);
}

/// Tables of `/proc`, accounts, routes, releases of kernels.
pub fn proc(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (listeners, half_open) = fuzzing::tcp_table(&text);
    assert!(listeners + half_open <= text.lines().count());
    assert!(cairn_machine::fuzzing::mount_points(&text).len() <= text.lines().count());
    let _ = cairn_machine::fuzzing::stat(&text);
    let _ = cairn_machine::fuzzing::is_free(&text);
    let _ = fuzzing::unit_of_cgroup(&text);
    let _ = text.lines().filter_map(fuzzing::account).count();
    let [running, installed] = parts(input);
    let installed: Vec<String> = String::from_utf8_lossy(installed).lines().map(str::to_owned).collect();
    if let Some(newer) = fuzzing::newer_kernel(String::from_utf8_lossy(running).trim_end(), &installed) {
        assert!(installed.contains(&newer));
    }
}

/// A datagram of the kernel about sockets.
pub fn netlink(input: &[u8]) {
    if let Ok(found) = fuzzing::socket_diagnosis(input) {
        assert!(found <= input.len());
    }
}

/// What an image lists as installed, and the units of a closure, as a comparison reads them.
pub fn installed(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let _ = cairn_fleet::fuzzing::debian_package(&text);
    let _ = cairn_fleet::fuzzing::config_of(&text);
    let _ = text.lines().filter_map(cairn_fleet::fuzzing::wheel).count();
}
