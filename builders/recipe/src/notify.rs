//! `[[notify]]` of `deploy.toml`: who is told of switches and rollbacks.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// One address, and what it is told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Entry")]
pub struct Notify {
    pub kind: NotifyKind,
    pub url: Value,
    /// Signs the body of a webhook.
    pub signing_key: Option<Value>,
    pub on: Vec<Occasion>,
    /// As commands take them: hosts, fleets, `@TAG`, patterns. Empty: every host.
    pub hosts: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifyKind {
    /// The event as a JSON document.
    Webhook,
    /// A message for people, as Slack's incoming webhooks take it.
    Slack,
}

impl NotifyKind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Slack => "slack",
        }
    }
}

/// What of a run is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Occasion {
    Start,
    /// Every host is as it was to be.
    Success,
    /// Something failed, and what failed went back.
    Revert,
    Failure,
    /// Ctrl-C; how it ended comes apart.
    Interrupted,
}

impl Occasion {
    const ALL: [Self; 5] = [Self::Start, Self::Success, Self::Revert, Self::Failure, Self::Interrupted];
}

/// What the name of a variable begins with that an entry may use. A definition may come from a pull
/// request, and must not pick from what else the environment of an operator or of a CI job holds.
pub const VARIABLE_PREFIX: &str = "DEPLOY_NOTIFY_";

/// A text, or where it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Plain(String),
    /// The name of a secret of the project, whose entry in secrets.toml says `notifications = true`.
    Secret(String),
    /// A variable of the environment; its name begins with [`VARIABLE_PREFIX`].
    Environment(String),
}

/// The name as it stands, or why a notification may not use this variable.
fn variable(name: &str) -> Result<String, String> {
    let plain = |rest: &str| {
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    if name.strip_prefix(VARIABLE_PREFIX).is_some_and(plain) {
        return Ok(name.to_owned());
    }
    let rest: String = name.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    let shown: String = name.chars().take(100).collect();
    Err(format!(
        "a notification may not use the variable {shown:?}: its name does not begin with {VARIABLE_PREFIX}\n  help: rename \
         it to {VARIABLE_PREFIX}{} here and where it is set (capital letters, digits and `_`)",
        match name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            true => name.to_ascii_uppercase(),
            false => rest.to_ascii_uppercase(),
        }
    ))
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const WANTED: &str = "write a text, { secret = \"NAME\" } or { env = \"VARIABLE\" }";
        let value = toml::Value::deserialize(deserializer)?;
        if let toml::Value::String(text) = value {
            return Ok(Self::Plain(text));
        }
        let only = value.as_table().filter(|table| table.len() == 1).and_then(|table| table.iter().next());
        match only.and_then(|(key, name)| Some((key.as_str(), name.as_str()?.to_owned()))) {
            Some(("secret", name)) => Ok(Self::Secret(name)),
            Some(("env", name)) => variable(&name).map(Self::Environment).map_err(D::Error::custom),
            _ => Err(D::Error::custom(WANTED)),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    kind: NotifyKind,
    url: Value,
    signing_key: Option<Value>,
    on: Option<Vec<Occasion>>,
    #[serde(default)]
    hosts: Vec<String>,
}

impl TryFrom<Entry> for Notify {
    type Error = &'static str;

    fn try_from(entry: Entry) -> Result<Self, &'static str> {
        let Entry { kind, url, signing_key, on, hosts } = entry;
        if kind == NotifyKind::Slack && signing_key.is_some() {
            return Err("`signing_key` goes with the kind `webhook` alone: Slack checks no signature");
        }
        if kind == NotifyKind::Slack && matches!(url, Value::Plain(_)) {
            return Err(
                "whoever knows the url of a Slack channel can write there: use url = { secret = \"NAME\" } or { env = \"VARIABLE\" }",
            );
        }
        if matches!(signing_key, Some(Value::Plain(_))) {
            return Err("a `signing_key` is a secret: write { secret = \"NAME\" } or { env = \"VARIABLE\" }");
        }
        match &url {
            Value::Plain(text) if !is_http(text) => return Err("`url` begins with https:// or http://"),
            _ => {}
        }
        let on = on.unwrap_or_else(|| Occasion::ALL.to_vec());
        if on.is_empty() {
            return Err("`on` is empty, so that nothing would be told: name an occasion, or take the entry out");
        }
        Ok(Self { kind, url, signing_key, on, hosts })
    }
}

/// Whether this may be an address that a notification is sent to.
pub fn is_http(url: &str) -> bool {
    ["https://", "http://"].iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;
    use crate::parse;
    use crate::project::ProjectConfig;

    fn read(text: &str) -> Result<Vec<Notify>, String> {
        let config: ProjectConfig = parse::toml(Path::new("deploy.toml"), text).map_err(|e| e.to_string())?;
        Ok(config.notify)
    }

    #[test]
    fn an_entry_says_where_and_on_what() {
        let text = "[[notify]]\nkind = \"slack\"\nurl = { secret = \"slack-url\" }\n\
                    [[notify]]\nkind = \"webhook\"\nurl = \"https://ci.example/hook\"\nsigning_key = { env = \"DEPLOY_NOTIFY_HOOK_KEY\" }\n\
                    on = [\"failure\", \"revert\"]\nhosts = [\"production\", \"@web\"]\n";
        let slack = Notify {
            kind: NotifyKind::Slack,
            url: Value::Secret("slack-url".into()),
            signing_key: None,
            on: Occasion::ALL.to_vec(),
            hosts: Vec::new(),
        };
        let webhook = Notify {
            kind: NotifyKind::Webhook,
            url: Value::Plain("https://ci.example/hook".into()),
            signing_key: Some(Value::Environment("DEPLOY_NOTIFY_HOOK_KEY".into())),
            on: vec![Occasion::Failure, Occasion::Revert],
            hosts: vec!["production".into(), "@web".into()],
        };
        assert_eq!(read(text).unwrap(), [slack, webhook]);
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_place() {
        for (more, said) in [
            ("kind = \"email\"\nurl = \"https://x\"", "deploy.toml:2:8"),
            ("kind = \"slack\"\nurl = \"https://hooks.slack.com/services/T/B/X\"", "can write there"),
            (
                "kind = \"slack\"\nurl = { env = \"DEPLOY_NOTIFY_U\" }\nsigning_key = { env = \"DEPLOY_NOTIFY_K\" }",
                "checks no signature",
            ),
            ("kind = \"webhook\"\nurl = \"https://x\"\nsigning_key = \"abc\"", "is a secret"),
            ("kind = \"webhook\"\nurl = \"ftp://x\"", "begins with https://"),
            (
                "kind = \"webhook\"\nurl = { env = \"AWS_SECRET_ACCESS_KEY\" }",
                "help: rename it to DEPLOY_NOTIFY_AWS_SECRET_ACCESS_KEY",
            ),
            (
                "kind = \"webhook\"\nurl = \"https://x\"\nsigning_key = { env = \"CI_TOKEN\" }",
                "may not use the variable \"CI_TOKEN\"",
            ),
            ("kind = \"webhook\"\nurl = { env = \"DEPLOY_NOTIFY_\" }", "may not use"),
            ("kind = \"webhook\"\nurl = { sekret = \"x\" }", "{ secret = \"NAME\" }"),
            ("kind = \"webhook\"\nurl = \"https://x\"\non = []", "is empty"),
            ("kind = \"webhook\"\nurl = \"https://x\"\non = [\"stop\"]", "unknown variant `stop`"),
            ("kind = \"webhook\"\nurl = \"https://x\"\nhost = [\"a\"]", "did you mean `hosts`?"),
        ] {
            let error = read(&format!("[[notify]]\n{more}\n")).unwrap_err();
            assert!(error.starts_with("deploy.toml:") && error.contains(said), "{more}: {error}");
            assert!(!error.contains("T/B/X"), "{error}");
        }
    }
}
