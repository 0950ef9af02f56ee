//! Sessions over a real OpenSSH server on this machine, whose `/nix` is a directory of the test.
//! Needs root, for the server's mount namespace.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cairn_formats::Platform;
use cairn_store::Store;
use cairn_transport::{Agent, HostKey, Options, Session, SshFault, Target, TransportError, copy_closure};
use common::{Home, assert_same, many_files};
use tempfile::TempDir;

struct Server {
    child: Child,
    dir: TempDir,
    port: u16,
}

fn keygen(file: &std::path::Path) {
    let status = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file).status().unwrap();
    assert!(status.success());
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for key in ["host", "other-host", "user", "other-user"] {
            keygen(&dir.path().join(key));
        }
        fs::copy(dir.path().join("user.pub"), dir.path().join("authorized")).unwrap();
        fs::create_dir_all(dir.path().join("root/nix")).unwrap();
        // The mount point; stays empty where no Nix is installed.
        fs::create_dir_all("/nix").unwrap();
        fs::create_dir_all("/run/sshd").unwrap();
        let port = free_port();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let script = "mount --make-rprivate / && mount --bind \"$1\" /nix && shift && exec \"$@\"";
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh", &at("root/nix")])
            .args(["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", &at("host"), "-p", &port.to_string()])
            .args(["-o", "ListenAddress=127.0.0.1", "-o", "PidFile=none", "-o", "UsePAM=no", "-o", "StrictModes=no"])
            .args([
                "-o",
                "PermitRootLogin=prohibit-password",
                "-o",
                &format!("AuthorizedKeysFile={}", at("authorized")),
            ])
            .stdin(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let server = Self { child, dir, port };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < deadline, "{}", fs::read_to_string(server.dir.path().join("log")).unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn public_key(&self, name: &str) -> HostKey {
        HostKey::parse(fs::read_to_string(self.file(&format!("{name}.pub"))).unwrap().trim()).unwrap()
    }

    fn target(&self) -> Target {
        let mut target = Target::new("web-1", "127.0.0.1");
        target.port = Some(self.port);
        target.user = Some("root".to_owned());
        target.host_key = Some(self.public_key("host"));
        target.identity = Some(self.file("user"));
        target
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The hosts' keys stay below the target directory.
fn options() -> Options {
    Options::new(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("host-keys"))
}

/// The agent as a store path of `home`.
fn agent(home: &Home) -> Agent {
    let info = home.add("cairn-agent", &[], |at| {
        fs::create_dir(at.join("bin")).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_cairn-agent"), at.join("bin/cairn-agent")).unwrap();
    });
    let file = home.store.physical(&info.path).join("bin/cairn-agent");
    Agent { store_path: info.path, file, platform: Platform::native() }
}

fn fault(target: &Target, agent: &Agent) -> SshFault {
    let options = Options { connect_timeout: Duration::from_secs(3), ..options() };
    match Session::open(target, agent, &options).map(|_| ()) {
        Err(TransportError::Ssh { host, fault, .. }) if host == target.name => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_agent_is_sent_once() {
    let (server, here) = (Server::start(), Home::new());
    let agent = agent(&here);
    let top = here.add("top", &[&agent.store_path], |at| many_files(at, 10, 20, "1"));
    let leftovers = || {
        let names = fs::read_dir(std::env::temp_dir()).unwrap().map(|e| e.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("cairn-agent.")).collect::<BTreeSet<_>>()
    };
    // Agents of tests beside this one come and go; ours would stay.
    let none_since = |before: &BTreeSet<_>| {
        let patience = Instant::now() + Duration::from_secs(20);
        while leftovers().difference(before).next().is_some() {
            if Instant::now() > patience {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
        true
    };
    let before = leftovers();

    let session = Session::open(&server.target(), &agent, &options()).unwrap();
    assert!(session.bootstrapped());
    assert_eq!((session.hello().valid.as_slice(), session.hello().all_valid), ([].as_slice(), true));
    assert!(none_since(&before), "the bootstrapped agent removes its directory");
    session.close();

    // Where there is a store it stays, and does not come along with a closure.
    drop(Store::open(&server.file("root")).unwrap());
    let session = Session::open(&server.target(), &agent, &options()).unwrap();
    assert!(session.bootstrapped());
    assert_eq!(session.hello().valid, std::slice::from_ref(&agent.store_path));
    session.close();
    let mut session = Session::open(&server.target(), &agent, &options()).unwrap();
    assert!(!session.bootstrapped());
    let report = copy_closure(&mut session, &here.store, &here.closure(&top), &()).unwrap();
    assert_eq!(report.paths_sent, 1);
    session.close();

    let session = Session::open(&server.target(), &agent, &options()).unwrap();
    assert!(!session.bootstrapped());
    assert_eq!(session.hello().valid.len(), 2);
    session.close();
    let there = Store::open(&server.file("root")).unwrap();
    assert_same(&here.store, &there, &top.path);
    assert_same(&here.store, &there, &agent.store_path);
}

#[test]
fn a_connection_cut_in_the_middle_is_named_as_such() {
    let (server, here) = (Server::start(), Home::new());
    let agent = agent(&here);
    let mut session = Session::open(&server.target(), &agent, &options()).unwrap();
    let ssh = rustix::process::Pid::from_raw(session.process().cast_signed()).unwrap();
    rustix::process::kill_process(ssh, rustix::process::Signal::KILL).unwrap();
    let error = session.request(&cairn_protocol::Request::Generations, &mut |_| ()).unwrap_err();
    assert!(matches!(&error, TransportError::Lost { host, .. } if host == "web-1"), "{error}");
}

#[test]
fn a_wrong_host_key_names_both_keys() {
    let (server, here) = (Server::start(), Home::new());
    let mut target = server.target();
    target.host_key = Some(server.public_key("other-host"));
    let fault = fault(&target, &agent(&here));
    let SshFault::HostKeyMismatch { expected, shown } = &fault else { panic!("{fault}") };
    assert_eq!(*expected, server.public_key("other-host").to_string());
    let print = Command::new("ssh-keygen").arg("-lf").arg(server.file("host.pub")).output().unwrap();
    let print = String::from_utf8(print.stdout).unwrap();
    assert!(print.contains(shown.as_deref().unwrap().rsplit(' ').next().unwrap()), "{shown:?} is not in {print}");
    assert!(fault.to_string().contains("pin its new key"), "{fault}");
}

#[test]
fn a_host_that_is_not_there_cannot_be_reached() {
    let here = Home::new();
    let agent = agent(&here);
    let mut target = Target::new("web-1", "127.0.0.1");
    target.port = Some(free_port());
    let refused = fault(&target, &agent);
    assert!(matches!(&refused, SshFault::Unreachable { detail } if detail.contains("refused")), "{refused}");
    target.address = "nowhere.invalid".to_owned();
    let unknown = fault(&target, &agent);
    assert!(matches!(&unknown, SshFault::Unreachable { detail } if detail.contains("nowhere.invalid")), "{unknown}");
}

#[test]
fn a_key_that_the_host_does_not_take_is_refused() {
    let (server, here) = (Server::start(), Home::new());
    let mut target = server.target();
    target.identity = Some(server.file("other-user"));
    let fault = fault(&target, &agent(&here));
    assert!(matches!(&fault, SshFault::AuthRefused { detail } if detail.contains("publickey")), "{fault}");
}

#[test]
fn an_agent_for_another_platform_is_not_sent() {
    let (server, here) = (Server::start(), Home::new());
    let other = Platform::ALL.into_iter().find(|platform| *platform != Platform::native()).unwrap();
    let agent = Agent { platform: other, ..agent(&here) };
    let error = Session::open(&server.target(), &agent, &options()).map(|_| ()).unwrap_err();
    let TransportError::WrongPlatform { machine, agent, .. } = error else { panic!("{error}") };
    assert_eq!((machine.as_str(), agent.as_str()), (Platform::native().machine(), other.oci()));
}

#[test]
fn a_crowded_server_is_asked_again() {
    let (server, here) = (Server::start(), Home::new());
    let agent = agent(&here);
    // The first two connections end as sshd ends those that are too many.
    let (asked, crowded) = (server.file("asked"), server.file("ssh"));
    let script = format!(
        "#!/bin/sh\necho >> {0}\n[ $(wc -l < {0}) -gt 2 ] && exec ssh \"$@\"\n\
         echo 'kex_exchange_identification: Connection closed by remote host' >&2\nexit 255\n",
        asked.display()
    );
    fs::write(&crowded, script).unwrap();
    fs::set_permissions(&crowded, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let options = Options { ssh: crowded, ..options() };
    Session::open(&server.target(), &agent, &options).unwrap().close();
    assert_eq!(fs::read_to_string(&asked).unwrap().lines().count(), 3);
}

#[test]
fn a_host_that_says_nothing_is_given_up() {
    let (dir, here) = (tempfile::tempdir().unwrap(), Home::new());
    // In place of a login that hangs: the connection is there, and no byte comes.
    let silent = dir.path().join("ssh");
    fs::write(&silent, "#!/bin/sh\nexec sleep 600\n").unwrap();
    fs::set_permissions(&silent, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let short = Duration::from_millis(500);
    let options = Options { ssh: silent, connect_timeout: short, start_timeout: short, apart: true, ..options() };
    let error = Session::open(&Target::new("web-1", "127.0.0.1"), &agent(&here), &options).map(|_| ()).unwrap_err();
    assert!(matches!(&error, TransportError::Ssh { fault: SshFault::Silent { seconds: 1 }, .. }), "{error}");
    assert!(error.unreachable());
}

/// An `ssh` whose user has this configuration, and the key agent of [`KeyAgent`].
fn configured(server: &Server, config: &str) -> Options {
    let (file, program) = (server.file("config"), server.file("ssh-of-the-user"));
    fs::write(&file, config).unwrap();
    // Without the variable `ssh` forwards nothing, though the configuration names a socket.
    let keys = server.file("key-agent");
    let script = format!("#!/bin/sh\nexport SSH_AUTH_SOCK={}\nexec ssh -F {} \"$@\"\n", keys.display(), file.display());
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    Options {
        ssh: program,
        connect_timeout: Duration::from_secs(3),
        start_timeout: Duration::from_secs(10),
        ..options()
    }
}

/// A key agent of this test's own, which ends with it.
struct KeyAgent(Child);

impl KeyAgent {
    fn start(server: &Server) -> Self {
        let socket = server.file("key-agent");
        let child = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !socket.exists() {
            assert!(Instant::now() < deadline, "ssh-agent did not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self(child)
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Variables of the `cairn-agent serve` processes below the server's sessions.
fn remote_environments(server: &Server) -> Vec<Vec<String>> {
    let root = server.dir.path().file_name().unwrap().to_str().unwrap();
    let serves = |process: &std::path::Path| -> Option<Vec<String>> {
        let command = fs::read_to_string(process.join("cmdline")).ok()?;
        let of_this_server = fs::read_to_string(process.join("mountinfo")).ok()?;
        let marked = of_this_server.contains(root);
        let is_agent = command.contains("cairn-agent\0serve");
        let variables = (marked && is_agent).then(|| fs::read_to_string(process.join("environ")))?.ok()?;
        Some(variables.split('\0').map(str::to_owned).collect())
    };
    fs::read_dir("/proc").unwrap().filter_map(|entry| serves(&entry.unwrap().path())).collect()
}

#[test]
fn a_conversation_forwards_nothing_whatever_the_users_configuration_says() {
    let (server, here) = (Server::start(), Home::new());
    let (agent, _keys, ran) = (agent(&here), KeyAgent::start(&server), server.file("local-command-ran"));
    let config = format!(
        "Host *\n  ForwardAgent yes\n  ForwardX11 yes\n  ForwardX11Trusted yes\n  RemoteCommand false\n  \
         SessionType none\n  StdinNull yes\n  ForkAfterAuthentication yes\n  RequestTTY force\n  \
         PermitLocalCommand yes\n  LocalCommand touch {}\n  IgnoreUnknown UseKeychain\n  UseKeychain yes\n",
        ran.display()
    );
    let options = configured(&server, &config);
    let mut session = Session::open(&server.target(), &agent, &options).unwrap();
    session.request(&cairn_protocol::Request::Generations, &mut |_| ()).unwrap();
    let environments = remote_environments(&server);
    assert_eq!(environments.len(), 1, "{environments:?}");
    let leaked = |variable: &&String| variable.starts_with("SSH_AUTH_SOCK=") || variable.starts_with("DISPLAY=");
    assert_eq!(environments[0].iter().find(leaked), None);
    session.close();
    assert!(!ran.exists(), "LocalCommand ran");
    cairn_transport::learn_host_key(&server.target(), &options).unwrap();

    // A person's own session is as the configuration says: the key agent is there.
    let options = configured(&server, "Host *\n  ForwardAgent yes\n");
    let mut own =
        cairn_transport::interactive(&options, &server.target(), false, Some("printenv SSH_AUTH_SOCK")).unwrap();
    let own = own.stdin(Stdio::null()).output().unwrap();
    assert!(own.status.success() && !own.stdout.is_empty(), "{own:?}");
    let ours =
        cairn_transport::attended(&options, &server.target(), false, "printenv SSH_AUTH_SOCK || echo none").unwrap();
    let ours = { ours }.stdin(Stdio::null()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ours.stdout), "none\n", "{ours:?}");
}

#[test]
fn options_that_this_ssh_does_not_know_end_no_conversation() {
    let (server, here) = (Server::start(), Home::new());
    let agent = agent(&here);
    // To an older `ssh` `SessionType` is as unknown as this is to all.
    let options = configured(&server, "Host *\n  CairnNoSuchOption yes\n");
    let older = "for a; do shift; [ \"$a\" != SessionType=default ] || a=CairnNoSuchOption=default; set -- \"$@\" \"$a\"; done\nexec";
    let script = fs::read_to_string(&options.ssh).unwrap();
    fs::write(&options.ssh, script.replacen("\nexec", &format!("\n{older}"), 1)).unwrap();
    Session::open(&server.target(), &agent, &options).unwrap().close();
    // Without `IgnoreUnknown` the same configuration is an error, which a person is to see.
    let mut plain = cairn_transport::interactive(&options, &server.target(), false, Some("true")).unwrap();
    let plain = plain.stdin(Stdio::null()).output().unwrap();
    assert!(
        String::from_utf8_lossy(&plain.stderr).contains("Bad configuration option: cairnnosuchoption"),
        "{plain:?}"
    );
}
