//! Certificates that OpenSSL made, shown by a TLS server.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use cairn_certificates::{CertificateError, Chain, Roots, Server, Shown, now};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

const DAY: u64 = 86_400;

fn openssl(dir: &Path, arguments: &str) {
    let made = Command::new("openssl").args(arguments.split_whitespace()).current_dir(dir).output().unwrap();
    assert!(made.status.success(), "{arguments}: {}", String::from_utf8_lossy(&made.stderr));
}

/// `ca.pem`, and `site.pem` by it for two names until 90 days from now.
fn authority() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc";
    openssl(dir.path(), &format!("req -x509 {key} -days 9000 -subj /CN=authority -keyout ca.key -out ca.pem"));
    openssl(
        dir.path(),
        &format!(
            "req -x509 {key} -days 90 -subj /CN=example.com -CA ca.pem -CAkey ca.key -set_serial 0x0A0B \
             -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:example.com,DNS:www.example.com \
             -keyout site.key -out site.pem"
        ),
    );
    dir
}

/// Serves until the test ends; gives the port.
fn serve(certificate: &Path, key: &Path) -> u16 {
    let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for tcp in listener.incoming() {
            let mut connection = ServerConnection::new(config.clone()).unwrap();
            // A client that goes away when it has seen enough is no fault.
            let _ = connection.complete_io(&mut tcp.unwrap());
        }
    });
    port
}

fn roots(files: &[PathBuf]) -> Roots {
    Roots::system(files).unwrap()
}

#[test]
fn a_certificate_is_told_as_openssl_made_it() {
    let dir = authority();
    let port = serve(&dir.path().join("site.pem"), &dir.path().join("site.key"));
    let server = Server { host: "127.0.0.1", port, name: "www.example.com" };
    let ours = roots(&[dir.path().join("ca.pem")]);
    let shown = Shown::by(&server, &ours, now()).unwrap();
    assert_eq!((shown.covers, &shown.chain), (true, &Chain::Trusted));
    assert_eq!(shown.names, ["example.com", "www.example.com"]);
    assert_eq!((shown.issuer.as_str(), shown.serial.as_str()), ("CN=authority", "0A0B"));
    assert!((89..=90).contains(&shown.days_left), "{shown:?}");

    let other = Server { name: "api.example.com", ..server };
    assert!(!Shown::by(&other, &ours, now()).unwrap().covers);
    assert_eq!(Shown::by(&server, &roots(&[]), now()).unwrap().chain, Chain::UnknownIssuer);
    let late = Shown::by(&server, &ours, now() + 100 * DAY).unwrap();
    assert!(late.chain == Chain::Expired && (-11..=-10).contains(&late.days_left), "{late:?}");
    assert_eq!(Shown::by(&server, &ours, now() - 100 * DAY).unwrap().chain, Chain::NotYetValid);
}

#[test]
fn a_server_that_vouches_for_itself_is_not_believed() {
    let dir = authority();
    let port = serve(&dir.path().join("ca.pem"), &dir.path().join("ca.key"));
    let server = Server { host: "localhost", port, name: "example.com" };
    let shown = Shown::by(&server, &roots(&[]), now()).unwrap();
    assert_eq!((shown.covers, shown.chain, shown.names), (false, Chain::SelfMade, Vec::new()));
}

#[test]
fn who_does_not_answer_or_speaks_no_tls_is_named() {
    let everybody = roots(&[]);
    // Bound and gone again, so that nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server { host: "127.0.0.1", port: closed, name: "example.com" };
    let error = Shown::by(&server, &everybody, now()).unwrap_err();
    assert!(matches!(error, CertificateError::Connect { .. }), "{error}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{closed}: Connection refused")), "{error}");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server { port: listener.local_addr().unwrap().port(), ..server };
    thread::spawn(move || drop(listener.accept()));
    let error = Shown::by(&server, &everybody, now()).unwrap_err();
    assert!(matches!(error, CertificateError::Handshake { .. }), "{error}");
}

/// One byte each second of a record that would take hours.
#[test]
fn a_server_that_answers_byte_by_byte_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server { host: "127.0.0.1", port: listener.local_addr().unwrap().port(), name: "example.com" };
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        for byte in [0x16, 0x03, 0x03, 0x40, 0x00].into_iter().chain([0; 55]) {
            if client.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_secs(1));
        }
    });
    let error = Shown::by(&server, &roots(&[]), now()).unwrap_err();
    assert!(error.to_string().contains("no answer within 10 seconds"), "{error}");
}

#[test]
fn a_file_without_authorities_is_named() {
    let dir = authority();
    let error = Roots::system(&[dir.path().join("ca.key")]).unwrap_err().to_string();
    assert!(error.contains("ca.key: it holds no certificate"), "{error}");
    let error = Roots::system(&[dir.path().join("none.pem")]).unwrap_err().to_string();
    assert!(error.contains("none.pem: "), "{error}");
}
