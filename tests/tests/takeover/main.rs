//! Hosts that the programs of version fbaba72 switched, and hosts that pulled with its agent, are
//! taken over by the programs of this version: store, records, secrets, state, plans, pointers.

mod pulled;
mod switched;

use std::fs;

use cairn_tests::earlier::Earlier;
use cairn_tests::{Machine, Project};
use serde_json::{Value, json};

const VERSION: &str = "fbaba72";

/// A host with one service that says its word, with state and a secret, and a file below `/etc`.
fn definition(word: &str, more: &str) -> String {
    let script = format!(
        "echo {word} $(/usr/bin/busybox wc -c < $CREDENTIALS_DIRECTORY/password) >> /var/lib/answer/started; \
         exec /usr/bin/busybox sleep 1000000"
    );
    format!(
        "platform = \"linux/amd64\"\n[machine]\n[generations]\nkeep = 2\n{more}\n\
         [services.answer]\nimage = \"answer\"\ndrain = \"1s\"\n\
         command = [\"/usr/bin/busybox\", \"sh\", \"-c\", \"{script}\"]\n\
         [services.answer.credentials]\npassword = \"answer-password\"\n\
         [etc.motd]\ntext = \"{word}\\n\"\n"
    )
}

struct Bed<'a> {
    earlier: &'a Earlier,
    project: &'a Project,
    machine: Machine<'a>,
}

impl Bed<'_> {
    fn define(&self, word: &str, more: &str) {
        let file = self.project.path(&format!("hosts/{}.toml", self.machine.name));
        fs::write(file, definition(word, more)).expect("a writable project");
    }

    /// By the programs of then.
    #[track_caller]
    fn then(&self, arguments: &[&str]) -> String {
        self.earlier.deploy(self.project, arguments).ok().stdout
    }

    /// By those of now.
    #[track_caller]
    fn now(&self, arguments: &[&str]) -> Value {
        self.project.deploy(&[arguments, &["--json"]].concat()).ok().json()
    }

    /// The host's status: its generation is live and healthy, and all is as it says.
    #[track_caller]
    fn runs(&self, generation: u64, word: &str) -> Value {
        let status = self.now(&["status", self.machine.name])["hosts"][0].clone();
        assert_eq!((&status["generation"], &status["health"]), (&json!(generation), &json!("healthy")), "{status:#}");
        assert_eq!(status["drift"], json!([]), "{status:#}");
        assert_eq!(self.machine.ssh("cat /etc/motd").ok().stdout.trim(), word);
        let started = self.machine.started();
        assert_eq!(started.last().map(String::as_str), Some(format!("{word} 32").as_str()), "{started:?}");
        status
    }

    fn attempts(&self) -> Vec<Value> {
        let history = self.now(&["history", self.machine.name]);
        history["attempts"].as_array().unwrap_or_else(|| panic!("no attempts: {history}")).clone()
    }

    fn generations(&self) -> Vec<(u64, bool)> {
        let report = self.now(&["generations", self.machine.name]);
        let list = report["generations"].as_array().unwrap_or_else(|| panic!("no generations: {report}"));
        let number = |one: &Value| one["generation"].as_u64().expect("a number");
        list.iter().map(|one| (number(one), one["pinned"] == true)).collect()
    }

    /// What is wrong with the host, as `deploy doctor` sees it.
    #[track_caller]
    fn wrong(&self) -> Vec<String> {
        let doctor = self.now(&["doctor", self.machine.name, "--verify"]);
        let findings = doctor["hosts"][0]["findings"].as_array().expect("findings").clone();
        findings.iter().filter(|finding| finding["level"] == "wrong").map(ToString::to_string).collect()
    }

    /// Gives the host back: nothing of ours is left, and what was there before is there again.
    fn give_back(&self, motd: &str) {
        let host = self.machine.name;
        self.now(&["uninstall", host, "--yes", "--delete-data"]);
        let left = "ls -d /nix /var/lib/cairn /run/cairn /etc/cairn/pull.json /usr/local/lib/cairn \
                    /etc/systemd/system/*cairn* /etc/systemd/system-generators/cairn 2>/dev/null; \
                    systemctl list-units --all --plain --no-legend 'cairn-*'; test -L /etc/motd; echo $?";
        assert_eq!(self.machine.ssh(left).ok().stdout.trim(), "1");
        assert_eq!(self.machine.ssh("cat /etc/motd").ok().stdout, motd);
    }
}
