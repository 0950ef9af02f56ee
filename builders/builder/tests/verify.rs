//! A command of an image looks at a configuration: in the real sandbox, with a real shell.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cairn_sandbox::{Input, Sandbox};
use common::{paths, run, unpack};
use seccompiler::{SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule};
use serde_json::json;
use tempfile::TempDir;

const UID: u32 = 10002;
const OUTPUT: &str = "The image takes this configuration.\n";

/// An image with a shell, a user and a volume, and a rendered configuration.
struct Image {
    scratch: TempDir,
}

impl Image {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        let mut trees = unpack(&["busybox-static"], &[], scratch.path());
        let base = json!({
            "kind": "generated", "platform": "linux/amd64", "links": {},
            "users": {"app": {"uid": UID, "gid": UID, "home": "/"}}, "volumes": {"/var/lib/app": [UID, UID]},
        });
        run(base, &[("trees", &paths(&trees))], &at("base")).unwrap();
        trees.push(at("base"));
        run(json!({"kind": "rootfs"}), &[("trees", &paths(&trees))], &at("rootfs")).unwrap();
        fs::create_dir(at("config")).unwrap();
        fs::write(at("config/app.conf"), "key = value\n").unwrap();
        Self { scratch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Runs the step with a line of shell, as a build does; the output, or the error.
    fn verify(&self, line: &str, timeout: u64) -> Result<String, String> {
        self.command(&["/usr/bin/busybox", "sh", "-c", line], timeout)
    }

    fn command(&self, command: &[&str], timeout: u64) -> Result<String, String> {
        self.command_as(command, timeout, UID, false)
    }

    /// In a weak sandbox on a system that makes no user namespaces, or in an ordinary one.
    fn command_as(&self, command: &[&str], timeout: u64, uid: u32, weak: bool) -> Result<String, String> {
        let work = tempfile::tempdir_in(self.scratch.path()).unwrap();
        let (root, build) = (work.path().join("root"), work.path().join("build"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&build).unwrap();
        let step = json!({
            "kind": "verify", "command": command, "uid": uid, "gid": uid, "workdir": "/tmp",
            "environment": {"MODE": "test"}, "volumes": ["/var/lib/app"], "timeout": timeout,
        });
        let inputs = json!({"rootfs": ["/nix/store/rootfs"], "config": ["/nix/store/config"]});
        let input = |name: &str| Input { from: self.path(name), to: Path::new("/nix/store").join(name) };
        let sandbox = Sandbox {
            root,
            build: build.clone(),
            inputs: vec![input("rootfs"), input("config")],
            nested: true,
            weak,
            timeout: 60_000,
            arguments: vec!["run".to_owned()],
            stdin: json!({"step": step, "inputs": inputs, "out": "/build/out"}).to_string(),
        };
        let enter = move || {
            if weak {
                forbid_user_namespaces();
            }
            let mut child = Command::new(env!("CARGO_BIN_EXE_cairn-builder"))
                .arg("enter")
                .env_clear()
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(serde_json::to_string(&sandbox).unwrap().as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        };
        // What forbids is for good, so it is for a thread of its own.
        let output = std::thread::spawn(enter).join().unwrap();
        if output.status.success() {
            return Ok(fs::read_to_string(build.join("out")).unwrap());
        }
        assert!(!build.join("out").exists(), "a failed step left an output");
        let said: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        Err(said["error"].as_str().unwrap().to_owned())
    }

    #[track_caller]
    fn takes(&self, line: &str) {
        assert_eq!(self.verify(line, 60_000).as_deref(), Ok(OUTPUT), "{line}");
    }

    #[track_caller]
    fn refuses(&self, line: &str, said: &[&str]) -> String {
        let error = self.verify(line, 60_000).unwrap_err();
        assert!(said.iter().all(|said| error.contains(said)), "{line}\n{error}\nwanted: {said:?}");
        error
    }
}

fn forbid_user_namespaces() {
    let flag = u64::from(nix::libc::CLONE_NEWUSER.unsigned_abs());
    let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(flag), flag).unwrap();
    let filter = SeccompFilter::new(
        [(nix::libc::SYS_unshare, vec![SeccompRule::new(vec![condition]).unwrap()])].into_iter().collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(nix::libc::EPERM.unsigned_abs()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

/// A test in the command that it has no privilege; the numbers of its status are in the error.
const POWERLESS: &str = "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status >&2
    test $(grep -c -E '^Cap(Inh|Prm|Eff|Bnd|Amb):\t0000000000000000$' /proc/self/status) = 5 &&
    grep -q -E '^NoNewPrivs:\t1$' /proc/self/status && grep -q -E '^Seccomp:\t2$' /proc/self/status &&
    ! unshare -r true && ! unshare -m true && ! mknod /tmp/device b 7 0 && mkfifo /tmp/fifo";

#[test]
fn the_command_has_no_privilege() {
    Image::new().takes(POWERLESS);
}

#[test]
fn a_command_of_root_has_no_privilege_either() {
    let image = Image::new();
    let line = format!("test $(id -u) = 0 && {POWERLESS}");
    let shell = |line: &str, weak| image.command_as(&["/usr/bin/busybox", "sh", "-c", line], 60_000, 0, weak);
    assert_eq!(shell(&line, false).as_deref(), Ok(OUTPUT));
    // Without a user namespace it would be this computer's root.
    let line = format!("test $(id -u):$(id -g) = 65533:65533 && {POWERLESS} && echo x > /var/lib/app/file");
    assert_eq!(shell(&line, true).as_deref(), Ok(OUTPUT));
}

#[test]
fn a_weak_sandbox_tests_configurations_too() {
    let image = Image::new();
    let shell = |line: &str| image.command_as(&["/usr/bin/busybox", "sh", "-c", line], 60_000, UID, true);
    for line in
        [POWERLESS, "test $(id -u):$(id -g) = 10002:10002 && echo x > /var/lib/app/file && echo x > /run/cairn/self/x"]
    {
        assert_eq!(shell(line).as_deref(), Ok(OUTPUT), "{line}");
    }
    for path in ["/usr/file", "/run/cairn/config/app.conf"] {
        shell(&format!("echo x > {path}")).unwrap_err();
    }
}

#[test]
fn the_command_is_where_its_service_would_be() {
    let image = Image::new();
    for line in [
        "test \"$(id -u):$(id -g)\" = 10002:10002 && test \"$(id -un)\" = app",
        "test \"$(cat /run/cairn/config/app.conf)\" = 'key = value'",
        "test \"$MODE\" = test && test \"$PATH\" = /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
        "test \"$(env | grep -c -v -e ^MODE= -e ^PATH= -e ^PWD= -e ^SHLVL= -e ^OLDPWD=)\" = 0",
        "test \"$(pwd)\" = /tmp",
        "for d in /run /run/cairn/self /tmp /var/tmp /dev/shm /var/lib/app; do echo x > $d/file || exit 1; done",
        "test -z \"$(ls -A /var/lib/app)\" && test \"$(stat -c %a:%u /var/lib/app)\" = 750:10002",
        "echo '127.0.0.1 database.example' >> /etc/hosts && grep -q localhost /etc/hosts",
        "echo x > /dev/null && head -c 1 /dev/zero > /dev/null && head -c 1 /dev/urandom > /dev/null",
        "test \"$(umask)\" = 0077",
        // What a configuration listens on is not here, nor is systemd, which opens low ports.
        "timeout 0.2 httpd -f -p 192.0.2.7:80 -h /tmp; test $? = 143",
    ] {
        image.takes(line);
    }
}

#[test]
fn a_refusal_is_told_with_the_last_words() {
    let image = Image::new();
    let error = image.refuses("echo first; echo 'line 3: bad value' >&2; exit 3", &["line 3: bad value"]);
    assert!(error.starts_with("`/usr/bin/busybox sh -c echo first;"), "{error}");
    assert!(error.contains("` ended with exit status: 3\n  first\n  line 3"), "{error}");
    let many = image.refuses("seq 1 100000; printf '\\033[31mred\\007' >&2; exit 1", &["\n  99999\n", "[31mred"]);
    assert!(many.len() < 1000 && !many.contains('\u{1b}') && !many.contains('\u{7}'), "{many:?}");
    let missing = image.command(&["/usr/bin/nothing"], 60_000).unwrap_err();
    assert!(missing.contains("cannot start /usr/bin/nothing"), "{missing}");
}

#[test]
fn nothing_outside_can_be_changed_or_seen() {
    let image = Image::new();
    for path in
        ["/usr/file", "/etc/file", "/run/cairn/config/app.conf", "/nix/store/file", "/proc/sys/kernel/domainname"]
    {
        image.refuses(&format!("echo x > {path}"), &[path]);
    }
    for line in [
        // The folders of the build and other store paths.
        "test ! -e /build && test -z \"$(ls -A /nix/store)\" && test ! -e /program",
        // Other processes; where the kernel allows no /proc, there are none at all.
        "test \"$(ls -d /proc/[0-9]* 2>/dev/null | wc -l)\" -le 4",
        // Nothing to talk with.
        "test \"$(ip -o addr 2>/dev/null | wc -l)\" = 0",
    ] {
        image.takes(line);
    }
    for line in ["mount -t tmpfs none /mnt", "chroot / true", "umount /etc/hosts", "mknod /tmp/x b 7 0"] {
        let error = image.verify(&format!("{line} && echo IT WORKED; exit 1"), 60_000).unwrap_err();
        assert!(!error.contains("\n  IT WORKED"), "{line}: {error}");
    }
    assert_eq!(fs::read_to_string(image.path("config/app.conf")).unwrap(), "key = value\n");
    assert!(!image.path("rootfs/usr/file").exists());
}

#[test]
fn a_command_that_does_not_end_is_stopped_with_all_its_children() {
    let image = Image::new();
    let marker = format!("cairn-verify-{}", std::process::id());
    let line = format!("sh -c 'sleep 1000; : {marker}' & echo waiting; sleep 1000; : {marker}");
    let error = image.verify(&line, 500).unwrap_err();
    assert!(error.contains("did not end within 500ms and was stopped\n  waiting"), "{error}");
    // A child that outlives the command keeps nobody waiting.
    image.takes(&format!("sh -c 'sleep 1000; : {marker}' & exit 0"));
    let left: Vec<String> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path().join("cmdline")).ok())
        .filter(|line| line.contains(&marker))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}
