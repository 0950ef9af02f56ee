#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use cairn_formats::{ContentAddress, Sha256, StoreName, StorePath, fixed_flat};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Node {
    Directory(BTreeMap<Vec<u8>, Node>),
    File(File),
    Symlink(Vec<u8>),
    Same,
}

fn path(seed: u8) -> StorePath {
    fixed_flat(&StoreName::parse("thing").unwrap(), &Sha256::of(&[seed]))
}

fn header(seed: u8) -> Header {
    Header {
        path: path(seed),
        nar_hash: Sha256::of(b"nar"),
        nar_size: u64::MAX - u64::from(seed),
        references: (0..seed % 3).map(path).collect(),
        ca: [None, Some(ContentAddress::Flat(Sha256::of(b"f"))), Some(ContentAddress::Recursive(Sha256::of(b"r")))]
            [usize::from(seed % 3)],
        base: Some(path(seed.wrapping_add(1))),
    }
}

fn items(name: Vec<u8>, node: &Node, into: &mut Vec<Item>) {
    match node {
        Node::Directory(entries) => {
            into.push(Item::Directory { name });
            for (name, node) in entries {
                items(name.clone(), node, into);
            }
            into.push(Item::Leave);
        }
        Node::File(file) => into.push(Item::File { name, file: *file }),
        Node::Symlink(target) => into.push(Item::Symlink { name, target: target.clone() }),
        Node::Same => into.push(Item::Same { name }),
    }
}

fn write(items: &[Item]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for item in items {
        writer.item(item).unwrap();
    }
    writer.finish().unwrap()
}

fn read(wire: &[u8]) -> Result<Vec<Item>, ReadError> {
    let mut reader = Reader::new(wire);
    let mut items = Vec::new();
    while let Some(item) = reader.next_item()? {
        items.push(item);
    }
    Ok(items)
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 1..20)
        .prop_filter("a single part", |n| n != b"." && n != b".." && !n.iter().any(|b| matches!(b, 0 | b'/')))
}

fn nodes() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        (any::<bool>(), any::<u64>(), any::<[u8; 32]>(), any::<bool>()).prop_map(|(executable, size, link, fresh)| {
            Node::File(File { executable, size, link: Sha256::from_bytes(link), fresh })
        }),
        proptest::collection::vec(1..=255u8, 1..50).prop_map(Node::Symlink),
        Just(Node::Same),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        proptest::collection::btree_map(names(), inner, 0..6).prop_map(Node::Directory)
    })
}

proptest! {
    #[test]
    fn a_stream_reads_back(trees in proptest::collection::vec((any::<u8>(), nodes()), 0..4)) {
        let mut all = Vec::new();
        for (seed, tree) in &trees {
            all.push(Item::Path(Box::new(header(*seed))));
            items(Vec::new(), tree, &mut all);
        }
        let wire = write(&all);
        prop_assert_eq!(read(&wire).unwrap(), all);
        // No beginning of a stream is a stream.
        prop_assert!(read(&wire[..wire.len() - 1]).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(items) = read(&bytes) {
            prop_assert_eq!(read(&write(&items)).unwrap(), items);
        }
    }
}

#[test]
fn hostile_streams_are_refused() {
    let root = |rest: &[Item]| {
        let mut all = vec![Item::Path(Box::new(header(0))), Item::Directory { name: Vec::new() }];
        all.extend_from_slice(rest);
        all.push(Item::Leave);
        write(&all)
    };
    let same = |name: &[u8]| Item::Same { name: name.to_vec() };
    let link = |target: &[u8]| Item::Symlink { name: b"l".to_vec(), target: target.to_vec() };
    assert!(read(&root(&[same(b"a"), same(b"b")])).is_ok());
    for (why, wire) in [
        ("parent", root(&[same(b"..")])),
        ("itself", root(&[same(b".")])),
        ("slash", root(&[same(b"a/b")])),
        ("NUL", root(&[same(b"a\0")])),
        ("twice", root(&[same(b"a"), same(b"a")])),
        ("unsorted", root(&[same(b"b"), same(b"a")])),
        ("long name", root(&[same(&[b'a'; 256])])),
        ("empty target", root(&[link(b"")])),
        ("NUL in a target", root(&[link(b"a\0b")])),
        ("long target", root(&[link(&[b'a'; 4096])])),
        ("unknown tag", vec![9]),
        ("a number without end", [vec![1], vec![0xff; 12]].concat()),
        ("a length of 2^63", [vec![1], vec![0x80; 9], vec![1]].concat()),
    ] {
        assert!(matches!(read(&wire), Err(ReadError::Malformed { .. })), "{why}");
    }
}

#[test]
fn a_base_must_be_named_before_it_is_used() {
    let without = Header { base: None, ..header(0) };
    let wire = write(&[Item::Path(Box::new(without)), Item::Same { name: Vec::new() }]);
    assert!(matches!(read(&wire), Err(ReadError::Malformed { .. })));
}

#[test]
fn depth_is_bounded() {
    let mut deep = vec![Item::Path(Box::new(header(0))), Item::Directory { name: Vec::new() }];
    deep.extend((0..MAX_DEPTH).map(|_| Item::Directory { name: b"d".to_vec() }));
    assert!(matches!(read(&write(&deep)), Err(ReadError::Malformed { .. })));
}
