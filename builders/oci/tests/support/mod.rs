//! Tree outputs by hand, and the tools that judge ours.
#![allow(dead_code, clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A tree output under construction.
pub struct Tree(PathBuf);

impl Tree {
    pub fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir.join("tree")).unwrap();
        Self(dir.to_owned()).meta("{}")
    }

    fn place(&self, path: &str) -> PathBuf {
        let path = self.0.join("tree").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub fn dir(self, path: &str) -> Self {
        fs::create_dir_all(self.place(path)).unwrap();
        self
    }

    pub fn file(self, path: &str, data: impl AsRef<[u8]>) -> Self {
        fs::write(self.place(path), data).unwrap();
        self
    }

    pub fn program(self, path: &str, data: impl AsRef<[u8]>) -> Self {
        let place = self.place(path);
        fs::write(&place, data).unwrap();
        fs::set_permissions(place, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    pub fn link(self, path: &str, target: &str) -> Self {
        symlink(target, self.place(path)).unwrap();
        self
    }

    /// The exceptions as JSON.
    pub fn meta(self, exceptions: &str) -> Self {
        fs::write(self.0.join("meta.json"), format!(r#"{{"exceptions":{exceptions}}}"#)).unwrap();
        self
    }

    pub fn done(self) -> PathBuf {
        self.0
    }
}

/// Runs a tool that must succeed; its name is its Debian package's, unless `package` says otherwise.
pub fn tool(program: &str, args: &[&str]) -> String {
    let output = run(program, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

pub fn run(program: &str, args: &[&str]) -> Output {
    match Command::new(program).args(args).output() {
        Ok(output) => output,
        Err(error) => panic!("cannot run {program}: {error}; `cargo xtask test` installs what tests need"),
    }
}

/// A program without any library, so that an image needs nothing else.
pub fn static_program(dir: &Path, source: &str) -> Vec<u8> {
    let (code, program) = (dir.join("program.rs"), dir.join("program"));
    fs::write(&code, source).unwrap();
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let (code, out) = (code.to_str().unwrap(), program.to_str().unwrap());
    tool(&rustc, &["--edition=2024", "--target", &target, "-Cstrip=symbols", "-Clinker=rust-lld", "-o", out, code]);
    fs::read(program).unwrap()
}
