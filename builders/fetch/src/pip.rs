//! What the machine's own pip downloads from.
//!
//! Python puts the current folder first on its search path, so a file `pip.py` of the project would
//! run in place of pip. Therefore Python runs isolated (`-I`: neither the current folder, nor
//! `PYTHONPATH`, nor the user's own packages) and in the root folder, and for a bounded time.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::program::search_path;

/// Loading pip takes a second on a slow disk.
const LIMIT: Duration = Duration::from_secs(20);
/// Bytes of output that are read; an address is wanted.
const OUTPUT: u64 = 64 << 10;

/// `pip`'s index: what its environment or configuration says, else what is built into it.
/// `None` when there is no pip.
pub(crate) fn index() -> Option<String> {
    if let Some(index) = std::env::var("PIP_INDEX_URL").ok().filter(|v| is_address(v)) {
        return Some(index);
    }
    let configured = ["global.index-url", "install.index-url", ":env:.index-url"].into_iter().find_map(|key| {
        run("python3", &["-I", "-m", "pip", "config", "get", key]).or_else(|| run("pip", &["config", "get", key]))
    });
    configured.or_else(|| {
        let ask = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)";
        run("python3", &["-I", "-c", ask])
    })
}

/// The program's first line of output, if it ran well and printed an address.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let text = output(Command::new(program).args(arguments), &search_path(), LIMIT)?;
    let line = text.lines().next()?.trim();
    is_address(line).then(|| line.to_owned())
}

/// What the program prints, if it ends well within the limit.
fn output(command: &mut Command, path: &OsStr, limit: Duration) -> Option<String> {
    let mut child = command
        .current_dir("/")
        .env("PATH", path)
        // For the program `pip`, which is a Python script of its own.
        .env("PYTHONSAFEPATH", "1")
        .env_remove("PYTHONPATH")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .ok()?;
    let pipe = child.stdout.take()?;
    let (sender, texts) = mpsc::channel();
    // Not joined: a process that left the group may hold the other end of the pipe open.
    thread::spawn(move || {
        let mut text = String::new();
        let read = pipe.take(OUTPUT).read_to_string(&mut text);
        sender.send(read.ok().map(|_| text))
    });
    let text = texts.recv_timeout(limit).ok().flatten();
    if text.is_none() {
        kill(&child);
    }
    // With its output closed the program has nothing left to do; one that goes on is ended.
    ended_well(&mut child).then_some(text)?
}

fn ended_well(child: &mut Child) -> bool {
    const TRIES: u32 = 100;
    for _ in 0..TRIES {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => thread::sleep(Duration::from_millis(20)),
            Err(_) => break,
        }
    }
    kill(child);
    // Killed, it ends at once; waiting keeps it from staying a zombie.
    child.wait().is_ok_and(|status| status.success())
}

fn kill(child: &Child) {
    if let Some(group) = rustix::process::Pid::from_raw(child.id() as i32) {
        // It fails only where the group has ended by itself.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

fn is_address(text: &str) -> bool {
    ["http://", "https://", "file://"].iter().any(|scheme| text.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::time::Instant;

    use super::*;

    fn said(program: &str, arguments: &[&str], limit: Duration) -> Option<String> {
        output(Command::new(program).args(arguments), &search_path(), limit)
    }

    /// Files that Python would import in place of pip and of its own library.
    const TRICKS: [&str; 6] =
        ["pip.py", "pip/__main__.py", "encodings.py", "sitecustomize.py", "usercustomize.py", "os.py"];

    #[test]
    fn python_runs_no_code_of_the_current_folder() {
        let project = tempfile::tempdir().unwrap();
        let sign = project.path().join("EXECUTED");
        for file in TRICKS {
            let path = project.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("open({:?}, 'a').write(__name__)\n", sign)).unwrap();
        }
        fs::write(project.path().join("python3"), format!("#!/bin/sh\necho x >> {}\n", sign.display())).unwrap();
        fs::set_permissions(project.path().join("python3"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();

        // A process of its own: the current folder and the environment belong to a process.
        let mut run = Command::new(std::env::current_exe().unwrap());
        let path = [".:", std::env::var("PATH").unwrap().as_str()].concat();
        run.args(["--exact", "pip::tests::asks_pip_in_the_project", "--ignored", "--nocapture"]);
        run.current_dir(project.path()).env("PATH", path).env("PYTHONPATH", project.path());
        let run = run.env_remove("PIP_INDEX_URL").env("CAIRN_TEST_IN_PROJECT", "1").output().unwrap();
        let text = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(run.status.success() && text.contains("1 passed"), "{text}");
        assert!(!sign.exists(), "code of the project ran: {:?}", fs::read_to_string(&sign));
    }

    #[test]
    #[ignore = "started by python_runs_no_code_of_the_current_folder, in the folder of a project"]
    fn asks_pip_in_the_project() {
        if std::env::var_os("CAIRN_TEST_IN_PROJECT").is_some() {
            println!("index: {:?}", index());
        }
    }

    #[test]
    fn a_program_gets_a_bounded_time() {
        let begun = Instant::now();
        assert_eq!(said("sleep", &["60"], Duration::from_millis(200)), None);
        // A process that the program leaves behind holds its output open.
        assert_eq!(said("sh", &["-c", "echo https://x; sleep 60 & exit"], Duration::from_millis(200)), None);
        // Its output is closed, and it runs on.
        assert_eq!(said("sh", &["-c", "exec >&-; sleep 60"], Duration::from_secs(20)), None);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_program_that_never_stops_printing_is_cut_off() {
        assert_eq!(said("yes", &["https://mirror.example"], LIMIT), None);
        assert_eq!(said("echo", &["https://mirror.example"], LIMIT).unwrap(), "https://mirror.example\n");
    }
}
