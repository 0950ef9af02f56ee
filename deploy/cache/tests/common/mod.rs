//! Stores with a chain of paths, and a small real web server over a folder.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use cairn_cache::{POINTER_VERSION, Pointer};
use cairn_formats::{Sha256, StoreName, StorePath};
use cairn_protocol::Retention;
use cairn_store::{PathInfo, Store};
use tempfile::TempDir;

/// A store and a folder for a cache, in a directory of their own.
pub struct Home {
    pub dir: TempDir,
    pub store: Store,
}

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("root")).unwrap();
        Self { dir, store }
    }

    pub fn cache_dir(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    pub fn file_url(&self) -> String {
        format!("file://{}", self.cache_dir().display())
    }

    /// A tree with this text in a file, which refers to what it names.
    pub fn add(&self, name: &str, text: &str, references: &[&PathInfo]) -> PathInfo {
        let build = self.store.build_dir().unwrap();
        let tree = build.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let named: String = references.iter().map(|info| info.path.absolute() + "\n").collect();
        fs::write(tree.join("text"), format!("{text}\n{named}")).unwrap();
        std::os::unix::fs::symlink("text", tree.join("link")).unwrap();
        let candidates: BTreeSet<_> = references.iter().map(|info| info.path.clone()).collect();
        self.store.add_output(&tree, &StoreName::parse(name).unwrap(), &candidates).unwrap()
    }

    /// `top` → `middle` → `bottom`; gives the top.
    pub fn chain(&self) -> PathInfo {
        let bottom = self.add("bottom", &"bottom ".repeat(5000), &[]);
        let middle = self.add("middle", "middle", &[&bottom]);
        self.add("top", "top", &[&bottom, &middle])
    }

    pub fn closure(&self, info: &PathInfo) -> Vec<StorePath> {
        self.store.closure(std::slice::from_ref(&info.path)).unwrap()
    }
}

/// A pointer of the host `web`, whose number the writer gives.
pub fn pointer(closure: &StorePath, published: i64) -> Pointer {
    Pointer {
        version: POINTER_VERSION,
        host: "web".to_owned(),
        sequence: 0,
        closure: closure.clone(),
        operator: "a@desk".to_owned(),
        message: None,
        published,
        expires: None,
        source: None,
        retention: Retention::DEFAULT,
        secrets: Vec::new(),
    }
}

/// Runs a tool; it must end well.
pub fn tool(name: &str, arguments: &[&str]) -> Vec<u8> {
    let features = ["--extra-experimental-features", "nix-command"];
    let mut command = Command::new(name);
    if name == "nix" {
        command.args(features);
    }
    let output = command.args(arguments).output().unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {said}");
    output.stdout
}

#[derive(Default)]
struct State {
    /// `METHOD /path`, without what follows a question mark.
    requests: Vec<String>,
    /// The same with it, and the headers.
    whole: Vec<(String, BTreeMap<String, String>)>,
}

/// Files below a folder: GET, HEAD and PUT, with `ETag`, `If-None-Match` and `If-Match`. Ends with the test.
pub struct Server {
    pub base: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn over(folder: &Path) -> Self {
        let folder = folder.to_owned();
        Self::start(move |stream, state| {
            let _ = answer(stream, &folder, state);
        })
    }

    /// Sends every request to the other server, as S3 does for a bucket of another region.
    pub fn redirecting(other: &str) -> Self {
        let other = other.to_owned();
        Self::start(move |mut stream, _| {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let path = lines.next().and_then(|line| Some(line.split(' ').nth(1)?.to_owned())).unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let location = format!("location: {other}{path}");
            let _ =
                write!(stream, "HTTP/1.1 307 There\r\n{location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        })
    }

    /// Answers every request with this, and then a byte each 100 ms for at most a minute.
    pub fn trickling(head: &'static str) -> Self {
        Self::start(move |stream, _| trickle(stream, head))
    }

    /// As [`Server::over`], but trickles what lies below this path.
    pub fn trickling_below(folder: &Path, path: &'static str, head: &'static str) -> Self {
        let folder = folder.to_owned();
        Self::start(move |stream, state| {
            let mut first = [0; 256];
            let n = stream.peek(&mut first).unwrap_or(0);
            if String::from_utf8_lossy(&first[..n]).starts_with(&format!("GET {path}")) {
                return trickle(stream, head);
            }
            let _ = answer(stream, &folder, state);
        })
    }

    fn start(answer: impl Fn(TcpStream, &Mutex<State>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, answer) = (state.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, answer) = (shared.clone(), answer.clone());
                thread::spawn(move || answer(stream, &shared));
            }
        });
        Self { base, state }
    }

    /// Since the last call.
    pub fn requests(&self) -> Vec<String> {
        let mut state = self.state.lock().unwrap();
        state.whole.clear();
        std::mem::take(&mut state.requests)
    }

    /// Each with its headers, whose names are in lower case.
    pub fn whole_requests(&self) -> Vec<(String, BTreeMap<String, String>)> {
        self.state.lock().unwrap().whole.clone()
    }
}

fn trickle(mut stream: TcpStream, head: &str) {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let _ = stream.write_all(head.as_bytes());
    for _ in 0..600 {
        if stream.write_all(b"x").and_then(|()| stream.flush()).is_err() {
            return;
        }
        thread::sleep(std::time::Duration::from_millis(100));
    }
}

fn answer(mut stream: TcpStream, folder: &Path, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
            None => break,
        };
    }
    let mut words = first.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let path = target.split('?').next()?;
    {
        let mut state = state.lock().ok()?;
        state.requests.push(format!("{method} {path}"));
        state.whole.push((format!("{method} {target}"), headers.clone()));
    }
    let file = folder.join(path.trim_start_matches('/'));
    let content = fs::read(&file).ok();
    let tag = content.as_ref().map(|bytes| format!("\"{}\"", Sha256::of(bytes)));
    let mut say = |status: &str, more: &str, body: &[u8], length: usize| {
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{more}connection: close\r\n\r\n").ok()?;
        stream.write_all(body).ok()
    };
    if method == "PUT" {
        let length = headers.get("content-length")?.parse().ok()?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let differs = headers.get("if-match").is_some_and(|wanted| Some(wanted) != tag.as_ref());
        if differs || (headers.contains_key("if-none-match") && tag.is_some()) {
            return say("412 No", "", b"", 0);
        }
        fs::create_dir_all(file.parent()?).ok()?;
        fs::write(&file, body).ok()?;
        return say("201 Made", "", b"", 0);
    }
    match (content, tag) {
        (Some(_), Some(tag)) if headers.get("if-none-match") == Some(&tag) => say("304 Same", "", b"", 0),
        (Some(bytes), Some(tag)) => {
            let body = if method == "HEAD" { &[][..] } else { &bytes };
            say("200 Here", &format!("etag: {tag}\r\n"), body, bytes.len())
        }
        _ => say("404 No", "", b"", 0),
    }
}
