//! One body to one address, tried a few times.

use std::thread;
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

/// Pauses between attempts.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// The longest that one attempt takes.
const ATTEMPT: Duration = Duration::from_secs(4);

pub(crate) fn agent() -> Agent {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .user_agent(concat!("cairn/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        // Elsewhere is not where somebody said that it may go.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .build();
    config.into()
}

/// Sends the body until it is taken or `deadline` has come. The error names neither path nor query of
/// the address, which may be secret.
pub(crate) fn deliver(
    agent: &Agent,
    url: &str,
    headers: &[(&str, String)],
    body: &[u8],
    deadline: Instant,
) -> Result<(), String> {
    let mut pauses = PAUSES.into_iter();
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let failed = match attempt(agent, url, headers, body, left.min(ATTEMPT)) {
            Ok(()) => return Ok(()),
            Err(failed) => failed,
        };
        match pauses.next().filter(|pause| failed.again && Instant::now() + *pause < deadline) {
            Some(pause) => thread::sleep(pause),
            None => return Err(failed.why),
        }
    }
}

struct Failed {
    why: String,
    /// Another attempt may go better.
    again: bool,
}

fn attempt(agent: &Agent, url: &str, headers: &[(&str, String)], body: &[u8], limit: Duration) -> Result<(), Failed> {
    let mut request = agent.post(url).config().timeout_global(Some(limit)).build();
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let mut answer = request.send(body).map_err(|error| match error {
        // These repeat the address.
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => Failed { why: "it is no good URL".to_owned(), again: false },
        ureq::Error::Timeout(_) => Failed { why: format!("no answer within {} s", limit.as_secs()), again: true },
        other => Failed { why: other.to_string().replace(url, "the address"), again: true },
    })?;
    let status = answer.status().as_u16();
    if (200..300).contains(&status) {
        return Ok(());
    }
    let said = answer.body_mut().with_config().limit(1024).read_to_string().unwrap_or_default();
    let why = match word(&said) {
        Some(word) => format!("it answered {status} ({word})"),
        None => format!("it answered {status}"),
    };
    Err(Failed { why, again: matches!(status, 408 | 429 | 500..) })
}

/// Slack says why in one such word, as `channel_is_archived`. Anything else may repeat the address.
fn word(said: &str) -> Option<&str> {
    let is_word = (1..=64).contains(&said.len()) && said.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    is_word.then_some(said)
}
