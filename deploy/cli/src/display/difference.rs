//! What differs between two closures, for people.

use cairn_fleet::{Change, Difference, Needs};
use cairn_formats::printable;

use super::hosts::{change as words_of, system as system_of};
use super::{size, table};

/// What becomes of the services.
pub fn services(difference: &Difference) -> String {
    let mut text = String::new();
    for service in &difference.services {
        let (sign, mut words) = words_of(service.change);
        let [from, to] = service.replicas;
        let replicas =
            if from != to && from > 0 && to > 0 { format!("{from} → {to} replicas") } else { String::new() };
        if service.change == Change::Unchanged {
            words = "goes on";
        }
        let comma = if replicas.is_empty() { "" } else { ", " };
        let name = printable::line(&service.service);
        text.push_str(&format!("  {sign} {name}: {words}{comma}{replicas}\n"));
    }
    text.push_str(&system_of(&difference.system));
    text
}

/// Packages, secrets and files.
pub fn contents(difference: &Difference) -> String {
    let mut text = String::new();
    let absent = || "-".to_owned();
    if !difference.packages.is_empty() {
        let mut rows = vec![["  IMAGE", "PACKAGE", "FROM", "TO"].map(str::to_owned).to_vec()];
        rows.extend(difference.packages.iter().map(|package| {
            let version = |version: &Option<String>| version.clone().unwrap_or_else(absent);
            vec![format!("  {}", package.image), package.package.clone(), version(&package.from), version(&package.to)]
        }));
        text.push_str(&table(&rows));
    }
    if !difference.secrets.is_empty() {
        let mut rows = vec![["  SECRET", "FROM", "TO"].map(str::to_owned).to_vec()];
        rows.extend(difference.secrets.iter().map(|secret| {
            let version = |version: Option<u64>| version.map_or_else(absent, |number| format!("v{number}"));
            vec![format!("  {}", secret.secret), version(secret.from), version(secret.to)]
        }));
        text.push_str(&table(&rows));
    }
    for file in &difference.files {
        text.push_str(&file.diff);
    }
    text
}

/// What the host would be sent, and the room it has.
pub fn needs(needs: &Needs) -> String {
    if needs.disk_bytes == 0 {
        return "  nothing to send\n".to_owned();
    }
    let [send, disk, free] = [needs.send_bytes, needs.disk_bytes, needs.free_bytes].map(size);
    format!("  {send} of files to send, before compression; {disk} of disk, {free} free\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_fleet::{File, Origin, Package, Secret, Service};

    #[test]
    fn a_difference_reads_from_services_to_lines() {
        let text = |text: &str| Some(text.to_owned());
        let difference = Difference {
            services: vec![
                Service { service: "api".to_owned(), change: Change::ReplaceBeside, replicas: [2, 3] },
                Service { service: "redis".to_owned(), change: Change::Unchanged, replicas: [1, 2] },
            ],
            system: vec![("/etc/motd".to_owned(), Change::Replaced)],
            packages: vec![Package {
                image: "api".to_owned(),
                origin: Origin::Debian,
                package: "libc6".to_owned(),
                from: text("2"),
                to: text("3"),
            }],
            secrets: vec![Secret { secret: "jwt".to_owned(), from: None, to: Some(1) }],
            files: vec![File { file: "x".to_owned(), diff: "-a\n+b\n".to_owned() }],
        };
        assert_eq!(
            services(&difference),
            "  ~ api: replaced beside the old one, nothing dropped, 2 → 3 replicas\n    redis: goes on, 1 → 2 replicas\n  ~ /etc/motd: changed\n"
        );
        assert_eq!(
            contents(&difference),
            "  IMAGE  PACKAGE  FROM  TO\n  api    libc6    2     3\n  SECRET  FROM  TO\n  jwt     -     v1\n-a\n+b\n"
        );
    }
}
