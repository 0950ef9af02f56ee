//! A sender that does not keep to the rules: the agent says why, and its store stays as it was.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use cairn_formats::{ContentAddress, Sha256, StoreName, StorePath, fixed_recursive, nar};
use cairn_protocol::frame::{self, DataWriter, Kind};
use cairn_protocol::manifest::{File, Header, Item, Writer};
use cairn_protocol::wanted::Wanted;
use cairn_protocol::{CopyRequest, Event, FailureKind, Hello, Request, Response};
use common::{Home, assert_nothing_arrived};
use proptest::prelude::*;

/// An agent to which anything can be said.
struct Raw {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Raw {
    fn start(home: &Home) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cairn-agent"))
            .arg("serve")
            .arg("--root")
            .arg(home.store.root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, mut from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut opening = String::new();
        from.read_line(&mut opening).unwrap();
        from.read_line(&mut opening).unwrap();
        assert_eq!(opening, cairn_protocol::PREAMBLE);
        frame::read_message::<Hello>(&mut from, Kind::Hello).unwrap();
        Self { child, to, from }
    }

    fn copy(home: &Home, manifest: &[u8]) -> Self {
        let mut raw = Self::start(home);
        frame::write_message(&mut raw.to, Kind::Request, &Request::Copy(CopyRequest::default())).unwrap();
        raw.data(&zstd::encode_all(manifest, 1).unwrap());
        raw
    }

    fn data(&mut self, bytes: &[u8]) {
        let mut data = DataWriter::new(&mut self.to);
        // The agent may have had enough before the end.
        let _ = data.write_all(bytes).and_then(|()| data.finish().map(|_| ()));
    }

    /// The failure that the agent answers with, and whether it ends by itself afterwards.
    fn failure(mut self) -> FailureKind {
        loop {
            match frame::read(&mut self.from).unwrap() {
                (Kind::Data, _) => {}
                (Kind::Event, payload) => drop(frame::parse::<Event>(Kind::Event, &payload).unwrap()),
                (kind, payload) => match frame::parse(kind, &payload).unwrap() {
                    Response::Failed { failure } => {
                        assert!(!failure.message.is_empty());
                        drop(self.to);
                        self.child.wait().unwrap();
                        return failure.kind;
                    }
                    other => panic!("{other:?}"),
                },
            }
        }
    }
}

const BYTES: &[u8] = b"the only file\n";

fn file(link: Sha256, size: u64) -> Item {
    Item::File { name: Vec::new(), file: File { executable: false, size, link, fresh: true } }
}

fn honest_link() -> Sha256 {
    nar::file_hash(false, BYTES.len() as u64, &mut &BYTES[..]).unwrap()
}

/// A path that is one file of [`BYTES`].
fn honest_header() -> Header {
    let nar_hash = honest_link();
    Header {
        path: fixed_recursive(&StoreName::parse("thing").unwrap(), &nar_hash, &BTreeSet::new()),
        nar_hash,
        nar_size: nar::file_nar_size(false, BYTES.len() as u64),
        references: BTreeSet::new(),
        ca: Some(ContentAddress::Recursive(nar_hash)),
        base: None,
    }
}

fn stream(items: &[Item]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    items.iter().for_each(|item| writer.item(item).unwrap());
    writer.finish().unwrap()
}

fn path_of(header: Header) -> Item {
    Item::Path(Box::new(header))
}

#[test]
fn the_honest_case_is_taken_in() {
    let home = Home::new();
    let mut raw = Raw::copy(&home, &stream(&[path_of(honest_header()), file(honest_link(), BYTES.len() as u64)]));
    let (kind, payload) = frame::read(&mut raw.from).unwrap();
    assert_eq!((kind, Wanted::read(&payload[..], 1).unwrap().count()), (Kind::Data, 1));
    raw.data(&zstd::encode_all(BYTES, 1).unwrap());
    drop(raw.to);
    raw.from.read_to_end(&mut Vec::new()).unwrap();
    assert!(home.store.is_valid(&honest_header().path).unwrap());
}

#[test]
fn dishonest_announcements_are_refused_before_anything_is_sent() {
    let other: StorePath = "0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-other".to_owned().try_into().unwrap();
    let size = BYTES.len() as u64;
    let (plain, links) = (honest_header(), file(honest_link(), size));
    let with = |header: Header| vec![path_of(header), links.clone()];
    let table = [
        ("a name that does not follow from the hash", with(Header { path: other.clone(), ..plain.clone() })),
        ("no content address", with(Header { ca: None, ..plain.clone() })),
        (
            "an address over another hash",
            with(Header { ca: Some(ContentAddress::Recursive(Sha256::of(b""))), ..plain.clone() }),
        ),
        (
            "a flat address with the wrong name",
            with(Header { ca: Some(ContentAddress::Flat(honest_link())), ..plain.clone() }),
        ),
        ("twice", [with(plain.clone()), with(plain.clone())].concat()),
        ("files larger than the path", vec![path_of(plain.clone()), file(honest_link(), u64::MAX)]),
        ("a base that the host has not", with(Header { base: Some(other.clone()), ..plain.clone() })),
    ];
    for (why, items) in table {
        let home = Home::new();
        let kind = Raw::copy(&home, &stream(&items)).failure();
        let expected = matches!(kind, FailureKind::Malformed | FailureKind::NotValid { .. });
        assert!(expected, "{why}: {kind:?}");
        assert_nothing_arrived(&home.store);
    }
}

#[test]
fn a_reference_to_nothing_is_refused_with_its_name() {
    let home = Home::new();
    let missing: StorePath = "0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-other".to_owned().try_into().unwrap();
    let references = BTreeSet::from([missing.clone()]);
    let path = fixed_recursive(&StoreName::parse("thing").unwrap(), &honest_link(), &references);
    let header = Header { path, references, ..honest_header() };
    let kind = Raw::copy(&home, &stream(&[path_of(header), file(honest_link(), BYTES.len() as u64)])).failure();
    assert_eq!(kind, FailureKind::NotValid { paths: vec![missing] });
}

#[test]
fn contents_with_other_bytes_are_refused() {
    let header = honest_header();
    let size = BYTES.len() as u64;
    let evil = b"the evil file\n";
    // The bytes are not those of the announced file; then the file is not that of the path.
    let evil_link = nar::file_hash(false, size, &mut &evil[..]).unwrap();
    for (link, file_level) in [(honest_link(), true), (evil_link, false)] {
        let home = Home::new();
        let mut raw = Raw::copy(&home, &stream(&[path_of(header.clone()), file(link, size)]));
        raw.data(&zstd::encode_all(&evil[..], 1).unwrap());
        match raw.failure() {
            FailureKind::FileMismatch { path, .. } => assert!(file_level && path == header.path),
            FailureKind::Mismatch { path, .. } => assert!(!file_level && path == header.path),
            other => panic!("{other:?}"),
        }
        assert_nothing_arrived(&home.store);
    }
}

#[test]
fn contents_that_end_early_are_refused() {
    let home = Home::new();
    let mut raw = Raw::copy(&home, &stream(&[path_of(honest_header()), file(honest_link(), BYTES.len() as u64)]));
    raw.data(&zstd::encode_all(&BYTES[..5], 1).unwrap());
    raw.failure();
    assert_nothing_arrived(&home.store);
    assert_eq!(common::links(&home.store), 0);
}

#[test]
fn frames_that_are_none_end_the_session() {
    for (why, bytes) in [
        ("an unknown kind", &[0, 0, 0, 0, 99][..]),
        ("a length beyond all bounds", &[255, 255, 255, 255, 2]),
        ("a request that is no JSON", &[0, 0, 0, 1, 2, b'{']),
        ("an unknown request", b"\0\0\0\x13\x02{\"request\":\"shell\"}"),
        ("data without a request", &[0, 0, 0, 0, 5]),
        ("half a frame", &[0, 0]),
    ] {
        let home = Home::new();
        let mut raw = Raw::start(&home);
        raw.to.write_all(bytes).unwrap();
        drop(raw.to);
        let response = frame::read_message::<Response>(&mut raw.from, Kind::Response).unwrap();
        assert!(matches!(response, Response::Failed { .. }), "{why}: {response:?}");
        assert!(!raw.child.wait().unwrap().success(), "{why}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn arbitrary_manifests_never_make_a_path_valid(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let home = Home::new();
        let mut raw = Raw::start(&home);
        frame::write_message(&mut raw.to, Kind::Request, &Request::Copy(CopyRequest::default())).unwrap();
        raw.data(&bytes);
        raw.failure();
        prop_assert_eq!(home.store.valid_paths().unwrap(), []);
    }
}
