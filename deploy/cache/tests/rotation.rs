//! Keys that are rotated, and keys that are stolen: what publishers write and what hosts accept, from
//! the first pointer of the old key to the first one that only the new key could have signed.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use cairn_cache::{
    Answer, Cache, CacheError, MAX_AHEAD, MAX_POINTER, Pointer, PointerWriter, PublicKey, Revision, SecretKey,
    SeenByKey, Terms, key_of, substitute, upload, write_pointer,
};
use cairn_formats::StorePath;
use cairn_store::{PathInfo, Store};
use common::{Home, Server, pointer};

const NOW: i64 = 1_795_000_000;

/// A folder that publishers write, and the web server over it that hosts read.
struct Bed {
    home: Home,
    server: Server,
    writes: Cache,
    top: PathInfo,
}

impl Bed {
    fn new() -> Self {
        let home = Home::new();
        let top = home.chain();
        let server = Server::over(&home.cache_dir());
        let writes = Cache::open(&home.file_url()).unwrap();
        Self { home, server, writes, top }
    }

    /// What `deploy publish` does, with this clock.
    fn publish(&self, key: &SecretKey, trusted: &[PublicKey], replace: bool, now: i64) -> Result<Pointer, CacheError> {
        upload(&self.home.store, &self.writes, key, &self.home.closure(&self.top), &|_| ())?;
        let writer = PointerWriter { key, trusted, replace, now };
        write_pointer(&self.writes, "web", &writer, |_| Ok(pointer(&self.top.path, now)))
    }

    fn file(&self) -> std::path::PathBuf {
        self.home.cache_dir().join(key_of("web"))
    }

    /// A pointer that nothing of ours would write.
    fn plant(&self, key: &SecretKey, sequence: u64) {
        let planted = Pointer { sequence, ..pointer(&self.top.path, NOW) };
        fs::write(self.file(), planted.seal(key).unwrap()).unwrap();
    }
}

/// What a host keeps from one look to the next, and whom it trusts.
struct Host {
    root: tempfile::TempDir,
    trusted: Vec<PublicKey>,
    seen: SeenByKey,
}

impl Host {
    fn new(trusted: &[PublicKey]) -> Self {
        Self { root: tempfile::tempdir().unwrap(), trusted: trusted.to_vec(), seen: SeenByKey::default() }
    }

    /// One look: the pointer, and all that it names.
    fn look(&mut self, bed: &Bed, now: i64) -> Result<u64, String> {
        let cache = Cache::open(&bed.server.base).unwrap();
        let fetch = || -> Result<_, CacheError> {
            let name = key_of("web");
            let url = cache.url(&name);
            let Answer::Content { bytes, .. } = cache.get_unless(&name, MAX_POINTER, &Revision::Unknown)? else {
                return Err(CacheError::Absent { url });
            };
            let opened = Pointer::open(&bytes, "web", &self.trusted, &url)?;
            opened.pointer.check_fresh(self.seen.newest(&self.trusted), now, &url)?;
            let store = Store::open(self.root.path())?;
            substitute(&store, &cache, &opened.pointer.closure, &self.trusted, &Terms::default())?;
            assert_eq!(store.verify(true).unwrap().len(), 0);
            Ok(opened)
        };
        let opened = fetch().map_err(|error| error.to_string())?;
        self.seen.record(&opened);
        Ok(opened.pointer.sequence)
    }
}

fn key(name: &str) -> SecretKey {
    SecretKey::generate(name).unwrap().0
}

#[test]
fn a_key_is_rotated_without_a_host_that_stays_behind() {
    let bed = Bed::new();
    let (a, b) = (key("web-1"), key("web-2"));
    let (only_a, both, only_b) = ([a.public()], [a.public(), b.public()], [b.public()]);
    bed.publish(&a, &only_a, false, NOW).unwrap();
    let mut host = Host::new(&only_a);
    let first = host.look(&bed, NOW).unwrap();

    // Both are trusted, in the definition and then on the host; either may publish.
    host.trusted = both.to_vec();
    assert_eq!(host.look(&bed, NOW), Ok(first));
    let second = bed.publish(&b, &both, false, NOW + 60).unwrap().sequence;
    assert_eq!(host.look(&bed, NOW + 60), Ok(second));
    let third = bed.publish(&a, &both, false, NOW + 61).unwrap().sequence;
    assert_eq!(host.look(&bed, NOW + 61), Ok(third));
    // The number rises across keys, whatever the clock says.
    let fourth = bed.publish(&b, &both, false, NOW).unwrap().sequence;
    assert_eq!((fourth, host.look(&bed, NOW + 61)), (third + 1, Ok(fourth)));

    // The old one is taken away. A fresh host and the one that runs follow the new one alone.
    host.trusted = only_b.to_vec();
    let mut fresh = Host::new(&only_b);
    for host in [&mut host, &mut fresh] {
        assert_eq!(host.look(&bed, NOW + 62), Ok(fourth));
    }
    let fifth = bed.publish(&b, &only_b, false, NOW + 90).unwrap().sequence;
    assert_eq!(host.look(&bed, NOW + 90), Ok(fifth));
    bed.plant(&a, fifth + 1);
    let error = host.look(&bed, NOW + 120).unwrap_err();
    assert!(error.contains("none of the trusted keys (web-2), but by web-1"), "{error}");
}

/// With two keys trusted, the last pointer of the one is not a way behind the last one of the other.
#[test]
fn a_pointer_of_the_other_key_is_put_back_in_vain() {
    let bed = Bed::new();
    let (a, b) = (key("web-1"), key("web-2"));
    let both = [a.public(), b.public()];
    bed.publish(&a, &both, false, NOW).unwrap();
    let of_a = fs::read(bed.file()).unwrap();
    let mut host = Host::new(&both);
    host.look(&bed, NOW).unwrap();
    bed.publish(&b, &both, false, NOW + 60).unwrap();
    host.look(&bed, NOW + 60).unwrap();
    fs::write(bed.file(), of_a).unwrap();
    let error = host.look(&bed, NOW + 120).unwrap_err();
    assert!(error.contains("an earlier pointer was put back"), "{error}");
}

#[test]
fn a_stolen_key_is_replaced_whatever_number_it_has_used() {
    let bed = Bed::new();
    let (stolen, new) = (key("web-1"), key("web-1"));
    let (old, replaced) = ([stolen.public()], [new.public()]);
    bed.publish(&stolen, &old, false, NOW).unwrap();
    let mut host = Host::new(&old);
    host.look(&bed, NOW).unwrap();

    // The highest number is refused; the highest that is accepted is a day ahead.
    bed.plant(&stolen, u64::MAX);
    let error = host.look(&bed, NOW).unwrap_err();
    for part in ["18446744073709551615", "2026-11-18T11:06:40Z", "replace a stolen key"] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
    let most = NOW.unsigned_abs() + MAX_AHEAD;
    bed.plant(&stolen, most);
    assert_eq!(host.look(&bed, NOW), Ok(most));

    // Replaced on the host, it has no part in what the new key may do.
    host.trusted = replaced.to_vec();
    assert!(host.look(&bed, NOW).unwrap_err().contains("none of the trusted keys"));
    let error = bed.publish(&new, &replaced, false, NOW + 60).unwrap_err().to_string();
    assert!(error.contains("--replace"), "{error}");
    let published = bed.publish(&new, &replaced, true, NOW + 60).unwrap().sequence;
    assert_eq!((published, host.look(&bed, NOW + 60)), (NOW.unsigned_abs() + 60, Ok(published)));
    bed.plant(&stolen, most - 1);
    assert!(host.look(&bed, NOW + 120).unwrap_err().contains("none of the trusted keys"));
}

#[test]
fn what_cannot_be_followed_is_replaced_on_request_alone() {
    let bed = Bed::new();
    let (ours, strange) = (key("web-1"), key("strange-1"));
    let trusted = [ours.public()];
    let sealed = |change: fn(&mut Pointer)| {
        let mut other = Pointer { sequence: 7, ..pointer(&bed.top.path, NOW) };
        change(&mut other);
        other.seal(&ours).unwrap()
    };
    let whole = sealed(|_| ());
    let cases: [(&str, Vec<u8>, &str); 7] = [
        ("junk", b"x".to_vec(), "not a signed pointer"),
        ("nothing", Vec::new(), "not a signed pointer"),
        ("half of it", whole[..whole.len() / 2].to_vec(), "not a signed pointer"),
        ("too long", vec![b'x'; 300 << 10], "longer than"),
        ("another host", sealed(|pointer| pointer.host = "db".to_owned()), "of the host `db`"),
        ("another key", pointer(&bed.top.path, NOW).seal(&strange).unwrap(), "but by strange-1"),
        ("the future", sealed(|pointer| pointer.sequence = u64::MAX), "more than a day after"),
    ];
    fs::create_dir_all(bed.file().parent().unwrap()).unwrap();
    for (what, file, said) in cases {
        fs::write(bed.file(), &file).unwrap();
        let error = bed.publish(&ours, &trusted, false, NOW).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("--replace"), "{what}: {error}");
        assert_eq!(error.matches("help:").count(), 1, "{what}: {error}");
        assert_eq!(fs::read(bed.file()).unwrap(), file, "{what} was written over");
        let published = bed.publish(&ours, &trusted, true, NOW).unwrap().sequence;
        assert_eq!(published, NOW.unsigned_abs(), "{what}");
        assert_eq!(Host::new(&trusted).look(&bed, NOW), Ok(published), "{what}");
    }
    // One of a later version of the format is whole; what it says, this program cannot tell.
    fs::write(bed.file(), sealed(|pointer| pointer.version = 2)).unwrap();
    let error = bed.publish(&ours, &trusted, true, NOW).unwrap_err().to_string();
    assert!(error.contains("version 2") && error.contains("newer `deploy`"), "{error}");
}

/// `--replace` in a script is not a way to lower a number.
#[test]
fn a_pointer_that_can_be_followed_is_followed_when_asked_to_replace_it() {
    let bed = Bed::new();
    let key = key("web-1");
    let trusted = [key.public()];
    let ahead = bed.publish(&key, &trusted, false, NOW + 3600).unwrap().sequence;
    let next = bed.publish(&key, &trusted, true, NOW).unwrap().sequence;
    assert_eq!(next, ahead + 1);
    // It rises into the bound and never past it: hosts would refuse it.
    bed.plant(&key, NOW.unsigned_abs() + MAX_AHEAD);
    let error = bed.publish(&key, &trusted, true, NOW).unwrap_err().to_string();
    assert!(error.contains("more than a day after"), "{error}");
}

/// A signature is relabelled by anything that writes the file, so the number belongs to the key alone.
#[test]
fn a_key_under_another_name_has_the_number_that_it_had() {
    let (a, text) = SecretKey::generate("web-1").unwrap();
    let renamed = SecretKey::parse(&text.replace("web-1", "web-2")).unwrap();
    let closure = StorePath::parse("0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-host").unwrap();
    let opened = |key: &SecretKey, sequence| {
        let file = Pointer { sequence, ..pointer(&closure, NOW) }.seal(key).unwrap();
        Pointer::open(&file, "web", &[key.public()], "u").unwrap()
    };
    let mut seen = SeenByKey::default();
    seen.record(&opened(&a, 9));
    let trusted = [renamed.public()];
    let error = opened(&renamed, 8).pointer.check_fresh(seen.newest(&trusted), NOW, "u").unwrap_err();
    assert!(error.to_string().contains("an earlier pointer"), "{error}");
}
