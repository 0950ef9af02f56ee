//! Whether services answer: one question ([`http`]), or asking until all are healthy ([`wait`]).

pub mod http;
pub mod wait;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use cairn_closure::{Health, Service, ServiceName, UnitName, reachable};

use crate::paths::Paths;

/// Where a replica is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// One replica that must be healthy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub service: ServiceName,
    pub unit: UnitName,
    pub proof: Proof,
}

/// What shows that a replica is healthy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A good answer.
    Answer(Endpoint, Health),
    /// The unit stays up, and each of these takes a connection.
    Open(Vec<SocketAddr>),
}

/// By which path a UNIX socket is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The instance's own directory.
    Instance,
    /// The `current` link: what clients use.
    Current,
}

/// The checks for the replicas of a service that `wanted` names.
pub fn checks(
    paths: &Paths,
    name: &ServiceName,
    service: &Service,
    via: Via,
    wanted: impl Fn(&UnitName) -> bool,
) -> Vec<Check> {
    let directory = match via {
        Via::Instance => paths.instance_dir(name, &service.instance),
        Via::Current => paths.current_link(name),
    };
    let answer = |socket: Option<&String>| {
        let health = service.health.clone()?;
        let endpoint = socket.map(|socket| Endpoint::Unix(directory.join(socket)));
        endpoint.or_else(|| first_address(service)).map(|endpoint| Proof::Answer(endpoint, health))
    };
    let open = || Proof::Open(service.own.iter().copied().map(reachable).collect());
    service
        .replicas
        .iter()
        .filter(|replica| wanted(&replica.unit))
        .map(|replica| Check {
            service: name.clone(),
            unit: replica.unit.clone(),
            proof: answer(replica.socket.as_ref()).unwrap_or_else(open),
        })
        .collect()
}

/// What systemd holds goes first, and what speaks TLS last: it does not answer plain questions.
fn first_address(service: &Service) -> Option<Endpoint> {
    let held = |tls: bool| service.sockets.iter().filter(move |socket| socket.tls == tls).map(|socket| socket.address);
    let mut all = held(false).chain(service.own.iter().copied()).chain(held(true));
    all.next().map(|address| Endpoint::Tcp(reachable(address)))
}

/// Connects to each, and says which one does not take it.
pub fn connect(addresses: &[SocketAddr]) -> io::Result<()> {
    addresses.iter().try_for_each(|address| {
        let refused = |e: io::Error| io::Error::new(e.kind(), format!("no connection to {address}: {e}"));
        TcpStream::connect_timeout(address, http::QUESTION).map(drop).map_err(refused)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::TcpListener;

    use cairn_closure::Manifest;
    use serde_json::{Value, json};

    use super::*;

    /// The checks of one service, as the rendered closure has it.
    fn proofs(listen: Value, health: bool) -> Vec<Proof> {
        let mut service = json!({
            "rootfs": "/nix/store/1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-x", "image": "x", "command": ["/bin/x"],
            "user": {"name": "x", "uid": 10001, "gid": 10001}, "network": ["localhost"], "listen": listen
        });
        if health {
            service["health"] = json!({"path": "/up"});
        }
        let spec = json!({
            "version": 1, "name": "h", "platform": "linux/amd64", "services": {"x": service},
            "agent": "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent"
        });
        let manifest: Manifest = cairn_closure::render(&serde_json::from_value(spec).unwrap()).unwrap().manifest;
        let (name, service) = manifest.services.iter().next().unwrap();
        let found = checks(&Paths::new(std::path::Path::new("/")), name, service, Via::Current, |_| true);
        found.into_iter().map(|check| check.proof).collect()
    }

    #[test]
    fn a_question_goes_where_it_is_understood() {
        let tcp = |address: &str| Endpoint::Tcp(address.parse().unwrap());
        let unix = Endpoint::Unix("/run/cairn/x/current/1.sock".into());
        for (listen, expected) in [
            (json!({"unix": true, "own": ["127.0.0.1:9"], "tcp": ["127.0.0.1:8"]}), unix),
            (json!({"own": ["127.0.0.1:9"], "tcp": ["0.0.0.0:8"]}), tcp("127.0.0.1:8")),
            (json!({"own": ["0.0.0.0:9", "127.0.0.1:7"]}), tcp("127.0.0.1:9")),
            (json!({"own": ["[::]:9"], "tls": ["127.0.0.1:8"]}), tcp("[::1]:9")),
        ] {
            let proofs = proofs(listen.clone(), true);
            let [Proof::Answer(endpoint, health)] = &proofs[..] else { panic!("{listen}: {proofs:?}") };
            assert_eq!((endpoint, health.path.as_str()), (&expected, "/up"), "{listen}");
        }
    }

    #[test]
    fn without_a_question_each_own_address_must_be_open() {
        let own = ["127.0.0.1:9".parse().unwrap(), "127.0.0.1:7".parse().unwrap()];
        assert_eq!(
            proofs(json!({"unix": true, "own": ["0.0.0.0:9", "127.0.0.1:7"]}), false),
            [Proof::Open(own.into())]
        );
        // A held address is open whatever the service does.
        assert_eq!(proofs(json!({"tcp": ["0.0.0.0:9"]}), false), [Proof::Open(Vec::new())]);
    }

    #[test]
    fn an_address_that_nobody_listens_on_is_named() {
        let listeners = ["127.0.0.1:0", "127.0.0.1:0"].map(|address| TcpListener::bind(address).unwrap());
        let addresses = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        connect(&addresses).unwrap();
        connect(&[]).unwrap();
        let [first, second] = listeners;
        drop(second);
        let error = connect(&addresses).unwrap_err().to_string();
        assert!(error.starts_with(&format!("no connection to {}: ", addresses[1])), "{error}");
        drop(first);
    }
}
