//! Reading NARs: strict, streaming, in constant memory but for the names on the way down.

use std::io::{self, Read};

use super::{MAGIC, padding};
use crate::RelPath;

/// Longest name of a directory entry (Linux' NAME_MAX) and longest target of a link (PATH_MAX).
const MAX_NAME: u64 = 255;
const MAX_TARGET: u64 = 4095;
/// Deeper trees are refused: paths would pass PATH_MAX, and the reader is recursive.
const MAX_DEPTH: usize = 512;

/// Receives the nodes of a NAR in the order of the archive; parents come before children.
pub trait Sink {
    fn directory(&mut self, path: &RelPath) -> io::Result<()>;
    /// `data` gives `len` bytes, or fewer when the archive was cut (then `decode` fails afterwards);
    /// what the sink leaves unread is skipped.
    fn regular(&mut self, path: &RelPath, executable: bool, len: u64, data: &mut dyn Read) -> io::Result<()>;
    fn symlink(&mut self, path: &RelPath, target: &[u8]) -> io::Result<()>;
}

#[derive(Debug, thiserror::Error)]
pub enum NarError {
    #[error("cannot read the archive or write what it holds: {0}")]
    Io(#[from] io::Error),
    #[error("not a well-formed NAR archive, at `{path}`: {reason}")]
    Malformed { path: String, reason: String },
}

/// Reads one NAR from `input` into `sink`, up to and including its last byte and no further.
pub fn decode<R: Read, S: Sink>(input: R, sink: &mut S) -> Result<(), NarError> {
    let mut decoder = Decoder { input, sink };
    let root = RelPath::root();
    decoder.expect(&root, MAGIC)?;
    decoder.node(&root, 0)
}

struct Decoder<'s, R, S> {
    input: R,
    sink: &'s mut S,
}

impl<R: Read, S: Sink> Decoder<'_, R, S> {
    fn node(&mut self, path: &RelPath, depth: usize) -> Result<(), NarError> {
        if depth > MAX_DEPTH {
            return Err(malformed(path, format!("more than {MAX_DEPTH} directories deep")));
        }
        self.expect(path, b"(")?;
        self.expect(path, b"type")?;
        match self.string(path, 16)?.as_slice() {
            b"regular" => self.regular(path),
            b"symlink" => {
                self.expect(path, b"target")?;
                let target = self.string(path, MAX_TARGET)?;
                if target.is_empty() || target.contains(&0) {
                    return Err(malformed(path, "a link with an empty target or a NUL in it"));
                }
                self.sink.symlink(path, &target)?;
                self.expect(path, b")")
            }
            b"directory" => self.entries(path, depth),
            other => Err(malformed(path, format!("unknown node type {:?}", String::from_utf8_lossy(other)))),
        }
    }

    fn regular(&mut self, path: &RelPath) -> Result<(), NarError> {
        let mut word = self.string(path, 16)?;
        let executable = word == b"executable";
        if executable {
            self.expect(path, b"")?;
            word = self.string(path, 16)?;
        }
        if word != b"contents" {
            return Err(malformed(path, "a file without contents"));
        }
        let len = self.word()?;
        let mut data = (&mut self.input).take(len);
        self.sink.regular(path, executable, len, &mut data)?;
        io::copy(&mut data, &mut io::sink())?;
        if data.limit() != 0 {
            return Err(malformed(path, "the archive ends inside a file"));
        }
        self.zeros(path, len)?;
        self.expect(path, b")")
    }

    fn entries(&mut self, path: &RelPath, depth: usize) -> Result<(), NarError> {
        self.sink.directory(path)?;
        let mut last: Option<Vec<u8>> = None;
        loop {
            match self.string(path, 16)?.as_slice() {
                b")" => return Ok(()),
                b"entry" => {}
                _ => {
                    return Err(malformed(path, "expected an entry or the end of the directory"));
                }
            }
            self.expect(path, b"(")?;
            self.expect(path, b"name")?;
            let name = self.string(path, MAX_NAME)?;
            let child = path.join(&name).map_err(|e| malformed(path, e.to_string()))?;
            if last.as_ref().is_some_and(|last| *last >= name) {
                return Err(malformed(&child, "entries out of order or twice"));
            }
            self.expect(&child, b"node")?;
            self.node(&child, depth + 1)?;
            self.expect(&child, b")")?;
            last = Some(name);
        }
    }

    fn expect(&mut self, path: &RelPath, wanted: &[u8]) -> Result<(), NarError> {
        let found = self.string(path, wanted.len().max(16) as u64)?;
        if found == wanted {
            return Ok(());
        }
        let show = String::from_utf8_lossy;
        Err(malformed(path, format!("expected {:?}, found {:?}", show(wanted), show(&found))))
    }

    fn string(&mut self, path: &RelPath, limit: u64) -> Result<Vec<u8>, NarError> {
        let len = self.word()?;
        if len > limit {
            return Err(malformed(path, format!("a string of {len} bytes where at most {limit} may stand")));
        }
        let mut bytes = vec![0; len as usize];
        self.input.read_exact(&mut bytes)?;
        self.zeros(path, len)?;
        Ok(bytes)
    }

    fn zeros(&mut self, path: &RelPath, len: u64) -> Result<(), NarError> {
        let mut rest = [0; 8];
        let rest = &mut rest[..padding(len)];
        self.input.read_exact(rest)?;
        if rest.iter().any(|b| *b != 0) {
            return Err(malformed(path, "padding that is not zero"));
        }
        Ok(())
    }

    fn word(&mut self) -> Result<u64, NarError> {
        let mut bytes = [0; 8];
        self.input.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

fn malformed(path: &RelPath, reason: impl Into<String>) -> NarError {
    NarError::Malformed { path: format!("/{path}"), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::nar::Encoder;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Clone, PartialEq)]
    enum Node {
        File(bool, Vec<u8>),
        Link(Vec<u8>),
        Dir(BTreeMap<Vec<u8>, Node>),
    }

    impl Node {
        fn encode(&self, nar: &mut Encoder<Vec<u8>>) {
            match self {
                Self::File(x, data) => nar.regular(*x, data.len() as u64, &mut &data[..]).unwrap(),
                Self::Link(target) => nar.symlink(target).unwrap(),
                Self::Dir(entries) => {
                    nar.directory().unwrap();
                    for (name, node) in entries {
                        nar.entry(name).unwrap();
                        node.encode(nar);
                        nar.close_entry().unwrap();
                    }
                    nar.end().unwrap();
                }
            }
        }
        fn list(&self, path: RelPath, out: &mut Vec<(RelPath, Node)>) {
            match self {
                Self::Dir(entries) => {
                    out.push((path.clone(), Self::Dir(BTreeMap::new())));
                    for (name, node) in entries {
                        node.list(path.join(name).unwrap(), out);
                    }
                }
                other => out.push((path, other.clone())),
            }
        }
    }

    #[derive(Default)]
    struct List(Vec<(RelPath, Node)>);
    impl Sink for List {
        fn directory(&mut self, path: &RelPath) -> io::Result<()> {
            self.0.push((path.clone(), Node::Dir(BTreeMap::new())));
            Ok(())
        }
        fn regular(&mut self, path: &RelPath, x: bool, _len: u64, data: &mut dyn Read) -> io::Result<()> {
            let mut bytes = Vec::new();
            data.read_to_end(&mut bytes)?;
            self.0.push((path.clone(), Node::File(x, bytes)));
            Ok(())
        }
        fn symlink(&mut self, path: &RelPath, target: &[u8]) -> io::Result<()> {
            self.0.push((path.clone(), Node::Link(target.to_vec())));
            Ok(())
        }
    }

    fn name() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>().prop_filter("part", |b| *b != 0 && *b != b'/'), 1..9)
            .prop_filter("dots", |n| n != b"." && n != b"..")
    }

    fn tree() -> impl Strategy<Value = Node> {
        let leaf = prop_oneof![
            (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(x, d)| Node::File(x, d)),
            name().prop_map(Node::Link),
        ];
        leaf.prop_recursive(4, 30, 6, |inner| proptest::collection::btree_map(name(), inner, 0..6).prop_map(Node::Dir))
    }

    fn encoded(tree: &Node) -> Vec<u8> {
        let mut nar = Encoder::new(Vec::new()).unwrap();
        tree.encode(&mut nar);
        nar.finish()
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(tree in tree()) {
            let bytes = encoded(&tree);
            let (mut list, mut wanted) = (List::default(), Vec::new());
            decode(&bytes[..], &mut list).unwrap();
            tree.list(RelPath::root(), &mut wanted);
            prop_assert_eq!(list.0, wanted);
        }

        #[test]
        fn damage_is_an_error_or_other_content_never_a_panic(tree in tree(), at: prop::sample::Index, with: u8) {
            let mut bytes = encoded(&tree);
            let at = at.index(bytes.len());
            bytes[at] = with;
            let mut list = List::default();
            if decode(&bytes[..], &mut list).is_ok() {
                // A NAR that reads is the only spelling of its tree.
                let mut again = List::default();
                decode(&bytes[..], &mut again).unwrap();
                prop_assert_eq!(list.0, again.0);
            }
        }

        #[test]
        fn a_cut_archive_is_an_error(tree in tree(), at: prop::sample::Index) {
            let bytes = encoded(&tree);
            prop_assert!(decode(&bytes[..at.index(bytes.len())], &mut List::default()).is_err());
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        for name in [&b".."[..], b".", b"", b"a/b", b"a\0"] {
            let mut nar = Encoder::new(Vec::new()).unwrap();
            nar.directory().unwrap();
            nar.entry(name).unwrap();
            nar.symlink(b"x").unwrap();
            nar.close_entry().unwrap();
            nar.end().unwrap();
            let result = decode(&nar.finish()[..], &mut List::default());
            assert!(matches!(result, Err(NarError::Malformed { .. })), "{name:?}");
        }
    }

    #[test]
    fn entries_out_of_order_are_refused() {
        for names in [[b"b", b"a"], [b"a", b"a"]] {
            let mut nar = Encoder::new(Vec::new()).unwrap();
            nar.directory().unwrap();
            for name in names {
                nar.entry(name).unwrap();
                nar.symlink(b"x").unwrap();
                nar.close_entry().unwrap();
            }
            nar.end().unwrap();
            assert!(decode(&nar.finish()[..], &mut List::default()).is_err());
        }
    }

    #[test]
    fn a_length_beyond_reason_takes_no_memory() {
        let mut bytes = Encoder::new(Vec::new()).unwrap().finish();
        bytes.extend_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(decode(&bytes[..], &mut List::default()), Err(NarError::Malformed { .. })));
    }
}
