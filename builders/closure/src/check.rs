//! What a specification must satisfy before it is rendered.

use std::net::SocketAddr;

use cairn_formats::report::nearest;

use crate::address::{Peers, collide, reachable};
use crate::spec::VERSION;
use crate::{ClosureError, HostSpec, ServiceName, ServiceSpec};

impl HostSpec {
    pub(crate) fn check(&self) -> Result<(), ClosureError> {
        if self.version != VERSION {
            return Err(ClosureError::Version { found: self.version });
        }
        let mut addresses: Vec<(&SocketAddr, &ServiceName)> = Vec::new();
        for (name, service) in &self.services {
            service.check(name)?;
            self.check_names(name, service)?;
            for address in service.listen.iter().flat_map(crate::Listen::addresses) {
                if let Some((taken, first)) = addresses.iter().find(|(taken, _)| collide(taken, address)) {
                    return Err(ClosureError::SameAddress {
                        first: first.to_string(),
                        taken: taken.to_string(),
                        second: name.to_string(),
                        address: address.to_string(),
                    });
                }
                addresses.push((address, name));
            }
        }
        self.system.check(self)?;
        self.check_users()
    }

    /// User and group ids are what keeps services from each other's state and sockets. A service that
    /// declares another as its upstream, or that reads its state, joins that one's group anyway, so
    /// their images may have the same group.
    fn check_users(&self) -> Result<(), ClosureError> {
        for (position, (name, service)) in self.services.iter().enumerate() {
            for (earlier, other) in self.services.iter().take(position) {
                if other.image == service.image {
                    continue;
                }
                let (first, second) = (earlier.to_string(), name.to_string());
                if other.user.uid == service.user.uid {
                    return Err(ClosureError::SameUser { first, second, uid: service.user.uid });
                }
                if other.user.gid == service.user.gid && !other.joins(name) && !service.joins(earlier) {
                    return Err(ClosureError::SameGroup { first, second, gid: service.user.gid });
                }
            }
        }
        Ok(())
    }

    fn check_names(&self, name: &ServiceName, service: &ServiceSpec) -> Result<(), ClosureError> {
        let after = service.after.iter().map(|other| ("after", other));
        let upstreams = service.upstreams.iter().map(|other| ("upstreams", other));
        for read in &service.reads {
            let owner = self.services.get(&read.service);
            if owner.is_some_and(|owner| !owner.state.contains_key(&read.state)) {
                return Err(ClosureError::UnknownState {
                    service: name.to_string(),
                    owner: read.service.to_string(),
                    state: read.state.to_string(),
                });
            }
        }
        let reads = service.reads.iter().map(|read| ("reads", &read.service));
        for (field, other) in after.chain(upstreams).chain(reads) {
            let Some(found) = self.services.get(other) else {
                let known = self.services.keys().map(ServiceName::as_str);
                return Err(ClosureError::UnknownService {
                    service: name.to_string(),
                    field,
                    unknown: other.to_string(),
                    nearest: nearest(other.as_str(), known).map(str::to_owned),
                });
            };
            let sockets = found.listen.as_ref().is_some_and(|listen| listen.unix);
            if field == "upstreams" && !sockets {
                return Err(ClosureError::UpstreamWithoutSocket {
                    service: name.to_string(),
                    upstream: other.to_string(),
                });
            }
        }
        Ok(())
    }
}

impl ServiceSpec {
    /// The services that must run before this one.
    pub(crate) fn starts_after(&self) -> impl Iterator<Item = &ServiceName> {
        let listed_twice = |other: &&ServiceName| !self.after.contains(other);
        self.after.iter().chain(self.upstreams.iter().filter(listed_twice))
    }

    /// Whether the unit has the other service's group among its own.
    fn joins(&self, other: &ServiceName) -> bool {
        self.upstreams.contains(other) || self.reads.iter().any(|read| read.service == *other)
    }

    fn check(&self, name: &ServiceName) -> Result<(), ClosureError> {
        let refuse = |field, value: &str, rule| {
            Err(ClosureError::Value { service: name.to_string(), field, value: value.to_owned(), rule })
        };
        let program = self.command.first().map_or("", String::as_str);
        if !is_plain_path(program) {
            return refuse(
                "command",
                program,
                "it begins with a program's absolute path inside the image, of letters, digits and /._+@=-",
            );
        }
        if let Some(bad) = self.command.iter().find(|text| text.contains('\0')) {
            return refuse("command", bad, "an argument holds no NUL byte");
        }
        for (key, value) in &self.environment {
            if !is_variable(key) {
                return refuse("environment", key, "a variable's name takes letters, digits and _");
            }
            if value.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
                return refuse("environment", value, "systemd takes no control characters in it");
            }
        }
        if let Some(directory) = &self.working_directory
            && !is_plain_path(directory)
        {
            return refuse("working_directory", directory, "it is an absolute path");
        }
        for entry in &self.network {
            if Peers::parse(entry).is_none() {
                return refuse("network", entry, "it takes addresses, prefixes such as 10.0.0.0/8, localhost and any");
            }
        }
        let paths = self.state.values().map(|path| ("state", path));
        for (field, path) in paths.chain(self.reads.iter().map(|read| ("reads", &read.path))) {
            if !is_plain_path(path) || path.split('/').any(|part| part == "..") || path.len() < 2 {
                return refuse(field, path, "it is an absolute path inside the image");
            }
        }
        if let crate::Kind::Timer { calendar, .. } = &self.kind {
            let plain = |c: char| c.is_ascii_alphanumeric() || " *,-./:~".contains(c);
            if calendar.trim().is_empty() || !calendar.chars().all(plain) {
                return refuse(
                    "schedule",
                    calendar,
                    "it is a time as in systemd.time(7), such as \"daily\" or \"02:00\"",
                );
            }
        }
        if let Some(address) = self.listen.iter().flat_map(|listen| &listen.own).next()
            && self.network.is_empty()
        {
            let rule = "a service that opens it by itself says in `network` whom it talks with";
            return refuse("listen.own", &address.to_string(), rule);
        }
        let lets_in = |peer| self.network.iter().filter_map(|entry| Peers::parse(entry)).any(|p| p.include(peer));
        if let Some(address) = self.asked_at().iter().find(|address| !lets_in(reachable(**address).ip())) {
            let rule = "the host asks there whether the service is up, so `network` names that address, too \
                        (`localhost` for one that stands for all)";
            return refuse("listen.own", &address.to_string(), rule);
        }
        if self.kind.ends() && (self.listens() || self.replicas != 1) {
            return refuse("kind", "", "what runs to its end neither listens nor has replicas");
        }
        if let Some(health) = &self.health {
            let clean = |c: char| c.is_ascii_graphic();
            if !health.path.starts_with('/') || !health.path.chars().all(clean) {
                return refuse("health.path", &health.path, "it begins with / and is an HTTP path");
            }
            if !self.listens() {
                return refuse("health.path", &health.path, "a service that does not listen has nobody to ask");
            }
            if self.listen.as_ref().is_some_and(|listen| !listen.speaks_plainly()) {
                return refuse("health.path", &health.path, "health is not asked by TLS; add listen.unix for it");
            }
        }
        self.check_numbers(name)
    }

    /// The addresses of its own at which the host asks for its health.
    fn asked_at(&self) -> &[SocketAddr] {
        match (&self.listen, &self.health) {
            (Some(listen), None) => &listen.own,
            (Some(listen), Some(_)) if !listen.unix && listen.tcp.is_empty() => listen.own.get(..1).unwrap_or_default(),
            _ => &[],
        }
    }

    fn listens(&self) -> bool {
        self.listen.as_ref().is_some_and(|listen| listen.unix || listen.addresses().next().is_some())
    }

    fn check_numbers(&self, name: &ServiceName) -> Result<(), ClosureError> {
        let limits = &self.limits;
        let zero = [limits.memory == Some(0), limits.cpu == Some(0), limits.tasks == Some(0)];
        let numbers = [
            ("replicas", u64::from(self.replicas), (1..=100).contains(&self.replicas), "it is 1 to 100"),
            ("user.uid", u64::from(self.user.uid), is_free_id(self.user.uid), FREE_IDS),
            ("user.gid", u64::from(self.user.gid), is_free_id(self.user.gid), FREE_IDS),
            ("limits", 0, !zero.contains(&true), "a limit is more than nothing"),
            ("drain", self.drain.0, self.drain.0 <= 3_600_000, "it is at most an hour"),
            ("timeout", self.timeout.0, (1..=86_400_000).contains(&self.timeout.0), "it is at most a day"),
        ];
        for (field, value, valid, rule) in numbers {
            if !valid {
                return Err(ClosureError::Value { service: name.to_string(), field, value: value.to_string(), rule });
            }
        }
        Ok(())
    }
}

const FREE_IDS: &str = "services do not run as root or with an id that the host's distribution gives out \
                        (below 1000, 60000 to 65535); give the image's user one above 10000";

/// What Debian's policy (9.2.2) and systemd leave to the administrator: below 1000 are root and the
/// users of packages, from 60000 on `DynamicUser=`, `nobody` and numbers that mean "none".
fn is_free_id(id: u32) -> bool {
    (1000..60_000).contains(&id) || (65_536..=u32::MAX - 2).contains(&id)
}

fn is_plain_path(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._+@=-".contains(&b);
    text.starts_with('/') && text.len() < 4096 && text.bytes().all(plain)
}

fn is_variable(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
