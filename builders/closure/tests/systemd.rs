//! systemd as the oracle: it takes every rendered unit without a complaint, and counts the
//! services as safe.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use cairn_closure::{HostSpec, render, write};
use serde_json::json;

fn spec() -> HostSpec {
    serde_json::from_value(json!({
        "version": 1, "name": "local", "platform": "linux/amd64",
        "agent": "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent",
        "services": {
            "api": {
                "rootfs": "/nix/store/1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-api", "image": "api",
                "command": ["/bin/true", "it's", "a \"b\"", "50%", "$HOME", "${HOME}", ";", "\\", "é\n\t", ""],
                "user": {"name": "app", "uid": 10001, "gid": 10001}, "listen": {"unix": true},
                "environment": {"TEXT": "50% of \"$HOME\" \\ 'x'\nline"},
                "limits": {"memory": 1_000_000, "cpu": 50, "tasks": 10},
                "network": ["10.0.0.0/8", "::1"], "drain": 1500
            },
            "proxy": {
                "rootfs": "/nix/store/2mdqa9w1p6cmli6976v4wi0sw9r4p5pr-proxy", "image": "proxy",
                "command": ["/bin/true"], "user": {"name": "nginx", "uid": 10002, "gid": 10002},
                "listen": {"tcp": ["0.0.0.0:8080", "[::1]:8081"], "inherit": "nginx"},
                "upstreams": ["api"], "stop_signal": "quit"
            }
        }
    }))
    .unwrap()
}

fn analyze(arguments: &[&str], units: &Path, names: &[String]) -> String {
    let files = names.iter().map(|name| units.join(name));
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .args(files)
        .env("SYSTEMD_UNIT_PATH", format!("{}:", units.display()))
        .output()
        .expect("systemd-analyze is needed: install systemd");
    let [out, err] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b).into_owned());
    out + &err
}

#[test]
fn systemd_takes_every_unit() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let closure = render(&spec()).unwrap();
    write(&closure, &out).unwrap();
    let names: Vec<String> = closure.manifest.all_units().iter().map(ToString::to_string).collect();
    let said = analyze(&["verify", "--man=no", "--recursive-errors=no"], &out.join("units"), &names);
    // The programs are not on this machine; everything else it says is a fault of ours.
    let complaints: Vec<&str> =
        said.lines().filter(|line| line.contains("cairn")).filter(|line| !line.contains("is not executable")).collect();
    assert_eq!(complaints, Vec::<&str>::new());

    // The oracle must be able to complain.
    let broken = out.join("units/cairn.target");
    std::fs::remove_file(&broken).unwrap();
    std::fs::write(&broken, "[Unit]\nDescriptoin=x\n").unwrap();
    let said = analyze(&["verify", "--man=no"], &out.join("units"), &["cairn.target".to_owned()]);
    assert!(said.contains("Descriptoin"), "{said}");
}

#[test]
fn every_service_is_counted_as_safe() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let closure = render(&spec()).unwrap();
    write(&closure, &out).unwrap();
    for (name, service) in &closure.manifest.services {
        let unit = service.replicas[0].unit.to_string();
        let said = analyze(&["security", "--offline=yes", "--no-pager"], &out.join("units"), &[unit]);
        let score: f64 = said
            .lines()
            .find_map(|line| {
                line.split_once("exposure level for ")?.1.split(": ").nth(1)?.split(' ').next()?.parse().ok()
            })
            .unwrap_or_else(|| panic!("no score in {said}"));
        // A service with a network of its own is a little more exposed.
        assert!(score <= 1.5, "{name} scores {score}\n{said}");
    }
}
