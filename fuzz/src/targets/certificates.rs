//! Certificates that servers show.

use std::sync::LazyLock;

use cairn_certificates::{Roots, Server, Shown, Terms};
use rustls::pki_types::CertificateDer;

use crate::input::with_scratch;

const AUTHORITY: &[u8] = include_bytes!("../../keys/authority.pem");
static ROOTS: LazyLock<Roots> = LazyLock::new(|| {
    let roots = with_scratch(|scratch| Roots::system(&[scratch.write("authority.pem", AUTHORITY)]));
    roots.unwrap_or_else(|error| panic!("the authority of the tests: {error}"))
});

/// A server's own certificate, and what follows it in the chain, each with its length before it.
pub fn certificate(input: &[u8]) {
    let mut chain = Vec::new();
    let mut rest = input;
    while let Some((length, after)) = rest.split_first_chunk() {
        let (certificate, after) = after.split_at(usize::from(u16::from_be_bytes(*length)).min(after.len()));
        chain.push(CertificateDer::from(certificate));
        rest = after;
        if chain.len() == 4 {
            break;
        }
    }
    let server = Server { host: "192.0.2.1", port: 443, name: "web.example" };
    for now in [0, 1_797_000_000, u64::from(u32::MAX)] {
        if let Ok(shown) = Shown::of_chain(&chain, &server, &ROOTS, now) {
            let faults = shown.faults(&server, &Terms { days: 21, client: None });
            assert!(faults.iter().all(|fault| !fault.problem.is_empty() && !fault.remedy.is_empty()));
        }
    }
}
