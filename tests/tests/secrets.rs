//! `deploy secrets`: what people see and type, with the built program in a project of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cairn_tests::{Project, Ran, run, tool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PLANTED: &str = "pl4nted-s3cret-value";

/// A project, and a home folder that holds nobody's keys.
struct Bench {
    project: Project,
}

impl Bench {
    fn new() -> Self {
        let project = Project::with_shared_store();
        fs::create_dir(project.path("home")).expect("a folder");
        let _ = fs::remove_dir_all(project.path("secrets"));
        Self { project }
    }

    /// With an index that declares these.
    fn with(declared: &str) -> Self {
        let bench = Self::new();
        bench.deploy(&["init", "--operator", "alice"]).ok();
        let index = bench.project.path("secrets/secrets.toml");
        let text = fs::read_to_string(&index).expect("an index");
        fs::write(&index, format!("{text}\n{declared}")).expect("a writable project");
        bench
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.project.command(&[&["secrets"][..], arguments].concat());
        command.env("HOME", self.project.path("home"));
        // A question needs a terminal that is not `dumb`.
        command.env("TERM", "xterm");
        for variable in ["DEPLOY_IDENTITY", "XDG_CONFIG_HOME", "VISUAL", "EDITOR"] {
            command.env_remove(variable);
        }
        command.stdin(Stdio::null());
        command
    }

    fn deploy(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }

    /// With this on standard input.
    fn piped(&self, arguments: &[&str], input: &str) -> Ran {
        let file = self.project.path("home/input");
        fs::write(&file, input).expect("a file");
        run(self.command(arguments).stdin(fs::File::open(file).expect("the file just written")))
    }

    fn text(&self, below: &str) -> String {
        fs::read_to_string(self.project.path(below)).expect("a file of text")
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.project.path("secrets")).expect("a folder");
        let mut names: Vec<_> =
            entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The command as the arguments of another program; without arguments, that program alone.
    fn through(&self, program: &[&str], arguments: &[&str]) -> Command {
        let plain = self.command(arguments);
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).current_dir(self.project.path(".")).stdin(Stdio::null());
        if !arguments.is_empty() {
            command.arg(plain.get_program()).args(plain.get_args());
        }
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// On a terminal of its own; `answers` are typed when the prompt before them is there.
    fn on_terminal(&self, arguments: &[&str], answers: &[(&str, &str)]) -> (i32, String) {
        let plain = self.command(arguments);
        let words = std::iter::once(plain.get_program()).chain(plain.get_args());
        let words: Vec<String> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
        let mut command = self.through(&["script", "-q", "-e", "-c", &words.join(" "), "/dev/null"], &[]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("`script` of util-linux");
        let mut keyboard = child.stdin.take().expect("a pipe");
        let mut screen = child.stdout.take().expect("a pipe");
        let mut shown = String::new();
        for (prompt, answer) in answers {
            let from = shown.len();
            while !shown[from..].contains(prompt) {
                let mut bytes = [0; 1];
                if screen.read(&mut bytes).expect("a readable terminal") == 0 {
                    panic!("the prompt {prompt:?} did not come: {shown}");
                }
                shown.push(char::from(bytes[0]));
            }
            keyboard.write_all(answer.as_bytes()).expect("a terminal that takes keys");
        }
        screen.read_to_string(&mut shown).expect("a readable terminal");
        (child.wait().expect("a child").code().unwrap_or(-1), shown)
    }
}

#[test]
fn from_nothing_to_a_secret_that_can_be_read_listed_and_checked() {
    let bench = Bench::new();
    bench.deploy(&["list"]).fails(1, &["secrets.toml does not exist", "deploy secrets init"]);
    let made = bench.deploy(&["init", "--operator", "alice"]).ok();
    assert!(
        made.stdout.contains("home/.config/cairn/identity.txt") && made.stdout.contains("operator `alice`"),
        "{made:?}"
    );
    let identity = bench.project.path("home/.config/cairn/identity.txt");
    assert_eq!(fs::metadata(&identity).expect("an identity").permissions().mode() & 0o777, 0o600);
    assert_eq!(bench.deploy(&["init"]).ok().stdout, "nothing was missing\n");

    let set = bench.piped(&["set", "smtp-password", "--host", "local"], &format!("{PLANTED}\n")).ok();
    assert_eq!(set.stdout, "smtp-password has version 1: commit secrets/\n");
    let shown = bench.deploy(&["show", "smtp-password", "--reveal"]).ok();
    assert_eq!(shown.stdout, PLANTED);
    bench.deploy(&["show", "smtp-password"]).fails(1, &["not printed by accident", "--reveal"]);
    let json = bench.deploy(&["show", "smtp-password", "--reveal", "--json"]).ok().json();
    assert_eq!(json["value"], PLANTED);

    let list = bench.deploy(&["list"]).ok();
    assert_eq!(
        list.stdout,
        "SECRET         VERSION  STATE  HOSTS  CAN READ\nsmtp-password  1        ok     local  alice\n"
    );
    let list = bench.deploy(&["list", "--json"]).ok();
    assert_eq!(list.json()["secrets"][0]["can_read"][0], "alice");
    assert_eq!(bench.deploy(&["check"]).ok().stdout, "1 secret, no faults\n");
    let said = format!("{set:?} {list:?} {}", bench.text("secrets/secrets.toml"));
    assert!(!said.contains(PLANTED));

    assert_eq!(age(&identity, &bench.project.path("secrets/smtp-password.age")), PLANTED);

    // Without the key: what needs none is checked, and the rest says what is missing.
    fs::remove_file(&identity).expect("an identity to remove");
    assert!(bench.deploy(&["check"]).ok().stdout.contains("nothing was decrypted"));
    bench
        .deploy(&["show", "smtp-password", "--reveal"])
        .fails(1, &["no identity", "identity.txt", "id_ed25519", "--identity FILE"]);
}

#[test]
fn bad_names_and_values_are_refused_and_nothing_is_written() {
    let bench = Bench::with(
        "[secrets.made]\nhosts = [\"local\"]\ngenerate = \"hex:16\"\n[secrets.typed]\nhosts = [\"local\"]\n",
    );
    let (files, index) = (bench.files(), bench.text("secrets/secrets.toml"));
    for name in ["../x", "a/b", "/etc/passwd", "A", "x.age"] {
        bench.piped(&["set", name, "--host", "local"], PLANTED).fails(2, &["cannot be a secret's name", "lower-case"]);
        bench.deploy(&["show", name, "--reveal"]).fails(2, &["cannot be a secret's name"]);
    }
    for (arguments, code, said) in [
        (&["set", "typd"][..], 1, &["no secret `typd`", "did you mean `typed`?"][..]),
        (&["set", "made"], 1, &["is made, not typed", "--generate"]),
        (&["set", "typed", "--generate"], 1, &["--generate password:32"]),
        (&["set", "typed", "--generate", "password:3"], 2, &["from 16 to 1024"]),
        (&["set", "typed", "--host", "local"], 1, &["is declared already"]),
        (&["set", "new", "--host", "../local"], 2, &["a host's name"]),
        (&["set", "typed", PLANTED], 2, &["unexpected argument"]),
        (&["set", "typed", "--from-file", "/nonexistent"], 1, &["/nonexistent"]),
        (&["edit", "made"], 1, &["is made, not typed"]),
    ] {
        bench.piped(arguments, PLANTED).fails(code, said);
    }
    bench.piped(&["set", "typed"], "").fails(1, &["an empty value"]);
    assert_eq!((bench.files(), bench.text("secrets/secrets.toml")), (files, index));
}

#[test]
fn check_tells_all_faults_at_once_and_rekey_mends_what_it_can() {
    let bench = Bench::with("[secrets.a]\nhosts = [\"local\"]\n[secrets.b]\nhosts = [\"locol\"]\n");
    bench.piped(&["set", "a"], PLANTED).ok();
    let key = bench.project.path("home/host");
    tool("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key.to_str().expect("a plain path")]);
    let host = bench.text("home/host.pub");
    bench.project.edit(
        "secrets/secrets.toml",
        "[secrets.a]",
        &format!("[hosts]\nlocal = \"{}\"\n\n[secrets.a]", host.trim()),
    );
    fs::write(bench.project.path("secrets/stray"), "").expect("a file");
    let checked = bench.deploy(&["check"]);
    assert_eq!(checked.code, 1, "{checked:?}");
    for said in [
        "a.age: it is not encrypted to exactly those who may read it now\n  help: run `deploy secrets rekey a`",
        "b.age: secret `b` has no value",
        "secrets.b.hosts: `locol` matches no host",
        "stray: no secret of the index has this file",
    ] {
        assert!(checked.stdout.contains(said), "not said: {said}\n{}", checked.stdout);
    }
    assert_eq!(bench.deploy(&["check", "--json"]).json()["faults"].as_array().map(Vec::len), Some(4));

    // A reader that is new since the last time: named, and not taken without being asked.
    let refused = bench.deploy(&["rekey"]).fails(1, &["new since the last time", "local (host) SHA256:", "--yes"]);
    assert!(!refused.stderr.contains("a: +local"), "{refused:?}");
    assert_eq!(bench.deploy(&["rekey", "--yes"]).ok().stdout, "a: +local\n");
    let before = bench.text("secrets/a.age");
    assert!(bench.deploy(&["rekey"]).ok().stdout.contains("nothing was written"));
    assert_eq!(bench.text("secrets/a.age"), before);
    assert_eq!(age(&key, &bench.project.path("secrets/a.age")), PLANTED);

    bench.project.edit("secrets/secrets.toml", "hosts = [\"local\"]", "hosts = []");
    let rekeyed = bench.deploy(&["rekey", "a"]).ok().stdout;
    assert!(rekeyed.contains("a: -local") && rekeyed.contains("may have read this value"), "{rekeyed}");
}

#[test]
fn identities_come_from_the_argument_the_variable_or_the_ssh_key() {
    let bench = Bench::with("[secrets.a]\nhosts = [\"local\"]\n");
    bench.piped(&["set", "a"], PLANTED).ok();
    let (usual, moved) = (bench.project.path("home/.config/cairn/identity.txt"), bench.project.path("home/moved.txt"));
    fs::rename(&usual, &moved).expect("an identity to move");
    let show = ["show", "a", "--reveal"];
    let path = moved.to_str().expect("a plain path");
    assert_eq!(bench.deploy(&[&show[..], &["--identity", path]].concat()).ok().stdout, PLANTED);
    assert_eq!(run(bench.command(&show).env("DEPLOY_IDENTITY", path)).ok().stdout, PLANTED);
    bench.deploy(&[&show[..], &["--identity", "/nonexistent"]].concat()).fails(1, &["/nonexistent"]);

    let ssh = bench.project.path("home/.ssh/id_ed25519");
    fs::create_dir(bench.project.path("home/.ssh")).expect("a folder");
    tool("ssh-keygen", ["-q", "-t", "ed25519", "-N", "open sesame", "-f", ssh.to_str().expect("a plain path")]);
    let joined = bench.deploy(&["init", "--operator", "bob"]).ok();
    assert!(
        joined.stdout.contains("operator `bob`") && joined.stdout.contains("cannot read these yet: a"),
        "{joined:?}"
    );
    bench.deploy(&show).fails(1, &["a.age", "not encrypted to any key", "rekey a"]);
    bench.deploy(&["rekey", "--identity", path]).ok();

    // Under a passphrase: asked for on a terminal, an error without one.
    let (code, shown) = bench.on_terminal(&show, &[("id_ed25519 (not shown): ", "open sesame\r")]);
    assert!(code == 0 && shown.contains(PLANTED) && !shown.contains("open sesame"), "{code} {shown}");
    let (code, shown) = bench.on_terminal(&show, &[("(not shown): ", "wrong\r")]);
    assert!(code == 1 && shown.contains("this is not its passphrase") && !shown.contains(PLANTED), "{code} {shown}");
    let (code, shown) = bench.on_terminal(&show, &[("(not shown): ", "half\x03")]);
    assert!(code == 1 && shown.contains("interrupted"), "{code} {shown}");
    // In a session without a terminal.
    let detached = run(&mut bench.through(&["setsid", "-w"], &show));
    detached.fails(1, &["needs a terminal", "--identity FILE"]);
}

#[test]
fn a_typed_value_is_asked_for_twice_and_never_shown() {
    let bench = Bench::with("[secrets.a]\nhosts = [\"local\"]\n");
    let typed = format!("{PLANTED}\r");
    let (code, shown) =
        bench.on_terminal(&["set", "a"], &[("value of a (not shown): ", &typed), ("once more (not shown): ", &typed)]);
    assert!(code == 0 && !shown.contains(PLANTED), "{code} {shown}");
    assert_eq!(bench.deploy(&["show", "a", "--reveal"]).ok().stdout, PLANTED);
    let (code, shown) =
        bench.on_terminal(&["set", "a"], &[("(not shown): ", "one\r"), ("once more (not shown): ", "two\r")]);
    assert!(code == 1 && shown.contains("not the same"), "{code} {shown}");
    assert_eq!(bench.deploy(&["show", "a", "--reveal"]).ok().stdout, PLANTED);
}

#[test]
fn an_operator_whom_a_pull_request_adds_reads_nothing_unasked() {
    let bench = Bench::with("[secrets.a]\nhosts = []\n[secrets.b]\nhosts = []\ngenerate = \"hex:16\"\n");
    let first = bench.piped(&["set", "a"], PLANTED).ok();
    assert!(first.stderr.contains("can read a:\n  alice (operator) age1"), "{}", first.stderr);
    assert!(first.stderr.contains("first use of these secrets on this computer"), "{}", first.stderr);
    let second = bench.piped(&["set", "a"], PLANTED).ok();
    assert!(second.stderr.contains("alice (operator)") && !second.stderr.contains("first use"), "{}", second.stderr);

    let (eve, file) = (bench.project.path("home/eve.txt"), bench.project.path("secrets/a.age"));
    tool("age-keygen", ["-o", eve.to_str().expect("a plain path")]);
    let key = tool("age-keygen", ["-y", eve.to_str().expect("a plain path")]).trim().to_owned();
    bench.project.edit("secrets/secrets.toml", "\n[operators]\n", &format!("\n[operators]\neve = \"{key}\"\n"));
    let before = (bench.files(), bench.text("secrets/a.age"), bench.text("secrets/secrets.toml"));
    let edit = run(bench.command(&["edit", "a"]).env("EDITOR", "sh -c 'echo x > \"$1\"' editor"));
    for refused in [
        bench.piped(&["set", "a"], PLANTED),
        bench.deploy(&["set", "b", "--generate"]),
        bench.deploy(&["rekey"]),
        bench.deploy(&["init"]),
        edit,
    ] {
        refused.fails(1, &["new since the last time", &format!("eve (operator) {key}"), "--yes"]);
    }
    assert_eq!((bench.files(), bench.text("secrets/a.age"), bench.text("secrets/secrets.toml")), before);
    let unread = Command::new("age").arg("-d").arg("-i").arg(&eve).arg(&file).output().expect("age");
    assert!(!unread.status.success());

    let (code, shown) = bench.on_terminal(&["rekey"], &[("Encrypt to them? [y/N] ", "n\r")]);
    assert!(code == 1 && shown.contains("were not accepted"), "{code} {shown}");
    let accepted = bench.deploy(&["rekey", "--yes"]).ok();
    assert!(accepted.stdout.contains("a: +eve") && accepted.stderr.contains("eve (operator)"), "{accepted:?}");
    assert_eq!(age(&eve, &file), PLANTED);
    bench.piped(&["set", "a"], PLANTED).ok();
}

#[test]
fn an_editor_changes_a_value_and_signals_leave_nothing_behind() {
    let bench = Bench::with("[secrets.a]\nhosts = [\"local\"]\n");
    let editor = |script: &str| format!("sh -c '{script}' editor");
    let edit = |script: &str| run(bench.command(&["edit", "a"]).env("EDITOR", editor(script)));
    edit(&format!("echo {PLANTED} > \"$1\"")).ok();
    assert_eq!(bench.deploy(&["show", "a", "--reveal"]).ok().stdout, PLANTED);
    assert!(edit("true").ok().stderr.contains("a is unchanged"));
    edit("exit 1").fails(1, &["ended with exit status: 1", "nothing was changed"]);
    let other =
        run(bench.command(&["edit", "a"]).env("EDITOR", "false").env("VISUAL", editor("grep -q pl4nted \"$1\"")));
    assert!(other.ok().stderr.contains("unchanged"));

    // Ctrl-C is the editor's; an end is passed on, and the file in RAM goes.
    let before = (bench.text("secrets/a.age"), bench.text("secrets/secrets.toml"));
    let script = editor("echo half > \"$1\"; dirname \"$1\"; exec sleep 60");
    let mut child = bench
        .command(&["edit", "a"])
        .env("EDITOR", script)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("deploy");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("the folder's name");
    let folder = PathBuf::from(line.trim());
    assert!(folder.is_dir(), "{line}");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    kill(pid, Signal::SIGINT).expect("a process to signal");
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().expect("a child").is_none(), "an interrupt ended it");
    kill(pid, Signal::SIGTERM).expect("a process to signal");
    assert_eq!(ends(&mut child), Some(1));
    assert!(!folder.exists(), "{} is left", folder.display());
    assert_eq!((bench.text("secrets/a.age"), bench.text("secrets/secrets.toml")), before);
}

/// What the real tool makes of a file.
fn age(key: &Path, file: &Path) -> String {
    tool("age", ["-d".as_ref(), "-i".as_ref(), key.as_os_str(), file.as_os_str()])
}

/// Its exit code, within ten seconds.
fn ends(child: &mut Child) -> Option<i32> {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        if let Some(status) = child.try_wait().expect("a child") {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("a child to end");
    panic!("deploy did not end");
}
