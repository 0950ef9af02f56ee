//! A copy of the repository's project that a test may change, and the machine of its host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::run::{Ran, programs, run};
use crate::state;

/// A project folder with the repository's images and one host that is a machine.
pub struct Project {
    dir: TempDir,
    /// The project's folder, in `dir` or below it.
    root: PathBuf,
    store: PathBuf,
    /// Where its machines are kept.
    state: PathBuf,
    _own_store: Option<TempDir>,
}

/// A host of [`Project::front`].
const FRONT: &str = r#"
include = ["../services/front.toml", "../services/more.toml"]

[machine]
"#;

impl Project {
    /// Over the store that all tests share.
    pub fn with_shared_store() -> Self {
        Self::over(state().join("store"), None)
    }

    /// Moves the project into a folder of a tree, and gives the top of the tree.
    pub fn move_into(&mut self, below: &str) -> &Path {
        let names: Vec<_> = fs::read_dir(&self.root).expect("a folder").flatten().map(|e| e.file_name()).collect();
        let into = self.dir.path().join(below);
        fs::create_dir_all(&into).expect("a folder");
        for name in names {
            fs::rename(self.root.join(&name), into.join(&name)).expect("a folder that can be moved into");
        }
        self.root = into;
        self.dir.path()
    }

    /// With its machines elsewhere.
    #[must_use]
    pub fn with_machines_in(mut self, state: &Path) -> Self {
        state.clone_into(&mut self.state);
        self
    }

    /// Over an empty store of its own.
    pub fn with_fresh_store() -> Self {
        let own = TempDir::new_in(state()).expect("a folder for a store");
        Self::over(own.path().join("store"), Some(own))
    }

    /// A copy of another project than the repository's, over an empty store of its own.
    pub fn of_folder(folder: &Path) -> Self {
        let own = TempDir::new_in(state()).expect("a folder for a store");
        let dir = TempDir::new().expect("a folder for a project");
        copy(folder, dir.path());
        Self {
            root: dir.path().to_owned(),
            dir,
            store: own.path().join("store"),
            state: state(),
            _own_store: Some(own),
        }
    }

    fn over(store: PathBuf, own_store: Option<TempDir>) -> Self {
        let dir = TempDir::new().expect("a folder for a project");
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        copy(&repository.join("images"), &dir.path().join("images"));
        copy(&repository.join("hosts"), &dir.path().join("hosts"));
        copy(&repository.join("services"), &dir.path().join("services"));
        copy(&repository.join("secrets"), &dir.path().join("secrets"));
        fs::copy(repository.join("deploy.toml"), dir.path().join("deploy.toml")).expect("the project file");
        Self { root: dir.path().to_owned(), dir, store, state: state(), _own_store: own_store }
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    pub fn store(&self) -> &Path {
        &self.store
    }

    /// Changes a file; `from` must be in it.
    #[track_caller]
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.path(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(text.contains(from), "{file} does not hold {from:?}");
        fs::write(&path, text.replacen(from, to, 1)).expect("a writable project");
    }

    /// Writes the definition of a host with nginx and the API, on ports 8080 and 8443, and with
    /// what `more` says. It needs no database.
    pub fn front(&self, file: &str, more: &str) {
        let written = fs::write(self.path("services/front.toml"), include_str!("front.toml"))
            .and_then(|()| fs::write(self.path("services/more.toml"), more))
            .and_then(|()| fs::write(self.path(file), FRONT));
        written.expect("a writable project");
    }

    /// The command, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_by(&programs().join("deploy"), arguments)
    }

    /// As `command`, by another program than the one that was built.
    pub fn command_by(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.root)
            .env("DEPLOY_STORE", &self.store)
            .env("XDG_STATE_HOME", &self.state)
            .env_remove("DEPLOY_PROJECT");
        command
    }

    pub fn deploy(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }

    /// Gives the project's one host this name, so that tests and demonstrations do not meet.
    pub fn machine(&self, name: &'static str) -> Machine<'_> {
        fs::rename(self.path("hosts/local.toml"), self.path(&format!("hosts/{name}.toml")))
            .expect("the host's definition");
        // Which may read what `local` may.
        let index = self.path("secrets/secrets.toml");
        let text = fs::read_to_string(&index).expect("the index of secrets");
        fs::write(&index, text.replace("\"local\"", &format!("\"{name}\""))).expect("a writable project");
        self.member(name)
    }

    /// A host that is a machine, as the repository has it.
    pub fn member(&self, name: &'static str) -> Machine<'_> {
        let machine = Machine { project: self, name };
        machine.remove();
        machine
    }
}

/// The machine of a project's host; removed with this value, also when a test fails.
pub struct Machine<'a> {
    project: &'a Project,
    pub name: &'static str,
}

impl Machine<'_> {
    pub fn remove(&self) -> Ran {
        self.project.deploy(&["machine", "remove", self.name])
    }

    /// Address of a service's endpoint, as `deploy status` tells it; the secure one if there is one.
    #[track_caller]
    pub fn url(&self, service: &str) -> String {
        // Whether or not all is well there, such as just after a boot.
        let status = self.project.deploy(&["status", self.name, "--json"]).json();
        let endpoints = status["hosts"][0]["endpoints"].as_array().cloned().unwrap_or_default();
        let secure = |e: &&serde_json::Value| e["url"].as_str().is_some_and(|url| url.starts_with("https:"));
        let mut own = endpoints.iter().filter(|e| e["service"] == service).collect::<Vec<_>>();
        own.sort_by_key(|e| !secure(e));
        let found = own.first();
        let url = found.unwrap_or_else(|| panic!("no endpoint of {service}: {status}"))["url"].as_str();
        url.expect("a URL").trim_end_matches('/').to_owned()
    }

    /// The machine as its crate sees it.
    pub fn inner(&self) -> cairn_machine::Machine {
        self.machines().get(self.name).expect("a machine that was started")
    }

    pub fn machines(&self) -> cairn_machine::Machines {
        cairn_machine::Machines::new(self.project.state.join("cairn/machines")).expect("a folder for machines")
    }

    /// Runs a command line on the machine, as root, over ssh.
    pub fn ssh(&self, line: &str) -> Ran {
        let machine = self.inner();
        let known = TempDir::new().expect("a folder");
        let known_hosts = known.path().join("known_hosts");
        fs::write(&known_hosts, format!("{} {}\n", machine.address, machine.host_key)).expect("a file");
        run(Command::new("ssh")
            .args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=5"])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
            .arg("-i")
            .arg(&machine.identity)
            .arg(format!("root@{}", machine.address))
            .arg(line))
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        let removed = self.remove();
        if removed.code != 0 && !std::thread::panicking() {
            panic!("the machine was not removed: {removed:?}");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder of the repository") {
        let entry = entry.expect("an entry");
        let name = entry.file_name();
        if name == "__pycache__" {
            continue;
        }
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => copy(&entry.path(), &to.join(name)),
            _ => {
                fs::copy(entry.path(), to.join(name)).expect("a copy");
            }
        }
    }
}
