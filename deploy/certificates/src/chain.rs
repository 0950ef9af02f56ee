//! Whether a client would believe a chain of certificates.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError as Refusal, Error, RootCertStore};
use serde::Serialize;

use crate::CertificateError;
use crate::connection::provider;

/// The authorities that are trusted.
#[derive(Debug)]
pub struct Roots(RootCertStore);

impl Roots {
    /// Those of this computer, and those in these files.
    pub fn system(files: &[PathBuf]) -> Result<Self, CertificateError> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        for file in files {
            let refuse = |message: String| CertificateError::Authorities { file: file.clone(), message };
            let before = roots.len();
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| refuse(error.to_string()))? {
                let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
                roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
            }
            if roots.len() == before {
                return Err(refuse("it holds no certificate".to_owned()));
            }
        }
        if roots.is_empty() {
            let mut reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            if reasons.is_empty() {
                reasons.push("no certificates were found where they are kept".to_owned());
            }
            return Err(CertificateError::NoAuthorities { reasons: reasons.join("; ") });
        }
        Ok(Self(roots))
    }

    /// The server's own certificate comes first in the chain.
    pub(crate) fn judge(
        &self,
        first: &ParsedCertificate<'_>,
        others: &[CertificateDer<'_>],
        self_issued: bool,
        now: u64,
    ) -> Chain {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let algorithms = provider().signature_verification_algorithms.all;
        match verify_server_cert_signed_by_trust_anchor(first, &self.0, others, now, algorithms) {
            Ok(()) => Chain::Trusted,
            Err(_) if self_issued => Chain::SelfMade,
            Err(Error::InvalidCertificate(Refusal::Expired | Refusal::ExpiredContext { .. })) => Chain::Expired,
            Err(Error::InvalidCertificate(Refusal::NotValidYet | Refusal::NotValidYetContext { .. })) => {
                Chain::NotYetValid
            }
            Err(Error::InvalidCertificate(Refusal::UnknownIssuer)) => Chain::UnknownIssuer,
            Err(other) => Chain::Invalid(other.to_string()),
        }
    }
}

/// What a client makes of a chain, apart from the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum Chain {
    Trusted,
    /// The server vouches for itself.
    SelfMade,
    /// Nobody that is trusted vouches for it; a certificate in between may be missing.
    UnknownIssuer,
    Expired,
    NotYetValid,
    /// Anything else, in rustls' words.
    Invalid(String),
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trusted => f.write_str("trusted"),
            Self::SelfMade => f.write_str("self-made"),
            Self::UnknownIssuer => f.write_str("unknown issuer"),
            Self::Expired => f.write_str("expired"),
            Self::NotYetValid => f.write_str("not yet valid"),
            Self::Invalid(reason) => write!(f, "invalid: {reason}"),
        }
    }
}

impl From<Chain> for String {
    fn from(chain: Chain) -> Self {
        chain.to_string()
    }
}
