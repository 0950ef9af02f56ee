//! A real ACME server, Debian's `pebble`, that machines reach on their bridge. Its own name service,
//! `pebble-challtestsrv`, leads every name to one machine.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::run::tool;

const THIS: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Ends with this value.
pub struct Authority {
    dir: TempDir,
    /// Where machines find it.
    api: SocketAddr,
    management: SocketAddr,
    names: SocketAddr,
    processes: Vec<Child>,
}

impl Authority {
    /// `bridge` is this computer as machines see it; proofs are asked for at `site`.
    pub fn start(bridge: Ipv4Addr, site: SocketAddr) -> Self {
        let dir = TempDir::new().expect("a folder");
        let mut authority =
            Self { dir, api: free(bridge), management: free(THIS), names: free(THIS), processes: Vec::new() };
        authority.make_own_certificate(bridge);
        let config = json!({ "pebble": {
            "listenAddress": authority.api.to_string(),
            "managementListenAddress": authority.management.to_string(),
            "certificate": authority.own_certificate(),
            "privateKey": authority.dir.path().join("own.key"),
            "httpPort": site.port(),
            "tlsPort": free(THIS).port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "certificateValidityPeriod": 90 * 86_400,
        }});
        let file = authority.dir.path().join("pebble.json");
        fs::write(&file, config.to_string()).expect("a writable folder");
        let resolver = free(THIS).to_string();
        let (names, leads) = (authority.names.to_string(), site.ip().to_string());
        let off = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""];
        let names = ["-dns01", &resolver, "-management", &names, "-defaultIPv4", &leads];
        authority.run("pebble-challtestsrv", &[&names[..], &off].concat());
        authority.run("pebble", &["-config", &file.to_string_lossy(), "-dnsserver", &resolver]);
        for address in [authority.api, authority.management, authority.names] {
            authority.wait_for(address);
        }
        authority
    }

    /// Of the ACME server's directory.
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.api)
    }

    /// By which the server itself is trusted.
    pub fn own_certificate(&self) -> PathBuf {
        self.dir.path().join("own.pem")
    }

    /// The root of what it issues, which is another one at each start.
    pub fn root(&self) -> PathBuf {
        let root = self.dir.path().join("root.pem");
        if !root.exists() {
            let own = self.own_certificate();
            let url = format!("https://{}/roots/0", self.management);
            let pem = tool("curl", ["--silent", "--show-error", "--fail", "--cacert", &own.to_string_lossy(), &url]);
            fs::write(&root, pem).expect("a writable folder");
        }
        root
    }

    /// From now on the name leads to an address where nobody listens.
    pub fn misdirect(&self, name: &str) {
        self.tell("add-a", &json!({ "host": format!("{name}."), "addresses": ["127.0.0.9"] }));
    }

    /// And to the machine again.
    pub fn direct(&self, name: &str) {
        self.tell("clear-a", &json!({ "host": format!("{name}.") }));
    }

    fn tell(&self, what: &str, body: &serde_json::Value) {
        let url = format!("http://{}/{what}", self.names);
        tool("curl", ["--silent", "--show-error", "--fail", "--data", &body.to_string(), &url]);
    }

    /// Nobody answers any more.
    pub fn stop(&mut self) {
        for mut process in self.processes.drain(..) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn run(&mut self, program: &str, arguments: &[&str]) {
        let log = fs::File::create(self.dir.path().join(format!("{program}.log"))).expect("a writable folder");
        let started = Command::new(program)
            .args(arguments)
            // Each order is checked anew and at once. No nonce is refused: of two in a row Certbot
            // says "can't set attribute".
            .envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0"), ("PEBBLE_WFE_NONCEREJECT", "0")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn();
        self.processes.push(started.unwrap_or_else(|e| panic!("cannot start {program}: {e}")));
    }

    fn wait_for(&self, address: SocketAddr) {
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < end, "nobody answers at {address}: {}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn logs(&self) -> String {
        let log = |program| fs::read_to_string(self.dir.path().join(format!("{program}.log"))).unwrap_or_default();
        format!("{}{}", log("pebble-challtestsrv"), log("pebble"))
    }

    fn make_own_certificate(&self, bridge: Ipv4Addr) {
        let (key, certificate) = (self.dir.path().join("own.key"), self.own_certificate());
        let names = format!("subjectAltName=IP:{bridge},IP:{THIS}");
        let kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "9"];
        let what = ["-subj", "/CN=pebble", "-addext", &names, "-keyout", &key.to_string_lossy()].map(str::to_owned);
        let to = ["-out".to_owned(), certificate.to_string_lossy().into_owned()];
        tool("openssl", kind.map(str::to_owned).into_iter().chain(what).chain(to));
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

fn free(ip: Ipv4Addr) -> SocketAddr {
    let probe = TcpListener::bind((ip, 0)).unwrap_or_else(|e| panic!("{ip}: {e}"));
    probe.local_addr().expect("an address")
}
