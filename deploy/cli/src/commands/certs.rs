//! `deploy certs status`: the certificates that hosts show to clients.

use anyhow::Result;
use cairn_certificates::{Fault, Roots, Server, Shown, Terms};
use cairn_fleet::{AT_ONCE, CertificateStatus, Fleet, in_parallel};
use cairn_recipe::project::Host;
use serde::Serialize;

use crate::arguments::{CertsAction, CertsStatusOptions};
use crate::context::Context;
use crate::display::table;
use crate::terminal::hanging;

#[derive(Serialize)]
struct Report {
    hosts: Vec<HostEntry>,
}

#[derive(Serialize)]
struct HostEntry {
    name: String,
    /// Why there is no way to the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    certificates: Vec<CertificateEntry>,
}

/// What one service shows for one name.
#[derive(Serialize)]
struct CertificateEntry {
    service: String,
    name: String,
    address: String,
    #[serde(flatten)]
    shown: Option<Shown>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    faults: Vec<Fault>,
}

/// A name that a service of a host serves with TLS.
struct Served<'a> {
    service: &'a str,
    port: u16,
    name: &'a str,
    /// The service that gets certificates for it.
    client: Option<&'a str>,
}

pub fn run(context: &Context, action: &CertsAction) -> Result<u8> {
    match action {
        CertsAction::Status(options) => status(context, options),
    }
}

fn status(context: &Context, options: &CertsStatusOptions) -> Result<u8> {
    let project = context.project()?;
    let roots = Roots::system(&options.ca)?;
    let names = if options.hosts.is_empty() { project.host_names()? } else { options.hosts.clone() };
    let mut hosts = context.hosts(&project, &names)?;
    hosts.retain(|host| {
        let serves = !served(host).is_empty();
        if !serves && !options.hosts.is_empty() {
            context.display.note(&format!("{}: no service has both `listen.tls` and `names`", host.name));
        }
        serves
    });
    let store = context.store()?;
    let fleet = context.fleet(&store)?;
    let entries = in_parallel(AT_ONCE, &hosts, |host| examine(&fleet, host, &roots, options.days));
    let well = |host: &HostEntry| host.error.is_none() && host.certificates.iter().all(|c| c.faults.is_empty());
    let code = u8::from(!entries.iter().all(well));
    let report = Report { hosts: entries };
    context.display.result(&report, || text(&report))?;
    Ok(code)
}

/// Of the certificates that a host shows, at this address, the one that ends first.
pub fn soonest(host: &Host, address: &str, roots: &Roots) -> Option<CertificateStatus> {
    let look = |served: Served| {
        let server = Server { host: address, port: served.port, name: served.name };
        let shown = Shown::by(&server, roots, cairn_certificates::now()).ok()?;
        Some(CertificateStatus { name: served.name.to_owned(), days_left: shown.days_left })
    };
    served(host).into_iter().filter_map(look).min_by_key(|found| found.days_left)
}

fn served(host: &Host) -> Vec<Served<'_>> {
    let services = &host.definition.services;
    let client = |name| {
        let mut silent = services.iter().filter(|(_, service)| service.listen.addresses().next().is_none());
        silent.find(|(_, service)| service.names.contains(name)).map(|(client, _)| client.as_str())
    };
    let mut found = Vec::new();
    for (service, entry) in services {
        for address in &entry.listen.tls {
            let of_name = |name| Served { service, port: address.port(), name, client: None };
            found.extend(entry.names.iter().map(|name| Served { client: client(name), ..of_name(name.as_str()) }));
        }
    }
    found
}

fn examine(fleet: &Fleet, host: &Host, roots: &Roots, days: u32) -> HostEntry {
    let name = host.name.clone();
    let reached = match fleet.reach(host, false, &|_| ()) {
        Ok(reached) => reached,
        Err(error) => return HostEntry { name, error: Some(error.to_string()), certificates: Vec::new() },
    };
    let look = |served: Served| {
        let server = Server { host: &reached.address, port: served.port, name: served.name };
        let (shown, faults) = match Shown::by(&server, roots, cairn_certificates::now()) {
            Ok(shown) => {
                let faults = shown.faults(&server, &Terms { days, client: served.client });
                (Some(shown), faults)
            }
            Err(error) => {
                let remedy = format!("look what runs there: `deploy status {}`", host.name);
                (None, vec![Fault { problem: error.to_string(), remedy }])
            }
        };
        CertificateEntry {
            service: served.service.to_owned(),
            name: served.name.to_owned(),
            address: server.address(),
            until: shown.as_ref().map(|shown| cairn_fleet::rfc3339(shown.not_after)),
            shown,
            faults,
        }
    };
    HostEntry { name, error: None, certificates: served(host).into_iter().map(look).collect() }
}

fn text(report: &Report) -> String {
    let mut rows = vec![["HOST", "NAME", "ADDRESS", "UNTIL", "DAYS", "CHAIN", "ISSUER"].map(str::to_owned).to_vec()];
    let mut notes = String::new();
    for host in &report.hosts {
        if let Some(error) = &host.error {
            notes.push_str(&format!("{}: {}\n", host.name, hanging(error)));
        }
        for entry in &host.certificates {
            let mut row = vec![host.name.clone(), entry.name.clone(), entry.address.clone()];
            row.extend(match &entry.shown {
                Some(shown) => [
                    entry.until.clone().unwrap_or_default(),
                    shown.days_left.to_string(),
                    shown.chain.to_string(),
                    shown.issuer.clone(),
                ],
                None => ["-"; 4].map(str::to_owned),
            });
            rows.push(row);
            for fault in &entry.faults {
                let (problem, remedy) = (hanging(&fault.problem), &fault.remedy);
                notes.push_str(&format!("{}: {}: {problem}\n  help: {remedy}\n", host.name, entry.name));
            }
        }
    }
    match report.hosts.is_empty() {
        true => "no service of these hosts has both `listen.tls` and `names`".to_owned(),
        false => format!("{}{notes}", table(&rows)),
    }
}
