//! A small real index over loopback, and locking from it with the real uv.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::thread;

use cairn_fetch::Fetcher;
use cairn_formats::{Platform, Sha256};

use super::*;

/// Serves the given paths; ends with the test process.
pub fn serve(pages: BTreeMap<String, String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                if request.is_empty() {
                    request = line.split(' ').nth(1).unwrap_or_default().to_owned();
                }
                line.clear();
            }
            let (status, kind, body) = match pages.get(&request) {
                Some(body) if body.starts_with('{') => ("200 OK", "application/vnd.pypi.simple.v1+json", body.as_str()),
                Some(body) => ("200 OK", "text/html", body.as_str()),
                None => ("404 Not Found", "text/plain", ""),
            };
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
    });
    base
}

pub fn hash(file: &str) -> Sha256 {
    Sha256::of(file.as_bytes())
}

pub struct Index {
    pub pages: BTreeMap<String, String>,
    /// When the files of the packages that follow were uploaded.
    uploaded: Option<&'static str>,
    /// Part of the hashes of the packages that follow.
    edition: &'static str,
}

impl Index {
    pub fn new() -> Self {
        Self { pages: BTreeMap::new(), uploaded: None, edition: "" }
    }

    pub fn uploaded(mut self, time: &'static str) -> Self {
        self.uploaded = Some(time);
        self
    }

    pub fn edition(mut self, edition: &'static str) -> Self {
        self.edition = edition;
        self
    }

    /// Adds a version of a package, after those that it has already; each wheel is listed with its
    /// metadata, and none exists.
    pub fn package(mut self, name: &str, version: &str, needs: &[&str], wheels: &[&str]) -> Self {
        let needs: String = needs.iter().map(|n| format!("Requires-Dist: {n}\n")).collect();
        let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}");
        let files: Vec<_> = wheels
            .iter()
            .map(|file| {
                let sha256 = Sha256::of(format!("{}{file}", self.edition).as_bytes()).hex();
                let uploaded = self.uploaded.map(|time| format!(r#""upload-time": "{time}", "#)).unwrap_or_default();
                format!(
                    r#"{{"filename": "{file}", "url": "/files/{file}", "size": {}, {uploaded}"hashes": {{"sha256": "{sha256}"}}, "core-metadata": true}}"#,
                    if file.starts_with("big") { 9_000_000 } else { 100 }
                )
            })
            .collect();
        for file in wheels {
            self.pages.insert(format!("/files/{file}.metadata"), metadata.clone());
        }
        let page = self
            .pages
            .entry(format!("/simple/{name}/"))
            .or_insert_with(|| format!(r#"{{"meta": {{"api-version": "1.1"}}, "name": "{name}", "files": []}}"#));
        let files = files.join(", ");
        *page = page.replacen("]}", &format!("{}{files}]}}", if page.contains("[]") { "" } else { ", " }), 1);
        self
    }

    pub fn serve(self) -> String {
        format!("{}/simple", serve(self.pages))
    }
}

/// What a test locks besides the requirements.
#[derive(Default)]
pub struct Before {
    pub locked: Vec<LockedWheel>,
    pub accept: Accept,
    pub exclude_newer: Option<&'static str>,
}

pub fn lock(index_url: &str, requirements: &[&str]) -> Option<Result<PypiLock, PypiError>> {
    lock_after(index_url, requirements, &Before::default())
}

pub fn lock_after(index_url: &str, requirements: &[&str], before: &Before) -> Option<Result<PypiLock, PypiError>> {
    if matches!(uv::Uv::find(), Err(PypiError::NoUv { .. })) {
        // `cargo xtask test` installs it and sets DEPLOY_UV.
        eprintln!("skipped: there is no uv; set DEPLOY_UV");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let fetcher = Fetcher::new(&folder.path().join("downloads")).unwrap();
    let requirements: Vec<String> = requirements.iter().map(|r| (*r).to_owned()).collect();
    Some(lock_wheels(&PypiRequest {
        python: "3.11.2".parse().unwrap(),
        glibc: "2.36".parse().unwrap(),
        platforms: &Platform::ALL,
        requirements: &requirements,
        index_url,
        scratch: folder.path(),
        fetcher: &fetcher,
        locked: &before.locked,
        accept: &before.accept,
        exclude_newer: before.exclude_newer.map(|time| cairn_formats::time::parse_rfc3339(time).unwrap()),
    }))
}
