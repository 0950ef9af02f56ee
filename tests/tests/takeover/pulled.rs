//! A host whose agent of then pulls goes on with pointers of now.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_tests::earlier::Earlier;
use cairn_tests::{eventually, tool};
use serde_json::Value;

use super::{Bed, VERSION};

const PULLS: &str = "e2e-takeover-pull";

/// A host that pulls from a folder of its own.
struct Pulling<'a> {
    bed: Bed<'a>,
    key: PathBuf,
    section: String,
}

impl Pulling<'_> {
    fn define(&self, word: &str) {
        self.bed.define(word, &self.section);
    }

    fn key(&self) -> String {
        self.key.display().to_string()
    }

    fn root(&self) -> PathBuf {
        self.bed.machine.inner().identity.with_file_name("root")
    }

    /// Looks now; gives whether the host runs what the pointer names.
    fn look(&self) -> bool {
        self.bed.machine.ssh("systemctl start cairn-pull.service").code == 0
    }

    /// Runs the script of `deploy user-data` on the host.
    fn run_script(&self, script: &str) {
        fs::write(self.root().join("root/user-data"), script).expect("a writable machine");
        self.bed.machine.ssh("sh /root/user-data").ok();
    }
}

#[test]
fn a_host_that_pulled_with_fbaba72_follows_pointers_of_now() {
    let earlier = Earlier::unpack(VERSION);
    let project = earlier.project();
    let bed = Bed { earlier: &earlier, project: &project, machine: project.member(PULLS) };
    bed.define("none", "");
    bed.then(&["machine", "start", PULLS]);
    let folder = bed.machine.inner().identity.with_file_name("root").join("srv/cache");
    fs::create_dir_all(&folder).expect("a writable machine");
    let key = project.path("cache.key");
    let public = bed.then(&["cache-key", "generate", "test-1", &key.display().to_string()]);
    let recipient = pull_key(&bed, &project.path("pull.key"));
    let section = format!(
        "[pull]\ncache = \"file:///srv/cache\"\npublish_to = \"file://{}\"\ntrusted_public_keys = [\"{}\"]\n\
         interval = \"1h\"\nrecipient = \"{recipient}\"",
        folder.display(),
        public.trim()
    );
    let pulling = Pulling { bed, key, section };

    let pointer = folder.join(format!("cairn/{PULLS}.json"));
    pulled_then(&pulling);
    let before = fs::read(&pointer).expect("the pointer of then");
    follows_pointers_of_now(&pulling);
    refuses_the_pointer_of_then(&pulling, &pointer, &before);
    let script = project.deploy(&["user-data", PULLS]).ok().stdout;
    pulling.run_script(&script);
    assert!(pulling.look());
    pulling.bed.runs(4, "four");
    pulling.bed.machine.ssh("systemctl stop cairn-pull.timer").ok();
    pulling.bed.give_back("hello\n");
}

/// Gives the host the key that secrets of hosts that pull are sealed to.
fn pull_key(bed: &Bed, key: &Path) -> String {
    tool("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", &key.display().to_string()]);
    let root = bed.machine.inner().identity.with_file_name("root");
    fs::create_dir_all(root.join("etc/cairn")).expect("a writable machine");
    fs::copy(key, root.join("etc/cairn/pull.key")).expect("the key");
    let public = fs::read_to_string(key.with_extension("key.pub")).expect("a public key");
    public.trim().to_owned()
}

fn pulled_then(pulling: &Pulling) {
    let bed = &pulling.bed;
    bed.machine.ssh("printf 'hello\\n' > /etc/motd").ok();
    bed.then(&["adopt", PULLS, "/etc/motd"]);
    pulling.define("one");
    bed.then(&["publish", PULLS, "--key", &pulling.key(), "--message", "first"]);
    let script = bed.then(&["user-data", PULLS]);
    pulling.run_script(&script);
    let generation = "readlink /nix/var/nix/profiles/cairn";
    eventually(Duration::from_secs(90), || bed.machine.ssh(generation).stdout.trim() == "cairn-1-link");
    eventually(Duration::from_secs(30), || bed.project.deploy(&["status", PULLS]).code == 0);
    bed.runs(1, "one");
    pulling.define("two");
    bed.then(&["publish", PULLS, "--key", &pulling.key()]);
    assert!(pulling.look());
    bed.runs(2, "two");
}

/// The first is fetched by the agent of then, the second by the agent that came with the first.
fn follows_pointers_of_now(pulling: &Pulling) {
    let bed = &pulling.bed;
    for (generation, word) in [(3, "three"), (4, "four")] {
        pulling.define(word);
        let published =
            bed.now(&["publish", PULLS, "--key", &pulling.key(), "--message", "of now"])["hosts"][0].clone();
        assert!(pulling.look(), "{}", bed.machine.ssh("journalctl -u cairn-pull.service -n 30").stdout);
        let status = bed.runs(generation, word);
        assert_eq!(status["pull"]["sequence"], published["sequence"], "{status:#}");
        assert_eq!(status["pull"]["problem"], Value::Null, "{status:#}");
    }
    let outcomes: Vec<Value> = bed.attempts().iter().map(|attempt| attempt["outcome"].clone()).collect();
    assert_eq!(outcomes, ["committed"; 4]);
}

fn refuses_the_pointer_of_then(pulling: &Pulling, pointer: &Path, before: &[u8]) {
    let now = fs::read(pointer).expect("the pointer of now");
    fs::write(pointer, before).expect("a writable cache");
    assert!(!pulling.look());
    fs::write(pointer, now).expect("a writable cache");
    assert!(pulling.look());
    pulling.bed.runs(4, "four");
    assert_eq!(pulling.bed.attempts().len(), 4);
}
