//! What an image runs, as whom and how its health is asked: the image configuration.
//!
//! Format: OCI image specification 1.1, `config.md`. The health check is Docker's extension of it
//! (Docker image specification 1.3, `Healthcheck`), which Docker reads from OCI images as well;
//! podman 4.3 does so only from Docker's own format and ignores it here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use cairn_formats::Platform;
use serde::{Deserialize, Serialize};

use crate::{Digest, OciError, Result, json};

/// When every image was made. RFC 3339.
pub const CREATED: &str = "1970-01-01T00:00:00Z";

pub(crate) const MEDIA_TYPE: &str = "application/vnd.oci.image.config.v1+json";

/// A numeric user and group: names would be looked up in files of the image by each runtime in its
/// own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

/// How a container of the image is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    pub user: User,
    pub env: BTreeMap<String, String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// Absolute, in the image.
    pub working_dir: Option<String>,
    /// `8080/tcp`
    pub exposed_ports: BTreeSet<String>,
    /// Absolute paths, in the image.
    pub volumes: BTreeSet<String>,
    pub labels: BTreeMap<String, String>,
    /// `SIGTERM`
    pub stop_signal: Option<String>,
    pub healthcheck: Option<Healthcheck>,
}

impl ImageConfig {
    /// An image that says nothing but who runs in it.
    pub fn new(user: User) -> Self {
        Self {
            user,
            env: BTreeMap::new(),
            entrypoint: Vec::new(),
            cmd: Vec::new(),
            working_dir: None,
            exposed_ports: BTreeSet::new(),
            volumes: BTreeSet::new(),
            labels: BTreeMap::new(),
            stop_signal: None,
            healthcheck: None,
        }
    }
}

/// A command whose exit status 0 means healthy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// Program and arguments; no shell.
    pub command: Vec<String>,
    pub interval: Duration,
    pub timeout: Duration,
    /// Failures within this time after the start do not count.
    pub start_period: Duration,
    pub retries: u32,
}

/// A layer as the configuration lists it.
pub(crate) struct ListedLayer<'a> {
    pub diff_id: Digest,
    pub name: &'a str,
}

/// The configuration's JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ConfigFile {
    pub architecture: String,
    pub config: Execution,
    pub created: Option<String>,
    #[serde(default)]
    pub history: Vec<History>,
    pub os: String,
    pub rootfs: RootFs,
}

/// Key names with capital letters, absent if empty: so the specification has it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Execution {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthcheckFile>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    pub user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Empty {}

/// Times in nanoseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HealthcheckFile {
    pub test: Vec<String>,
    pub interval: u64,
    pub timeout: u64,
    pub start_period: u64,
    pub retries: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct History {
    pub created: Option<String>,
    pub created_by: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RootFs {
    pub diff_ids: Vec<Digest>,
    #[serde(rename = "type")]
    pub kind: String,
}

/// The configuration's bytes; `path` is for messages.
pub(crate) fn render(
    config: &ImageConfig,
    platform: Platform,
    layers: &[ListedLayer<'_>],
    path: &Path,
) -> Result<Vec<u8>> {
    let file = ConfigFile {
        architecture: platform.debian().to_owned(),
        config: execution(config)?,
        created: Some(CREATED.to_owned()),
        history: layers.iter().map(history).collect(),
        os: "linux".to_owned(),
        rootfs: RootFs { diff_ids: layers.iter().map(|l| l.diff_id).collect(), kind: "layers".to_owned() },
    };
    json::canonical(&file, path)
}

fn history(layer: &ListedLayer<'_>) -> History {
    History { created: Some(CREATED.to_owned()), created_by: Some(format!("cairn: {}", layer.name)) }
}

fn execution(config: &ImageConfig) -> Result<Execution> {
    for (name, value) in &config.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(unusable("variable", name, "give it a name without '=' and no NUL bytes"));
        }
    }
    for port in &config.exposed_ports {
        if !is_port(port) {
            return Err(unusable("port", port, "write it as 8080/tcp or 53/udp"));
        }
    }
    if let Some(volume) = config.volumes.iter().find(|volume| !volume.starts_with('/')) {
        return Err(unusable("volume", volume, "start it with '/'"));
    }
    if let Some(dir) = config.working_dir.as_deref().filter(|dir| !dir.starts_with('/')) {
        return Err(unusable("working directory", dir, "start it with '/'"));
    }
    Ok(Execution {
        cmd: config.cmd.clone(),
        entrypoint: config.entrypoint.clone(),
        env: config.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        exposed_ports: config.exposed_ports.iter().map(|port| (port.clone(), Empty {})).collect(),
        volumes: config.volumes.iter().map(|volume| (volume.clone(), Empty {})).collect(),
        healthcheck: config.healthcheck.as_ref().map(healthcheck).transpose()?,
        labels: config.labels.clone(),
        stop_signal: config.stop_signal.clone(),
        user: config.user.to_string(),
        working_dir: config.working_dir.clone(),
    })
}

fn healthcheck(check: &Healthcheck) -> Result<HealthcheckFile> {
    if check.command.is_empty() {
        return Err(unusable("health check", "", "give it a command"));
    }
    let nanoseconds = |time: Duration| {
        // Docker counts in a signed 64-bit number and refuses what is between 0 and 1 ms.
        i64::try_from(time.as_nanos())
            .ok()
            .filter(|n| *n == 0 || *n >= 1_000_000)
            .and_then(|n| u64::try_from(n).ok())
            .ok_or_else(|| unusable("time of the health check", &format!("{time:?}"), "use 1 ms to 292 years"))
    };
    Ok(HealthcheckFile {
        test: std::iter::once("CMD".to_owned()).chain(check.command.iter().cloned()).collect(),
        interval: nanoseconds(check.interval)?,
        timeout: nanoseconds(check.timeout)?,
        start_period: nanoseconds(check.start_period)?,
        retries: check.retries,
    })
}

fn is_port(text: &str) -> bool {
    let Some((number, "tcp" | "udp" | "sctp")) = text.split_once('/') else { return false };
    number.bytes().all(|b| b.is_ascii_digit()) && number.parse::<u16>().is_ok_and(|n| n > 0)
}

fn unusable(what: &'static str, value: &str, remedy: &'static str) -> OciError {
    OciError::Config { what, value: value.to_owned(), remedy }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config() -> ImageConfig {
        ImageConfig::new(User { uid: 10001, gid: 10001 })
    }

    #[test]
    fn a_configuration_has_known_bytes() {
        let config = ImageConfig {
            env: [("B", "2"), ("A", "1")].map(|(k, v)| (k.into(), v.into())).into(),
            entrypoint: vec!["/usr/bin/app".into()],
            exposed_ports: ["8080/tcp".into()].into(),
            stop_signal: Some("SIGTERM".into()),
            healthcheck: Some(Healthcheck {
                command: vec!["/usr/bin/check".into()],
                interval: Duration::from_secs(10),
                timeout: Duration::from_millis(1500),
                start_period: Duration::ZERO,
                retries: 3,
            }),
            ..config()
        };
        let layer = ListedLayer { diff_id: Digest::of(b""), name: "app" };
        let bytes = render(&config, Platform::LinuxArm64, &[layer], Path::new("config")).unwrap();
        let expected = concat!(
            r#"{"architecture":"arm64","config":{"Entrypoint":["/usr/bin/app"],"Env":["A=1","B=2"],"#,
            r#""ExposedPorts":{"8080/tcp":{}},"Healthcheck":{"Interval":10000000000,"Retries":3,"#,
            r#""StartPeriod":0,"Test":["CMD","/usr/bin/check"],"Timeout":1500000000},"StopSignal":"SIGTERM","#,
            r#""User":"10001:10001"},"created":"1970-01-01T00:00:00Z","history":[{"created":"1970-01-01T00:00:00Z","#,
            r#""created_by":"cairn: app"}],"os":"linux","rootfs":{"diff_ids":["#,
            r#""sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],"type":"layers"}}"#
        );
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn what_a_runtime_would_misread_is_refused() {
        let check = |command: &[&str], interval| Healthcheck {
            command: command.iter().map(|s| (*s).to_owned()).collect(),
            interval,
            timeout: Duration::from_secs(1),
            start_period: Duration::ZERO,
            retries: 1,
        };
        let second = Duration::from_secs(1);
        let bad = [
            ImageConfig { env: [("A=B".into(), "1".into())].into(), ..config() },
            ImageConfig { env: [(String::new(), "1".into())].into(), ..config() },
            ImageConfig { exposed_ports: ["8080".into()].into(), ..config() },
            ImageConfig { exposed_ports: ["+80/tcp".into()].into(), ..config() },
            ImageConfig { exposed_ports: ["0/tcp".into()].into(), ..config() },
            ImageConfig { exposed_ports: ["70000/tcp".into()].into(), ..config() },
            ImageConfig { working_dir: Some("srv".into()), ..config() },
            ImageConfig { healthcheck: Some(check(&[], second)), ..config() },
            ImageConfig { healthcheck: Some(check(&["/c"], Duration::from_nanos(5))), ..config() },
            ImageConfig { healthcheck: Some(check(&["/c"], Duration::MAX)), ..config() },
        ];
        for config in bad {
            let result = render(&config, Platform::LinuxAmd64, &[], Path::new("config"));
            assert!(matches!(result, Err(OciError::Config { .. })), "{config:?}");
        }
    }
}
