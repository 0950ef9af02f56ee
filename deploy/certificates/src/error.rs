//! Why a certificate could not be looked at.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: std::io::Error },
    #[error("{address} shows no certificate for `{name}`: {message}")]
    Handshake { address: String, name: String, message: String },
    #[error("{address} shows for `{name}` what is no certificate: {message}")]
    Unreadable { address: String, name: String, message: String },
    #[error("{}: {message}\n  help: name a file with certificates of authorities in PEM", file.display())]
    Authorities { file: PathBuf, message: String },
    #[error(
        "this computer trusts no authority: {reasons}\n  help: install ca-certificates, or name the file of an authority"
    )]
    NoAuthorities { reasons: String },
    #[error("TLS does not work here: {0}")]
    Tls(#[from] rustls::Error),
}
