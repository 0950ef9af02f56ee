//! What a closure says of the host itself, and what it refuses to say.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::process::Command;

use cairn_closure::{Change, Closure, HostSpec, HostUnit, render, write};
use serde_json::{Value, json};

fn host(system: &Value) -> Value {
    json!({
        "version": 1, "name": "local", "platform": "linux/amd64",
        "agent": "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent", "system": system,
        "services": {"db": {
            "rootfs": "/nix/store/1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-db", "image": "db", "command": ["/bin/db"],
            "state": {"data": "/data"}, "user": {"name": "db", "uid": 10001, "gid": 10001}
        }}
    })
}

fn rendered(system: &Value) -> Closure {
    render(&serde_json::from_value(host(system)).unwrap()).unwrap()
}

fn refusal(system: &Value) -> String {
    match serde_json::from_value::<HostSpec>(host(system)) {
        Ok(spec) => render(&spec).unwrap_err().to_string(),
        Err(e) => e.to_string(),
    }
}

fn file(text: &str) -> Value {
    json!({"text": text, "mode": 0o644, "reload": ["ssh.service"]})
}

#[test]
fn files_and_units_lie_in_the_closure_and_systemd_takes_them() {
    let closure = rendered(&json!({
        "etc": {"ssh/sshd_config.d/10-team.conf": file("Port 22\n")},
        "mounts": {"/srv/my-data": {"what": "LABEL=50%", "type": "ext4", "options": ["noatime", "x-a=%i"]}},
        "units": {"tick.timer": {"text": "[Timer]\nOnCalendar=daily\n", "start": true}}
    }));
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    write(&closure, &out).unwrap();
    let read = |path: &str| std::fs::read_to_string(out.join(path)).unwrap();
    assert_eq!(read("etc/ssh/sshd_config.d/10-team.conf"), "Port 22\n");
    assert_eq!(read("units/tick.timer"), "[Timer]\nOnCalendar=daily\n");
    let mount = read("units/srv-my\\x2ddata.mount");
    for line in ["What=LABEL=50%%", "Where=/srv/my-data", "Type=ext4", "Options=noatime,x-a=%%i"] {
        assert!(mount.lines().any(|found| found == line), "{line}\n{mount}");
    }
    let said = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(out.join("units/srv-my\\x2ddata.mount"))
        .output()
        .expect("systemd-analyze is needed: install systemd");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.contains("srv-my"), "{said}");
}

#[test]
fn a_host_without_any_of_it_is_as_it_was() {
    let closure = rendered(&json!({}));
    let json = serde_json::to_string(&closure.manifest).unwrap();
    assert!(!json.contains("\"system\""), "{json}");
}

#[test]
fn a_service_waits_for_the_mount_that_its_state_lies_on_and_for_no_other() {
    let unit = |point: &str| {
        let closure = rendered(&json!({"mounts": {point: {"what": "/dev/x", "type": "ext4"}}}));
        let unit = &closure.manifest.services["db"].replicas[0].unit;
        let text = closure.files.iter().find(|(path, _)| path.as_bytes().ends_with(unit.as_str().as_bytes()));
        format!(
            "{:?}",
            text.map(|(_, content)| match content {
                cairn_closure::Content::File(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                cairn_closure::Content::Link(_) => panic!("a link"),
            })
        )
    };
    for point in ["/var/lib/cairn", "/var/lib/cairn/state/db", "/var/lib/cairn/state/db/data"] {
        assert!(unit(point).contains(&format!("RequiresMountsFor={point}\\n")), "{point}");
    }
    for point in ["/srv/data", "/var/lib/cairn/state/dbx", "/var/lib/cairn/state/other"] {
        assert!(!unit(point).contains("RequiresMountsFor"), "{point}");
    }
}

#[test]
fn what_changes_and_who_is_told_is_known() {
    let one = rendered(&json!({
        "etc": {"a": file("1"), "b": {"text": "1", "mode": 0o644, "restart": ["x.service"]}, "c": file("1")},
        "sysctl": {"a.b": "1"}, "users": {"alice": {"uid": 2001, "shell": "/bin/sh"}}
    }));
    let two = rendered(&json!({
        "etc": {"a": file("2"), "b": {"text": "1", "mode": 0o644, "restart": ["x.service"]}, "c": file("1")},
        "sysctl": {"a.b": "2"}, "mounts": {"/srv/data": {"what": "tmpfs", "type": "tmpfs"}}
    }));
    let told = |closure: &Closure, other: &Closure| closure.manifest.system.listeners(&other.manifest.system);
    let ssh: BTreeSet<HostUnit> = [HostUnit::parse("ssh.service").unwrap()].into();
    assert_eq!(told(&two, &one), (ssh, BTreeSet::new()));
    assert_eq!(told(&one, &one), (BTreeSet::new(), BTreeSet::new()));
    let changes = two.manifest.system_changes_from(Some(&one.manifest));
    let changes: Vec<_> = changes.iter().map(|(what, change)| (what.as_str(), *change)).collect();
    assert_eq!(
        changes,
        [
            ("/etc/a", Change::Replaced),
            ("mount /srv/data", Change::New),
            ("sysctl a.b", Change::Replaced),
            ("user alice", Change::Removed)
        ]
    );
    assert_ne!(one.manifest.system.files_id(), two.manifest.system.files_id());
}

#[test]
fn what_could_do_harm_is_refused() {
    let user = |key: &str, value: Value| {
        let mut user = json!({"uid": 2001, "shell": "/bin/sh"});
        user[key] = value;
        json!({"users": {"alice": user}})
    };
    let mode = |mode: u32| json!({"etc": {"a": {"text": "", "mode": mode}}});
    let mount = |what: &str, kind: &str, option: &str| json!({"mounts": {"/srv/x": {"what": what, "type": kind, "options": [option]}}});
    for (system, wanted) in [
        (json!({"etc": {"../passwd": file("x")}}), "\"../passwd\" is not allowed"),
        (json!({"etc": {"/etc/motd": file("x")}}), "\"/etc/motd\" is not allowed"),
        (json!({"etc": {"shadow": file("x")}}), "\"shadow\" is not allowed"),
        (json!({"etc": {"a\nb": file("x")}}), "is not allowed"),
        (json!({"etc": {"a": file("x"), "a/b": file("x")}}), "declared as a file as well"),
        (mode(0o666), "the mode of /etc/a: \"0666\""),
        (mode(0o4755), "\"4755\""),
        (mode(0o200), "\"0200\""),
        (json!({"sysctl": {"a.b": "1\n2"}}), "sysctl a.b"),
        (json!({"sysctl": {"../x.y": "1"}}), "is not allowed"),
        (user("uid", json!(0)), "uid of user alice: \"0\""),
        (user("uid", json!(10_001)), "somebody else of this host has it"),
        (user("shell", json!("sh")), "shell of user alice"),
        (user("shell", json!("/bin/sh\nroot::0:0::/:/bin/sh")), "shell of user alice"),
        (user("groups", json!(["a,b"])), "groups of user alice"),
        (user("keys", json!(["ssh-ed25519 A\nssh-ed25519 B"])), "keys of user alice"),
        (user("keys", json!(["not a key"])), "keys of user alice"),
        (mount("/dev/x\n[Unit]", "ext4", "ro"), "mount /srv/x"),
        (mount("/dev/x", "ext4\n", "ro"), "mount /srv/x"),
        (mount("/dev/x", "ext4", "ro\nx"), "mount /srv/x"),
        (json!({"units": {"srv-x.mount": {"text": "", "start": true}}}), "mounts are declared as such"),
        (json!({"units": {"cairn-x.service": {"text": "", "start": true}}}), "is not allowed"),
    ] {
        let said = refusal(&system);
        assert!(said.contains(wanted), "{system}\n{said}\nwanted: {wanted}");
    }
}
