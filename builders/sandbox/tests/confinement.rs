//! A hostile program in the sandbox: the real one, made by root, by an ordinary user, and by root
//! on a system that makes no user namespaces.
#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{io::Write as _, thread};

use cairn_sandbox::{Input, Sandbox};
use seccompiler::{SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The user of root's steps outside, and one that is not root.
const UNUSED: u32 = 65_533;
const OTHER: u32 = 12_345;

/// A computer that makes the sandbox.
#[derive(Clone, Copy, PartialEq)]
enum On {
    Root,
    User,
    /// Root where a filter forbids user namespaces, as Docker's does.
    RootWithoutUserNamespaces,
    /// Root of a user namespace that allows no further ones and has no other users.
    LoneRoot,
}

struct Step {
    scratch: TempDir,
    build: PathBuf,
}

impl Step {
    fn new(on: On) -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests change users: run them as root");
        let scratch = tempfile::tempdir().unwrap();
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
        // The program must be where another user may start it.
        fs::copy(example(), scratch.path().join("step")).unwrap();
        let build = scratch.path().join("build");
        for (name, mode) in [("root", 0o755), ("build", 0o700), ("input", 0o755)] {
            let path = scratch.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            if on == On::User {
                chown(&path, Some(OTHER), Some(OTHER)).unwrap();
            }
        }
        Self { scratch, build }
    }

    /// Runs the program inside with `/` as an inherited descriptor 9.
    fn run(&self, on: On, arguments: &[&str], change: impl FnOnce(&mut Sandbox)) -> Output {
        let at = |name: &str| self.scratch.path().join(name);
        let mut sandbox = Sandbox {
            root: at("root"),
            build: self.build.clone(),
            inputs: vec![Input { from: at("input"), to: "/nix/store/input".into() }],
            nested: false,
            weak: false,
            timeout: 60_000,
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
            stdin: String::new(),
        };
        change(&mut sandbox);
        let script = match on {
            On::LoneRoot => "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" enter 9</",
            On::Root | On::User | On::RootWithoutUserNamespaces => "exec \"$0\" enter 9</",
        };
        let mut command = match on {
            On::Root | On::RootWithoutUserNamespaces => Command::new("sh"),
            On::User => {
                words(&["setpriv", &format!("--reuid={OTHER}"), &format!("--regid={OTHER}"), "--clear-groups", "sh"])
            }
            On::LoneRoot => words(&["unshare", "--user", "--map-root-user", "sh"]),
        };
        command.args(["-c", script]).arg(at("step")).stdin(Stdio::piped()).stderr(Stdio::piped());
        let description = serde_json::to_vec(&sandbox).unwrap();
        let run = move || {
            if on == On::RootWithoutUserNamespaces {
                forbid_user_namespaces();
            }
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(&description).unwrap();
            child.wait_with_output().unwrap()
        };
        // The filter is for good, so it is for a thread of its own.
        thread::spawn(run).join().unwrap()
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&fs::read(self.build.join("report")).unwrap()).unwrap()
    }
}

fn words(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// Cargo builds examples with the tests, beside them.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples/step");
    assert!(path.exists(), "{} is missing: `cargo build --examples -p cairn-sandbox` makes it", path.display());
    path
}

fn forbid_user_namespaces() {
    let flag = u64::from(libc::CLONE_NEWUSER.unsigned_abs());
    let condition = || SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(flag), flag).unwrap();
    let rule = || vec![SeccompRule::new(vec![condition()]).unwrap()];
    let filter = SeccompFilter::new(
        [(libc::SYS_unshare, rule()), (libc::SYS_clone, rule())].into_iter().collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

#[track_caller]
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().last().unwrap_or_else(|| panic!("{:?} and no word", output.status));
    let value: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{:?}: {text}", output.status));
    value["error"].as_str().unwrap().to_owned()
}

/// Everything that every step lacks, however its sandbox was made.
#[track_caller]
fn has_nothing_left(report: &Value) {
    let state = json!([
        report["capabilities"],
        report["bounding"],
        report["ambient"],
        report["no_new_privs"],
        report["seccomp"],
        report["x32"],
    ]);
    assert_eq!(state, json!([0, 0, 0, true, 2, libc::SIGSYS]), "{report:#}");
    let [core, fsize, nofile, nproc] = [0, 1, 2, 3].map(|n| report["limits"][n].as_u64().unwrap());
    assert!(core == 0 && fsize <= 64 << 30 && nofile <= 65_536 && nproc <= 8192, "{report:#}");
    let calls = report["calls"].as_object().unwrap();
    for (name, errno) in calls {
        let wanted = match name.as_str() {
            "clone3" | "io_uring_setup" => libc::ENOSYS,
            "socket of packets" | "socket of vsock" | "netlink audit" => libc::EAFNOSUPPORT,
            "inherited" => libc::EBADF,
            "fifo" | "socket unix" | "socket inet6" | "netlink route" | "fixed addresses" | "thread" => 0,
            _ => libc::EPERM,
        };
        assert_eq!(errno, wanted, "{name}: {report:#}");
    }
    assert_eq!(report["files"], json!({"root": libc::EROFS, "input": libc::EROFS, "tmp": null, "build": null}));
}

#[test]
fn a_step_has_nothing_that_it_does_not_need() {
    for (on, owner) in [(On::Root, UNUSED), (On::User, OTHER)] {
        let step = Step::new(on);
        let output = step.run(on, &["try-everything"], |_| {});
        assert!(output.status.success(), "{}", said(&output));
        let report = step.report();
        has_nothing_left(&report);
        assert_eq!(report["uid"], 1000);
        assert_eq!(step.build.join("file").metadata().unwrap().uid(), owner, "never root's");
    }
}

#[test]
fn without_user_namespaces_there_is_no_sandbox() {
    for on in [On::RootWithoutUserNamespaces, On::LoneRoot] {
        let step = Step::new(on);
        let output = step.run(on, &["try-everything"], |_| {});
        assert_eq!(output.status.code(), Some(70));
        let said = said(&output);
        for part in ["no user namespace", "user.max_user_namespaces", "Docker", "--allow-weak-sandbox"] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!step.build.join("report").exists(), "the step ran");
    }
}

#[test]
fn a_weak_sandbox_is_not_root_either() {
    let step = Step::new(On::RootWithoutUserNamespaces);
    let output = step.run(On::RootWithoutUserNamespaces, &["try-everything"], |sandbox| sandbox.weak = true);
    assert!(output.status.success(), "{}", said(&output));
    let report = step.report();
    has_nothing_left(&report);
    assert_eq!(report["uid"], UNUSED);
    assert_eq!(step.build.join("file").metadata().unwrap().uid(), UNUSED);
}

#[test]
fn only_real_root_gets_a_weak_sandbox() {
    for on in [On::User, On::LoneRoot] {
        let step = Step::new(on);
        let output = step.run(on, &["try-everything"], |sandbox| sandbox.weak = true);
        assert_eq!(output.status.code(), Some(70));
        assert!(said(&output).contains("cannot make a weak sandbox"), "{}", said(&output));
        assert!(!step.build.join("report").exists(), "the step ran");
    }
}

#[test]
fn a_program_that_only_root_may_run_is_named() {
    let step = Step::new(On::Root);
    fs::set_permissions(step.scratch.path().join("step"), Permissions::from_mode(0o700)).unwrap();
    let said = said(&step.run(On::Root, &["try-everything"], |_| {}));
    assert!(said.contains("chmod 755") && said.contains("/step"), "{said}");
}

#[test]
fn the_number_of_processes_is_limited_also_when_root_builds() {
    let step = Step::new(On::Root);
    let output = step.run(On::Root, &["fork", "20"], |_| {});
    assert!(output.status.success(), "{}", said(&output));
    let started: u64 = fs::read_to_string(step.build.join("report")).unwrap().parse().unwrap();
    assert!((1..20).contains(&started), "{started}");
}

#[test]
fn a_step_that_does_not_end_is_stopped_with_all_its_children() {
    let step = Step::new(On::Root);
    let begin = Instant::now();
    let output = step.run(On::Root, &["never-end"], |sandbox| sandbox.timeout = 300);
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    assert_eq!(output.status.code(), Some(72));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("did not end within 300ms") && text.contains("--step-timeout"));
    let left = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let entry = entry.unwrap().path();
        let line = fs::read_to_string(entry.join("cmdline")).ok()?;
        (line == "/program\0never-end\0").then_some(entry)
    });
    assert_eq!(left.collect::<Vec<_>>(), Vec::<PathBuf>::new());
}
