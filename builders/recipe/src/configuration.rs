//! What an image lets its host say: `config.toml`, `settings.toml` and `templates/` beside its
//! `image.toml`.
//!
//! `config.toml` is the typed schema of the environment ([`cairn_config`]). `templates/NAME.j2` is
//! rendered (in Jinja's language) to the file `NAME`, which the service finds below
//! `/run/cairn/config`; `settings.toml` has the values that templates use, and a host's `settings`
//! lie over them, key by key.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cairn_config::Schema;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, context};
use serde::Serialize;
use toml::{Table, Value};

use crate::error::{DefinitionError, nearest};
use crate::files::ProjectFiles;
use crate::parse;

/// Everything that an image's folder says about its configuration.
#[derive(Debug, Clone, Default)]
pub struct Configuration {
    pub schema: Option<Schema>,
    settings: Table,
    /// Where the settings were read.
    file: PathBuf,
    /// File name → where its template is, and the template.
    templates: BTreeMap<String, (PathBuf, String)>,
}

/// What a template knows besides the settings.
#[derive(Debug, Clone, Serialize)]
pub struct Surroundings {
    pub host: String,
    pub service: String,
    pub replicas: u32,
    /// The names under which it is reached, the main one first.
    pub names: Vec<String>,
    /// The services whose sockets it may use, each with its replicas' sockets.
    pub upstreams: BTreeMap<String, Vec<String>>,
}

/// Names that settings must leave to [`Surroundings`].
const RESERVED: [&str; 5] = ["host", "service", "replicas", "names", "upstreams"];

impl Configuration {
    /// Reads what is there; nothing of it need be.
    pub fn read(files: &ProjectFiles, folder: &Path) -> Result<Self, DefinitionError> {
        let schema_file = folder.join("config.toml");
        let schema = match files.read_if_there(&schema_file)? {
            Some(text) => Some(
                Schema::parse(&schema_file, &text)
                    .map_err(|faults| DefinitionError::Configuration(Box::new(faults)))?,
            ),
            None => None,
        };
        let file = folder.join("settings.toml");
        let settings: Table = match files.read_if_there(&file)? {
            Some(text) => parse::toml(&file, &text)?,
            None => Table::new(),
        };
        if let Some(taken) = RESERVED.iter().find(|name| settings.contains_key(**name)) {
            return Err(DefinitionError::Value {
                file,
                at: (*taken).to_owned(),
                message: "templates have another value of this name".to_owned(),
                help: Some("choose another name".to_owned()),
            });
        }
        Ok(Self { schema, settings, file, templates: templates(files, &folder.join("templates"))? })
    }

    pub fn has_files(&self) -> bool {
        !self.templates.is_empty()
    }

    /// Renders every template with the image's settings and a host's over them. A fault in those
    /// names the key below `settings`.
    pub fn render(&self, over: &Table, around: &Surroundings) -> Result<BTreeMap<String, String>, ConfigurationFault> {
        let mut settings = self.settings.clone();
        lay_over(&mut settings, over, "settings", &self.file)?;
        let values = context! { ..minijinja::Value::from(Serde(&settings)), ..minijinja::Value::from(Serde(around)) };
        let mut files = BTreeMap::new();
        for (name, (file, template)) in &self.templates {
            let rendered = jinja(file, template, &values).map_err(|message| ConfigurationFault {
                key: "settings".to_owned(),
                message,
                help: Some(format!(
                    "the values come from {}, the host's `settings`, and keys of the service such as `names`",
                    self.file.display()
                )),
            })?;
            files.insert(name.clone(), rendered);
        }
        Ok(files)
    }
}

/// A template of some thousand lines takes 100,000 steps; ten million take a second.
const MOST_STEPS: u64 = 10_000_000;
/// What is written here lies in memory several times.
const MOST_BYTES: usize = 16 << 20;

/// Takes so many bytes and no more.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Renders one template; a name that it does not find is an error.
pub(crate) fn jinja(file: &Path, template: &str, values: &minijinja::Value) -> Result<String, String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(MOST_STEPS));
    let path = file.display().to_string();
    let mut bounded = Bounded(Vec::new());
    let written = environment
        .template_from_named_str(&path, template)
        .and_then(|template| template.render_captured_to(values, &mut bounded).map(drop));
    written.map_err(|error| {
        let line = error.line().map(|line| format!(":{line}")).unwrap_or_default();
        let what = match error.kind() {
            ErrorKind::OutOfFuel => format!("it takes more than {MOST_STEPS} steps"),
            ErrorKind::WriteFailure => format!("it writes more than {MOST_BYTES} bytes"),
            kind => error.detail().map_or(kind.to_string(), |detail| format!("{kind}: {detail}")),
        };
        format!("{path}{line} cannot be rendered: {what}")
    })?;
    let mut rendered = String::from_utf8(bounded.0).map_err(|_| format!("{path} renders no text in UTF-8"))?;
    // Jinja takes the last one away.
    if template.ends_with('\n') {
        rendered.push('\n');
    }
    Ok(rendered)
}

/// A fault in what a host sets: the key in the service's definition, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationFault {
    pub key: String,
    pub message: String,
    pub help: Option<String>,
}

/// Puts the values of `over` in place of those below, which decide what there is and of which type.
fn lay_over(below: &mut Table, over: &Table, at: &str, file: &Path) -> Result<(), ConfigurationFault> {
    for (key, value) in over {
        let key_path = format!("{at}.{key}");
        let Some(old) = below.get_mut(key) else {
            let near = nearest(key, below.keys().map(String::as_str));
            return Err(ConfigurationFault {
                key: key_path,
                message: format!("{} has no such setting", file.display()),
                help: near.map(|near| format!("did you mean `{near}`?")),
            });
        };
        match (old, value) {
            (Value::Table(old), Value::Table(value)) => lay_over(old, value, &key_path, file)?,
            (old, value) if old.same_type(value) => *old = value.clone(),
            (old, value) => {
                return Err(ConfigurationFault {
                    key: key_path,
                    message: format!("it is {}, and {} has {} there", value.type_str(), file.display(), old.type_str()),
                    help: None,
                });
            }
        }
    }
    Ok(())
}

fn templates(files: &ProjectFiles, folder: &Path) -> Result<BTreeMap<String, (PathBuf, String)>, DefinitionError> {
    let fail = |source| DefinitionError::Read { file: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other.map_err(fail)?,
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(fail)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".j2"))
        else {
            continue;
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            return Err(DefinitionError::Value {
                file: path.clone(),
                at: "its name".to_owned(),
                message: format!("`{name}` is not a plain file name"),
                help: Some("use letters, digits, `.`, `_` and `-`".to_owned()),
            });
        }
        let template = files.read(&path)?;
        found.insert(name.to_owned(), (path, template));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn around() -> Surroundings {
        Surroundings {
            host: "local".to_owned(),
            service: "proxy".to_owned(),
            replicas: 1,
            names: vec!["example.com".to_owned()],
            upstreams: [("api".to_owned(), vec!["/run/cairn/api/current/1.sock".to_owned()])].into(),
        }
    }

    fn image(settings: &str, template: &str) -> (tempfile::TempDir, Configuration) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("templates")).unwrap();
        fs::write(dir.path().join("settings.toml"), settings).unwrap();
        fs::write(dir.path().join("templates/x.conf.j2"), template).unwrap();
        let configuration = Configuration::read(&ProjectFiles::new(dir.path(), &[]), dir.path()).unwrap();
        (dir, configuration)
    }

    #[test]
    fn settings_of_the_host_lie_over_those_of_the_image() {
        let (_dir, image) = image(
            "[rate]\nburst = 5\nzone = \"a\"\n",
            "{{ rate.zone }} {{ rate.burst }} {{ host }} {{ names[0] }}\n{% for socket in upstreams.api %}{{ socket }}\n{% endfor %}",
        );
        let over: Table = toml::from_str("[rate]\nburst = 7\n").unwrap();
        let files = image.render(&over, &around()).unwrap();
        assert_eq!(files["x.conf"], "a 7 local example.com\n/run/cairn/api/current/1.sock\n");
        for (over, key, said) in [
            ("[rate]\nburts = 7\n", "settings.rate.burts", "did you mean `burst`?"),
            ("[rate]\nburst = \"7\"\n", "settings.rate.burst", "it is string"),
            ("rate = 7\n", "settings.rate", "it is integer"),
        ] {
            let fault = image.render(&toml::from_str(over).unwrap(), &around()).unwrap_err();
            let text = format!("{} {}", fault.message, fault.help.unwrap_or_default());
            assert!(fault.key == key && text.contains(said), "{} {text}", fault.key);
        }
    }

    #[test]
    fn what_a_template_does_not_find_is_an_error_with_its_line() {
        let (_dir, image) = image("", "one\n{{ nothing }}\n");
        let fault = image.render(&Table::new(), &around()).unwrap_err();
        assert!(fault.message.contains("x.conf.j2:2 cannot be rendered"), "{}", fault.message);
    }

    /// A template runs on the operator's computer, outside of every sandbox.
    #[test]
    fn a_template_without_end_is_given_up() {
        for (template, said) in [
            ("{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}", "steps"),
            ("{% for a in range(90000) %}{{ 'x' * 1000 }}{% endfor %}", "bytes"),
            ("{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}", "cannot be rendered"),
        ] {
            let (_dir, image) = image("", template);
            let fault = image.render(&Table::new(), &around()).unwrap_err();
            assert!(fault.message.contains(said), "{}", fault.message);
        }
    }

    #[test]
    fn an_image_without_any_of_it_has_no_files() {
        let dir = tempfile::tempdir().unwrap();
        let none = Configuration::read(&ProjectFiles::new(dir.path(), &[]), dir.path()).unwrap();
        assert!(!none.has_files() && none.schema.is_none());
        fs::write(dir.path().join("settings.toml"), "host = 1\n").unwrap();
        assert!(
            Configuration::read(&ProjectFiles::new(dir.path(), &[]), dir.path())
                .unwrap_err()
                .to_string()
                .contains("another value of this name")
        );
    }
}
