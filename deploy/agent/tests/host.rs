//! A host that is not ours: the agent looks at it and leaves nothing there.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use cairn_formats::StorePath;
use cairn_protocol::{Examination, Level, Request, Response};

#[test]
fn who_only_looks_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let entries = || fs::read_dir(root.path()).unwrap().count();
    let held = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = held.local_addr().unwrap();
    let mut session = common::agent(root.path()).unwrap();
    assert_eq!((session.hello().valid.len(), session.hello().all_valid), (0, true));
    assert!(session.hello().free_bytes > 0);
    let request = Request::Examine(Examination {
        addresses: vec![("web".to_owned(), address)],
        users: vec![0],
        groups: vec![],
        agent: StorePath::parse("0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent").unwrap(),
        now: 0,
        verify: false,
        pull_warn_after: None,
    });
    let examined = match session.request(&request, &mut |_| ()).unwrap() {
        Response::Examined(examined) => examined,
        other => panic!("{other:?}"),
    };
    assert!(!examined.ours && examined.generation.is_none() && !examined.steps.is_empty());
    let of = |check: &str| examined.findings.iter().find(|finding| finding.check == check).unwrap();
    let port = of(&format!("address {address}"));
    assert!(port.what.contains(&format!("process {}", std::process::id())), "{port:?}");
    // User 0 belongs to root, and the time was 1970.
    for check in [&port.check, "user ids", "clock"] {
        let finding = of(check);
        assert!(finding.level == Level::Wrong && finding.why.is_some() && finding.next.is_some(), "{finding:?}");
    }
    assert_eq!(of("/nix").level, Level::Good);
    assert_eq!(entries(), 0, "it has made something");

    // The first request that needs a store makes it, and notes before that there was none.
    session.request(&Request::Generations, &mut |_| ()).unwrap();
    let noted = fs::read_to_string(root.path().join("nix/var/cairn/host.json")).unwrap();
    assert!(noted.contains("\"found\": []"), "{noted}");
    session.close();
}

/// A computer that is gone closes no connection.
#[test]
fn a_fleets_lock_falls_with_a_client_that_is_not_heard_of() {
    let root = tempfile::tempdir().unwrap();
    let hold = |silence| Request::HoldFleet {
        fleet: "staging".to_owned(),
        operator: "alice@desk".to_owned(),
        purpose: "a switch of the fleet `staging`".to_owned(),
        reason: None,
        silence,
    };
    let mut first = common::agent(root.path()).unwrap();
    let mut second = common::agent(root.path()).unwrap();
    assert!(matches!(first.request(&hold(1), &mut |_| ()).unwrap(), Response::Held));
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(200));
        assert!(matches!(first.request(&Request::StillHere, &mut |_| ()).unwrap(), Response::Held));
        let refused = second.request(&hold(60), &mut |_| ()).unwrap_err().to_string();
        assert!(refused.contains("locked by alice@desk"), "{refused}");
    }
    let began = Instant::now();
    while second.request(&hold(60), &mut |_| ()).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "the lock does not fall");
        std::thread::sleep(Duration::from_millis(50));
    }
    let lost = first.request(&Request::StillHere, &mut |_| ()).unwrap_err().to_string();
    assert!(lost.contains("not been heard of for 1 s") || lost.contains("broke") || lost.contains("ended"), "{lost}");
}

/// It comes to a host alone.
#[test]
fn the_agent_prints_the_licences_of_what_it_is_made_of() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_cairn-agent")).arg("notices").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), include_str!("../THIRD-PARTY-NOTICES"));
}
