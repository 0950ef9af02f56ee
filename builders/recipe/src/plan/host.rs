//! One host: the root file systems of its images, the agent, and the closure over them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cairn_closure::{self as closure, HostName, HostSpec, ServiceName, ServiceSpec, StoreDir};
use cairn_formats::Platform;

use super::{Planned, image};
use crate::error::{DefinitionError, nearest};
use crate::graph::{Graph, NodeId};
use crate::host::{HostDefinition, ServiceEntry};
use crate::lock::Lock;
use crate::project::{Host, Image};
use crate::step::{Step, placeholder};

/// Tells a service that listens on a UNIX socket which one; the closure fills `{socket}` in.
const SOCKET_VARIABLE: &str = "CAIRN_SOCKET";

/// Programs of ours that go to hosts.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The agent's file for the host's platform.
    pub agent: PathBuf,
}

/// Plans a host closure. `images` gives definition and lock of each image that a service names.
pub fn host(
    host: &Host,
    images: &BTreeMap<String, (Image, Lock)>,
    programs: &Programs,
) -> Result<Planned, DefinitionError> {
    let platform = host.definition.platform;
    let mut graph = Graph::default();
    let mut inputs = BTreeMap::new();
    for service in host.definition.services.values() {
        let (image, lock) = &images[&service.image];
        let label = rootfs_label(&image.name);
        // Two services of one image share its nodes: the graph keeps equal nodes once.
        inputs.insert(label, vec![image::rootfs(&mut graph, image, lock, platform)?]);
    }
    inputs.insert("agent".to_owned(), vec![agent_node(&mut graph, programs)]);
    let spec = Box::new(specification(host, images, platform)?);
    let target = graph.run(&format!("{}-host", host.name), Step::Host { spec }, inputs);
    Ok(Planned { graph, target })
}

/// Plans the agent alone: what talking to a host needs.
pub fn agent(programs: &Programs) -> Planned {
    let mut graph = Graph::default();
    let target = agent_node(&mut graph, programs);
    Planned { graph, target }
}

fn agent_node(graph: &mut Graph, programs: &Programs) -> NodeId {
    let file = graph.add("cairn-agent-program", programs.agent.clone());
    let step = Step::Program { name: "cairn-agent".to_owned() };
    graph.run("cairn-agent", step, BTreeMap::from([("program".to_owned(), vec![file])]))
}

/// Names of the images that a host's services run, each once.
pub fn images_of(definition: &HostDefinition) -> impl Iterator<Item = &str> {
    let names: std::collections::BTreeSet<&str> = definition.services.values().map(|s| s.image.as_str()).collect();
    names.into_iter()
}

fn rootfs_label(image: &str) -> String {
    format!("rootfs.{image}")
}

fn specification(
    host: &Host,
    images: &BTreeMap<String, (Image, Lock)>,
    platform: Platform,
) -> Result<HostSpec, DefinitionError> {
    let fail = |at: String, message: String, help: Option<String>| DefinitionError::Value {
        file: host.file.clone(),
        at,
        message,
        help,
    };
    let mut services = BTreeMap::new();
    for (name, entry) in &host.definition.services {
        let at = |key: &str| format!("services.{name}.{key}");
        let image = &images[&entry.image].0;
        let service = ServiceName::parse(name).map_err(|e| fail(format!("services.{name}"), e.to_string(), None))?;
        let spec = service_specification(entry, image).map_err(|(key, message, help)| fail(at(&key), message, help))?;
        services.insert(service, spec);
    }
    Ok(HostSpec {
        version: closure::VERSION,
        name: HostName::parse(&host.name).map_err(|e| fail("name".to_owned(), e.to_string(), None))?,
        platform,
        agent: StoreDir(placeholder("agent")),
        services,
    })
}

/// Key, message and help of what is wrong.
type Fault = (String, String, Option<String>);

fn service_specification(entry: &ServiceEntry, image: &Image) -> Result<ServiceSpec, Fault> {
    let run = &image.definition.image;
    let user = entry.user.as_deref().or(run.user.as_deref()).unwrap_or("root");
    let Some((uid, gid)) = image.definition.user(user) else {
        let near = nearest(user, image.definition.users.keys().map(String::as_str));
        let message = format!("image `{}` has no user `{user}`", image.name);
        return Err(("user".into(), message, near.map(|n| format!("did you mean `{n}`?"))));
    };
    let command: Vec<String> = if entry.command.is_empty() {
        run.entrypoint.iter().chain(&run.command).cloned().collect()
    } else {
        entry.command.clone()
    };
    if !command.first().is_some_and(|program| program.starts_with('/')) {
        let message = match command.first() {
            Some(program) => format!("`{program}` is not an absolute path in the image"),
            None => format!("neither the service nor image `{}` says what to run", image.name),
        };
        return Err(("command".into(), message, Some("write the program's absolute path first".into())));
    }
    let mut environment = run.env.clone();
    environment.extend(entry.environment.clone());
    if entry.listen.unix {
        environment.entry(SOCKET_VARIABLE.to_owned()).or_insert_with(|| "{socket}".to_owned());
    }
    let services = |names: &[String], key: &str| {
        let parse = |n: &String| ServiceName::parse(n).map_err(|e| (key.to_owned(), e.to_string(), None));
        names.iter().map(parse).collect::<Result<Vec<_>, Fault>>()
    };
    let listens = entry.listen.unix || !entry.listen.tcp.is_empty();
    Ok(ServiceSpec {
        rootfs: StoreDir(placeholder(&rootfs_label(&image.name))),
        image: image.name.clone(),
        replicas: entry.replicas,
        command,
        user: closure::User { name: user.to_owned(), uid, gid },
        environment,
        working_directory: run.workdir.clone(),
        listen: listens.then(|| closure::Listen {
            unix: entry.listen.unix,
            tcp: entry.listen.tcp.clone(),
            inherit: entry.listen.inherit,
        }),
        upstreams: services(&entry.upstreams, "upstreams")?,
        network: entry.network.clone(),
        drain: millis(entry.drain),
        stop_signal: entry.stop_signal,
        health: entry.health.as_ref().map(|h| closure::HealthSpec {
            path: h.path.clone(),
            timeout: millis(h.timeout),
            interval: millis(h.interval),
        }),
        limits: limits(entry)?,
        hardening: (entry.hardening.iter())
            .map(|(k, l)| (k.clone(), closure::Loosened { value: l.value.clone(), reason: l.reason.clone() }))
            .collect(),
        after: services(&entry.after, "after")?,
    })
}

fn millis(duration: std::time::Duration) -> closure::Millis {
    closure::Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn limits(entry: &ServiceEntry) -> Result<closure::Limits, Fault> {
    let memory = entry.limits.memory.as_deref().map(|text| {
        bytes(text).ok_or_else(|| {
            let help = "write a whole number of bytes, or with K, M or G, as in \"512M\"";
            ("limits.memory".to_owned(), format!("`{text}` is not a size"), Some(help.to_owned()))
        })
    });
    let cpu = entry.limits.cpu.as_deref().map(|text| {
        text.strip_suffix('%').and_then(|n| n.parse().ok()).filter(|n| *n > 0).ok_or_else(|| {
            let help = "write percent of one processor, as in \"150%\"";
            ("limits.cpu".to_owned(), format!("`{text}` is not a share of processors"), Some(help.to_owned()))
        })
    });
    Ok(closure::Limits { memory: memory.transpose()?, cpu: cpu.transpose()?, tasks: entry.limits.tasks })
}

fn bytes(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().ok()?;
    number.checked_mul(1 << shift).filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_have_binary_units() {
        for (text, wanted) in [
            ("1", Some(1)),
            ("2K", Some(2048)),
            ("512M", Some(512 << 20)),
            ("1G", Some(1 << 30)),
            ("", None),
            ("0M", None),
            ("M", None),
            ("1T", None),
            ("99999999999G", None),
        ] {
            assert_eq!(bytes(text), wanted, "{text}");
        }
    }
}
