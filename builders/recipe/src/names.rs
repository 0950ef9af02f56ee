//! Names under which hosts are reached: a certificate is for names that somebody serves.
//!
//! A service with an address is reached by its `names`. One without, such as an ACME client, gets
//! certificates for them; a name that neither its host nor another one of its fleet serves is
//! probably mistyped, and an ACME server would refuse all of the certificate for it.

use std::collections::BTreeSet;

use cairn_closure::DnsName;

use crate::error::{DefinitionError, nearest};
use crate::host::{HostDefinition, ServiceEntry};
use crate::sources::Sources;

fn listens(service: &ServiceEntry) -> bool {
    service.listen.addresses().next().is_some()
}

/// The names that a host's services are reached by.
fn served(host: &HostDefinition) -> impl Iterator<Item = &DnsName> {
    host.services.values().filter(|service| listens(service)).flat_map(|service| &service.names)
}

/// `fleet` reads the other hosts of the fleet; it is asked only for names that this host lacks.
pub fn check(
    host: &HostDefinition,
    sources: &Sources,
    fleet: impl FnOnce() -> Result<Vec<HostDefinition>, DefinitionError>,
) -> Result<(), DefinitionError> {
    let silent = host.services.iter().filter(|(_, service)| !listens(service));
    let wanted = silent.flat_map(|(service, entry)| {
        entry.names.iter().enumerate().map(move |(number, name)| (service.as_str(), number.to_string(), name))
    });
    let mut known: BTreeSet<DnsName> = served(host).cloned().collect();
    let lacking: Vec<_> = wanted.filter(|(.., name)| !known.contains(*name)).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    for other in fleet()? {
        known.extend(served(&other).cloned());
    }
    let Some((service, number, name)) = lacking.into_iter().find(|(.., name)| !known.contains(*name)) else {
        return Ok(());
    };
    let message = format!("`{name}` is served neither by this host nor by another one of its fleet");
    let help = match nearest(name.as_str(), known.iter().map(DnsName::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("add it to `names` of the service that listens for it, or take it away from `{service}`"),
    };
    Err(sources.fault(&["services", service, "names", &number], message, Some(help)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;

    fn host(names: &str) -> (HostDefinition, Sources) {
        let text = format!(
            "[machine]\n[services.proxy]\nimage = \"proxy\"\nlisten = {{ tls = [\"0.0.0.0:443\"] }}\n\
             names = [\"example.com\", \"www.example.com\"]\n\
             [services.certificates]\nimage = \"certbot\"\nkind = \"timer\"\nschedule = \"daily\"\nnames = {names}\n"
        );
        let sources = Sources::of(Path::new("hosts/x.toml"), &text);
        (HostDefinition::of(&sources).unwrap(), sources)
    }

    #[test]
    fn a_certificate_is_for_names_that_somebody_serves() {
        let alone = || -> Result<Vec<HostDefinition>, DefinitionError> { Ok(Vec::new()) };
        let (definition, sources) = host("[\"www.example.com\", \"example.com\"]");
        check(&definition, &sources, || panic!("nobody needs the fleet")).unwrap();

        let (definition, sources) = host("[\n  \"example.com\",\n  \"wwv.example.com\"]");
        let error = check(&definition, &sources, alone).unwrap_err().to_string();
        assert!(error.starts_with("hosts/x.toml:12:3: `wwv.example.com` is served neither"), "{error}");
        assert!(error.ends_with("did you mean `www.example.com`?"), "{error}");

        let (mut other, _) = host("[]");
        other.services.get_mut("proxy").unwrap().names = vec![DnsName::parse("wwv.example.com").unwrap()];
        check(&definition, &sources, || Ok(vec![other])).unwrap();

        let (definition, sources) = host("[\"something.else.org\"]");
        let error = check(&definition, &sources, alone).unwrap_err().to_string();
        assert!(error.contains("take it away from `certificates`"), "{error}");
    }
}
