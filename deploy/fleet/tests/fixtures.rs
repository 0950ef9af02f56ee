//! Plans that earlier versions kept in a file are still read, with their values.
//!
//! `tests/fixtures/README.md` says how the files are written.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use cairn_fleet::{Kept, Plans};
use cairn_formats::StorePath;
use cairn_protocol::Source;

fn file(version: &str, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(version).join("plan").join(name)
}

fn kept(host: &str, generation: Option<u64>) -> Kept {
    let closure = StorePath::parse(&format!("0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-host-{host}")).unwrap();
    Kept { host: host.to_owned(), closure, generation }
}

fn full() -> Plans {
    let source = Source { revision: "fbaba72067b26a5f1b941955c4570ce3f6728f8f".to_owned(), clean: true };
    Plans::new(Some(source), vec![kept("web-1", Some(7)), kept("web-2", None)])
}

fn minimal() -> Plans {
    Plans::new(None, Vec::new())
}

#[test]
fn plans_of_fbaba72_are_read_as_they_were_written() {
    let read = Plans::read(&file("fbaba72", "full.plan")).unwrap();
    assert_eq!(read, full());
    assert_eq!(read.expected(), [("web-1".to_owned(), Some(7)), ("web-2".to_owned(), None)].into());
    assert_eq!(Plans::read(&file("fbaba72", "minimal.plan")).unwrap(), minimal());
}

/// By `deploy plan HOST --out FILE`, for a machine on generation 2.
#[test]
fn a_plan_that_deploy_of_fbaba72_kept_is_read_as_it_was_written() {
    let read = Plans::read(&file("fbaba72", "recorded.plan")).unwrap();
    assert_eq!(read.version, 1);
    assert_eq!(read.expected(), [("e2e-record".to_owned(), Some(2))].into());
    assert_eq!(read.hosts[0].closure.base(), "9rc6yxlpp1rsfzg9cpv3zq8dchjmpgh2-e2e-record-host");
    let source = read.source.unwrap();
    assert_eq!((source.revision.as_str(), source.clean), ("d9d3fca8e767e5e053b3e0ba80eb42e33e647213", false));
}

#[test]
#[ignore = "writes fixtures: see tests/fixtures/README.md"]
fn write_fixtures() {
    let version = std::env::var("CAIRN_FIXTURES").expect("CAIRN_FIXTURES: the version to write fixtures of");
    std::fs::create_dir_all(file(&version, "")).unwrap();
    full().write(&file(&version, "full.plan")).unwrap();
    minimal().write(&file(&version, "minimal.plan")).unwrap();
}
