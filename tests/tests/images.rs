//! Images: the same bytes each time, and good for the tools that others use.

use std::path::Path;
use std::process::{Command, Stdio};

use cairn_tests::{Project, http, run, tool};

fn build(project: &Project, target: &str) -> serde_json::Value {
    project.deploy(&["build", target, "--json"]).ok().json()["targets"][0].clone()
}

#[test]
fn two_fresh_stores_give_the_same_image_and_real_tools_take_it() {
    let project = Project::with_shared_store();
    let api = build(&project, "images.api");
    let fresh = Project::with_fresh_store();
    let again = build(&fresh, "images.api");
    assert_eq!(api["digest"], again["digest"]);
    assert_eq!(api["store_path"], again["store_path"]);
    assert_eq!(again["cached"], false);
    assert_eq!(build(&fresh, "images.api")["cached"], true);
    fresh.deploy(&["build", "images.proxy", "--check"]).ok();

    // Nix finds the store to be one of its own, and whole.
    let root = fresh.store().to_str().expect("a plain path");
    tool("nix-store", ["--store", root, "--verify", "--check-contents"]);
    fresh.deploy(&["store", "verify", "--check-contents"]).ok();
    let path = again["store_path"].as_str().expect("a path");
    let nar = run(Command::new("nix").args([
        "--extra-experimental-features",
        "nix-command",
        "path-info",
        "--json",
        "--store",
        root,
        path,
    ]));
    assert!(nar.ok().stdout.contains(path));

    let layout = api["file"].as_str().expect("a folder");
    let inspected = tool("skopeo", ["inspect", &format!("oci:{layout}:latest")]);
    assert!(inspected.contains(api["digest"].as_str().expect("a digest")), "{inspected}");

    let dir = tempfile::tempdir().expect("a folder");
    let bundle = dir.path().join("bundle");
    tool("umoci", ["unpack".as_ref(), "--image".as_ref(), format!("{layout}:latest").as_ref(), bundle.as_os_str()]);
    let rootfs = bundle.join("rootfs");
    let used: u64 =
        tool("du", [Path::new("-sb"), &rootfs]).split_whitespace().next().and_then(|n| n.parse().ok()).expect("a size");
    assert!(used <= 200 << 20, "{used} bytes unpacked");
    let accounts = std::fs::read_to_string(rootfs.join("etc/passwd")).expect("accounts");
    assert!(accounts.contains("app:") && accounts.contains(":10001:"), "{accounts}");

    let image = format!("oci:{layout}:latest");
    let config = tool("skopeo", ["inspect", "--config", &image]);
    assert!(config.contains("\"10001:10001\""), "{config}");
    answers_in_a_container(&image);
}

/// Runs the image by podman and asks for its health.
fn answers_in_a_container(image: &str) {
    const NAME: &str = "cairn-test-api";
    let podman = |arguments: &[&str]| {
        let mut command = Command::new("podman");
        command.args(["--runtime", "runc", "--cgroup-manager=cgroupfs"]).args(arguments);
        command
    };
    let remove = || run(podman(&["rm", "--force", "--ignore", "--time", "2", NAME]).stderr(Stdio::null()));
    remove();
    let started = run(&mut podman(&[
        "run",
        "--detach",
        "--name",
        NAME,
        "--network=host",
        "--ulimit",
        "nofile=1024:1024",
        "--ulimit",
        "nproc=1000:1000",
        "--env",
        "BIND=127.0.0.1:18731",
        "--env",
        "WEB_CONCURRENCY=1",
        "--env",
        "JWT_SECRET=for-this-test-alone-and-no-other-one",
        image,
    ]))
    .ok();
    let answer = std::panic::catch_unwind(|| http::eventually("http://127.0.0.1:18731/health", 200, 60));
    if answer.is_err() {
        eprintln!("{}{:?}", started.stderr, run(&mut podman(&["logs", NAME])));
    }
    remove();
    assert_eq!(answer.expect("an answer").json()["status"], "ok");
}
