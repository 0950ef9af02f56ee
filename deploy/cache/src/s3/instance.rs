//! The role of an EC2 instance, asked of its metadata service (version 2: a token first, without
//! which nobody who can make a service fetch an address gets at the credentials).

use std::time::Duration;

use rusty_s3::Credentials;
use serde::Deserialize;
use ureq::Agent;

use crate::error::{CacheError, Result};

pub const ENDPOINT: &str = "http://169.254.169.254";
/// It answers from the same computer. Elsewhere nobody does, which must not be waited for long.
const PATIENCE: Duration = Duration::from_secs(2);
const ROLE: &str = "/latest/meta-data/iam/security-credentials/";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    token: String,
}

/// `None` where there is no such service, or the instance has no role.
pub fn role(endpoint: &str) -> Result<Option<Credentials>> {
    let config = Agent::config_builder()
        // Never by way of a proxy: it would be the proxy's role.
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build();
    let agent: Agent = config.into();
    let endpoint = endpoint.trim_end_matches('/');
    let token = agent
        .put(format!("{endpoint}/latest/api/token"))
        .header("x-aws-ec2-metadata-token-ttl-seconds", "60")
        .send_empty()
        .ok()
        .filter(|response| response.status() == 200)
        .and_then(|mut response| response.body_mut().read_to_string().ok());
    // Not an instance of EC2, or one that is told to keep it to itself.
    let Some(token) = token else { return Ok(None) };
    let get = |path: &str| -> Result<Option<String>> {
        let fail = |reason: String| CacheError::Credentials { reason: format!("the instance's metadata: {reason}") };
        let request = agent.get(format!("{endpoint}{path}")).header("x-aws-ec2-metadata-token", token.trim());
        let mut response = request.call().map_err(|e| fail(e.to_string()))?;
        match response.status().as_u16() {
            200 => response.body_mut().read_to_string().map(Some).map_err(|e| fail(e.to_string())),
            404 => Ok(None),
            status => Err(fail(format!("{path} answers {status}"))),
        }
    };
    let Some(name) = get(ROLE)? else { return Ok(None) };
    let Some(name) = name.lines().next().map(str::trim).filter(|name| !name.is_empty()) else { return Ok(None) };
    let Some(answer) = get(&format!("{ROLE}{name}"))? else { return Ok(None) };
    // No part of what does not read is shown: it holds a secret.
    parse(&answer).map(Some).ok_or_else(|| CacheError::Credentials {
        reason: format!("the instance's metadata gives no keys for the role `{name}`"),
    })
}

pub(crate) fn parse(answer: &str) -> Option<Credentials> {
    let answer: Answer = serde_json::from_str(answer).ok()?;
    Some(Credentials::new_with_token(answer.access_key_id, answer.secret_access_key, answer.token))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers as the service does, for as many requests as there are answers.
    fn service(answers: Vec<(&'static str, &'static str)>) -> (String, thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = thread::spawn(move || {
            let mut asked = Vec::new();
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let token = head.iter().find(|line| line.to_ascii_lowercase().starts_with("x-aws-ec2-metadata-token:"));
                let token = token.map_or(String::new(), |line| line.split_once(' ').unwrap().1.to_owned());
                asked.push(format!("{} {token}", head[0].trim_end_matches(" HTTP/1.1")).trim_end().to_owned());
                let length = body.len();
                write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
                    .unwrap();
            }
            asked
        });
        (endpoint, asked)
    }

    #[test]
    fn the_keys_of_a_role_are_asked_for_with_a_token() {
        let keys = r#"{"Code":"Success","AccessKeyId":"A","SecretAccessKey":"B","Token":"C","Expiration":"x"}"#;
        let (endpoint, asked) = service(vec![("200 OK", "tok"), ("200 OK", "web\n"), ("200 OK", keys)]);
        let found = role(&endpoint).unwrap().unwrap();
        assert_eq!((found.key(), found.secret(), found.token()), ("A", "B", Some("C")));
        let expected = ["PUT /latest/api/token".to_owned(), format!("GET {ROLE} tok"), format!("GET {ROLE}web tok")];
        assert_eq!(asked.join().unwrap(), expected);
    }

    #[test]
    fn no_service_and_no_role_are_no_credentials_and_nonsense_is_an_error() {
        let (endpoint, _) = service(vec![("403 No", "")]);
        assert!(role(&endpoint).unwrap().is_none());
        let (endpoint, _) = service(vec![("200 OK", "tok"), ("404 No", "")]);
        assert!(role(&endpoint).unwrap().is_none());
        let (endpoint, _) =
            service(vec![("200 OK", "tok"), ("200 OK", "web"), ("200 OK", "{\"SecretAccessKey\":\"B\"}")]);
        let error = role(&endpoint).err().unwrap().to_string();
        assert!(error.contains("role `web`") && !error.contains("\"B\""), "{error}");
    }
}
