//! Nothing is dropped: clients that keep their connections read and write, others look at live streams,
//! while the API and the proxy in front of it are switched and rolled back again and again.
//!
//! `CAIRN_TEST_ROUNDS` says how often (a switch and a rollback each), 3 times unless it does.

use std::time::{Duration, SystemTime};

use cairn_tests::clients::{Clients, Errand, Site};
use cairn_tests::project::Machine;
use cairn_tests::streams::{Kind, Streams};
use cairn_tests::{Project, http};
use serde_json::{Value, json};

const CLIENTS: usize = 40;
const NAME: &str = "spirittours.com";
const TOUR: &str = "/api/v1/tours/camino-last-100";
/// Streams go on until two seconds before a stop has no more time.
const GRACEFUL_SECONDS: u64 = 5;

#[test]
fn switches_and_rollbacks_drop_no_request_and_cut_no_stream() {
    let rounds = std::env::var("CAIRN_TEST_ROUNDS").map_or(3, |text| text.parse().expect("a number"));
    let project = Project::with_shared_store();
    let machine = project.machine("e2e-flow");
    let host = machine.name;
    define(&project, host);
    switch(&project, host);
    let url = machine.url("proxy");
    http::eventually(&format!("{url}/ready"), 200, 60);
    let site = |path| Site { host: machine.inner().address.to_string(), port: 8443, name: NAME, path };
    let errands = (0..CLIENTS).map(|number| errand(&url, number)).collect();

    let clients = Clients::with(&site(TOUR), Duration::from_millis(400), errands);
    let streams = Streams::start(
        &site("/api/v1/tours/camino-last-100/availability"),
        &[Kind::Events, Kind::Socket, Kind::Socket],
    );
    let mut drains = Vec::new();
    let mut version = "1.0.0".to_owned();
    for round in 0..rounds {
        let next = format!("99.0.{round}");
        project.edit("images/api/app/spirit/version.py", &format!("\"{version}\""), &format!("\"{next}\""));
        version = next;
        switch(&project, host);
        assert!(http::eventually(&format!("{url}/health"), 200, 5).body.contains(&version), "not the new version");
        drains.push(last_drain(&machine));
        rollback(&project, host);
        assert!(!http::eventually(&format!("{url}/health"), 200, 5).body.contains(&version), "not the old version");
        drains.push(last_drain(&machine));
    }
    // nginx itself cannot end somebody else's stream: where it is replaced, it cuts them after its drain.
    let seen = streams.stop();

    // The proxy: another configuration, then another program, beside the old one on the same sockets.
    project.edit("images/proxy/settings.toml", "keepalive_timeout = \"65s\"", "keepalive_timeout = \"66s\"");
    switch(&project, host);
    rollback(&project, host);
    project.edit("images/proxy/files/proxy-start", "# Starts nginx.", "# Starts nginx, or fails.");
    switch(&project, host);
    rollback(&project, host);

    let tally = clients.stop();
    assert_eq!(tally.failures, Vec::<String>::new(), "of {} requests", tally.requests);
    assert_eq!(seen.failures, Vec::<String>::new(), "of {} streams", seen.ends.len());
    // Connections were kept: the proxy ends them only where it is replaced itself.
    assert!(tally.connections <= CLIENTS * 9, "{} connections for {} requests", tally.connections, tally.requests);
    assert!(seen.ends.len() >= 2 * 3 * rounds, "{} streams were ended", seen.ends.len());
    for end in &seen.ends {
        let began = drains.iter().rev().find(|drain| *drain <= end);
        let lived = began.map(|drain| end.duration_since(*drain).unwrap_or_default());
        assert!(
            lived >= Some(Duration::from_secs(GRACEFUL_SECONDS - 2)),
            "a stream ended {lived:?} after the drain began"
        );
    }
    eprintln!("{} requests on {} connections, {} streams", tally.requests, tally.connections, seen.ends.len());
}

/// The whole stack but for the check, which one address may not run so often.
fn define(project: &Project, host: &str) {
    let definition = format!("hosts/{host}.toml");
    project.edit(&definition, "    \"../services/smoke.toml\",\n", "");
    let config = format!(
        "WEB_CONCURRENCY = 1\nGRACEFUL_TIMEOUT = \"{GRACEFUL_SECONDS}s\"\n\
         RATE_LIMIT_API = \"1000000/second\"\nRATE_LIMIT_AUTH = \"1000000/second\""
    );
    project.edit(&definition, "WEB_CONCURRENCY = 1", &config);
    project.edit(
        &definition,
        "[services.proxy.listen]",
        "[services.proxy.settings.limits]\nexempt = [\"10.0.0.0/8\"]\n\n[services.proxy.listen]",
    );
}

fn switch(project: &Project, host: &str) {
    let report = project.deploy(&["switch", host, "--yes", "--json"]).ok().json();
    assert_eq!(report["hosts"][0]["outcome"], "switched", "{report}");
}

fn rollback(project: &Project, host: &str) {
    let report = project.deploy(&["rollback", host, "--yes", "--json"]).ok().json();
    assert_eq!(report["hosts"][0]["outcome"], "rolled-back", "{report}");
}

/// When the last activation began to stop what it had replaced.
fn last_drain(machine: &Machine) -> SystemTime {
    let line = "grep '\"drain\"' \"$(ls -d /nix/var/cairn/activations/* | tail -n 1)/events.jsonl\"";
    let event: Value = serde_json::from_str(machine.ssh(line).ok().stdout.trim()).expect("an event");
    SystemTime::UNIX_EPOCH + Duration::from_millis(event["at"].as_u64().expect("a time"))
}

/// Somebody with an account, who looks, writes a review and takes it back.
fn errand(url: &str, number: usize) -> Errand {
    let ask = |path: &str, document: &Value, status| {
        let answer = http::post(&format!("{url}/api/v1/auth/{path}"), document).expect("an answer");
        assert_eq!(answer.status, status, "{answer:?}");
        answer.json()
    };
    let mut account = json!({
        "email": format!("client-{number}@example.com"), "password": "correct horse battery staple",
    });
    let token = |logged_in: Value| {
        format!("Authorization: Bearer {}\r\n", logged_in["access_token"].as_str().expect("a token"))
    };
    account["name"] = "Client".into();
    ask("register", &account, 201);
    account.as_object_mut().expect("an object").remove("name");
    let token = token(ask("login", &account, 200));
    let review = json!({"rating": 5, "text": "a quiet walk along the river"}).to_string();
    Box::new(move |connection| {
        connection.headers.clone_from(&token);
        connection.expect(200, "GET", &format!("{TOUR}/availability"), "")?;
        let written = connection.expect(201, "POST", &format!("{TOUR}/reviews"), &review)?.json();
        let id = written["id"].to_string().replace('"', "");
        connection.expect(204, "DELETE", &format!("/api/v1/reviews/{id}"), "").map(drop)
    })
}
