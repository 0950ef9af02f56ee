//! `deploy user-data`: the script that makes a fresh host pull. What is in it is public: the hash of
//! the agent, where to look, and whom to trust.

use anyhow::{Context as _, Result};
use cairn_formats::Sha256;
use cairn_protocol::PullConfig;
use cairn_recipe::pull::PullSection;
use serde::Serialize;

use super::publish::agent_key;
use crate::arguments::UserDataOptions;
use crate::context::Context;
use crate::programs;

const SCRIPT: &str = include_str!("user_data.sh");

#[derive(Serialize)]
struct Report {
    host: String,
    agent_sha256: Sha256,
    script: String,
}

pub fn run(context: &Context, options: &UserDataOptions) -> Result<u8> {
    let project = context.project()?;
    let host = project.host(&options.host)?;
    let pull = host
        .definition
        .pull
        .as_ref()
        .with_context(|| format!("{} does not pull\n  help: add [pull] to {}", host.name, host.file.display()))?;
    let agent = programs::agent(host.definition.platform)?;
    let bytes = std::fs::read(&agent).with_context(|| format!("cannot read {}", agent.display()))?;
    let agent_sha256 = Sha256::of(&bytes);
    let config = PullConfig {
        cache: pull.cache.clone(),
        host: host.name.clone(),
        trusted_public_keys: pull.trusted_public_keys.clone(),
    };
    let script = script(&config, pull, &agent_sha256, host.definition.platform.machine())?;
    let report = Report { host: host.name, agent_sha256, script };
    context.display.result(&report, || report.script.trim_end().to_owned())?;
    Ok(0)
}

fn script(config: &PullConfig, pull: &PullSection, agent: &Sha256, machine: &str) -> Result<String> {
    let json = serde_json::to_string_pretty(config)?;
    let seconds = pull.interval.as_secs();
    // The configuration last: what it holds is nobody's placeholder.
    Ok(SCRIPT
        .replace("@MACHINE@", machine)
        .replace("@SHA256@", &agent.hex())
        .replace("@FETCH@", &fetch(&config.cache, &agent_key(agent)))
        .replace("@INTERVAL@", &seconds.to_string())
        .replace("@SPREAD@", &(seconds / 10).max(1).to_string())
        .replace("@HOST@", &config.host)
        .replace("@CONFIG@", &json))
}

/// Commands that bring the file to `$new`.
fn fetch(cache: &str, key: &str) -> String {
    let (base, query) = cache.split_once('?').unwrap_or((cache, ""));
    let url = format!("{}/{key}", base.trim_end_matches('/'));
    if let Some(path) = url.strip_prefix("file://") {
        return format!("cp {} \"$new\"", quote(path));
    }
    let Some(object) = url.strip_prefix("s3://") else {
        return format!("get {}", quote(&url));
    };
    let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let (bucket, name) = object.split_once('/').unwrap_or((object, ""));
    let (mut aws, public) = match (value("endpoint"), value("region").unwrap_or("us-east-1")) {
        (Some(endpoint), _) => {
            let endpoint = match endpoint.contains("://") {
                true => endpoint.to_owned(),
                false => format!("{}://{endpoint}", value("scheme").unwrap_or("https")),
            };
            (format!("--endpoint-url {}", quote(&endpoint)), format!("{endpoint}/{object}"))
        }
        (None, region) => (String::new(), format!("https://s3.{region}.amazonaws.com/{bucket}/{name}")),
    };
    if let Some(region) = value("region") {
        aws.push_str(&format!(" --region {}", quote(region)));
    }
    // With the instance's role; without the tool only what is public can be had.
    format!(
        "if command -v aws > /dev/null; then aws s3 cp --only-show-errors {} {} \"$new\"; else get {}; fi",
        aws.trim(),
        quote(&url),
        quote(&public)
    )
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_agent_is_fetched_from_where_the_cache_is() {
        for (cache, expected) in [
            ("file:///srv/cache", "cp '/srv/cache/k' \"$new\""),
            ("https://c.example/x/", "get 'https://c.example/x/k'"),
            ("https://c.example/it's", r"get 'https://c.example/it'\''s/k'"),
        ] {
            assert_eq!(fetch(cache, "k"), expected);
        }
        let s3 = fetch("s3://b/p?region=eu-west-1", "k");
        assert!(s3.contains("--region 'eu-west-1' 's3://b/p/k'"), "{s3}");
        assert!(s3.ends_with("get 'https://s3.eu-west-1.amazonaws.com/b/p/k'; fi"), "{s3}");
        let other = fetch("s3://b?endpoint=localhost:9000&scheme=http", "k");
        assert!(other.contains("--endpoint-url 'http://localhost:9000' 's3://b/k'"), "{other}");
    }

    #[test]
    fn a_shell_reads_the_script_and_nothing_is_left_open() {
        let config = PullConfig {
            cache: "https://c.example".to_owned(),
            host: "web".to_owned(),
            trusted_public_keys: vec!["k-1:AAAA".to_owned()],
        };
        let pull: PullSection = PullSection {
            cache: config.cache.clone(),
            publish_to: None,
            trusted_public_keys: config.trusted_public_keys.clone(),
            interval: std::time::Duration::from_secs(300),
            warn_after: std::time::Duration::from_secs(86_400),
            recipient: None,
        };
        let script = script(&config, &pull, &Sha256::of(b"agent"), "x86_64").unwrap();
        for part in ["OnUnitInactiveSec=300s", "RandomizedDelaySec=30s", "\"k-1:AAAA\"", &Sha256::of(b"agent").hex()] {
            assert!(script.contains(part), "{part}\n{script}");
        }
        assert!(!script.contains('@'), "{script}");
        let file = std::env::temp_dir().join(format!("cairn-user-data-{}", std::process::id()));
        std::fs::write(&file, &script).unwrap();
        let read = std::process::Command::new("sh").arg("-n").arg(&file).status().unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(read.success());
    }
}
