//! What a server shows to a client of one name.

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use serde::Serialize;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::{CertificateError, Chain, Roots, Server, connect};

const DAY: i64 = 86_400;

/// The server's own certificate, and what a client makes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Whether it is for the name that was asked for.
    pub covers: bool,
    pub chain: Chain,
    /// The DNS names that it is for.
    pub names: Vec<String>,
    /// As RFC 4514 writes names: `CN=R11,O=Let's Encrypt,C=US`.
    pub issuer: String,
    /// In hexadecimal, as `openssl x509 -serial` prints it.
    pub serial: String,
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970.
    pub not_after: i64,
    /// Whole days until then; below zero when it has passed.
    pub days_left: i64,
}

impl Shown {
    /// Connects to the server. `now` is in seconds since 1970.
    pub fn by(server: &Server, roots: &Roots, now: u64) -> Result<Self, CertificateError> {
        let stream = connect(server)?;
        Self::of_chain(stream.conn.peer_certificates().unwrap_or_default(), server, roots, now)
    }

    /// What a chain of certificates says, the server's own first. `now` is in seconds since 1970.
    pub fn of_chain(
        chain: &[CertificateDer<'_>],
        server: &Server,
        roots: &Roots,
        now: u64,
    ) -> Result<Self, CertificateError> {
        let (address, name) = (server.address(), server.name.to_owned());
        let Some((first, others)) = chain.split_first() else {
            return Err(CertificateError::Handshake { address, name, message: "it sent none".to_owned() });
        };
        let unreadable =
            |error: x509_cert::der::Error| CertificateError::Unreadable { address, name, message: error.to_string() };
        let certificate = Certificate::from_der(first).map_err(unreadable.clone())?.tbs_certificate;
        let alternatives = certificate.get::<SubjectAltName>().map_err(unreadable)?;
        let (covers, verdict) = match ParsedCertificate::try_from(first) {
            Ok(parsed) => {
                let asked = ServerName::try_from(server.name).ok();
                let self_issued = certificate.issuer == certificate.subject;
                (
                    asked.is_some_and(|asked| verify_server_name(&parsed, &asked).is_ok()),
                    roots.judge(&parsed, others, self_issued, now),
                )
            }
            Err(error) => (false, Chain::Invalid(error.to_string())),
        };
        let (not_before, not_after) = (certificate.validity.not_before, certificate.validity.not_after);
        let seconds =
            |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
        Ok(Self {
            covers,
            chain: verdict,
            names: alternatives.map(|(_, names)| dns_names(&names)).unwrap_or_default(),
            issuer: certificate.issuer.to_string(),
            serial: serial(certificate.serial_number.as_bytes()),
            not_before: seconds(not_before),
            not_after: seconds(not_after),
            days_left: (seconds(not_after) - i64::try_from(now).unwrap_or(i64::MAX)).div_euclid(DAY),
        })
    }
}

/// Of the bytes of a DER integer: one whose first bit is set has a zero before it.
fn serial(der: &[u8]) -> String {
    let number = der.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(der);
    number.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn dns_names(alternatives: &SubjectAltName) -> Vec<String> {
    let dns = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        _ => None,
    };
    alternatives.0.iter().filter_map(dns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_told_without_its_sign() {
        assert_eq!(serial(&[0x00, 0xCB, 0x81]), "CB81");
        assert_eq!(serial(&[0x0A, 0x00]), "0A00");
        assert_eq!(serial(&[0x00]), "00");
    }
}
