//! Copies between two stores through a pipe, the agent in a process of its own.
#![allow(clippy::unwrap_used)]

mod common;

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_protocol::FailureKind;
use cairn_store::Store;
use cairn_transport::{CopyProgress, Session, TransportError, copy_closure};
use common::{Home, agent, assert_nothing_arrived, assert_same, links, many_files, noise};

/// Runs something when a copy gets to a point.
struct At<P: Fn(u64)>(P);

impl<P: Fn(u64)> CopyProgress for At<P> {
    fn sent(&self, bytes: u64) {
        (self.0)(bytes);
    }
}

#[test]
fn a_cold_copy_brings_every_path_once() {
    let (here, there) = (Home::new(), Home::new());
    let dependency = here.add("dependency", &[], |at| noise(at, 3, 200_000));
    let twin = here.add("twin", &[], |at| {
        noise(at, 3, 200_000);
        fs::write(at.join("empty"), "").unwrap();
    });
    let top = here.add("top", &[&dependency.path, &twin.path], |at| many_files(at, 5, 20, "1"));
    let flat = here.dir.path().join("flat");
    fs::write(&flat, "one plain file").unwrap();
    let flat = here.store.add_flat(&flat, &cairn_formats::StoreName::parse("flat.txt").unwrap()).unwrap();
    let mut paths = here.closure(&top);
    paths.push(flat.path.clone());

    let mut session = agent(there.store.root()).unwrap();
    let report = copy_closure(&mut session, &here.store, &paths, &()).unwrap();
    assert_eq!(report.paths_sent, 4);
    // The three files that two paths share went once, and so did the empty one.
    assert_eq!(report.files_sent, 3 + 1 + 100 + 2 + 1);
    for path in &paths {
        assert_same(&here.store, &there.store, path);
    }
    // Nix agrees with every byte, mode and row of it.
    let mut verify = Command::new("nix-store");
    verify.args(["--verify", "--check-contents", "--store"]).arg(there.store.root());
    let verify = verify.output().unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
    let node = there.store.physical(&top.path).join("lib/package-0/inner/file-0.py");
    assert_eq!(fs::metadata(node).unwrap().permissions().mode() & 0o7777, 0o555);
}

#[test]
fn a_copy_of_what_is_there_sends_nothing() {
    let (here, there) = (Home::new(), Home::new());
    let top = here.add("top", &[], |at| many_files(at, 2, 10, "1"));
    let mut session = agent(there.store.root()).unwrap();
    copy_closure(&mut session, &here.store, &here.closure(&top), &()).unwrap();
    session.close();
    let mut session = agent(there.store.root()).unwrap();
    let report = copy_closure(&mut session, &here.store, &here.closure(&top), &()).unwrap();
    assert_eq!((report.bytes_sent, report.paths_sent, session.bytes_sent()), (0, 0, 0));
}

#[test]
fn one_changed_file_among_5000_travels_alone() {
    let (here, there) = (Home::new(), Home::new());
    let first = here.add("top", &[], |at| many_files(at, 100, 50, "1"));
    let second = here.add("top", &[], |at| many_files(at, 100, 50, "2"));
    let mut session = agent(there.store.root()).unwrap();
    copy_closure(&mut session, &here.store, &here.closure(&first), &()).unwrap();
    session.close();
    let mut session = agent(there.store.root()).unwrap();
    let report = copy_closure(&mut session, &here.store, &here.closure(&second), &()).unwrap();
    assert_eq!((report.paths_sent, report.files_sent), (1, 1));
    assert!(report.bytes_sent < 4096, "{} bytes for one changed file", report.bytes_sent);
    assert_same(&here.store, &there.store, &second.path);
}

#[test]
fn without_a_common_generation_only_the_list_of_files_is_larger() {
    let (here, there, elsewhere) = (Home::new(), Home::new(), Home::new());
    let first = elsewhere.add("top", &[], |at| many_files(at, 100, 50, "1"));
    let second = here.add("top", &[], |at| many_files(at, 100, 50, "2"));
    let mut session = agent(there.store.root()).unwrap();
    copy_closure(&mut session, &elsewhere.store, &elsewhere.closure(&first), &()).unwrap();
    let report = copy_closure(&mut agent(there.store.root()).unwrap(), &here.store, &here.closure(&second), &());
    let report = report.unwrap();
    assert_eq!((report.paths_sent, report.files_sent), (1, 1));
    assert!(report.bytes_sent < 5000 * 40, "{} bytes for a list of 5,000 files", report.bytes_sent);
    assert_same(&here.store, &there.store, &second.path);
}

#[test]
fn an_interrupted_copy_resumes_where_it_stopped() {
    let (here, there) = (Home::new(), Home::new());
    let top = here.add("top", &[], |at| noise(at, 300, 100_000));
    let mut session = agent(there.store.root()).unwrap();
    let process = rustix::process::Pid::from_raw(session.process().cast_signed()).unwrap();
    let killed = Cell::new(false);
    let kill = At(|bytes| {
        if bytes > 15_000_000 && !killed.replace(true) {
            rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
        }
    });
    let error = copy_closure(&mut session, &here.store, &here.closure(&top), &kill).unwrap_err();
    assert!(matches!(error, TransportError::Lost { .. }), "{error}");
    assert_eq!(there.store.valid_paths().unwrap(), []);
    let kept = links(&there.store);
    assert!((100..300).contains(&kept), "{kept} files were kept");

    let mut session = agent(there.store.root()).unwrap();
    let report = copy_closure(&mut session, &here.store, &here.closure(&top), &()).unwrap();
    assert_eq!(report.files_sent, 300 - kept);
    assert_same(&here.store, &there.store, &top.path);
}

#[test]
fn a_large_file_goes_on_where_it_was_cut() {
    let (here, there) = (Home::new(), Home::new());
    let top = here.add("top", &[], |at| noise(at, 1, 40 << 20));
    // The connection ends after half of the bytes, at most. Nobody else may hold the way in open, or
    // the sender would wait for whoever reads on.
    let mut command = Command::new("sh");
    let script = "exec 3<&0 </dev/null; dd bs=65536 count=320 status=none <&3 3<&- | \
        \"$0\" serve --root \"$1\" 3<&- & exec 3<&-; wait";
    command.args(["-c", script]);
    command.arg(env!("CARGO_BIN_EXE_cairn-agent")).arg(there.store.root());
    let mut session = Session::spawn(command, "test-host").unwrap();
    copy_closure(&mut session, &here.store, &here.closure(&top), &()).unwrap_err();
    session.close();
    assert_nothing_arrived(&there.store);
    let begun = there.store.root().join("nix/var/cairn/begun");
    // The agent may need a moment to see the end.
    let kept = (0..500).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        fs::read_dir(&begun).ok()?.next()?.ok()?.metadata().ok()
    });
    let kept = kept.unwrap().len();
    assert!(kept > 1 << 20, "{kept} bytes were kept");

    let mut session = agent(there.store.root()).unwrap();
    let report = copy_closure(&mut session, &here.store, &here.closure(&top), &()).unwrap();
    assert_eq!(report.files_sent, 1);
    let rest = (40 << 20) - kept;
    assert!(report.bytes_sent < rest + (64 << 10), "{} bytes where {rest} were missing", report.bytes_sent);
    assert_same(&here.store, &there.store, &top.path);
    assert_eq!(fs::read_dir(&begun).unwrap().count(), 0);
}

#[test]
fn a_damaged_beginning_is_thrown_away() {
    let (here, there) = (Home::new(), Home::new());
    let top = here.add("top", &[], |at| noise(at, 1, 1 << 20));
    let begun = there.store.root().join("nix/var/cairn/begun");
    fs::create_dir_all(&begun).unwrap();
    let link = fs::read_dir(here.store.links_dir()).unwrap().next().unwrap().unwrap();
    fs::write(begun.join(link.file_name()), vec![0; 1 << 19]).unwrap();
    let copy = || copy_closure(&mut agent(there.store.root()).unwrap(), &here.store, &here.closure(&top), &());
    let error = copy().unwrap_err();
    assert!(matches!(error.failure().unwrap().kind, FailureKind::FileMismatch { .. }), "{error}");
    copy().unwrap();
    assert_same(&here.store, &there.store, &top.path);
}

#[test]
fn a_link_that_a_crash_cut_short_is_replaced() {
    let (here, there) = (Home::new(), Home::new());
    let top = here.add("top", &[], |at| noise(at, 2, 1000));
    for entry in fs::read_dir(here.store.links_dir()).unwrap() {
        fs::write(there.store.links_dir().join(entry.unwrap().file_name()), "short").unwrap();
    }
    let mut session = agent(there.store.root()).unwrap();
    let report = copy_closure(&mut session, &here.store, &here.closure(&top), &()).unwrap();
    assert_eq!(report.files_sent, 2);
    assert_same(&here.store, &there.store, &top.path);
}

/// Other bytes, same length.
fn damage(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    bytes[0] ^= 1;
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(file, bytes).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o444)).unwrap();
}

#[test]
fn damage_on_the_host_is_repaired_on_the_way() {
    let (here, there) = (Home::new(), Home::new());
    let first = here.add("top", &[], |at| many_files(at, 4, 20, "1"));
    let second = here.add("top", &[], |at| many_files(at, 4, 20, "2"));
    copy_closure(&mut agent(there.store.root()).unwrap(), &here.store, &here.closure(&first), &()).unwrap();
    let damaged = "lib/package-1/inner/file-3.py";
    damage(&there.store.physical(&first.path).join(damaged));
    let mut session = agent(there.store.root()).unwrap();
    let report = copy_closure(&mut session, &here.store, &here.closure(&second), &()).unwrap();
    assert_eq!(report.files_sent, 2, "the changed file and the damaged one");
    assert_same(&here.store, &there.store, &second.path);
}

#[test]
fn damage_of_the_senders_store_is_refused_with_the_path() {
    let (here, there) = (Home::new(), Home::new());
    let top = here.add("top", &[], |at| noise(at, 100, 100_000));
    damage(&here.store.physical(&top.path).join("noise-3"));
    let mut session = agent(there.store.root()).unwrap();
    let error = copy_closure(&mut session, &here.store, &here.closure(&top), &()).unwrap_err();
    let kind = &error.failure().unwrap().kind;
    assert!(matches!(kind, FailureKind::FileMismatch { path, .. } if *path == top.path), "{error}");
    assert!(error.to_string().contains("deploy store verify"), "{error}");
    assert_nothing_arrived(&there.store);
}

/// A small file system of its own, unmounted on drop.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, mebibytes: u32) -> Self {
        fs::create_dir(at).unwrap();
        let size = format!("size={mebibytes}m");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).status().unwrap();
        assert!(status.success(), "mounting needs root");
        Self(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_copy_that_cannot_fit_is_refused_before_it_begins() {
    let here = Home::new();
    let top = here.add("top", &[], |at| noise(at, 20, 1 << 20));
    let disk = SmallDisk::mount(&here.dir.path().join("disk"), 16);
    let there = Store::open(&disk.0).unwrap();
    let mut session = agent(&disk.0).unwrap();
    let error = copy_closure(&mut session, &here.store, &here.closure(&top), &()).unwrap_err();
    let Some(FailureKind::NoSpace { needed, free, directory }) = error.failure().map(|f| f.kind.clone()) else {
        panic!("{error}");
    };
    assert!(needed >= 20 << 20 && free < 16 << 20 && directory.starts_with(disk.0.to_str().unwrap()), "{error}");
    let has = format!("needs {} MiB, has {} MiB free on", needed.div_ceil(1 << 20), free >> 20);
    assert!(error.to_string().contains(&has), "{error}");
    assert_nothing_arrived(&there);
    assert_eq!(links(&there), 0);
}

#[test]
fn a_disk_that_fills_up_in_the_middle_leaves_nothing_behind() {
    let here = Home::new();
    let top = here.add("top", &[], |at| noise(at, 20, 1 << 20));
    let disk = SmallDisk::mount(&here.dir.path().join("disk"), 32);
    let there = Store::open(&disk.0).unwrap();
    let mut session = agent(&disk.0).unwrap();
    // Somebody else takes the space after it was found sufficient.
    let other = disk.0.join("other");
    let filled = Cell::new(false);
    let fill = At(|_| {
        if !filled.replace(true) {
            fs::write(&other, vec![1; 16 << 20]).unwrap();
        }
    });
    let error = copy_closure(&mut session, &here.store, &here.closure(&top), &fill).unwrap_err();
    assert!(matches!(error.failure().unwrap().kind, FailureKind::NoSpace { .. }), "{error}");
    assert_nothing_arrived(&there);
    assert_eq!(links(&there), 0, "the space is given back");
    fs::remove_file(&other).unwrap();
    let mut session = agent(&disk.0).unwrap();
    copy_closure(&mut session, &here.store, &here.closure(&top), &()).unwrap();
    assert_same(&here.store, &there, &top.path);
}
