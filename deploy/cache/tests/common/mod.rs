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

use cairn_formats::{Sha256, StoreName};
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

    pub fn closure(&self, info: &PathInfo) -> Vec<cairn_formats::StorePath> {
        self.store.closure(std::slice::from_ref(&info.path)).unwrap()
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
    /// The same with it.
    whole: Vec<String>,
}

/// Files below a folder: GET, HEAD and PUT, with `ETag`, `If-None-Match` and `If-Match`. Ends with the test.
pub struct Server {
    pub base: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn over(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, folder) = (state.clone(), folder.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, folder) = (shared.clone(), folder.clone());
                thread::spawn(move || answer(stream, &folder, &shared));
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

    pub fn whole_requests(&self) -> Vec<String> {
        self.state.lock().unwrap().whole.clone()
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
        state.whole.push(format!("{method} {target}"));
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
