//! A bucket of S3, served by moto on this computer. Without a signature only agents can be read, as
//! [`docs/pull.md`](../../docs/pull.md) wants it of a bucket whose hosts have no `aws` command.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::tool;

const NAME: &str = "fleet";
const REGION: &str = "eu-west-1";
/// The keys in it begin with this.
const PREFIX: &str = "prod";

/// Where keys come from, for `deploy` and for `/etc/cairn/pull.env`. Any do, but some must be there.
pub const CREDENTIALS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];

pub struct Bucket {
    process: Child,
    server: String,
}

impl Bucket {
    pub fn start(address: &str) -> Self {
        let mut process = Command::new(program())
            .args(["--host", address, "--port", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("moto_server, which `cargo xtask test` installs");
        let mut said = BufReader::new(process.stderr.take().expect("its errors")).lines().map_while(Result::ok);
        let server = said.find_map(|line| Some(line.split_once("http://")?.1.trim().to_owned()));
        // It says a line for each request: somebody must take them.
        std::thread::spawn(move || said.for_each(drop));
        let bucket = Self { process, server: server.expect("where it listens") };
        bucket.put("", "text/plain", "");
        let policy = serde_json::json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": format!("arn:aws:s3:::{NAME}/{PREFIX}/cairn/agent/*"),
        }]});
        bucket.put("?policy", "application/json", &policy.to_string());
        bucket
    }

    /// As a host's definition names it.
    pub fn url(&self) -> String {
        format!("s3://{NAME}/{PREFIX}?region={REGION}&endpoint={}&scheme=http", self.server)
    }

    /// What the server says to one who asks for a key without a signature.
    pub fn status_of(&self, key: &str) -> String {
        let url = format!("http://{}/{NAME}/{PREFIX}/{key}", self.server);
        tool("curl", ["--silent", "--max-time", "20", "--output", "/dev/null", "--write-out", "%{http_code}", &url])
    }

    fn put(&self, what: &str, kind: &str, body: &str) {
        let url = format!("http://{}/{NAME}{what}", self.server);
        let kind = format!("content-type: {kind}");
        let how =
            ["--silent", "--fail", "--max-time", "20", "--request", "PUT", "--header", &kind, "--data", body, &url];
        tool("curl", how);
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program() -> PathBuf {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/moto/bin/moto_server");
    std::env::var_os("CAIRN_MOTO").map_or(installed, Into::into)
}
