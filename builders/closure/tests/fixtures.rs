//! Specifications and manifests that earlier versions wrote are still read, with their values.
//!
//! `tests/fixtures/README.md` says how the files are written.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use cairn_closure::{
    Change, Content, HostSpec, Kind, Manifest, Millis, ReloadSignal, Replace, ServiceName, StateName, UnitName, render,
};
use cairn_formats::Platform;
use serde_json::{Value, json};

fn file(version: &str, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(version).join("closure").join(name)
}

fn text(name: &str) -> String {
    let file = file("fbaba72", name);
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// Reads a fixture; what is written of it again has the same keys and values.
fn read<T: serde::de::DeserializeOwned + serde::Serialize>(name: &str) -> T {
    let value: T = serde_json::from_str(&text(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let before: Value = serde_json::from_str(&text(name)).unwrap();
    assert_contains(&serde_json::to_value(&value).unwrap(), &before, name);
    value
}

/// New keys may come; none may go, or change its value.
fn assert_contains(now: &Value, before: &Value, at: &str) {
    match (now, before) {
        (Value::Object(now), Value::Object(before)) => {
            for (key, value) in before {
                let found = now.get(key).unwrap_or_else(|| panic!("{at}.{key} was lost"));
                assert_contains(found, value, &format!("{at}.{key}"));
            }
        }
        _ => assert_eq!(now, before, "{at}"),
    }
}

/// A host with every key of a specification.
fn full() -> Value {
    let path = |first: char, name: &str| format!("/nix/store/{first}mdqa9w1p6cmli6976v4wi0sw9r4p5pr-{name}");
    let user = |name: &str, id: u32| json!({"name": name, "uid": id, "gid": id});
    let api = json!({
        "rootfs": path('1', "api"), "image": "api", "replicas": 2, "user": user("app", 10001),
        "command": ["/usr/bin/gunicorn", "--bind", "unix:{socket}", "app:app"],
        "environment": {"MODE": "production", "NUMBER": "{replica}"}, "working_directory": "/app",
        "listen": {"unix": true, "inherit": "listen-fds"}, "config": path('3', "api-config"),
        "credentials": {"password": {"name": "redis-password", "version": 3}},
        "state": {"uploads": "/var/lib/uploads"}, "network": ["10.0.0.0/8", "localhost"], "drain": 10000,
        "stop_signal": "int", "ready": "notify", "replace": "restart", "timeout": 20000,
        "health": {"path": "/health", "timeout": 20000, "interval": 250},
        "limits": {"memory": 268_435_456, "cpu": 150, "tasks": 64},
        "hardening": {"MemoryDenyWriteExecute": {"value": "no", "reason": "a compiler at run time"}},
        "after": ["migrate"]
    });
    let proxy = json!({
        "rootfs": path('2', "proxy"), "image": "proxy", "user": user("nginx", 10002),
        "command": ["/usr/sbin/nginx", "-g", "daemon off;"],
        "listen": {"tcp": ["0.0.0.0:80"], "tls": ["0.0.0.0:443"], "own": ["127.0.0.1:8081"], "inherit": "nginx"},
        "reload": {"files": path('4', "proxy-live"), "signal": "usr1"}, "maintenance": "maintenance",
        "reads": [{"service": "api", "state": "uploads", "path": "/srv/uploads", "write": true}],
        "network": ["localhost"], "upstreams": ["api"], "stop_signal": "quit"
    });
    let job = |kind: Value| {
        json!({
            "rootfs": path('1', "api"), "image": "api", "user": user("app", 10001),
            "command": ["/bin/true"], "kind": kind
        })
    };
    json!({
        "version": 1, "name": "web-1", "platform": "linux/amd64", "agent": path('0', "cairn-agent"),
        "services": {
            "api": api, "proxy": proxy, "migrate": job(json!({"type": "task"})),
            "smoke": job(json!({"type": "check"})),
            "tidy": job(json!({"type": "timer", "calendar": "daily", "at_start": true}))
        },
        "system": {
            "etc": {"ssh/sshd_config.d/10-team.conf":
                {"text": "Port 22\n", "mode": 0o644, "reload": ["ssh.service"], "restart": ["systemd-journald.service"]}},
            "sysctl": {"net.ipv4.ip_forward": "1"},
            "users": {"alice": {"uid": 2001, "groups": ["sudo"], "shell": "/bin/bash",
                "keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ alice"]}},
            "mounts": {"/srv/data": {"what": "LABEL=data", "type": "ext4", "options": ["noatime"]}},
            "units": {"tick.timer": {"text": "[Timer]\nOnCalendar=daily\n", "start": true},
                      "tick.service": {"text": "[Service]\nExecStart=/bin/true\n", "start": false}}
        }
    })
}

/// As few keys as there can be.
fn minimal() -> Value {
    json!({
        "version": 1, "name": "bare", "platform": "linux/arm64", "services": {},
        "agent": "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent"
    })
}

#[test]
fn specifications_of_fbaba72_are_read_as_they_were_written() {
    let spec: HostSpec = read("full.spec.json");
    assert_eq!(spec, serde_json::from_value(full()).unwrap());
    let api = &spec.services["api"];
    assert_eq!((api.replicas, api.drain, api.timeout), (2, Millis(10_000), Millis(20_000)));
    assert_eq!(api.limits.memory, Some(268_435_456));
    let spec: HostSpec = read("minimal.spec.json");
    assert_eq!((spec.name.as_str(), spec.platform, spec.services.len()), ("bare", Platform::LinuxArm64, 0));
    assert!(spec.system.is_empty());
}

#[test]
fn the_manifest_of_a_full_host_of_fbaba72_is_read_as_it_was_written() {
    let manifest: Manifest = read("full.closure.json");
    assert_eq!((manifest.version, manifest.name.as_str(), manifest.platform), (1, "web-1", Platform::LinuxAmd64));
    assert_eq!(manifest.agent.0.name(), "cairn-agent");
    let groups: Vec<Vec<&str>> =
        manifest.order.iter().map(|group| group.iter().map(ServiceName::as_str).collect()).collect();
    assert_eq!(groups, [vec!["migrate", "smoke", "tidy"], vec!["api"], vec!["proxy"]]);
    let kind = |name: &str| manifest.services[name].kind.clone();
    assert_eq!((kind("migrate"), kind("smoke")), (Kind::Task {}, Kind::Check {}));
    assert_eq!(kind("tidy"), Kind::Timer { calendar: "daily".to_owned(), at_start: true });
    assert!(kind("api").is_service());
    assert_eq!(manifest.all_units().len(), 17, "{:?}", manifest.all_units());
}

#[test]
fn services_of_a_manifest_of_fbaba72_are_read_as_they_were_written() {
    let manifest: Manifest = read("full.closure.json");
    let (api, proxy) = (&manifest.services["api"], &manifest.services["proxy"]);
    assert_eq!((api.image.as_str(), api.user.name.as_str(), api.user.uid, api.user.gid), ("api", "app", 10001, 10001));
    let sockets: Vec<Option<&str>> = api.replicas.iter().map(|replica| replica.socket.as_deref()).collect();
    assert_eq!(sockets, [Some("1.sock"), Some("2.sock")]);
    let health = api.health.as_ref().unwrap();
    assert_eq!((health.path.as_str(), health.timeout, health.interval), ("/health", Millis(20_000), Millis(250)));
    assert_eq!((api.drain, api.replace), (Millis(10_000), Replace::Restart));
    assert_eq!(api.state, [StateName::parse("uploads").unwrap()].into());
    let secrets: Vec<String> = manifest.secrets().into_iter().map(|secret| secret.file_name()).collect();
    assert_eq!(secrets, ["redis-password.v3"]);

    let held: Vec<(String, bool)> = proxy.sockets.iter().map(|s| (s.address.to_string(), s.tls)).collect();
    assert_eq!(held, [("0.0.0.0:80".to_owned(), false), ("0.0.0.0:443".to_owned(), true)]);
    assert_eq!(proxy.own, ["127.0.0.1:8081".parse().unwrap()]);
    let reload = proxy.reload.as_ref().unwrap();
    assert_eq!((reload.files.0.name(), reload.signal), ("proxy-live", ReloadSignal::Usr1));
    assert_eq!(proxy.maintenance.as_deref(), Some("maintenance"));
    let read = &proxy.reads[0];
    assert_eq!((read.service.as_str(), read.path.as_str(), read.write), ("api", "/srv/uploads", true));
    let unit = |name: &str| manifest.services[name].job.as_ref().map(|job| job.unit.to_string());
    assert!(unit("migrate").is_some_and(|unit| unit.starts_with("cairn-migrate-")), "{:?}", unit("migrate"));
    assert!(unit("api").is_none());
    assert!(UnitName::parse(api.target.as_str()).is_ok());
}

#[test]
fn the_system_of_a_manifest_of_fbaba72_is_read_as_it_was_written() {
    let system = read::<Manifest>("full.closure.json").system;
    let (path, file) = system.etc.first_key_value().unwrap();
    assert_eq!((path.as_str(), file.mode), ("ssh/sshd_config.d/10-team.conf", 0o644));
    let units = |set: &std::collections::BTreeSet<cairn_closure::HostUnit>| {
        set.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        (units(&file.reload), units(&file.restart)),
        (vec!["ssh.service".to_owned()], vec!["systemd-journald.service".to_owned()])
    );
    let (name, value) = system.sysctl.first_key_value().unwrap();
    assert_eq!((name.as_str(), value.as_str()), ("net.ipv4.ip_forward", "1"));
    let (name, account) = system.users.first_key_value().unwrap();
    assert_eq!((name.as_str(), account.uid, account.shell.as_str()), ("alice", 2001, "/bin/bash"));
    assert_eq!((account.groups.len(), account.keys.len()), (1, 1));
    let plain: Vec<(String, bool, bool)> =
        system.units.iter().map(|(name, unit)| (name.to_string(), unit.start, unit.mount.is_some())).collect();
    let expected = [("srv-data.mount", true, true), ("tick.service", false, false), ("tick.timer", true, false)];
    assert_eq!(plain, expected.map(|(name, start, mount)| (name.to_owned(), start, mount)));
    let (point, mount) = system.units.values().find_map(|unit| unit.mount.as_ref()).unwrap();
    assert_eq!((point.as_str(), mount.what.as_str(), mount.kind.as_str()), ("/srv/data", "LABEL=data", "ext4"));
    assert_eq!(mount.options, ["noatime"]);
}

#[test]
fn the_manifest_of_a_bare_host_of_fbaba72_is_read_as_it_was_written() {
    let manifest: Manifest = read("minimal.closure.json");
    assert_eq!((manifest.name.as_str(), manifest.platform), ("bare", Platform::LinuxArm64));
    assert!(manifest.services.is_empty() && manifest.order.is_empty() && manifest.system.is_empty());
}

/// Of the two generations of the machine that `tests/fixtures/record.sh` had switched.
#[test]
fn manifests_that_the_builder_of_fbaba72_wrote_are_read_as_they_were_written() {
    let [first, second] = [1, 2].map(|number| read::<Manifest>(&format!("recorded-{number}.closure.json")));
    for manifest in [&first, &second] {
        let service = &manifest.services["answer"];
        assert_eq!((manifest.name.as_str(), service.image.as_str()), ("e2e-record", "answer"));
        assert_eq!((service.user.uid, service.replicas.len(), service.drain), (10_090, 1, Millis(1000)));
        assert_eq!((service.replace, service.health.is_none()), (Replace::Restart, true));
        let secrets: Vec<&str> = manifest.secrets().into_iter().map(|secret| secret.name.as_str()).collect();
        assert_eq!(secrets, ["answer-password"]);
        assert_eq!(manifest.system.users.keys().map(ToString::to_string).collect::<Vec<_>>(), ["alice"]);
    }
    let changes: Vec<(String, Change)> =
        second.changes_from(Some(&first)).into_iter().map(|(name, change)| (name.to_string(), change)).collect();
    assert_eq!(changes, [("answer".to_owned(), Change::Restart)]);
    assert_eq!(second.system_changes_from(Some(&first)), [("/etc/motd".to_owned(), Change::Replaced)]);
}

#[test]
#[ignore = "writes fixtures: see tests/fixtures/README.md"]
fn write_fixtures() {
    let version = std::env::var("CAIRN_FIXTURES").expect("CAIRN_FIXTURES: the version to write fixtures of");
    fs::create_dir_all(file(&version, "")).unwrap();
    for (name, spec) in [("full", full()), ("minimal", minimal())] {
        let spec: HostSpec = serde_json::from_value(spec).unwrap();
        fs::write(file(&version, &format!("{name}.spec.json")), serde_json::to_vec(&spec).unwrap()).unwrap();
        let closure = render(&spec).unwrap();
        let manifest = closure.files.iter().find(|(path, _)| path.as_bytes() == b"closure.json");
        let Some((_, Content::File(bytes))) = manifest else { panic!("a closure without its manifest") };
        fs::write(file(&version, &format!("{name}.closure.json")), bytes).unwrap();
    }
}
