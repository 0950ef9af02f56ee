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

/// The line of the script that gives way to the values.
const VALUES: &str = "@VALUES@";

fn script(config: &PullConfig, pull: &PullSection, agent: &Sha256, machine: &str) -> Result<String> {
    let values = values(config, pull, agent, machine)?;
    let (head, tail) = SCRIPT.split_once(VALUES).context("the script has no place for its values")?;
    Ok(format!("{head}{}{tail}", values.trim_end()))
}

/// What differs from host to host, as assignments of the shell, and `fetch`. Nothing else of the script
/// holds a value, and every value passes [`quote`].
fn values(config: &PullConfig, pull: &PullSection, agent: &Sha256, machine: &str) -> Result<String> {
    let seconds = pull.interval.as_secs();
    let assignments = [
        ("host", config.host.clone()),
        ("machine", machine.to_owned()),
        ("sha256", agent.hex()),
        ("interval", seconds.to_string()),
        ("spread", (seconds / 10).max(1).to_string()),
        ("config", serde_json::to_string_pretty(config)?),
    ];
    let lines: String = assignments.iter().map(|(name, value)| format!("{name}={}\n", quote(value))).collect();
    Ok(format!("{lines}fetch() {{\n    {}\n}}\n", fetch(&config.cache, &agent_key(agent))))
}

/// Commands that bring the file to `$new`.
fn fetch(cache: &str, key: &str) -> String {
    let (base, query) = cache.split_once('?').unwrap_or((cache, ""));
    let url = format!("{}/{key}", base.trim_end_matches('/'));
    if let Some(path) = url.strip_prefix("file://") {
        return format!("cp -- {} \"$new\"", quote(path));
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
            (format!("--endpoint-url={}", quote(&endpoint)), format!("{endpoint}/{object}"))
        }
        (None, region) => (String::new(), format!("https://s3.{region}.amazonaws.com/{bucket}/{name}")),
    };
    if let Some(region) = value("region") {
        aws.push_str(&format!(" --region={}", quote(region)));
    }
    // With the instance's role; without the tool only what is public can be had.
    format!(
        "if command -v aws > /dev/null; then aws s3 cp --only-show-errors {} {} \"$new\"; else get {}; fi",
        aws.trim(),
        quote(&url),
        quote(&public)
    )
}

/// One word of any POSIX shell, whatever is in it.
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
            ("file:///srv/cache", "cp -- '/srv/cache/k' \"$new\""),
            ("https://c.example/x/", "get 'https://c.example/x/k'"),
            ("https://c.example/it's", r"get 'https://c.example/it'\''s/k'"),
        ] {
            assert_eq!(fetch(cache, "k"), expected);
        }
        let s3 = fetch("s3://b/p?region=eu-west-1", "k");
        assert!(s3.contains("--region='eu-west-1' 's3://b/p/k'"), "{s3}");
        assert!(s3.ends_with("get 'https://s3.eu-west-1.amazonaws.com/b/p/k'; fi"), "{s3}");
        let other = fetch("s3://b?endpoint=localhost:9000&scheme=http", "k");
        assert!(other.contains("--endpoint-url='http://localhost:9000' 's3://b/k'"), "{other}");
    }

    fn config(host: &str, cache: &str) -> (PullConfig, PullSection) {
        let config = PullConfig {
            cache: cache.to_owned(),
            host: host.to_owned(),
            trusted_public_keys: vec!["k-1:AAAA".to_owned()],
        };
        let pull = PullSection {
            cache: config.cache.clone(),
            publish_to: None,
            trusted_public_keys: config.trusted_public_keys.clone(),
            interval: std::time::Duration::from_secs(300),
            warn_after: std::time::Duration::from_secs(86_400),
            recipient: None,
        };
        (config, pull)
    }

    fn sh(arguments: &[&str], input: &str) -> std::process::Output {
        let mut sh = std::process::Command::new("sh");
        sh.args(arguments).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut sh = sh.spawn().unwrap();
        std::io::Write::write_all(&mut sh.stdin.take().unwrap(), input.as_bytes()).unwrap();
        sh.wait_with_output().unwrap()
    }

    #[test]
    fn a_shell_reads_the_script_and_nothing_is_left_open() {
        let (config, pull) = config("web", "https://c.example");
        let script = script(&config, &pull, &Sha256::of(b"agent"), "x86_64").unwrap();
        for part in ["interval='300'", "spread='30'", "\"k-1:AAAA\"", &Sha256::of(b"agent").hex()] {
            assert!(script.contains(part), "{part}\n{script}");
        }
        assert!(!script.contains('@'), "{script}");
        assert!(sh(&["-n"], &script).status.success());
    }

    #[test]
    fn no_value_is_more_than_a_word_to_the_shell() {
        let dir = std::env::temp_dir().join(format!("cairn-user-data-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let ran = dir.join("ran");
        let touch = format!("touch {}", ran.display());
        for host in [
            format!("a\"; {touch}; \""),
            format!("$({touch})"),
            format!("`{touch}`"),
            format!("x'; {touch}; '"),
            format!("a\n{touch}\n"),
            format!("END\n{touch}"),
            "@VALUES@ @FETCH@ \\ $HOME".to_owned(),
        ] {
            let (config, pull) = config(&host, &format!("file:///c/{host}"));
            let values = values(&config, &pull, &Sha256::of(b"agent"), &host).unwrap();
            // `fetch` runs as well, with a `cp` that prints the file's name.
            let print = "cp() { printf '%s' \"$2\"; }; new=x; printf '%s\\0' \"$host\" \"$machine\" \"$config\"; fetch";
            let output = sh(&[], &format!("{values}\n{print}\n"));
            assert!(output.status.success(), "{values}");
            let said = String::from_utf8(output.stdout).unwrap();
            let said: Vec<&str> = said.split('\0').collect();
            assert_eq!(said[..2], [host.as_str(), host.as_str()]);
            assert_eq!(serde_json::from_str::<PullConfig>(said[2]).unwrap().host, host);
            assert!(said[3].starts_with(&format!("/c/{host}")), "{}", said[3]);
            assert!(sh(&["-n"], &script(&config, &pull, &Sha256::of(b"agent"), &host).unwrap()).status.success());
            assert!(!ran.exists(), "{host}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
