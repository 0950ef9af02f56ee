//! A host besides its services: files below `/etc`, kernel settings, people, mounts, plain units.
//!
//! Their texts stand in the definition or in files that it names, relative to the file that names
//! them, as `include` has it.

use std::collections::BTreeSet;
use std::path::Path;

use cairn_closure::{Account, EtcSpec, HostUnit, Mount, SystemSpec, UnitSpec};
use minijinja::context;
use minijinja::value::Serde;
use serde::Deserialize;
use toml::{Table, Value};

use crate::configuration::jinja;
use crate::error::DefinitionError;
use crate::host::HostDefinition;
use crate::sources::Sources;

/// Configuration is short; what is longer belongs into an image.
const LONGEST: usize = 1 << 20;

/// `[etc."PATH"]`: exactly one of `text`, `source` and `template`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtcEntry {
    pub text: Option<String>,
    pub source: Option<String>,
    pub template: Option<String>,
    /// Values of the template.
    #[serde(default)]
    pub settings: Table,
    /// Octal, as in chmod(1).
    #[serde(default = "readable")]
    pub mode: String,
    /// Units of the host that read it again when it changes.
    #[serde(default)]
    pub reload: BTreeSet<HostUnit>,
    /// Units of the host that start anew when it changes.
    #[serde(default)]
    pub restart: BTreeSet<HostUnit>,
}

/// `[users.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserEntry {
    pub uid: u32,
    #[serde(default)]
    pub groups: BTreeSet<String>,
    #[serde(default = "shell")]
    pub shell: String,
    /// Lines of `authorized_keys`.
    #[serde(default)]
    pub keys: Vec<String>,
}

/// `[mounts."PATH"]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountEntry {
    pub what: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub options: Vec<String>,
}

/// `[units."NAME"]`: exactly one of `text`, `source` and `template`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitEntry {
    pub text: Option<String>,
    pub source: Option<String>,
    pub template: Option<String>,
    #[serde(default)]
    pub settings: Table,
    /// Whether it is up all the time; `false` for one that a timer starts.
    #[serde(default = "yes")]
    pub start: bool,
}

fn readable() -> String {
    "0644".to_owned()
}
fn shell() -> String {
    "/bin/bash".to_owned()
}
const fn yes() -> bool {
    true
}

/// Where a text comes from.
struct Given<'a> {
    text: &'a Option<String>,
    source: &'a Option<String>,
    template: &'a Option<String>,
    settings: &'a Table,
}

/// What goes into the closure.
pub fn plan(name: &str, host: &HostDefinition, sources: &Sources) -> Result<SystemSpec, DefinitionError> {
    let mut system = SystemSpec::default();
    for (path, entry) in &host.etc {
        let key = ["etc", path.as_str()];
        let EtcEntry { text, source, template, settings, .. } = entry;
        let text = read(name, sources, &key, &Given { text, source, template, settings })?;
        let mode = octal(&entry.mode).ok_or_else(|| {
            let message = format!("`{}` is not a mode", entry.mode);
            sources.fault(&["etc", path.as_str(), "mode"], message, Some("write it as in \"0644\"".to_owned()))
        })?;
        let (reload, restart) = (entry.reload.clone(), entry.restart.clone());
        system.etc.insert(path.clone(), EtcSpec { text, mode, reload, restart });
    }
    for (name, value) in &host.sysctl {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(on) => u8::from(*on).to_string(),
            other => {
                let message = format!("{} is no value of a kernel setting", other.type_str());
                return Err(sources.fault(
                    &["sysctl", name.as_str()],
                    message,
                    Some("write text or a number".to_owned()),
                ));
            }
        };
        system.sysctl.insert(name.clone(), value);
    }
    for (name, entry) in &host.users {
        let UserEntry { uid, groups, shell, keys } = entry.clone();
        system.users.insert(name.clone(), Account { uid, groups, shell, keys });
    }
    for (point, entry) in &host.mounts {
        let MountEntry { what, kind, options } = entry.clone();
        system.mounts.insert(point.clone(), Mount { what, kind, options });
    }
    for (unit, entry) in &host.units {
        let UnitEntry { text, source, template, settings, start } = entry;
        let text = read(name, sources, &["units", unit.as_str()], &Given { text, source, template, settings })?;
        system.units.insert(unit.clone(), UnitSpec { text, start: *start });
    }
    Ok(system)
}

fn octal(mode: &str) -> Option<u32> {
    let digits = (3..=4).contains(&mode.len()) && mode.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| u32::from_str_radix(mode, 8).ok())?
}

fn read(host: &str, sources: &Sources, key: &[&str; 2], given: &Given) -> Result<String, DefinitionError> {
    let fault = |message: String, help: &str| Err(sources.fault(key, message, Some(help.to_owned())));
    let file = |word: &str, name: &str| {
        let file = sources.folder_of(&[key[0], key[1], word]).join(name);
        let text = sources.files().text(&file);
        text.map(|text| (file.clone(), text)).map_err(|e| {
            let message = format!("cannot read {}: {e}", file.display());
            let help = "name a text file relative to this one".to_owned();
            sources.fault(&[key[0], key[1], word], message, Some(help))
        })
    };
    if given.template.is_none() && !given.settings.is_empty() {
        return fault("`settings` are values of a template, and there is none".to_owned(), "write template = \"x.j2\"");
    }
    let text = match (given.text, given.source, given.template) {
        (Some(text), None, None) => text.clone(),
        (None, Some(source), None) => file("source", source)?.1,
        (None, None, Some(template)) => {
            let (file, text) = file("template", template)?;
            render(&file, &text, host, given.settings)
                .or_else(|message| fault(message, "the values come from `settings` and `host`"))?
        }
        _ => {
            return fault(
                "exactly one thing says what is in it".to_owned(),
                "write one of `text`, `source`, `template`",
            );
        }
    };
    if text.len() > LONGEST {
        return fault(format!("{} bytes are more than a file may have here", text.len()), "at most 1 MiB");
    }
    Ok(text)
}

fn render(file: &Path, template: &str, host: &str, settings: &Table) -> Result<String, String> {
    if settings.contains_key("host") {
        return Err("templates have another value of the name `host`".to_owned());
    }
    jinja(file, template, &context! { host => host, ..minijinja::Value::from(Serde(settings)) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;
    use crate::files::ProjectFiles;

    fn planned(files: &[(&str, &str)], text: &str) -> Result<SystemSpec, DefinitionError> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let file = dir.path().join("x.toml");
        fs::write(&file, format!("[machine]\n{text}")).unwrap();
        let sources = Sources::read(&ProjectFiles::new(dir.path(), &[]), &file, None)?;
        plan("x", &HostDefinition::of(&sources)?, &sources)
    }

    #[test]
    fn texts_come_from_where_the_definition_says() {
        let files =
            [("sshd.conf", "Port 22\n"), ("motd.j2", "{{ host }} of {{ team }}\n"), ("x.service", "[Service]\n")];
        let system = planned(
            &files,
            "[etc.\"ssh/sshd_config.d/10-team.conf\"]\nsource = \"sshd.conf\"\nmode = \"0600\"\nreload = [\"ssh.service\"]\n\
             [etc.motd]\ntemplate = \"motd.j2\"\nsettings = { team = \"us\" }\n\
             [etc.issue]\ntext = \"hello\"\n\
             [sysctl]\n\"net.core.somaxconn\" = 4096\n\"net.ipv4.ip_forward\" = true\n\"kernel.x\" = \"1 2\"\n\
             [users.alice]\nuid = 2001\n\
             [mounts.\"/srv/data\"]\nwhat = \"tmpfs\"\ntype = \"tmpfs\"\n\
             [units.\"x.service\"]\nsource = \"x.service\"\nstart = false\n",
        )
        .unwrap();
        let texts: Vec<_> = system.etc.values().map(|file| (file.text.as_str(), file.mode)).collect();
        assert_eq!(texts, [("hello", 0o644), ("x of us\n", 0o644), ("Port 22\n", 0o600)]);
        assert_eq!(system.sysctl.values().collect::<Vec<_>>(), ["1 2", "4096", "1"]);
        assert_eq!(system.users["alice"].shell, "/bin/bash");
        assert!(!system.units["x.service"].start);
    }

    #[test]
    fn faults_name_the_place_and_the_remedy() {
        for (text, wanted) in [
            ("[etc.motd]\nmode = \"0644\"\n", "x.toml:2:"),
            ("[etc.motd]\ntext = \"a\"\nsource = \"b\"\n", "write one of `text`, `source`, `template`"),
            ("[etc.motd]\nsource = \"b\"\n", "x.toml:3:10: cannot read"),
            ("[etc.motd]\ntemplate = \"bad.j2\"\n", "bad.j2:1 cannot be rendered"),
            ("[etc.motd]\ntext = \"a\"\nmode = \"rw\"\n", "x.toml:4:8: `rw` is not a mode"),
            ("[etc.motd]\ntext = \"a\"\nsettings = { a = 1 }\n", "there is none"),
            ("[sysctl]\n\"a.b\" = [1]\n", "x.toml:3:"),
            ("[etc.shadow]\ntext = \"a\"\n", "\"shadow\" is not allowed"),
            ("[etc.\"/etc/motd\"]\ntext = \"a\"\n", "\"/etc/motd\" is not allowed"),
        ] {
            let error = planned(&[("bad.j2", "{{ nothing }}\n")], text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}\n{error}\nwanted: {wanted}");
        }
    }
}
