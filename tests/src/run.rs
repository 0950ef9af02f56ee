//! Running programs and looking at what they gave.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

/// What a program gave.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The JSON document on standard output.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }

    /// Panics unless it ended well.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Panics unless it ended with this code and its errors hold each of these.
    #[track_caller]
    pub fn fails(self, code: i32, said: &[&str]) -> Self {
        assert_eq!(self.code, code, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        for text in said {
            assert!(self.stderr.contains(text), "not said: {text}\n--- stderr\n{}", self.stderr);
        }
        self
    }
}

/// The folder of the built programs.
pub fn programs() -> PathBuf {
    let dir = std::env::var_os("CAIRN_PROGRAMS").map(PathBuf::from).unwrap_or_else(|| {
        // Without xtask: beside this test, where the same cargo put them.
        let test = std::env::current_exe().expect("the test's own path");
        test.ancestors().nth(2).expect("target/TRIPLE/PROFILE/deps/TEST").to_owned()
    });
    assert!(dir.join("deploy").is_file(), "{} holds no `deploy`: run `cargo xtask test`", dir.display());
    dir
}

/// Runs a command to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a tool of the machine; it must end well. Gives its output.
#[track_caller]
pub fn tool<S: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = S>) -> String {
    run(Command::new(name).args(arguments)).ok().stdout
}
