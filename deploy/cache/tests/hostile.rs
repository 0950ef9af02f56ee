//! A cache that lies, in every way that we could think of: nothing of it reaches the store.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use cairn_cache::{Cache, SecretKey, Terms, substitute, upload};
use cairn_formats::Sha256;
use cairn_formats::narinfo::NarInfo;
use cairn_store::{PathInfo, Store};
use common::{Home, Server};

struct Bed {
    home: Home,
    key: SecretKey,
    top: PathInfo,
    cache: Cache,
}

impl Bed {
    fn new() -> Self {
        let home = Home::new();
        let top = home.chain();
        let (key, _) = SecretKey::generate("test-1").unwrap();
        let cache = Cache::open(&home.file_url()).unwrap();
        upload(&home.store, &cache, &key, &home.closure(&top), &|_| ()).unwrap();
        Self { home, key, top, cache }
    }

    fn narinfo(&self, info: &PathInfo) -> std::path::PathBuf {
        self.home.cache_dir().join(NarInfo::file_name(&info.path))
    }

    fn archive(&self, info: &PathInfo) -> std::path::PathBuf {
        let text = fs::read_to_string(self.narinfo(info)).unwrap();
        self.home.cache_dir().join(NarInfo::parse(&text).unwrap().url)
    }

    /// The narinfo with other content, signed anew if so wanted.
    fn rewrite(&self, info: &PathInfo, sign: bool, change: impl FnOnce(&mut NarInfo)) {
        let mut narinfo = NarInfo::parse(&fs::read_to_string(self.narinfo(info)).unwrap()).unwrap();
        change(&mut narinfo);
        if sign {
            narinfo.signatures = vec![self.key.sign(narinfo.fingerprint().as_bytes())];
        }
        fs::write(self.narinfo(info), narinfo.text()).unwrap();
    }

    /// Another archive in place of the real one, with a narinfo that has its hash: that is not signed.
    fn replace(&self, bytes: &[u8]) {
        fs::write(self.archive(&self.top), bytes).unwrap();
        self.rewrite(&self.top, false, |narinfo| {
            narinfo.file_hash = Sha256::of(bytes);
            narinfo.file_size = bytes.len() as u64;
        });
    }

    fn pull(&self, root: &Path, terms: &Terms<'_>) -> Result<(), String> {
        let store = Store::open(root).unwrap();
        let pulled = substitute(&store, &self.cache, &self.top.path, &[self.key.public()], terms);
        pulled.map(drop).map_err(|error| error.to_string())
    }

    /// The top is refused for this reason, and the store is whole and without it.
    #[track_caller]
    fn refuses(&self, what: &str, said: &str) {
        let there = tempfile::tempdir().unwrap();
        let error = self.pull(there.path(), &Terms::default()).unwrap_err();
        assert!(error.contains(said), "{what}: {error}");
        let store = Store::open(there.path()).unwrap();
        assert!(!store.is_valid(&self.top.path).unwrap() && !store.physical(&self.top.path).exists(), "{what}");
        assert_eq!(store.verify(true).unwrap().len(), 0, "{what}");
        let builds = fs::read_dir(there.path().join("nix/var/cairn/build")).unwrap().count();
        assert_eq!(builds, 0, "{what}: something is left");
    }
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// The NAR of a tree as somebody else would like it.
fn other_nar() -> Vec<u8> {
    let mut nar = cairn_formats::nar::Encoder::new(Vec::new()).unwrap();
    nar.regular(true, 5, &mut &b"evil\n"[..]).unwrap();
    nar.finish()
}

#[test]
fn an_archive_that_was_changed_cut_off_or_exchanged_is_refused() {
    let bed = Bed::new();
    let archive = bed.archive(&bed.top);
    let real = fs::read(&archive).unwrap();
    let mut changed = real.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&archive, &changed).unwrap();
    bed.refuses("a bit", "other bytes than its narinfo says");
    fs::write(&archive, &real[..real.len() - 1]).unwrap();
    bed.refuses("cut off", "other bytes than its narinfo says");
    fs::write(&archive, [&real[..], b"more"].concat()).unwrap();
    bed.refuses("more", "longer than");
    fs::remove_file(&archive).unwrap();
    bed.refuses("gone", "is not there");
    // With a narinfo that fits the file.
    bed.replace(&zstd(&other_nar()));
    bed.refuses("another tree", "hash");
    bed.replace(&zstd(&other_nar()[..40]));
    bed.refuses("half a tree", "does not unpack");
    bed.replace(b"no archive");
    bed.refuses("no archive", "");
    let mut escape = cairn_formats::nar::Encoder::new(Vec::new()).unwrap();
    escape.directory().unwrap();
    escape.entry(b"../../evil").unwrap();
    escape.symlink(b"x").unwrap();
    escape.close_entry().unwrap();
    escape.end().unwrap();
    bed.replace(&zstd(&escape.finish()));
    bed.refuses("a path that leads out", "does not unpack");
    // A little file that would fill the disk: no more than the signed size is unpacked.
    let mut bomb = cairn_formats::nar::Encoder::new(Vec::new()).unwrap();
    bomb.regular(false, 64 << 20, &mut std::io::Read::take(std::io::repeat(0), 64 << 20)).unwrap();
    bed.replace(&zstd(&bomb.finish()));
    bed.refuses("a bomb", "does not unpack");
}

#[test]
fn a_narinfo_that_is_not_signed_so_is_refused() {
    let bed = Bed::new();
    let real = fs::read(bed.narinfo(&bed.top)).unwrap();
    let again = || fs::write(bed.narinfo(&bed.top), &real).unwrap();
    let (other, _) = SecretKey::generate("test-1").unwrap();
    for (what, change) in [
        ("no signature", Box::new(|n: &mut NarInfo| n.signatures.clear()) as Box<dyn Fn(&mut NarInfo)>),
        ("another key", Box::new(|n| n.signatures = vec![other.sign(n.fingerprint().as_bytes())])),
        ("other references", Box::new(|n| drop(n.references.pop_first()))),
        ("another hash", Box::new(|n| n.nar_hash = Sha256::of(b"x"))),
        ("another size", Box::new(|n| n.nar_size += 1)),
    ] {
        bed.rewrite(&bed.top, false, change);
        bed.refuses(what, "signed by none of the trusted keys");
        again();
    }
    bed.rewrite(&bed.top, false, |n| n.file_size = u64::MAX / 2);
    bed.refuses("a file without end", "longer than");
    again();
    let mut middle = fs::read(bed.narinfo(&bed.top)).unwrap();
    let bottom = bed.home.closure(&bed.top)[0].clone();
    middle.clone_from(&fs::read(bed.home.cache_dir().join(NarInfo::file_name(&bottom))).unwrap());
    fs::write(bed.narinfo(&bed.top), &middle).unwrap();
    bed.refuses("that of another path", "was asked for");
    fs::write(bed.narinfo(&bed.top), vec![b'x'; 1 << 20]).unwrap();
    bed.refuses("a narinfo without end", "longer than");
    fs::write(bed.narinfo(&bed.top), String::from_utf8_lossy(&real).replace("URL: nar/", "URL: ../nar/")).unwrap();
    bed.refuses("a path that leads out", "URL");
    fs::remove_file(bed.narinfo(&bed.top)).unwrap();
    bed.refuses("gone", "is not there");
    again();
    let there = tempfile::tempdir().unwrap();
    bed.pull(there.path(), &Terms::default()).unwrap();
}

/// Even who has the key cannot give a path other content than it was named after.
#[test]
fn a_key_alone_does_not_make_content() {
    let bed = Bed::new();
    let nar = other_nar();
    bed.replace(&zstd(&nar));
    bed.rewrite(&bed.top, true, |n| {
        n.nar_hash = Sha256::of(&nar);
        n.nar_size = nar.len() as u64;
    });
    bed.refuses("signed, other content", "");
    bed.rewrite(&bed.top, true, |n| n.ca = None);
    bed.refuses("signed, without an address", "");
}

#[test]
fn what_does_not_fit_or_takes_too_long_changes_nothing() {
    let bed = Bed::new();
    let there = tempfile::tempdir().unwrap();
    let error = bed.pull(there.path(), &Terms { room: 1000, ..Terms::default() }).unwrap_err();
    assert!(error.contains("nothing was fetched"), "{error}");
    let error = bed.pull(there.path(), &Terms { within: Duration::ZERO, ..Terms::default() }).unwrap_err();
    assert!(error.contains("given up"), "{error}");
    let store = Store::open(there.path()).unwrap();
    assert_eq!(store.valid_paths().unwrap(), []);
    // What has arrived before a fault stays, and need not come again.
    fs::remove_file(bed.archive(&bed.top)).unwrap();
    assert!(bed.pull(there.path(), &Terms::default()).is_err());
    assert_eq!(store.valid_paths().unwrap().len(), 2);
}

/// A byte now and then keeps a connection alive for ever; a host would neither pull nor say why.
#[test]
fn a_server_that_trickles_is_given_up() {
    let heads = [
        ("the content", "HTTP/1.1 200 Here\r\ncontent-length: 100000\r\nconnection: close\r\n\r\n"),
        ("headers", "HTTP/1.1 200 Here\r\nx-header: "),
        ("an error", "HTTP/1.1 503 No\r\ncontent-length: 100000\r\nconnection: close\r\n\r\n"),
    ];
    let patience = Duration::from_secs(2);
    for (what, head) in heads {
        let server = Server::trickling(head);
        let cache = Cache::open(&server.base).unwrap().with_patience(patience);
        let start = Instant::now();
        let error = cache.get("cairn/web.json", 1 << 20).unwrap_err().to_string();
        assert!(error.contains("within 2 seconds") || error.contains("the server says 503"), "{what}: {error}");
        assert!(start.elapsed() < patience * 3, "{what}: {:?}", start.elapsed());
    }
    // An archive ends with the time for all that is fetched.
    let mut bed = Bed::new();
    let server = Server::trickling_below(&bed.home.cache_dir(), "/nar/", heads[0].1);
    bed.cache = Cache::open(&server.base).unwrap();
    let there = tempfile::tempdir().unwrap();
    for archive in fs::read_dir(bed.home.cache_dir().join("nar")).unwrap().flatten() {
        // As long as the head says, so that it is the time that ends it.
        fs::write(archive.path(), vec![0; 100_000]).unwrap();
    }
    for path in bed.home.closure(&bed.top) {
        let info = bed.home.store.query(&path).unwrap().unwrap();
        bed.rewrite(&info, false, |narinfo| narinfo.file_size = 100_000);
    }
    let start = Instant::now();
    let error = bed.pull(there.path(), &Terms { within: patience, ..Terms::default() }).unwrap_err();
    assert!(error.contains("given up"), "{error}");
    assert!(start.elapsed() < patience * 3, "{:?}", start.elapsed());
}

/// What a local folder holds is plain files. Opening a FIFO would wait for its other end.
#[test]
fn a_fifo_in_a_folder_is_an_error_and_no_wait() {
    let bed = Bed::new();
    let narinfo = bed.narinfo(&bed.top);
    fs::remove_file(&narinfo).unwrap();
    common::tool("mkfifo", &[narinfo.to_str().unwrap()]);
    let (said, done) = std::sync::mpsc::channel();
    let url = bed.home.file_url();
    let name = NarInfo::file_name(&bed.top.path);
    std::thread::spawn(move || said.send(Cache::open(&url).unwrap().get(&name, 10).unwrap_err().to_string()));
    let error = done.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(error.contains("not a plain file"), "{error}");
}
