//! A TLS connection for the sake of what the server shows.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::CertificateError;

/// For reaching an address, and for the whole handshake: a server that sends one byte now and then gets no
/// more time than one that sends none.
const LIMIT: Duration = Duration::from_secs(10);

pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Where to ask, and for which name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server<'a> {
    /// A name or an address.
    pub host: &'a str,
    pub port: u16,
    /// What the client asks for (SNI), whatever `host` is.
    pub name: &'a str,
}

impl Server<'_> {
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Connects and believes whatever certificate comes; the server still has to prove that it has the
/// key of it.
pub fn connect(server: &Server) -> Result<Stream, CertificateError> {
    let refused = |message: String| CertificateError::Handshake {
        address: server.address(),
        name: server.name.to_owned(),
        message,
    };
    let name = ServerName::try_from(server.name.to_owned()).map_err(|error| refused(error.to_string()))?;
    let mut connection = ClientConnection::new(Arc::new(believing_anybody()?), name)?;
    let mut tcp = reach(server).map_err(|source| CertificateError::Connect { address: server.address(), source })?;
    connection
        .complete_io(&mut Until { tcp: &mut tcp, end: Instant::now() + LIMIT })
        .map_err(|e| refused(spelt(&e)))?;
    let limits = tcp.set_read_timeout(Some(LIMIT)).and(tcp.set_write_timeout(Some(LIMIT)));
    limits.map_err(|error| refused(error.to_string()))?;
    Ok(StreamOwned::new(connection, tcp))
}

/// A connection that is over at the end of a time, however it is shared among reads and writes.
struct Until<'a> {
    tcp: &'a mut TcpStream,
    end: Instant,
}

impl Until<'_> {
    fn left(&self) -> std::io::Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// How a time limit of a socket ends. For rustls this kind means that there is no more for now.
fn timed_out(error: std::io::Error) -> std::io::Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.tcp.set_read_timeout(Some(self.left()?))?;
        self.tcp.read(buffer).map_err(timed_out)
    }
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.tcp.set_write_timeout(Some(self.left()?))?;
        self.tcp.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.tcp.flush()
    }
}

/// By the first of its addresses that answers.
fn reach(server: &Server) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (server.host, server.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, LIMIT) {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn spelt(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::TimedOut => format!("no answer within {} seconds", LIMIT.as_secs()),
        ErrorKind::UnexpectedEof => "the connection was closed; is TLS spoken there?".to_owned(),
        _ => error.to_string(),
    }
}

fn believing_anybody() -> Result<ClientConfig, CertificateError> {
    let provider = provider();
    let verifier = Anybody(provider.signature_verification_algorithms);
    Ok(ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

pub(crate) fn provider() -> CryptoProvider {
    crypto::ring::default_provider()
}

struct Anybody(WebPkiSupportedAlgorithms);

impl fmt::Debug for Anybody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Anybody")
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
