//! A service and a local user of a host write escape sequences where an operator reads them: on a
//! terminal nothing of it is obeyed.

use std::fs;
use std::process::Command;
use std::time::Duration;

use cairn_tests::{Machine, Project, Ran, eventually, programs, run};

/// Healthy for so many seconds, then ill with a body that clears the screen and sets title and clipboard.
const PROGRAM: &str = r#"
import os, signal, socketserver, threading, time
from http.server import BaseHTTPRequestHandler

start = time.monotonic()

class Handler(BaseHTTPRequestHandler):
    def address_string(self):
        return "-"
    def log_message(self, *arguments):
        pass
    def do_GET(self):
        ill = time.monotonic() - start > WELL_FOR
        body = b"\x1b[2J\x1b]0;owned\x07\x1b]52;c;aGk=\x07" if ill else b"well"
        print("\x1b[2Jlogged \x1b]0;owned\x07", flush=True)
        self.send_response(503 if ill else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

path = os.environ["CAIRN_SOCKET"]
server = Server(path, Handler)
os.chmod(path, 0o660)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
"#;

const HOST: &str = "e2e-foreign-text";
const VISIBLE: &str = "\\u{1b}[2J";

#[test]
fn what_hosts_say_is_shown_on_a_terminal_and_not_obeyed() {
    let project = Project::with_shared_store();
    let machine = project.member(HOST);
    define(&project, 30);
    let switched = on_a_terminal(&project, &["switch", HOST, "--yes"]);
    is_not_obeyed(&switched);
    switched.ok();
    planted(&machine);

    eventually(Duration::from_secs(90), || project.deploy(&["status", HOST]).stdout.contains(VISIBLE));
    for (command, said) in [
        (&["status", HOST][..], "HTTP 503: \\u{1b}[2J\\u{1b}]0;owned\\u{7}"),
        (&["status", HOST, "--json"], "\\u001b[2J"),
        (&["logs", "web", HOST, "-n", "5"], "\\u{1b}[2Jlogged"),
        (&["doctor", HOST], "cairn-agent.\\u{1b}[2J"),
    ] {
        let shown = on_a_terminal(&project, command);
        is_not_obeyed(&shown);
        assert!(shown.stdout.contains(said), "{command:?} does not say {said}: {}", shown.stdout);
    }

    // Never healthy: the answer is the evidence of the failure.
    define(&project, -1);
    let failed = on_a_terminal(&project, &["switch", HOST, "--yes"]);
    is_not_obeyed(&failed);
    assert!(failed.stdout.contains(VISIBLE), "{}", failed.stdout);
    failed.fails(3, &[]);
}

fn define(project: &Project, well_for: i32) {
    let program = PROGRAM.replace("WELL_FOR", &well_for.to_string());
    let definition = format!(
        "platform = \"linux/amd64\"\n[machine]\n\
         [services.web]\nimage = \"smoke\"\ncommand = [\"/usr/bin/python3.11\", \"-c\", '''{program}''']\n\
         listen = {{ unix = true }}\nhealth = {{ path = \"/\", timeout = \"10s\" }}\n"
    );
    fs::write(project.path(&format!("hosts/{HOST}.toml")), definition).expect("a writable project");
}

/// Any local user can make such a folder; it is old enough not to be an agent on its way.
fn planted(machine: &Machine) {
    let line = "d=\"/tmp/cairn-agent.$(printf '\\033[2J')\"; setpriv --reuid 65534 --regid 65534 --clear-groups \
                sh -c 'mkdir \"$1\" && touch -d \"1 hour ago\" \"$1\"' sh \"$d\"";
    machine.ssh(line).ok();
}

/// With a pseudo-terminal for all of its streams; what it shows there is the standard output.
fn on_a_terminal(project: &Project, arguments: &[&str]) -> Ran {
    let mut line = programs().join("deploy").display().to_string();
    arguments.iter().for_each(|argument| line.push_str(&format!(" {argument}")));
    // The command's environment and folder are those of a `deploy` of the project.
    let deploy = project.command(arguments);
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("TERM", "xterm");
    script.current_dir(deploy.get_current_dir().expect("the project's folder"));
    for (name, value) in deploy.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    run(&mut script)
}

/// Every escape sequence is one that draws lines of progress in place or styles text.
#[track_caller]
fn is_not_obeyed(shown: &Ran) {
    let text = &shown.stdout;
    assert!(!text.contains(['\x07', '\u{9b}', '\u{202e}']), "{text:?}");
    for sequence in text.split('\x1b').skip(1) {
        let body = sequence.strip_prefix('[').unwrap_or_default();
        let end = body.find(|c: char| !c.is_ascii_digit() && c != ';' && c != '?').unwrap_or(0);
        let (parameters, last) = (&body[..end], body[end..].chars().next());
        // Of indicatif: cursor movement, clearing a line or what is below, synchronised output; and SGR.
        let ours = matches!(last, Some('A' | 'B' | 'C' | 'D' | 'G' | 'K' | 'h' | 'l' | 'm'))
            || (last == Some('J') && matches!(parameters, "" | "0"));
        assert!(ours, "ESC {:?} in {text:?}", sequence.chars().take(12).collect::<String>());
    }
}
