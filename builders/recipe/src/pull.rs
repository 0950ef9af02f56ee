//! `[pull]`: a host that fetches by itself what it is to run, from a binary cache.

use std::time::Duration;

use serde::Deserialize;

use crate::duration;

/// What is wrong, at which key, and what helps.
pub struct Misplaced {
    pub key: &'static str,
    pub message: String,
    pub help: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullSection {
    /// Where the host reads: `https://…`, `s3://BUCKET/…` or `file:///…`.
    pub cache: String,
    /// Where `deploy publish` writes, if it is reached by another way from here.
    pub publish_to: Option<String>,
    /// `NAME:BASE64`; pointer and store paths must be signed by one of them.
    pub trusted_public_keys: Vec<String>,
    /// Between two looks.
    #[serde(default = "five_minutes", deserialize_with = "duration::deserialize")]
    pub interval: Duration,
    /// The newest pointer of a host is old after this time: `deploy status` and `deploy doctor` warn.
    #[serde(default = "thirty_days", deserialize_with = "duration::deserialize")]
    pub warn_after: Duration,
    /// The public key that secrets are sealed to: `ssh-ed25519 AAAA…`. Each of the hosts has its private half.
    pub recipient: Option<String>,
}

const fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

const fn thirty_days() -> Duration {
    Duration::from_secs(30 * 86_400)
}

impl PullSection {
    /// Where `deploy publish` writes.
    pub fn destination(&self) -> &str {
        self.publish_to.as_deref().unwrap_or(&self.cache)
    }

    pub(crate) fn check(&self) -> Result<(), Misplaced> {
        let fail = |key, message, help| Err(Misplaced { key, message, help });
        for (key, url) in [("cache", Some(&self.cache)), ("publish_to", self.publish_to.as_ref())] {
            let known = |url: &String| ["file:///", "http://", "https://", "s3://"].iter().any(|s| url.starts_with(s));
            if let Some(url) = url.filter(|url| !known(url) || url.contains(char::is_whitespace)) {
                let help = "write file:///FOLDER, https://HOST/PATH or s3://BUCKET/PREFIX?region=REGION";
                return fail(key, format!("`{url}` is not the address of a binary cache"), help);
            }
        }
        if self.trusted_public_keys.is_empty() {
            let help = "`deploy cache-key generate NAME FILE` makes a pair and prints the public one";
            return fail("trusted_public_keys", "no key is trusted, so nothing can be".to_owned(), help);
        }
        if let Some(key) = self.trusted_public_keys.iter().find(|key| !key.contains(':')) {
            return fail("trusted_public_keys", format!("`{key}` is no public key"), "write NAME:BASE64");
        }
        if self.interval < Duration::from_secs(10) {
            return fail("interval", "the host would do nothing else".to_owned(), "write 10s or more");
        }
        if self.warn_after < self.interval {
            let message = "the pointer would be old before the host looks again".to_owned();
            return fail("warn_after", message, "write a time longer than pull.interval, such as 30d");
        }
        match &self.recipient {
            // The agent opens nothing else.
            Some(key) if !key.starts_with("ssh-ed25519 ") => fail(
                "recipient",
                "it is no ed25519 SSH key".to_owned(),
                "make a pair with `ssh-keygen -t ed25519 -N '' -f pull.key`, and write the content of pull.key.pub",
            ),
            _ => Ok(()),
        }
    }
}
