//! A host that pulls: a fresh machine on which nothing but the script of `deploy user-data` ran.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cairn_cache::{Pointer, PublicKey, SecretKey};
use cairn_tests::bucket::{Bucket, CREDENTIALS};
use cairn_tests::{Machine, Project, Ran, eventually, run, tool};
use serde_json::{Value, json};
use tempfile::TempDir;

const HOST: &str = "e2e-pull";

/// The machines' base has neither curl nor wget: the least that understands `-q -T 30 -O FILE URL`.
const WGET: &str = r#"#!/bin/bash
set -e
IFS=/ read -r _ _ server path <<< "$6"
exec 3<> "/dev/tcp/${server%:*}/${server#*:}"
printf 'GET /%s HTTP/1.0\r\nHost: %s\r\n\r\n' "$path" "$server" >&3
LC_ALL=C sed '1,/^\r*$/d' <&3 > "$5"
"#;

/// A web server over a folder, where machines reach it.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn over(folder: &Path, address: &str) -> Self {
        let mut process = Command::new("python3")
            .args(["-u", "-m", "http.server", "0", "--bind", address, "--directory"])
            .arg(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        let port = line.split(" port ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a port");
        Self { process, url: format!("http://{address}:{port}") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Bed<'a> {
    project: &'a Project,
    machine: Machine<'a>,
    /// Keys, and the cache's folder.
    dir: TempDir,
    key: String,
    /// Public keys that the definition trusts.
    trusted: Vec<String>,
    /// Where the host reads, and where it is published to.
    reads: String,
    writes: String,
}

impl Bed<'_> {
    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// Redis with as much memory as it is given, and whatever else comes.
    fn define(&self, megabytes: u32, more: &str) {
        let recipient = fs::read_to_string(self.dir.path().join("pull.key.pub")).expect("a public key");
        let text = format!(
            "platform = \"linux/amd64\"\ninclude = [\"../services/redis.toml\"]\n[machine]\n\
             [pull]\ncache = \"{}\"\npublish_to = \"{}\"\ntrusted_public_keys = {:?}\ninterval = \"10s\"\n\
             recipient = \"{}\"\n[services.redis.settings.memory]\nlimit = \"{megabytes}mb\"\n{more}",
            self.reads,
            self.writes,
            self.trusted,
            recipient.trim()
        );
        fs::write(self.project.path(&format!("hosts/{HOST}.toml")), text).expect("a writable project");
    }

    fn publish(&self, message: &str) -> Value {
        self.publishing(&["--message", message]).ok().json()["hosts"][0].clone()
    }

    fn publishing(&self, more: &[&str]) -> Ran {
        let mut publish = self.project.command(&["publish", HOST, "--key", &self.key, "--json"]);
        run(publish.args(more).envs(CREDENTIALS))
    }

    /// Writes a pointer that `deploy publish` would not: the newest one, changed and signed by this key.
    fn plant(&self, key: &str, change: impl FnOnce(&mut Pointer)) {
        let trusted: Vec<PublicKey> =
            self.trusted.iter().map(|key| PublicKey::parse(key).expect("a public key")).collect();
        let file = fs::read(self.pointer()).expect("a pointer");
        let mut pointer = Pointer::open(&file, HOST, &trusted, "the pointer").expect("one of ours").pointer;
        change(&mut pointer);
        let key = SecretKey::parse(&fs::read_to_string(key).expect("a key")).expect("a secret key");
        fs::write(self.pointer(), pointer.seal(&key).expect("an envelope")).expect("a writable cache");
    }

    /// A look that is refused for this reason, which the host's status says as well.
    #[track_caller]
    fn refuses(&self, said: &str) {
        assert!(!self.pull());
        let problem = self.status(1)["pull"]["problem"].as_str().expect("a problem").to_owned();
        assert!(problem.contains(said), "{problem}");
    }

    /// The newest script of `deploy user-data`, run on the host; only this test pulls from then on.
    fn brings_user_data(&self) {
        self.user_data();
        self.machine.ssh("sh /root/user-data && systemctl stop cairn-pull.timer").ok();
        self.machine.ssh("systemctl start cairn-pull.service");
    }

    /// The machine's files.
    fn root(&self) -> PathBuf {
        self.machine.inner().identity.with_file_name("root")
    }

    /// Puts the script of `deploy user-data` on the machine.
    fn user_data(&self) -> String {
        let script = self.project.deploy(&["user-data", HOST]).ok().stdout;
        fs::write(self.root().join("root/user-data"), &script).expect("a writable machine");
        script
    }

    /// Pulls now, whatever the timer does; gives whether that ended well.
    fn pull(&self) -> bool {
        self.machine.ssh("systemctl start cairn-pull.service").code == 0
    }

    fn generation(&self) -> String {
        self.machine.ssh("readlink /nix/var/nix/profiles/cairn").stdout.trim().to_owned()
    }

    /// The host's status, and the exit code that it must come with.
    #[track_caller]
    fn status(&self, code: i32) -> Value {
        self.project.deploy(&["status", HOST, "--json"]).fails(code, &[]).json()["hosts"][0].clone()
    }

    fn attempts(&self) -> Vec<Value> {
        let history = self.project.deploy(&["history", HOST, "--json"]).ok().json();
        history["attempts"].as_array().expect("a list").clone()
    }

    fn pointer(&self) -> PathBuf {
        self.cache().join(format!("cairn/{HOST}.json"))
    }
}

#[test]
fn a_fresh_host_runs_what_is_published_and_follows_the_pointer() {
    let project = Project::with_shared_store();
    let machine = project.machine(HOST);
    project.deploy(&["machine", "start", HOST]).ok();
    let dir = TempDir::new().expect("a folder");
    fs::create_dir(dir.path().join("cache")).expect("a folder");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let key = file("cache.key");
    let public = project.deploy(&["cache-key", "generate", "test-1", &key]).ok().stdout.trim().to_owned();
    assert_eq!(project.deploy(&["cache-key", "show", &key]).ok().stdout.trim(), public);
    project.deploy(&["cache-key", "generate", "test-1", &key]).fails(1, &["never replaced"]);
    tool("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", &file("pull.key")]);
    let address = machine.inner().address.octets();
    let gateway = format!("{}.{}.{}.1", address[0], address[1], address[2]);
    let server = Server::over(&dir.path().join("cache"), &gateway);
    let (reads, writes) = (server.url.clone(), format!("file://{}", file("cache")));
    let mut bed = Bed { project: &project, machine, dir, key, trusted: vec![public], reads, writes };

    starts_by_itself(&bed);
    follows_the_timer(&bed);
    does_not_try_again_what_was_reverted(&bed);
    refuses_what_was_tampered_with(&bed);
    comes_up_again(&bed);
    rotates_the_key(&mut bed);
    comes_free_of_a_stolen_key(&mut bed);
    says_how_old_its_pointer_is(&bed);
    let bucket = Bucket::start(&gateway);
    moves_to_a_bucket(&mut bed, &bucket);
    is_given_back(&bed);
}

fn starts_by_itself(bed: &Bed) {
    bed.define(64, "");
    let first = bed.publish("first");
    assert_eq!(first["paths"], first["new_paths"], "{first}");
    // What a cloud's image has: something that fetches; and what its instance is given: a key.
    let root = bed.root();
    let wget = root.join("usr/local/bin/wget");
    fs::write(&wget, WGET).expect("a writable machine");
    fs::set_permissions(&wget, fs::Permissions::from_mode(0o755)).expect("a file of ours");
    fs::create_dir_all(root.join("etc/cairn")).expect("a folder");
    fs::copy(bed.dir.path().join("pull.key"), root.join("etc/cairn/pull.key")).expect("the key");

    let script = bed.user_data();
    let secret = fs::read_to_string(&bed.key).expect("the key");
    assert!(script.contains(&bed.trusted[0]) && !script.contains(secret.trim()), "{script}");
    bed.machine.ssh("sh /root/user-data && sh /root/user-data").ok();
    eventually(Duration::from_secs(90), || bed.generation() == "cairn-1-link");
    eventually(Duration::from_secs(30), || bed.project.deploy(&["status", HOST]).code == 0);

    let status = bed.status(0);
    assert_eq!((&status["generation"], &status["health"]), (&json!(1), &json!("healthy")), "{status}");
    assert_eq!(status["pull"]["sequence"], first["sequence"], "{status}");
    assert_eq!(status["drift"], json!([]), "{status}");
    let attempt = &bed.attempts()[0];
    let operator = format!("pull from {}", bed.reads);
    assert_eq!((&attempt["operator"], &attempt["outcome"]), (&json!(operator), &json!("committed")), "{attempt}");
    assert!(attempt["message"].as_str().is_some_and(|text| text.ends_with(": first")), "{attempt}");
    bed.project.deploy(&["switch", HOST, "--dry-run"]).fails(0, &["pulls from", "deploy publish e2e-pull"]);
}

fn follows_the_timer(bed: &Bed) {
    bed.define(65, "");
    let second = bed.publish("second");
    assert!(second["new_paths"].as_u64() < second["paths"].as_u64(), "{second}");
    eventually(Duration::from_secs(90), || bed.generation() == "cairn-2-link");
    // Nothing new costs no generation, and neither does the same again.
    bed.machine.ssh("systemctl stop cairn-pull.timer").ok();
    assert!(bed.pull());
    bed.publish("the same again");
    assert!(bed.pull());
    assert_eq!((bed.generation().as_str(), bed.attempts().len()), ("cairn-2-link", 2));
}

fn does_not_try_again_what_was_reverted(bed: &Bed) {
    let task = "[services.task]\nimage = \"redis\"\nkind = \"task\"\n\
                command = [\"/usr/bin/busybox\", \"sh\", \"-c\", \"exit 1\"]\n";
    bed.define(66, task);
    let bad = bed.publish("bad");
    assert!(!bed.pull());
    let attempts = bed.attempts();
    assert_eq!((&attempts[0]["outcome"], attempts.len()), (&json!("reverted"), 3), "{attempts:?}");
    assert!(!bed.pull());
    assert_eq!((bed.attempts().len(), bed.generation().as_str()), (3, "cairn-2-link"));
    let status = bed.status(1);
    assert_eq!((&status["generation"], &status["pull"]["sequence"]), (&json!(2), &bad["sequence"]), "{status}");
    let problem = status["pull"]["problem"].as_str().expect("a problem");
    assert!(problem.contains("not tried again until the pointer moves") && problem.contains("task"), "{problem}");
}

fn refuses_what_was_tampered_with(bed: &Bed) {
    let before = fs::read(bed.pointer()).expect("a pointer");
    bed.define(67, "");
    let third = bed.publish("third");
    let closure = third["closure"].as_str().expect("a path");
    let narinfo = fs::read_to_string(bed.cache().join(format!("{}.narinfo", &closure[..32]))).expect("a narinfo");
    let archive = narinfo.lines().find_map(|line| line.strip_prefix("URL: ")).expect("an archive");
    let archive = bed.cache().join(archive);
    let real = fs::read(&archive).expect("an archive");
    let mut changed = real.clone();
    *changed.last_mut().expect("bytes") ^= 1;
    let refused = |said: &str| {
        assert!(!bed.pull());
        let status = bed.status(1);
        let problem = status["pull"]["problem"].as_str().expect("a problem").to_owned();
        assert!(problem.contains(said), "{problem}");
        assert_eq!((&status["generation"], bed.attempts().len()), (&json!(2), 3), "{status}");
    };
    fs::write(&archive, changed).expect("a writable cache");
    refused("has other bytes than its narinfo says");
    fs::write(&archive, real).expect("a writable cache");
    let now = fs::read(bed.pointer()).expect("a pointer");
    fs::write(bed.pointer(), before).expect("a writable cache");
    refused("an earlier pointer was put back");
    fs::write(bed.pointer(), now).expect("a writable cache");
    assert!(bed.pull());
    assert_eq!(bed.generation(), "cairn-3-link");
    tool("nix-store", ["--store", &bed.root().to_string_lossy(), "--verify", "--check-contents"]);
}

/// As after a power cut, with nobody there: the generation first, the timer after it.
fn comes_up_again(bed: &Bed) {
    bed.machine.machines().poweroff_hard(HOST).expect("a machine to switch off");
    bed.project.deploy(&["machine", "start", HOST]).ok();
    eventually(Duration::from_secs(60), || bed.project.deploy(&["status", HOST]).code == 0);
    let status = bed.status(0);
    assert_eq!((&status["generation"], &status["health"]), (&json!(3), &json!("healthy")), "{status}");
    eventually(Duration::from_secs(60), || {
        let line = "systemctl show -P ExecMainStartTimestamp cairn-pull.service";
        !bed.machine.ssh(line).stdout.trim().is_empty()
    });
    assert_eq!(bed.attempts().len(), 4);
}

/// As docs/pull.md describes it: both keys are trusted, the new one publishes, the old one goes.
fn rotates_the_key(bed: &mut Bed) {
    bed.machine.ssh("systemctl stop cairn-pull.timer").ok();
    let file = bed.dir.path().join("next.key").display().to_string();
    let next = bed.project.deploy(&["cache-key", "generate", "test-2", &file]).ok().stdout.trim().to_owned();
    let old = std::mem::replace(&mut bed.key, file);
    bed.publishing(&[]).fails(1, &["do not trust this key"]);

    bed.trusted.push(next.clone());
    bed.define(67, "");
    bed.brings_user_data();
    assert!(bed.pull());
    let by_next = bed.publish("by the next key");
    assert!(bed.pull());
    assert_eq!(bed.status(0)["pull"]["sequence"], by_next["sequence"]);

    bed.trusted = vec![next];
    bed.define(67, "");
    bed.brings_user_data();
    assert!(bed.pull());
    let alone = bed.publish("by the next key alone");
    assert!(bed.pull());
    let status = bed.status(0);
    assert_eq!((&status["pull"]["sequence"], &status["generation"]), (&alone["sequence"], &json!(3)), "{status}");
    let ours = fs::read(bed.pointer()).expect("a pointer");
    bed.plant(&old, |pointer| pointer.sequence += 1);
    bed.refuses("signed by none of the trusted keys (test-2), but by test-1");
    fs::write(bed.pointer(), ours).expect("a writable cache");
    assert!(bed.pull());
}

/// The key of the cache is stolen, and used for the highest number that there is.
fn comes_free_of_a_stolen_key(bed: &mut Bed) {
    bed.plant(&bed.key, |pointer| pointer.sequence = u64::MAX);
    bed.refuses("18446744073709551615");
    bed.publishing(&[]).fails(1, &["more than a day after", "--replace"]);

    // An agent of an earlier version took it, and has kept the number alone.
    let state = bed.root().join("nix/var/cairn/pull.json");
    let mut kept: Value = serde_json::from_slice(&fs::read(&state).expect("its state")).expect("JSON");
    let fields = kept.as_object_mut().expect("an object");
    fields.remove("seen_by_key").expect("a number for each key");
    fields["seen"]["sequence"] = json!(u64::MAX);
    fs::write(&state, kept.to_string()).expect("a writable machine");

    let file = bed.dir.path().join("third.key").display().to_string();
    bed.trusted = vec![bed.project.deploy(&["cache-key", "generate", "test-3", &file]).ok().stdout.trim().to_owned()];
    bed.key = file;
    bed.define(67, "");
    bed.brings_user_data();
    bed.publishing(&[]).fails(1, &["but by test-2", "--replace"]);
    let published = bed.publishing(&["--replace"]).ok().json()["hosts"][0].clone();
    bed.machine.ssh("systemctl start cairn-pull.service").ok();
    assert_eq!(bed.status(0)["pull"]["sequence"], published["sequence"]);

    // Junk in the bucket does not block publishing.
    fs::write(bed.pointer(), "x").expect("a writable cache");
    bed.refuses("not a signed pointer");
    bed.publishing(&[]).fails(1, &["not a signed pointer", "--replace"]);
    bed.publishing(&["--replace"]).ok();
    assert!(bed.pull());
    assert_eq!((bed.generation().as_str(), bed.attempts().len()), ("cairn-3-link", 4));
}

/// A cache that keeps newer pointers back changes nothing on the host: the age is what shows it.
fn says_how_old_its_pointer_is(bed: &Bed) {
    let status = bed.status(0);
    assert!(status["pull"]["published"].as_i64().is_some_and(|at| at > 1_700_000_000), "{status}");
    let ours = fs::read(bed.pointer()).expect("a pointer");
    bed.plant(&bed.key, |pointer| {
        pointer.sequence += 1;
        pointer.published -= 40 * 86_400;
    });
    assert!(bed.pull());
    bed.status(1);
    let shown = bed.project.deploy(&["status", HOST]).fails(1, &[]).stdout;
    assert!(shown.contains("its newest pointer is 40 days old (pull.warn_after is 30 days)"), "{shown}");
    let found = bed.project.deploy(&["doctor", HOST, "--json"]).json();
    let findings = found["hosts"][0]["findings"].as_array().expect("a list");
    let pointer = findings.iter().find(|finding| finding["check"] == "pointer").expect("a finding");
    assert_eq!(pointer["level"], "note", "{pointer}");
    assert!(pointer["what"].as_str().is_some_and(|what| what.contains("40 days old")), "{pointer}");

    fs::write(bed.pointer(), ours).expect("a writable cache");
    bed.publish("again");
    assert!(bed.pull());
    bed.status(0);
}

/// The same host reads a bucket: with keys of its own, and its agent without.
fn moves_to_a_bucket(bed: &mut Bed, bucket: &Bucket) {
    (bed.reads, bed.writes) = (bucket.url(), bucket.url());
    bed.define(68, "");
    let published = bed.publish("in a bucket");
    assert_eq!(published["paths"], published["new_paths"], "{published}");
    assert_eq!(bucket.status_of(&format!("cairn/{HOST}.json")), "403");

    bed.user_data();
    let agent = "/usr/local/lib/cairn/cairn-agent";
    bed.machine.ssh(&format!("systemctl stop cairn-pull.timer && rm {agent} && sh /root/user-data")).ok();
    assert!(!bed.pull());
    let problem = bed.status(1)["pull"]["problem"].as_str().expect("a problem").to_owned();
    assert!(problem.contains("403") && problem.contains("credentials"), "{problem}");

    let keys: String = CREDENTIALS.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    fs::write(bed.root().join("etc/cairn/pull.env"), keys).expect("a writable machine");
    assert!(bed.pull());
    assert_eq!(bed.generation(), "cairn-4-link");
    let attempt = &bed.attempts()[0];
    let operator = format!("pull from {}", bed.reads);
    assert_eq!((&attempt["operator"], &attempt["outcome"]), (&json!(operator), &json!("committed")), "{attempt}");

    // Only what is new goes there, and comes from there.
    bed.define(69, "");
    let next = bed.publish("in a bucket again");
    assert!(next["new_paths"].as_u64() < next["paths"].as_u64(), "{next}");
    assert!(bed.pull());
    assert_eq!(bed.generation(), "cairn-5-link");
}

/// Nothing of ours is left, and nothing comes back by itself.
fn is_given_back(bed: &Bed) {
    bed.machine.ssh("systemctl start cairn-pull.timer").ok();
    bed.project.deploy(&["uninstall", HOST, "--yes", "--delete-data"]).ok();
    // The Nix that has looked into the store is taken for one that uses it.
    let left = "ls -d /nix/var/cairn /etc/cairn/pull.json /usr/local/lib/cairn /etc/systemd/system/*cairn* \
                /etc/systemd/system/timers.target.wants/*cairn* /var/lib/cairn /run/cairn 2>/dev/null; \
                systemctl list-units --all --plain --no-legend 'cairn-*'; true";
    assert_eq!(bed.machine.ssh(left).ok().stdout, "");
}
