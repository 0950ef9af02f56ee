//! Certificates on a real host, from a real ACME server: there is always one, a new one comes into
//! force without a lost request, and the old one stays whatever goes wrong.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use cairn_tests::authority::Authority;
use cairn_tests::clients::{Clients, Site};
use cairn_tests::project::Machine;
use cairn_tests::{Project, Ran, tool};
use serde_json::Value;

const NAMES: [&str; 3] = ["spirittours.com", "www.spirittours.com", "api.spirittours.com"];
const HTTP: u16 = 8080;
const HTTPS: u16 = 8443;
/// As the advice of `certs status` has it.
const ISSUE: &str = "systemctl start --all 'cairn-certificates-*.service'";

const CERTIFICATES: &str = r#"
include = ["certificates.toml"]

[services.certificates]
at_start = false

[services.certificates.settings.acme]
server = "SERVER"
ca_file = "/run/cairn/config/authority.pem"
"#;

/// What each name is shown, as `deploy certs status` tells it.
struct Status {
    code: i32,
    shown: Vec<Value>,
}

impl Status {
    fn of(project: &Project, host: &str, root: &Path) -> Self {
        let ran = certs(project, host, root, &["--json"]);
        let shown = ran.json()["hosts"][0]["certificates"].as_array().cloned().unwrap_or_default();
        let names: Vec<_> = shown.iter().map(|entry| entry["name"].clone()).collect();
        assert_eq!(names, NAMES, "{ran:?}");
        Self { code: ran.code, shown }
    }

    /// The serial number, if one certificate is shown for all names.
    fn serial(&self) -> Option<&str> {
        let first = self.shown[0]["serial"].as_str()?;
        self.all("serial", &first.into()).then_some(first)
    }

    fn all(&self, key: &str, value: &Value) -> bool {
        self.shown.iter().all(|entry| entry[key] == *value)
    }
}

fn certs(project: &Project, host: &str, root: &Path, options: &[&str]) -> Ran {
    let ca = root.to_string_lossy();
    project.deploy(&[&["certs", "status", host, "--ca", &ca][..], options].concat())
}

/// The serial number by another tool than ours.
fn openssl_serial(address: Ipv4Addr, name: &str) -> String {
    let line = format!(
        "openssl s_client -connect {address}:{HTTPS} -servername {name} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    );
    let printed = tool("sh", ["-c", &line]);
    printed.trim().strip_prefix("serial=").expect("a serial number").to_owned()
}

/// The main process of nginx: of one unit, which runs.
fn nginx(machine: &Machine) -> String {
    let line = "systemctl show --property=MainPID --value 'cairn-proxy-*.service' | grep -v '^$'";
    machine.ssh(line).ok().stdout.trim().to_owned()
}

/// A run of the job that must succeed; else its own words say why it did not.
#[track_caller]
fn issue(machine: &Machine) {
    if machine.ssh(ISSUE).code != 0 {
        panic!("{}", machine.ssh("journalctl --no-pager -o cat -u 'cairn-certificates-*' -n 40").stdout);
    }
}

/// Starts the job, which must fail; what it said.
#[track_caller]
fn failure(machine: &Machine) -> String {
    assert_ne!(machine.ssh(ISSUE).code, 0, "the job did not fail");
    let jobs = "'cairn-certificates-*.service'";
    let failed = machine.ssh(&format!("systemctl list-units --plain --no-legend --state=failed {jobs}"));
    assert!(failed.stdout.contains("cairn-certificates-"), "{failed:?}");
    let run = format!("$(systemctl show --property=InvocationID --value {jobs})");
    machine.ssh(&format!("journalctl --no-pager -o cat _SYSTEMD_INVOCATION_ID={run}")).ok().stdout
}

#[track_caller]
fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(90);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "it did not come to that");
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn certificates_are_issued_renewed_and_never_lost() {
    let project = Project::with_shared_store();
    project.front("hosts/local.toml", CERTIFICATES);
    let machine = project.machine("e2e-certs");
    let host = machine.name;
    project.deploy(&["machine", "start", host]).ok();
    let address = machine.inner().address;
    let [a, b, c, _] = address.octets();
    let mut authority = Authority::start(Ipv4Addr::new(a, b, c, 1), SocketAddr::from((address, HTTP)));
    let root = authority.root();
    fs::copy(authority.own_certificate(), project.path("images/certbot/templates/authority.pem.j2")).expect("a copy");
    project.edit("services/more.toml", "SERVER", &authority.directory());
    project.deploy(&["switch", host, "--yes"]).ok();

    // nginx runs before anybody has issued anything, with a certificate of its own.
    let made = Status::of(&project, host, &root);
    assert!(made.code == 1 && made.all("chain", &"self-made".into()), "{:?}", made.shown);
    assert!(made.all("covers", &true.into()), "{:?}", made.shown);
    let said = certs(&project, host, &root, &[]);
    for text in ["self-made: no authority has issued it", "journalctl -u 'cairn-certificates-*'", ISSUE] {
        assert!(said.code == 1 && said.stdout.contains(text), "not said: {text}\n{}", said.stdout);
    }
    let timers = machine.ssh("systemctl list-timers --no-legend 'cairn-certificates-*.timer'").ok().stdout;
    assert!(timers.contains("02:00:00"), "{timers}");

    // The first one, for all names, under load.
    let clients = Clients::start(4, &Site { host: address.to_string(), port: HTTPS, name: NAMES[0], path: "/health" });
    let process = nginx(&machine);
    issue(&machine);
    let served = |not: &Status| {
        eventually(|| {
            let status = Status::of(&project, host, &root);
            let another = status.serial().is_some_and(|serial| Some(serial) != not.serial());
            (status.code == 0 && another).then_some(status)
        })
    };
    let first = served(&made);
    assert!(first.all("chain", &"trusted".into()) && first.all("covers", &true.into()), "{:?}", first.shown);
    assert!(first.shown[0]["issuer"].as_str().is_some_and(|issuer| issuer.contains("Pebble")), "{:?}", first.shown);
    assert!(first.shown[0]["days_left"].as_i64().is_some_and(|days| days > 80), "{:?}", first.shown);
    for name in NAMES {
        assert_eq!(Some(openssl_serial(address, name).as_str()), first.serial());
    }
    let strict = certs(&project, host, &root, &["--days", "100"]);
    assert!(strict.code == 1 && strict.stdout.contains("days are left, fewer than 100"), "{strict:?}");
    let stranger = project.deploy(&["certs", "status", host]);
    assert!(stranger.code == 1 && stranger.stdout.contains("--ca FILE"), "{stranger:?}");

    // Not due: kept. Renewed when somebody says so.
    issue(&machine);
    assert_eq!(Status::of(&project, host, &root).serial(), first.serial());
    project.edit(
        "services/certificates.toml",
        "\"-m\", \"certificates\"]",
        "\"-m\", \"certificates\", \"--renew-now\"]",
    );
    project.deploy(&["switch", host, "--yes"]).ok();
    issue(&machine);
    let renewed = served(&first);

    // A proof that is refused, and a server that is gone: the reason is told, the old one stays.
    authority.misdirect(NAMES[1]);
    let log = failure(&machine);
    assert!(log.contains(NAMES[1]) && log.contains("\"failed\""), "{log}");
    authority.direct(NAMES[1]);
    issue(&machine);
    let last = served(&renewed);
    authority.misdirect(NAMES[2]);
    let log = failure(&machine);
    assert!(log.contains(NAMES[2]), "{log}");
    authority.stop();
    let log = failure(&machine);
    assert!(log.contains(&authority.directory()) && log.to_lowercase().contains("refused"), "{log}");
    let kept = Status::of(&project, host, &root);
    assert_eq!((kept.code, kept.serial()), (0, last.serial()));

    // All the time by one nginx, and nobody has noticed.
    assert_eq!(nginx(&machine), process);
    let tally = clients.stop();
    assert_eq!(tally.failures, Vec::<String>::new());
    assert!(tally.requests > 20 * tally.connections, "connections were not kept: {tally:?}");

    // A host that cannot be asked is a fault as well.
    project.deploy(&["machine", "stop", host]).ok();
    let away = certs(&project, host, &root, &[]);
    assert!(away.code == 1 && away.stdout.contains("is not running"), "{away:?}");
}
