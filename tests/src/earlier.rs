//! The programs of an earlier version, which lie compressed below `tests/fixtures/`, and a project of
//! that time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::run::{Ran, run, tool};
use crate::{Machine, Project};

pub struct Earlier {
    version: &'static str,
    programs: TempDir,
}

impl Earlier {
    /// Unpacks the programs of `version`; their hashes must be those that lie beside them.
    #[track_caller]
    pub fn unpack(version: &'static str) -> Self {
        let fixtures = folder(version);
        let check = |within: &Path, sums: &str| {
            let sums = fixtures.join(sums).display().to_string();
            run(Command::new("sha256sum").args(["--check", "--strict", "--quiet", &sums]).current_dir(within)).ok();
        };
        check(&fixtures, "archive.sha256");
        let programs = TempDir::new().expect("a folder for programs");
        let (archive, into) = (fixtures.join("programs.tar.xz"), programs.path());
        tool("tar", ["--extract", "--xz", "--file", &text(&archive), "--directory", &text(into)]);
        check(into, "programs.sha256");
        Self { version, programs }
    }

    /// A copy of the project of that time, over a store of its own. Its image has one program of
    /// this computer, a static busybox.
    pub fn project(&self) -> Project {
        let project = Project::of_folder(&folder(self.version).join("project"));
        let files = project.path("images/answer/files");
        // Git keeps no empty folder.
        for folder in [&files, &project.path("hosts")] {
            fs::create_dir_all(folder).expect("a writable project");
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).is_file());
        let busybox = busybox.expect("busybox-static, which `cargo xtask test` installs");
        fs::copy(busybox, files.join("busybox")).expect("a writable project");
        project
    }

    /// `deploy` of that time. The builder and the agent beside it are of that time as well.
    pub fn deploy(&self, project: &Project, arguments: &[&str]) -> Ran {
        run(&mut project.command_by(&self.programs.path().join("deploy"), arguments))
    }
}

impl Machine<'_> {
    /// What the service `answer` wrote into its state, a line each time it started.
    #[track_caller]
    pub fn started(&self) -> Vec<String> {
        let text = self.ssh("cat /var/lib/cairn/state/answer/answer/started").ok().stdout;
        text.lines().map(str::to_owned).collect()
    }
}

fn folder(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(version)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
