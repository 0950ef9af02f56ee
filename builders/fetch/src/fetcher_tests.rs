#![allow(clippy::unwrap_used)]
use std::sync::Mutex;

use super::*;
use crate::test_server::{Fault, Server};

struct Setup {
    server: Server,
    dir: tempfile::TempDir,
    fetcher: Fetcher,
}

const CONTENT: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start();
    server.file("pool/x.deb", CONTENT);
    Setup { server, fetcher: Fetcher::impatient(dir.path()), dir }
}

impl Setup {
    fn download(&self) -> Download {
        Download {
            what: "package x".into(),
            urls: vec![self.server.url("pool/x.deb")],
            sha256: Sha256::of(CONTENT),
            size: Some(CONTENT.len() as u64),
            file_name: "x.deb".into(),
        }
    }

    fn fetch(&self, download: &Download) -> Result<PathBuf, FetchError> {
        self.fetcher.fetch(download, &())
    }

    fn part(&self) -> PathBuf {
        let mut name = self.fetcher.path(&self.download()).unwrap().into_os_string();
        name.push(".part");
        name.into()
    }

    fn files(&self) -> usize {
        fs::read_dir(self.dir.path()).unwrap().count()
    }

    fn offsets(&self) -> Vec<u64> {
        self.server.requests().into_iter().map(|(_, from)| from).collect()
    }
}

#[test]
fn a_file_is_fetched_once() {
    let t = setup();
    let path = t.fetch(&t.download()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), CONTENT);
    assert_eq!(t.fetch(&t.download()).unwrap(), path);
    assert_eq!((t.offsets(), t.files()), (vec![0], 1));
}

#[test]
fn a_damaged_file_on_disk_is_fetched_again() {
    let t = setup();
    let path = t.fetch(&t.download()).unwrap();
    fs::write(&path, b"0123456789abcdefghijklmnopqrstuvwxyZ").unwrap();
    t.fetch(&t.download()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), CONTENT);
}

#[test]
fn an_interrupted_transfer_continues_where_it_stopped() {
    let t = setup();
    t.server.faults("pool/x.deb", &[Fault::CutAfter(10), Fault::CutAfter(5)]);
    let path = t.fetch(&t.download()).unwrap();
    assert_eq!(fs::read(path).unwrap(), CONTENT);
    assert_eq!(t.offsets(), [0, 10, 15]);
}

#[test]
fn what_an_earlier_run_left_is_used() {
    let t = setup();
    fs::write(t.part(), &CONTENT[..20]).unwrap();
    let path = t.fetch(&t.download()).unwrap();
    assert_eq!((fs::read(path).unwrap().as_slice(), t.offsets()), (CONTENT, vec![20]));
}

#[test]
fn a_server_without_ranges_sends_the_whole_file() {
    let t = setup();
    fs::write(t.part(), &CONTENT[..20]).unwrap();
    t.server.faults("pool/x.deb", &[Fault::NoRange]);
    let path = t.fetch(&t.download()).unwrap();
    assert_eq!((fs::read(path).unwrap().as_slice(), t.offsets()), (CONTENT, vec![20]));
}

#[test]
fn a_range_from_another_place_is_refused() {
    let t = setup();
    fs::write(t.part(), &CONTENT[..20]).unwrap();
    t.server.faults("pool/x.deb", &[Fault::WrongRange]);
    assert!(matches!(t.fetch(&t.download()), Err(FetchError::Status { status: 206, .. })));
}

#[test]
fn a_wrong_part_is_thrown_away_and_the_file_fetched_whole() {
    let t = setup();
    for wrong in [b"XXXXXXXXXX".as_slice(), &[b'X'; 36], &[b'X'; 99]] {
        fs::write(t.part(), wrong).unwrap();
        let path = t.fetch(&t.download()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), CONTENT);
        fs::remove_file(path).unwrap();
    }
    assert_eq!(t.offsets(), [10, 0, 0, 0]);
}

#[test]
fn wrong_bytes_are_an_error_with_both_hashes_and_leave_nothing() {
    let t = setup();
    let tampered = b"0123456789abcdefghijklmnopqrstuvwxyZ";
    t.server.file("pool/x.deb", tampered);
    let error = t.fetch(&t.download()).unwrap_err();
    assert!(matches!(&error, FetchError::HashMismatch { expected, got, .. }
        if *expected == Sha256::of(CONTENT) && *got == Sha256::of(tampered)));
    let text = error.to_string();
    assert!(text.contains(&t.server.url("pool/x.deb")) && text.contains("package x"), "{text}");
    assert_eq!(fs::metadata(t.part()).unwrap().len(), 0);
    assert_eq!(t.offsets().len(), 1);
}

#[test]
fn more_bytes_than_expected_are_an_error() {
    let t = setup();
    t.server.file("pool/x.deb", &[CONTENT, b"more"].concat());
    assert!(matches!(t.fetch(&t.download()), Err(FetchError::TooLong { expected: 36, .. })));
}

#[test]
fn fewer_bytes_than_expected_are_an_error_after_some_tries() {
    let t = setup();
    t.server.file("pool/x.deb", &CONTENT[..30]);
    let error = t.fetch(&t.download()).unwrap_err();
    assert!(matches!(error, FetchError::Truncated { got: 30, expected: Some(36), .. }), "{error:?}");
}

#[test]
fn a_missing_file_is_gone_at_once() {
    let t = setup();
    let url = t.server.url("pool/y.deb");
    let error = t.fetch(&Download { urls: vec![url.clone()], ..t.download() }).unwrap_err();
    assert!(matches!(&error, FetchError::Gone { what, url: at } if what == "package x" && *at == url));
    assert_eq!(t.offsets().len(), 1);
}

#[test]
fn passing_faults_are_tried_again_but_not_for_ever() {
    let t = setup();
    t.server.faults("pool/x.deb", &[Fault::Status(500), Fault::Status(503), Fault::Status(429)]);
    t.fetch(&t.download()).unwrap();
    assert_eq!(t.offsets().len(), 4);

    let t = setup();
    t.server.faults("pool/x.deb", &[Fault::Status(500); 10]);
    assert!(matches!(t.fetch(&t.download()), Err(FetchError::Status { status: 500, .. })));
    assert_eq!(t.offsets().len(), 4);

    let t = setup();
    t.server.faults("pool/x.deb", &[Fault::Status(403); 10]);
    assert!(matches!(t.fetch(&t.download()), Err(FetchError::Status { status: 403, .. })));
    assert_eq!(t.offsets().len(), 1);
}

#[test]
fn the_next_mirror_is_asked_when_one_fails() {
    let t = setup();
    t.server.file("bad.deb", b"tampered");
    let urls = ["gone.deb", "bad.deb", "pool/x.deb"].map(|p| t.server.url(p)).to_vec();
    t.fetch(&Download { urls: urls.clone(), ..t.download() }).unwrap();

    let t2 = setup();
    let urls = vec![t2.server.url("gone.deb"), "http://127.0.0.1:1/x.deb".to_owned()];
    let error = t2.fetch(&Download { urls, ..t2.download() }).unwrap_err();
    assert!(matches!(error, FetchError::Network { .. }), "{error:?}");
}

#[test]
fn files_on_disk_are_mirrors_too() {
    let t = setup();
    let source = tempfile::tempdir().unwrap();
    let file = source.path().join("a b.deb");
    fs::write(&file, CONTENT).unwrap();
    fs::write(t.part(), &CONTENT[..7]).unwrap();
    let url = format!("file://{}", file.to_str().unwrap().replace(' ', "%20"));
    let path = t.fetch(&Download { urls: vec![url.clone()], ..t.download() }).unwrap();
    assert_eq!(fs::read(path).unwrap(), CONTENT);

    fs::remove_file(file).unwrap();
    let other = Download { urls: vec![url], sha256: Sha256::of(b"other"), ..t.download() };
    assert!(matches!(t.fetch(&other), Err(FetchError::Gone { .. })));
}

#[test]
fn names_and_addresses_that_lead_elsewhere_are_refused() {
    let t = setup();
    for name in ["", ".", "..", "../x", "a/b", ".hidden", "a\0b"] {
        let error = t.fetch(&Download { file_name: name.into(), ..t.download() }).unwrap_err();
        assert!(matches!(error, FetchError::FileName { .. }), "{name:?}");
    }
    for url in ["x.deb", "ftp://mirror.example/x.deb", "http://", "http://a b/"] {
        let error = t.fetch(&Download { urls: vec![url.into()], ..t.download() }).unwrap_err();
        assert!(matches!(error, FetchError::BadUrl { .. }), "{url:?} {error:?}");
    }
    assert!(matches!(t.fetch(&Download { urls: vec![], ..t.download() }), Err(FetchError::NoMirror { .. })));
}

#[test]
fn a_fault_of_the_disk_is_told_apart_and_not_tried_again() {
    let t = setup();
    fs::create_dir(t.part()).unwrap();
    let error = t.fetch(&t.download()).unwrap_err();
    assert!(matches!(&error, FetchError::Disk { path, .. } if *path == t.part()), "{error:?}");
    assert_eq!(t.offsets().len(), 0);
}

#[test]
fn two_threads_that_want_one_file_fetch_it_once() {
    let t = setup();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| t.fetch(&t.download()).unwrap());
        }
    });
    assert_eq!((t.offsets().len(), t.files() >= 1), (1, true));
}

#[test]
fn small_files_come_whole_or_not_at_all() {
    let t = setup();
    let url = t.server.url("pool/x.deb");
    t.server.faults("pool/x.deb", &[Fault::Status(500), Fault::CutAfter(3)]);
    assert_eq!(t.fetcher.get_bytes("x", &url, None, 36).unwrap(), CONTENT);
    assert!(matches!(t.fetcher.get_bytes("x", &url, None, 35), Err(FetchError::Limit { limit: 35, .. })));
    assert!(matches!(t.fetcher.get_text("x", &t.server.url("no"), None, 9), Err(FetchError::Gone { .. })));
}

#[derive(Default)]
struct Events(Mutex<Vec<String>>);

impl Progress for Events {
    fn started(&self, what: &str, size: Option<u64>) {
        self.0.lock().unwrap().push(format!("started {what} {size:?}"));
    }
    fn advanced(&self, _: &str, bytes: u64) {
        self.0.lock().unwrap().push(format!("advanced {bytes}"));
    }
    fn retrying(&self, _: &str, error: &FetchError, _: Duration) {
        self.0.lock().unwrap().push(format!("retrying {}", matches!(error, FetchError::Truncated { .. })));
    }
    fn finished(&self, what: &str) {
        self.0.lock().unwrap().push(format!("finished {what}"));
    }
}

#[test]
fn events_tell_the_course_and_add_up() {
    let t = setup();
    fs::write(t.part(), &CONTENT[..20]).unwrap();
    t.server.faults("pool/x.deb", &[Fault::CutAfter(6)]);
    let events = Events::default();
    t.fetcher.fetch(&t.download(), &events).unwrap();
    let expected = [
        "started package x Some(36)",
        "advanced 20",
        "advanced 6",
        "retrying true",
        "advanced 10",
        "finished package x",
    ];
    assert_eq!(*events.0.lock().unwrap(), expected);
}
