//! One of three web hosts behind another proxy reboots, and nobody notices.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn_tests::clients::{Clients, Errand, Site};
use cairn_tests::{Project, eventually, http};

const WEB: [&str; 3] = ["reboot-web-1", "reboot-web-2", "reboot-web-3"];
const CLIENTS: usize = 16;

/// Says which host it runs on; comes up slowly, and takes its time with what is written.
const PROGRAM: &str = r#"
import os, signal, socketserver, threading, time
from http.server import BaseHTTPRequestHandler

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    def address_string(self):
        return "-"
    def log_message(self, *arguments):
        pass
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        time.sleep(0.3 if self.command == "POST" else 0)
        body = os.uname().nodename.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

time.sleep(1.5)
path = os.environ["CAIRN_SOCKET"]
server = Server(path, Handler)
os.chmod(path, 0o660)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
"#;

#[test]
fn a_web_host_reboots_and_no_request_is_lost() {
    let project = Project::with_shared_store();
    define(&project);
    let edge = project.member("reboot-edge");
    let web = WEB.map(|name| project.member(name));
    project.deploy(&["switch", "reboot", "--yes"]).ok();
    let url = edge.url("proxy");
    http::eventually(&format!("{url}/"), 200, 30);

    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let site = Site { host: edge.inner().address.to_string(), port: 443, name: "spirittours.com", path: "/" };
    let errands = (0..CLIENTS).map(|_| errand(&seen)).collect();
    let clients = Clients::with(&site, Duration::from_millis(20), errands);
    let serves = |name: &str| seen.lock().expect("no panic").get(name).copied().unwrap_or(0) > 0;
    eventually(Duration::from_secs(30), || WEB.iter().all(|name| serves(name)));

    // The last switch was the first one, so nothing of it came up by a boot.
    web[0].machines().reboot(WEB[0], &|_| ()).expect("a machine that goes down in its order and comes up");
    seen.lock().expect("no panic").clear();
    eventually(Duration::from_secs(60), || serves(WEB[0]));

    let tally = clients.stop();
    assert_eq!(tally.failures, Vec::<String>::new(), "of {} requests", tally.requests);
    // Three of them took a share the whole time.
    assert!(tally.requests > 500, "{} requests", tally.requests);
    project.deploy(&["status", "reboot"]).ok();
    eprintln!("{} requests on {} connections", tally.requests, tally.connections);
}

/// Reads and writes, and notes who answered.
fn errand(seen: &Arc<Mutex<BTreeMap<String, usize>>>) -> Errand {
    let seen = seen.clone();
    Box::new(move |connection| {
        for method in ["GET", "POST"] {
            let answer = connection.expect(200, method, "/", "")?;
            *seen.lock().expect("no panic").entry(answer.body).or_default() += 1;
        }
        Ok(())
    })
}

fn define(project: &Project) {
    let write = |file: &str, text: &str| fs::write(project.path(file), text).expect("a writable project");
    let service = format!(
        "[services.api]\nimage = \"smoke\"\ncommand = [\"/usr/bin/python3.11\", \"-c\", '''{PROGRAM}''']\n\
         listen = {{ unix = true }}\nhealth = {{ path = \"/\" }}\n"
    );
    write("services/small.toml", &service);
    fs::create_dir(project.path("hosts/reboot")).expect("a folder of a fleet");
    write("hosts/reboot/fleet.toml", "platform = \"linux/amd64\"\n[machine]\n");
    for name in ["web-1", "web-2", "web-3"] {
        write(
            &format!("hosts/reboot/{name}.toml"),
            "include = [\"../../services/small.toml\", \"../../services/proxy.toml\"]\n\
             [services.proxy]\nlisten.tcp = [\"0.0.0.0:8080\"]\n\
             [services.proxy.settings]\nlisten = { http = [\"0.0.0.0:8080\"], https = [] }\ntls.enabled = false\n\
             balancer.addresses = [\"10.0.0.0/8\"]\nlimits.exempt = [\"0.0.0.0/0\"]\n",
        );
    }
    let servers = WEB.map(|name| format!("\"{name}:8080\"")).join(", ");
    let after = WEB.map(|name| format!("\"{name}\"")).join(", ");
    write(
        "hosts/reboot/edge.toml",
        &format!(
            "include = [\"../../services/proxy.toml\"]\nafter = [{after}]\n\
             [services.proxy]\nupstreams = []\nnetwork = [\"10.0.0.0/8\"]\n\
             listen = {{ tcp = [\"0.0.0.0:80\"], tls = [\"0.0.0.0:443\"] }}\n\
             [services.proxy.settings]\nupstream.servers = [{servers}]\nlimits.exempt = [\"0.0.0.0/0\"]\n"
        ),
    );
}
