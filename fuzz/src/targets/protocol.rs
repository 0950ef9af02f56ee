//! What a host and the command say to each other over SSH.

use std::io::Read as _;

use cairn_protocol::frame::{self, DataReader, Kind};
use cairn_protocol::manifest::{Reader, Writer};
use cairn_protocol::wanted::Wanted;
use cairn_protocol::{Event, Hello, Request, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A conversation: frames one after the other, streams of data among them.
pub fn frames(input: &[u8]) {
    let mut rest = input;
    while let Ok((kind, payload)) = frame::read(&mut rest) {
        message(kind, &payload);
        let mut again = Vec::new();
        assert!(frame::write(&mut again, kind, &payload).is_ok());
        assert_eq!(frame::read(&mut &*again).ok(), Some((kind, payload)));
    }
    let mut data = Vec::new();
    let _ = DataReader::new(input).read_to_end(&mut data);
    assert!(data.len() <= input.len());
}

/// One message of each kind.
pub fn messages(input: &[u8]) {
    for kind in [Kind::Hello, Kind::Request, Kind::Event, Kind::Response] {
        message(kind, input);
    }
}

fn message(kind: Kind, payload: &[u8]) {
    match kind {
        Kind::Hello => round_trip::<Hello>(kind, payload),
        Kind::Request => round_trip::<Request>(kind, payload),
        Kind::Event => round_trip::<Event>(kind, payload),
        Kind::Response => round_trip::<Response>(kind, payload),
        Kind::Data => {}
    }
}

/// What was understood is what would be said.
fn round_trip<M: Serialize + DeserializeOwned>(kind: Kind, payload: &[u8]) {
    let write = |message: &M| serde_json::to_vec(message).unwrap_or_else(|error| panic!("{error}"));
    let Ok(message) = frame::parse::<M>(kind, payload) else { return };
    let written = write(&message);
    match frame::parse::<M>(kind, &written) {
        Ok(again) => assert_eq!(write(&again), written),
        Err(error) => panic!("our own message is refused: {error}"),
    }
}

/// The trees of a copy. What was read, written again, reads the same.
pub fn manifest_stream(input: &[u8]) {
    let mut reader = Reader::new(input);
    let mut items = Vec::new();
    while let Ok(Some(item)) = reader.next_item() {
        items.push(item);
    }
    if !matches!(reader.next_item(), Ok(None)) {
        return;
    }
    let mut writer = Writer::new(Vec::new());
    assert!(items.iter().all(|item| writer.item(item).is_ok()));
    let Ok(written) = writer.finish() else { unreachable!("memory can be written") };
    let mut again = Reader::new(&*written);
    for item in items {
        assert_eq!(again.next_item().ok().flatten(), Some(item));
    }
    assert!(matches!(again.next_item(), Ok(None)));
}

/// The host's answer, about as many contents as the first two bytes say.
pub fn wanted(input: &[u8]) {
    let Some((length, answer)) = input.split_first_chunk() else { return };
    if let Ok(wanted) = Wanted::read(answer, u64::from(u16::from_be_bytes(*length))) {
        let mut again = Vec::new();
        assert!(wanted.write(&mut again).is_ok());
        assert_eq!(again, answer);
        assert!(wanted.count() <= wanted.len());
    }
}
