//! What is made live on the model.

#![allow(clippy::unwrap_used)]

use cairn_closure::{HostSpec, Manifest, render};
use cairn_formats::StorePath;
use serde_json::json;

/// Closures that differ in each way that matters: text, replicas, services, addresses.
pub fn closures() -> Vec<(StorePath, Manifest)> {
    let api = |text: &str, replicas: u32| {
        json!({
            "rootfs": "/nix/store/1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-api", "image": "api",
            "replicas": replicas, "command": ["/bin/api", text],
            "user": {"name": "app", "uid": 10001, "gid": 10001}, "listen": {"unix": true}
        })
    };
    let proxy = |text: &str, port: u16| {
        json!({
            "rootfs": "/nix/store/2mdqa9w1p6cmli6976v4wi0sw9r4p5pr-proxy", "image": "proxy",
            "command": ["/bin/proxy", text], "upstreams": ["api"],
            "user": {"name": "proxy", "uid": 10002, "gid": 10002},
            "listen": {"tcp": [format!("0.0.0.0:{port}")]}
        })
    };
    // What only one process may have, and what runs to its end.
    let db = |text: &str, files: u32| {
        json!({
            "rootfs": "/nix/store/3mdqa9w1p6cmli6976v4wi0sw9r4p5pr-db", "image": "db",
            "command": ["/bin/db", text], "state": {"data": "/data"}, "replace": "restart",
            "user": {"name": "db", "uid": 10003, "gid": 10003}, "listen": {"unix": true},
            "reload": { "files": format!("/nix/store/{files}mdqa9w1p6cmli6976v4wi0sw9r4p5pr-db-live") }
        })
    };
    let job = |text: &str, kind: serde_json::Value, after: &str| {
        json!({
            "rootfs": "/nix/store/1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-api", "image": "api", "kind": kind,
            "command": ["/bin/api", text], "after": [after],
            "user": {"name": "app", "uid": 10001, "gid": 10001}
        })
    };
    let task = |text: &str| job(text, json!({"type": "task"}), "db");
    let check = || job("check", json!({"type": "check"}), "db");
    let timer = |text: &str| job(text, json!({"type": "timer", "calendar": "daily"}), "db");
    [
        json!({"api": api("one", 2), "proxy": proxy("one", 80), "db": db("one", 1), "migrate": task("one")}),
        json!({"api": api("two", 2), "proxy": proxy("one", 80), "db": db("one", 2), "migrate": task("two"),
               "tidy": timer("one"), "smoke": check()}),
        json!({"api": api("two", 3), "proxy": proxy("two", 81), "db": db("two", 1), "tidy": timer("two")}),
        json!({"api": api("one", 1), "db": db("two", 2), "migrate": task("two"), "smoke": check()}),
        json!({}),
    ]
    .into_iter()
    .zip(systems())
    .enumerate()
    .map(|(index, (services, system))| {
        let spec: HostSpec = serde_json::from_value(json!({
            "version": 1, "name": "model", "platform": "linux/amd64",
            "agent": "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent",
            "services": services, "system": system
        }))
        .unwrap();
        let path = StorePath::parse(&format!("{index}mdqa9w1p6cmli6976v4wi0sw9r4p5pr-host"));
        (path.unwrap(), render(&spec).unwrap().manifest)
    })
    .collect()
}

/// Beside them, the host itself: files that come, change and go, as all else of it.
fn systems() -> [serde_json::Value; 5] {
    let file = |text: &str| json!({"text": text, "mode": 0o644, "reload": ["ssh.service"]});
    let alice = |shell: &str| json!({"uid": 2001, "shell": shell});
    let mount = |options: &str| json!({"what": "tmpfs", "type": "tmpfs", "options": [options]});
    let timer = |text: &str| json!({"text": text, "start": true});
    [
        json!({}),
        json!({"etc": {"ssh/a.conf": file("one"), "motd": file("one")}, "sysctl": {"a.b": "1"},
               "users": {"alice": alice("/bin/sh")}, "mounts": {"/srv/data": mount("ro")},
               "units": {"x.timer": timer("one"), "x.service": {"text": "one", "start": false}}}),
        json!({"etc": {"ssh/a.conf": file("two")}, "sysctl": {"a.b": "2", "a.c": "1"},
               "users": {"alice": alice("/bin/bash"), "bob": {"uid": 2002, "shell": "/bin/sh"}},
               "mounts": {"/srv/data": mount("rw")}, "units": {"x.timer": timer("two")}}),
        json!({"etc": {"motd": file("two")}, "users": {"bob": {"uid": 2002, "shell": "/bin/sh"}}}),
        json!({"etc": {"ssh/a.conf": file("one")}, "sysctl": {"a.c": "3"}}),
    ]
}
