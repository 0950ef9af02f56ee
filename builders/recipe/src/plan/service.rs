//! One service of a host: what its definition and its image say together.

use std::collections::BTreeMap;

use cairn_closure::{
    self as closure, CredentialName, Kind, Replace, Secret, SecretName, ServiceName, ServiceSpec, StoreDir,
};
use cairn_config::{Resolved, resolve};

use super::host::{Material, config_label, fault, live_label, rootfs_label};
use super::volumes;
use crate::configuration::Surroundings;
use crate::error::{DefinitionError, nearest};
use crate::host::{KindEntry, ServiceEntry};
use crate::project::{Host, Image};
use crate::step::placeholder;

/// Tells a service that listens on a UNIX socket which one; the closure fills `{socket}` in.
const SOCKET_VARIABLE: &str = "CAIRN_SOCKET";

pub struct PlannedService {
    pub name: ServiceName,
    pub specification: ServiceSpec,
    /// Its configuration, if its image has templates.
    pub files: Option<BTreeMap<String, String>>,
    /// Those of its files that it reads again while it runs.
    pub live: Option<BTreeMap<String, String>>,
}

/// Key, message and help of what is wrong.
pub(super) type Fault = (String, String, Option<String>);

pub fn plan(
    host: &Host,
    name: &str,
    entry: &ServiceEntry,
    material: &Material,
    versions: &BTreeMap<String, u64>,
) -> Result<PlannedService, DefinitionError> {
    let fail = |(key, message, help): Fault| fault(host, format!("services.{name}.{key}"), message, help);
    let service = ServiceName::parse(name).map_err(|e| fault(host, format!("services.{name}"), e.to_string(), None))?;
    let mut specification = specification(entry, &material.image).map_err(fail)?;
    let mut files = files(host, name, entry, material).map_err(fail)?;
    let live = live(entry, &material.image, files.as_mut())?;
    specification.config = files.is_some().then(|| StoreDir(placeholder(&config_label(name))));
    let section = material.image.definition.image.reload.as_ref();
    specification.reload = section
        .filter(|_| live.is_some())
        .map(|section| closure::Reload { files: StoreDir(placeholder(&live_label(name))), signal: section.signal });
    let mut wanted: BTreeMap<CredentialName, SecretName> = entry.credentials.clone();
    environment(host, name, entry, material, &mut specification, &mut wanted)?;
    specification.credentials = credentials(wanted, versions).map_err(fail)?;
    Ok(PlannedService { name: service, specification, files, live })
}

/// Takes the files that the program reads again out of all its files. What runs to its end reads
/// everything once.
fn live(
    entry: &ServiceEntry,
    image: &Image,
    files: Option<&mut BTreeMap<String, String>>,
) -> Result<Option<BTreeMap<String, String>>, DefinitionError> {
    let Some(section) = image.definition.image.reload.as_ref().filter(|_| entry.kind == KindEntry::Service) else {
        return Ok(None);
    };
    let mut none = BTreeMap::new();
    let files = files.unwrap_or(&mut none);
    let mut live = BTreeMap::new();
    for name in &section.files {
        let Some(text) = files.remove(name) else {
            let near = nearest(name, files.keys().map(String::as_str));
            return Err(DefinitionError::Value {
                file: image.file.clone(),
                at: "image.reload.files".to_owned(),
                message: format!("image `{}` has no template for `{name}`", image.name),
                help: near.map(|near| format!("did you mean `{near}`?")),
            });
        };
        live.insert(name.clone(), text);
    }
    Ok(Some(live))
}

/// The typed part of the environment. Every fault in it is told at once.
fn environment(
    host: &Host,
    service: &str,
    entry: &ServiceEntry,
    material: &Material,
    specification: &mut ServiceSpec,
    credentials: &mut BTreeMap<CredentialName, SecretName>,
) -> Result<(), DefinitionError> {
    let image = &material.image.name;
    let Some(resolved) = resolved(host, service, entry, material)? else { return Ok(()) };
    for (variable, value) in resolved.environment() {
        // What the service says in `environment` counts most, then what a host has set, then what
        // the image says, and a mere default least.
        let set = resolved.entries().iter().any(|entry| entry.name == variable && entry.state.is_set());
        if set && !entry.environment.contains_key(&variable) {
            specification.environment.insert(variable, value);
        } else {
            specification.environment.entry(variable).or_insert(value);
        }
    }
    for (variable, secret) in resolved.secrets() {
        let name = |text: &str| fault(host, format!("config.{image}.{variable}"), text.to_owned(), None);
        let credential = variable.to_lowercase().replace('_', "-");
        let credential = CredentialName::parse(&credential).map_err(|e| name(&e.to_string()))?;
        let secret = SecretName::parse(&secret).map_err(|e| name(&e.to_string()))?;
        credentials.insert(credential, secret);
    }
    Ok(())
}

/// The values of a service's typed environment; `None` for an image that describes none.
pub fn resolved(
    host: &Host,
    service: &str,
    entry: &ServiceEntry,
    material: &Material,
) -> Result<Option<Resolved>, DefinitionError> {
    let image = &material.image.name;
    let Some(schema) = &material.configuration.schema else {
        if entry.config.is_empty() && host.definition.config.get(image).is_none_or(toml::Table::is_empty) {
            return Ok(None);
        }
        let message = format!("image `{image}` has no config.toml that says what can be set");
        return Err(fault(host, format!("config of `{image}`"), message, Some("set it in `environment`".to_owned())));
    };
    let layers = host.sources.layers(image, service)?;
    resolve(schema, &layers).map(Some).map_err(|faults| DefinitionError::Configuration(Box::new(faults)))
}

fn credentials(
    wanted: BTreeMap<CredentialName, SecretName>,
    versions: &BTreeMap<String, u64>,
) -> Result<BTreeMap<CredentialName, Secret>, Fault> {
    let versioned = |(credential, name): (CredentialName, SecretName)| {
        let Some(version) = versions.get(name.as_str()) else {
            let near = nearest(name.as_str(), versions.keys().map(String::as_str));
            let help = near.map_or_else(
                || format!("declare it in secrets/secrets.toml: [secrets.{name}]"),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(("credentials".to_owned(), format!("the project has no secret `{name}`"), Some(help)));
        };
        Ok((credential, Secret { name, version: *version }))
    };
    wanted.into_iter().map(versioned).collect()
}

fn files(
    host: &Host,
    name: &str,
    entry: &ServiceEntry,
    material: &Material,
) -> Result<Option<BTreeMap<String, String>>, Fault> {
    if !material.configuration.has_files() {
        if entry.settings.is_empty() {
            return Ok(None);
        }
        let message = format!("image `{}` has no templates that would use them", material.image.name);
        return Err(("settings".to_owned(), message, None));
    }
    let sockets = |upstream: &String| {
        let replicas = host.definition.services.get(upstream).map_or(0, |service| service.replicas);
        let socket = |n| format!("{}/{upstream}/current/{}", closure::layout::RUN_DIR, closure::layout::socket_name(n));
        (upstream.clone(), (1..=replicas).map(socket).collect())
    };
    let around = Surroundings {
        host: host.name.clone(),
        service: name.to_owned(),
        replicas: entry.replicas,
        names: entry.names.iter().map(ToString::to_string).collect(),
        upstreams: entry.upstreams.iter().map(sockets).collect(),
    };
    let rendered = material.configuration.render(&entry.settings, &around);
    rendered.map(Some).map_err(|fault| (fault.key, fault.message, fault.help))
}

fn specification(entry: &ServiceEntry, image: &Image) -> Result<ServiceSpec, Fault> {
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
    let listen = closure::Listen {
        unix: entry.listen.unix,
        tcp: entry.listen.tcp.clone(),
        tls: entry.listen.tls.clone(),
        own: entry.listen.own.clone(),
        inherit: entry.listen.inherit,
    };
    let listens = listen.unix || listen.addresses().next().is_some();
    let (state, reads) = volumes::volumes(entry, image)?;
    // Only one process can have a folder, or open an address.
    let has_one_place = !state.is_empty() || !listen.own.is_empty();
    let replace = entry.replace.unwrap_or(match (entry.kind, has_one_place) {
        (KindEntry::Service, true) => Replace::Restart,
        _ => Replace::Beside,
    });
    Ok(ServiceSpec {
        rootfs: StoreDir(placeholder(&rootfs_label(&image.name))),
        image: image.name.clone(),
        kind: kind(entry),
        replicas: entry.replicas,
        command,
        user: closure::User { name: user.to_owned(), uid, gid },
        environment,
        working_directory: run.workdir.clone(),
        listen: listens.then_some(listen),
        // Filled in once they are planned.
        config: None,
        reload: None,
        maintenance: run.maintenance.clone().filter(|_| entry.kind == KindEntry::Service),
        credentials: BTreeMap::new(),
        state,
        reads,
        upstreams: services(&entry.upstreams, "upstreams")?,
        network: entry.network.clone(),
        drain: millis(entry.drain),
        stop_signal: entry.stop_signal,
        ready: entry.ready,
        replace,
        timeout: millis(entry.timeout),
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

fn kind(entry: &ServiceEntry) -> Kind {
    match entry.kind {
        KindEntry::Service => Kind::Service,
        KindEntry::Task => Kind::Task {},
        KindEntry::Check => Kind::Check {},
        KindEntry::Timer => {
            Kind::Timer { calendar: entry.schedule.clone().unwrap_or_default(), at_start: entry.at_start }
        }
    }
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
