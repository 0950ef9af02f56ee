//! Redirects between encrypted and plain servers, and files that are not files.
#![allow(clippy::unwrap_used)]
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ureq::tls::Certificate;

use super::*;
use crate::test_server::Server;

/// An HTTPS server whose every answer for `/to/URL` is a redirect to that URL, and `hello` else.
struct Secure {
    base: String,
    roots: RootCerts,
}

impl Secure {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (key, cert) = (dir.path().join("key.pem"), dir.path().join("cert.pem"));
        let made = Command::new("openssl")
            .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=here".split(' '))
            .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&cert)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let pem = std::fs::read(&cert).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(&pem).unwrap()];
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(&key).unwrap())
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("https://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let config = config.clone();
                thread::spawn(move || answer(stream, config));
            }
        });
        Self { base, roots: RootCerts::new_with_certs(&[Certificate::from_pem(&pem).unwrap()]) }
    }
}

fn answer(stream: TcpStream, config: Arc<rustls::ServerConfig>) -> Option<()> {
    let connection = rustls::ServerConnection::new(config).ok()?;
    let mut stream = BufReader::new(rustls::StreamOwned::new(connection, stream));
    let mut request = String::new();
    stream.read_line(&mut request).ok()?;
    let mut line = String::new();
    while stream.read_line(&mut line).ok()? > 2 {
        line.clear();
    }
    let path = request.split(' ').nth(1)?;
    let head = match path.strip_prefix("/to/") {
        Some(url) => format!("HTTP/1.1 302 Found\r\nlocation: {url}\r\ncontent-length: 0\r\n"),
        None => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n".to_owned(),
    };
    let body = if path.starts_with("/to/") { "" } else { "hello" };
    let stream = stream.get_mut();
    write!(stream, "{head}connection: close\r\n\r\n{body}").ok()?;
    stream.conn.send_close_notify();
    stream.flush().ok()
}

fn read(transport: &Transport, url: &str) -> Result<String, FetchError> {
    let mut text = String::new();
    transport.get("page", url, 0, None)?.body.read_to_string(&mut text).unwrap();
    Ok(text)
}

#[test]
fn a_redirect_never_leaves_encryption() {
    let (secure, plain) = (Secure::start(), Server::start());
    plain.file("x", b"plain");
    let transport = Transport::trusting(secure.roots.clone());
    let base = &secure.base;

    assert_eq!(read(&transport, &format!("{base}/x")).unwrap(), "hello");
    assert_eq!(read(&transport, &format!("{base}/to/{base}/x")).unwrap(), "hello");
    assert_eq!(read(&transport, &plain.url("x")).unwrap(), "plain");
    for url in [format!("{base}/to/{}", plain.url("x")), format!("{base}/to/{base}/to/{}", plain.url("x"))] {
        let error = read(&transport, &url).unwrap_err();
        assert!(matches!(&error, FetchError::Downgrade { to, .. } if *to == plain.url("x")), "{error:?}");
        assert!(!error.is_transient());
    }
    assert_eq!(plain.requests().len(), 1, "the plain server was asked");
}

#[test]
fn the_client_for_one_address_keeps_it_as_well() {
    let (secure, plain) = (Secure::start(), Server::start());
    plain.file("x", b"plain");
    for (url, https_only) in [(secure.base.as_str(), true), (plain.base.as_str(), false)] {
        assert_eq!(client(url).config().https_only(), https_only, "{url}");
    }
}

#[test]
fn only_regular_files_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    std::os::unix::fs::symlink(&fifo, dir.path().join("link")).unwrap();
    let transport = Transport::new();
    for path in [fifo.as_path(), &dir.path().join("link"), "/dev/zero".as_ref()] {
        let error = read(&transport, &format!("file://{}", path.display())).unwrap_err();
        assert!(matches!(&error, FetchError::NotAFile { .. }), "{}: {error:?}", path.display());
    }
    let error = read(&transport, &format!("file://{}", dir.path().display())).unwrap_err();
    assert!(matches!(error, FetchError::Gone { .. }));
}
