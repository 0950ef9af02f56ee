//! Closures scored by the real `systemd-analyze`.

#![allow(clippy::unwrap_used)]

use cairn_closure::{HostSpec, render, write};
use cairn_exposure::{Assessment, Loosened, assess};
use serde_json::json;
use tempfile::TempDir;

fn spec() -> HostSpec {
    serde_json::from_value(json!({
        "version": 1, "name": "local", "platform": "linux/amd64",
        "agent": "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent",
        "services": {
            "api": {
                "rootfs": "/nix/store/1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-api", "image": "api", "replicas": 2,
                "command": ["/usr/bin/true"], "user": {"name": "app", "uid": 10001, "gid": 10001},
                "listen": {"unix": true},
                "hardening": {"SystemCallFilter": {"value": "+@chown", "reason": "its socket"}},
            },
            "proxy": {
                "rootfs": "/nix/store/2mdqa9w1p6cmli6976v4wi0sw9r4p5pr-proxy", "image": "proxy",
                "command": ["/usr/bin/true"], "user": {"name": "proxy", "uid": 10002, "gid": 10002},
                "listen": {"tcp": ["0.0.0.0:8080"]}, "upstreams": ["api"],
            },
            "open": {
                "rootfs": "/nix/store/3mdqa9w1p6cmli6976v4wi0sw9r4p5pr-open", "image": "open",
                "command": ["/usr/bin/true"], "user": {"name": "open", "uid": 10003, "gid": 10003},
                "kind": {"type": "timer", "calendar": "daily"}, "network": ["any"],
                "hardening": {
                    "SystemCallFilter": {"value": "@system-service", "reason": "a test"},
                    "ProtectSystem": {"value": "no", "reason": "a test"},
                    "NoNewPrivileges": {"value": "no", "reason": "a test"},
                },
            },
        }
    }))
    .unwrap()
}

fn assessed(limit: f64) -> (TempDir, Assessment) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    write(&render(&spec()).unwrap(), &out).unwrap();
    let assessment = assess(&spec(), &out, |_| limit).unwrap();
    (folder, assessment)
}

#[test]
fn each_service_has_its_score_and_what_was_loosened() {
    let (_folder, assessment) = assessed(10.0);
    assert_eq!(assessment.unscored, None, "this test needs systemd 250 or later");
    let names: Vec<&str> = assessment.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["api", "open", "proxy"]);
    let [api, open, proxy] = assessment.services.as_slice() else { panic!("three services") };
    let scores = [api, open, proxy].map(|service| service.exposure.unwrap());
    assert!(scores[0] > 0.0 && scores[0] <= 1.5 && scores[2] <= 1.5 && scores[1] > scores[0] + 0.5, "{scores:?}");
    let loosened = |directive: &str, value: &str, reason: &str| Loosened {
        directive: directive.to_owned(),
        value: value.to_owned(),
        reason: reason.to_owned(),
    };
    let wanted = [
        loosened("SystemCallFilter", "+@chown", "its socket"),
        loosened("UMask", "0007", "who connects to its sockets is in its group"),
    ];
    assert_eq!(api.loosened, wanted);
    assert_eq!(proxy.loosened, []);
    let of_open: Vec<&str> = open.loosened.iter().map(|loosened| loosened.directive.as_str()).collect();
    let wanted = [
        "NoNewPrivileges",
        "PrivateNetwork",
        "ProtectSystem",
        "RestrictAddressFamilies",
        "SystemCallFilter",
        "IPAddressAllow",
    ];
    assert_eq!(of_open, wanted);
    assessment.check().unwrap();
}

#[test]
fn a_score_above_the_limit_is_refused_with_what_costs_most() {
    let (_folder, assessment) = assessed(1.0);
    let error = assessment.check().unwrap_err().to_string();
    let open = assessment.services[1].exposure.unwrap();
    let first = format!("host `local`: service `open` has an exposure of {open:.1}, and its limit is 1.0\n  0.");
    assert!(error.starts_with(&first), "{error}");
    assert!(error.contains("PrivateNetwork= Service has access to the host's network"), "{error}");
    assert!(error.contains("help: loosen less"), "{error}");
    assert!(!error.contains("`api`") && !error.contains("`proxy`"), "{error}");
    assert_eq!(error.lines().count(), 7);
    // All of them are told at once.
    let (_folder, assessment) = assessed(0.0);
    let error = assessment.check().unwrap_err().to_string();
    assert!(["`api`", "`open`", "`proxy`"].iter().all(|name| error.contains(name)), "{error}");
}

#[test]
fn a_folder_that_is_no_closure_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = assess(&spec(), folder.path(), |_| 2.0).unwrap_err().to_string();
    assert!(error.starts_with("cannot read ") && error.contains("closure.json"), "{error}");
}
