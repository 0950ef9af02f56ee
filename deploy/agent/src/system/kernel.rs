//! Kernel settings. What one was before us is kept for as long as the kernel runs, and is set again
//! when it is no longer declared.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;

use cairn_closure::{SysctlName, System};
use cairn_protocol::Drift;

use crate::error::{Fault, Result, file};
use crate::files;
use crate::paths::Paths;
use crate::services::directory;

type Record = BTreeMap<SysctlName, String>;

pub fn check(paths: &Paths, system: &System) -> Result<()> {
    for name in system.sysctl.keys() {
        // Nothing is written.
        let opened = OpenOptions::new().write(true).open(paths.sysctl(name));
        let (message, advice) = match opened {
            Ok(_) => continue,
            Err(e) if e.kind() == io::ErrorKind::NotFound => (
                format!("this host's kernel has no setting {name}"),
                "`sysctl -a` on the host lists those there are; a module may have to be loaded first",
            ),
            Err(e) => (
                format!("this host does not let {name} be set: {e}"),
                "take it away from the definition; in a container it is for the computer below to set",
            ),
        };
        return Err(Fault::new(message).advice(advice).into());
    }
    Ok(())
}

pub fn apply(paths: &Paths, system: &System) -> Result<()> {
    let place = paths.sysctl_record();
    let mut record: Record = files::read_json(&place)?.unwrap_or_default();
    let mut wanted = record.clone();
    for name in system.sysctl.keys().filter(|name| !record.contains_key(*name)) {
        wanted.insert(name.clone(), read(paths, name)?);
    }
    if wanted != record {
        directory(&paths.run_dir(), 0o755)?;
        files::replace_json(&place, &wanted)?;
        record = wanted;
    }
    for (name, before) in record.iter().filter(|(name, _)| !system.sysctl.contains_key(*name)) {
        // One that could not be set needs not be set again.
        if !same(&read(paths, name)?, before) {
            write(paths, name, before)?;
        }
    }
    for (name, value) in &system.sysctl {
        if !same(&read(paths, name)?, value) {
            write(paths, name, value)?;
        }
    }
    let count = record.len();
    record.retain(|name, _| system.sysctl.contains_key(name));
    match record.is_empty() {
        true => files::remove(&place),
        false if record.len() != count => files::replace_json(&place, &record),
        false => Ok(()),
    }
}

fn read(paths: &Paths, name: &SysctlName) -> Result<String> {
    let place = paths.sysctl(name);
    fs::read_to_string(&place).map(|text| text.trim().to_owned()).map_err(file("cannot read", &place))
}

fn write(paths: &Paths, name: &SysctlName, value: &str) -> Result<()> {
    fs::write(paths.sysctl(name), value).map_err(|e| {
        Fault::new(format!("the kernel does not take {value:?} for {name}: {e}"))
            .advice("the kernel's documentation says which values it takes")
            .into()
    })
}

/// The kernel puts tabs between numbers.
fn same(one: &str, other: &str) -> bool {
    one.split_whitespace().eq(other.split_whitespace())
}

pub fn drift(paths: &Paths, system: &System) -> Vec<Drift> {
    let problem = |name: &SysctlName, value: &str| match read(paths, name) {
        Ok(found) if same(&found, value) => None,
        Ok(found) => Some(format!("is {found}, not {value}")),
        Err(error) => Some(error.to_string()),
    };
    let found = system.sysctl.iter().filter_map(|(name, value)| Some((name, problem(name, value)?)));
    found.map(|(name, problem)| Drift { unit: format!("sysctl {name}"), problem }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_set_and_given_back() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path());
        let system = |values: &[(&str, &str)]| System {
            sysctl: values.iter().map(|(n, v)| (SysctlName::parse(n).unwrap(), (*v).to_owned())).collect(),
            ..System::default()
        };
        let (one, two) = (SysctlName::parse("net.core.one").unwrap(), SysctlName::parse("net.core.two").unwrap());
        fs::create_dir_all(paths.sysctl(&one).parent().unwrap()).unwrap();
        fs::create_dir_all(paths.run_dir()).unwrap();
        fs::write(paths.sysctl(&one), "1\n").unwrap();
        fs::write(paths.sysctl(&two), "2\t3\n").unwrap();
        let values = || [&one, &two].map(|name| read(&paths, name).unwrap());

        let both = system(&[("net.core.one", "10"), ("net.core.two", "20 30")]);
        for _ in 0..2 {
            apply(&paths, &both).unwrap();
            assert_eq!(values(), ["10", "20 30"]);
        }
        apply(&paths, &system(&[("net.core.one", "11")])).unwrap();
        assert_eq!(values(), ["11", "2\t3"]);
        assert_eq!(drift(&paths, &both).len(), 2);
        apply(&paths, &System::default()).unwrap();
        assert_eq!(values(), ["1", "2\t3"]);
        assert!(!paths.sysctl_record().exists());
        let error = check(&paths, &system(&[("net.core.three", "1")])).unwrap_err().to_string();
        assert!(error.contains("no setting net.core.three"), "{error}");
    }
}
