//! What a rendered closure promises.

#![allow(clippy::unwrap_used)]

use cairn_closure::{Closure, Content, HostSpec, Manifest, render, write};
use serde_json::{Value, json};

fn api() -> Value {
    json!({
        "rootfs": "/nix/store/1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-api", "image": "api", "replicas": 3,
        "command": ["/usr/bin/gunicorn", "--bind", "unix:{socket}", "app:app"],
        "user": {"name": "app", "uid": 10001, "gid": 10001}, "listen": {"unix": true},
        "environment": {"MODE": "production"},
        "health": {"path": "/health", "timeout": 20000, "interval": 500},
        "limits": {"memory": 268_435_456, "cpu": 150, "tasks": 64}
    })
}

fn proxy() -> Value {
    json!({
        "rootfs": "/nix/store/2mdqa9w1p6cmli6976v4wi0sw9r4p5pr-proxy", "image": "proxy",
        "command": ["/usr/sbin/nginx", "-g", "daemon off;"],
        "user": {"name": "nginx", "uid": 10002, "gid": 10002},
        "listen": {"tcp": ["0.0.0.0:8080", "[::1]:8081"], "inherit": "nginx"},
        "upstreams": ["api"], "stop_signal": "quit"
    })
}

fn host(services: &Value) -> Value {
    json!({
        "version": 1, "name": "local", "platform": "linux/amd64",
        "agent": "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent", "services": services
    })
}

fn rendered(services: &Value) -> Closure {
    let spec: HostSpec = serde_json::from_value(host(services)).unwrap();
    render(&spec).unwrap()
}

fn text(closure: &Closure, path: &str) -> String {
    let found = closure.files.iter().find(|(p, _)| p.as_bytes() == path.as_bytes());
    match found {
        Some((_, Content::File(bytes))) => String::from_utf8(bytes.clone()).unwrap(),
        Some((_, Content::Link(target))) => target.clone(),
        None => panic!("no {path}"),
    }
}

fn unit_of(closure: &Closure, service: &str, replica: usize) -> String {
    let unit = &closure.manifest.services[service].replicas[replica].unit;
    text(closure, &format!("units/{unit}"))
}

/// A change at a path inside the services, as `/api/replicas`.
fn with(pointer: &str, value: Value) -> Value {
    let mut services = json!({"api": api(), "proxy": proxy()});
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = services.pointer_mut(parent).unwrap();
    parent.as_object_mut().unwrap().insert(key.to_owned(), value);
    services
}

fn refusal(services: &Value) -> String {
    match serde_json::from_value::<HostSpec>(host(services)) {
        Ok(spec) => render(&spec).unwrap_err().to_string(),
        Err(e) => e.to_string(),
    }
}

#[test]
fn the_manifest_is_what_was_rendered() {
    let closure = rendered(&json!({"api": api(), "proxy": proxy()}));
    let manifest: Manifest = serde_json::from_str(&text(&closure, "closure.json")).unwrap();
    assert_eq!(manifest, closure.manifest);
    let order: Vec<Vec<String>> =
        manifest.order.iter().map(|group| group.iter().map(ToString::to_string).collect()).collect();
    assert_eq!(order, [["api"], ["proxy"]]);
    for unit in manifest.all_units() {
        text(&closure, &format!("units/{unit}"));
    }
    assert_eq!(closure.files.len(), 2 + manifest.all_units().len());
    assert_eq!(text(&closure, "agent"), "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent/bin/cairn-agent");
}

#[test]
fn only_what_makes_the_process_different_makes_another_instance() {
    let instance = |services: &Value| rendered(services).manifest.services["api"].instance.clone();
    let base = instance(&json!({"api": api(), "proxy": proxy()}));
    for (pointer, value, same) in [
        ("/api/replicas", json!(5), true),
        ("/api/health/path", json!("/other"), true),
        ("/proxy/command", json!(["/usr/sbin/nginx"]), true),
        ("/api/environment/MODE", json!("test"), false),
        ("/api/command", json!(["/usr/bin/gunicorn"]), false),
        ("/api/limits/memory", json!(1), false),
        ("/api/rootfs", json!("/nix/store/3mdqa9w1p6cmli6976v4wi0sw9r4p5pr-api"), false),
        ("/api/hardening", json!({"UMask": {"value": "0027", "reason": "x"}}), false),
    ] {
        assert_eq!(instance(&with(pointer, value)) == base, same, "{pointer}");
    }
}

#[test]
fn a_socket_keeps_its_name_when_its_service_changes() {
    let sockets = |services: &Value| {
        let proxy = rendered(services).manifest.services["proxy"].clone();
        let names: Vec<String> = proxy.sockets.iter().map(|s| s.unit.to_string()).collect();
        (names, proxy.instance)
    };
    let (names, instance) = sockets(&json!({"api": api(), "proxy": proxy()}));
    assert_eq!(names, ["cairn-proxy-0.0.0.0:8080.socket", "cairn-proxy-::1:8081.socket"]);
    let (same, other) = sockets(&with("/proxy/command", json!(["/usr/sbin/nginx", "-q"])));
    assert_eq!(names, same);
    assert_ne!(instance, other);
}

#[test]
fn the_unit_says_what_the_service_needs() {
    let closure = rendered(&json!({"api": api(), "proxy": proxy()}));
    let api = unit_of(&closure, "api", 1);
    let instance = &closure.manifest.services["api"].instance;
    for line in [
        "ExecStart=/usr/bin/gunicorn \"--bind\" \"unix:/run/cairn/self/2.sock\" \"app:app\"".to_owned(),
        format!("BindPaths=/run/cairn/api/{instance}:/run/cairn/self"),
        "Environment=\"MODE=production\"".to_owned(),
        "User=10001".to_owned(),
        "MemoryMax=268435456".to_owned(),
        "CPUQuota=150%".to_owned(),
        "PrivateNetwork=yes".to_owned(),
        "RestrictAddressFamilies=AF_UNIX".to_owned(),
        "UMask=0007".to_owned(),
    ] {
        assert!(api.lines().any(|l| l == line), "{line}\n{api}");
    }
    let proxy = unit_of(&closure, "proxy", 0);
    for line in [
        "Sockets=cairn-proxy-0.0.0.0:8080.socket cairn-proxy-::1:8081.socket",
        "NonBlocking=yes",
        "Environment=\"NGINX=3;4;\"",
        "KillSignal=SIGQUIT",
        "SupplementaryGroups=10001",
        "BindReadOnlyPaths=/run/cairn/api",
        "After=cairn-boot.service cairn-api.target network.target",
        "UMask=0077",
    ] {
        assert!(proxy.lines().any(|l| l == line), "{line}\n{proxy}");
    }
}

#[test]
fn a_network_is_opened_only_to_what_is_named() {
    let closure = rendered(&with("/api/network", json!(["10.0.0.0/8", "localhost"])));
    let api = unit_of(&closure, "api", 0);
    for line in [
        "PrivateNetwork=no",
        "IPAddressDeny=any",
        "IPAddressAllow=10.0.0.0/8 localhost",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    ] {
        assert!(api.lines().any(|l| l == line), "{line}\n{api}");
    }
}

/// It asks from the very address, or from the loopback for one that stands for all.
#[test]
fn the_host_must_be_let_in_where_a_service_listens_by_itself() {
    let own = |address: &str, network: &str| {
        let mut api = api();
        api["network"] = json!([network]);
        api["listen"] = json!({"own": [address]});
        json!({"api": api})
    };
    for (address, network) in
        [("0.0.0.0:9100", "10.0.0.0/8"), ("10.1.0.1:9100", "localhost"), ("127.0.0.1:9100", "10.0.0.0/8")]
    {
        let said = refusal(&own(address, network));
        assert!(said.contains(address) && said.contains("`localhost`"), "{said}");
    }
    for (address, network) in [
        ("0.0.0.0:9100", "localhost"),
        ("[::]:9100", "localhost"),
        ("10.1.0.1:9100", "10.0.0.0/8"),
        ("0.0.0.0:1", "any"),
    ] {
        let manifest = rendered(&own(address, network)).manifest;
        assert_eq!(manifest.services["api"].own, [address.parse().unwrap()]);
    }
    // Asked at its UNIX socket.
    let mut elsewhere = own("0.0.0.0:9100", "10.0.0.0/8");
    elsewhere["api"]["listen"]["unix"] = json!(true);
    rendered(&elsewhere);
}

#[test]
fn a_loosened_directive_carries_its_reason() {
    let loosened = json!({"MemoryDenyWriteExecute": {"value": "no", "reason": "a JIT"}});
    let closure = rendered(&with("/api/hardening", loosened));
    let api = unit_of(&closure, "api", 0);
    assert!(api.contains("# MemoryDenyWriteExecute is loosened: a JIT\nMemoryDenyWriteExecute=no\n"));
    assert!(!api.contains("MemoryDenyWriteExecute=yes"));
}

#[test]
fn no_value_can_begin_a_directive_of_its_own() {
    let evil = "x\nExecStartPre=/bin/sh\r\n[Install]\n\\";
    let mut services = json!({"api": api(), "proxy": proxy()});
    services["api"]["command"] = json!(["/bin/x", evil]);
    services["api"]["environment"] = json!({"E": "a\nExecStartPre=/bin/sh\tb"});
    services["api"]["image"] = json!(evil);
    services["api"]["hardening"] = json!({"UMask": {"value": "0077", "reason": evil}});
    let base = rendered(&json!({"api": api(), "proxy": proxy()}));
    let names = |text: String| {
        let directives = text.lines().filter(|line| !line.starts_with('#'));
        let mut names: Vec<String> =
            directives.map(|line| line.split('=').next().unwrap_or_default().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(unit_of(&rendered(&services), "api", 0)), names(unit_of(&base, "api", 0)));
}

#[test]
fn what_cannot_be_is_refused_with_the_value_and_the_rule() {
    for (pointer, value, expected) in [
        ("/api/command", json!([]), "begins with a program's absolute path"),
        ("/api/command", json!(["gunicorn"]), "\"gunicorn\""),
        ("/api/command", json!(["/bin/a b"]), "\"/bin/a b\""),
        ("/api/command", json!(["/bin/x", "a\u{0}"]), "NUL"),
        ("/api/environment", json!({"A-B": "1"}), "\"A-B\""),
        ("/api/environment", json!({"A": "\u{1b}[0m"}), "control characters"),
        ("/api/working_directory", json!("app"), "absolute path"),
        ("/api/replicas", json!(0), "1 to 100"),
        ("/api/user", json!({"name": "root", "uid": 0, "gid": 0}), "root"),
        ("/api/user", json!({"name": "app", "uid": 999, "gid": 10001}), "user.uid \"999\""),
        ("/api/user", json!({"name": "app", "uid": 10001, "gid": 33}), "user.gid \"33\""),
        ("/api/user", json!({"name": "app", "uid": 61184, "gid": 10001}), "one above 10000"),
        ("/api/user", json!({"name": "nobody", "uid": 65534, "gid": 10001}), "user.uid \"65534\""),
        ("/api/user", json!({"name": "app", "uid": 10002, "gid": 10001}), "different images as user 10002"),
        ("/api/limits/memory", json!(0), "more than nothing"),
        ("/api/network", json!(["example.com"]), "\"example.com\""),
        ("/api/network", json!(["10.0.0.0/33"]), "10.0.0.0/33"),
        ("/api/health/path", json!("health"), "begins with /"),
        ("/api/health/path", json!("/a b"), "begins with /"),
        (
            "/api/hardening",
            json!({"MemoryDenyWriteExec": {"value": "no", "reason": "x"}}),
            "did you mean MemoryDenyWriteExecute",
        ),
        ("/api/hardening", json!({"ExecStart": {"value": "x", "reason": "x"}}), "not one of the hardening directives"),
        ("/api/hardening", json!({"UMask": {"value": "0\nX=1", "reason": "x"}}), "hardening value"),
        ("/api/hardening", json!({"UMask": {"value": "0027", "reason": " "}}), "reason"),
        ("/api/rootfs", json!("/usr"), "/usr"),
        ("/api/replica", json!(1), "unknown field `replica`"),
        ("/proxy/upstreams", json!(["apu"]), "did you mean \"api\"?"),
        ("/proxy/after", json!(["nobody"]), "\"nobody\""),
        ("/api/listen", json!({"tcp": ["0.0.0.0:9"]}), "does not listen on UNIX sockets"),
        ("/api/after", json!(["proxy"]), "api -> proxy -> api"),
        ("/api/listen", json!({"unix": true, "tcp": ["0.0.0.0:8080"]}), "both listen on 0.0.0.0:8080"),
        ("/api/listen", json!({"unix": true, "tls": ["127.0.0.1:8080"]}), "\"api\" (at 127.0.0.1:8080)"),
        ("/api/listen", json!({"unix": true, "own": ["0.0.0.0:9"]}), "says in `network` whom it talks with"),
        ("/api/listen", json!({"tls": ["0.0.0.0:9"]}), "health is not asked by TLS; add listen.unix"),
    ] {
        let message = refusal(&with(pointer, value));
        assert!(message.contains(expected), "{pointer}: {message}");
    }
    assert!(refusal(&json!({"Api": api()})).contains("Api"));
}

#[test]
fn an_unknown_version_is_refused() {
    let mut spec = host(&json!({}));
    spec["version"] = json!(2);
    let spec: HostSpec = serde_json::from_value(spec).unwrap();
    assert!(render(&spec).unwrap_err().to_string().contains("version 2"));
}

#[test]
fn files_are_written_once() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let closure = rendered(&json!({"api": api(), "proxy": proxy()}));
    write(&closure, &out).unwrap();
    let agent = std::fs::read_link(out.join("agent")).unwrap();
    assert_eq!(agent.to_str().unwrap(), text(&closure, "agent"));
    let unit = std::fs::read_to_string(out.join("units/cairn.target")).unwrap();
    assert_eq!(unit, text(&closure, "units/cairn.target"));
    assert!(write(&closure, &out).unwrap_err().to_string().contains("out"));
}

/// The group of another image is reach into its files and sockets: only as declared.
#[test]
fn images_share_a_group_only_where_one_service_is_declared_to_join_the_other() {
    let other = json!({
        "rootfs": "/nix/store/3mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cache", "image": "cache", "command": ["/bin/cache"],
        "user": {"name": "cache", "uid": 10004, "gid": 10001}, "state": {"data": "/var/lib/cache"}
    });
    let refused = refusal(&json!({"api": api(), "cache": other}));
    assert!(refused.contains("\"api\" and \"cache\" run different images with the group 10001"), "{refused}");

    let mut upstream = other.clone();
    upstream["upstreams"] = json!(["api"]);
    let mut read = api();
    read["reads"] = json!([{"service": "cache", "state": "data", "path": "/srv/data"}]);
    let mut same_image = other.clone();
    same_image["image"] = json!("api");
    for services in [
        json!({"api": api(), "cache": upstream}),
        json!({"api": read, "cache": other}),
        json!({"api": api(), "cache": same_image}),
    ] {
        rendered(&services);
    }
}
