//! The certificate that a server *shows*: for which names, by whom, until when, and whether a client
//! would believe it. Not the file on the host: the server may have been told of another one, or not
//! have loaded it yet.
//!
//! [`connect`] makes a connection as a client of one name does, and believes anybody; [`Shown::by`]
//! looks at what came. The verdict on the chain is that of webpki, as for rustls' own clients.
//! [`Shown::faults`] says in words what is wrong and what to do.
//!
//! ```no_run
//! use cairn_certificates::{Roots, Server, Shown, Terms};
//!
//! let roots = Roots::system(&["ca.pem".into()])?;
//! let server = Server { host: "10.213.0.2", port: 8443, name: "example.com" };
//! let shown = Shown::by(&server, &roots, cairn_certificates::now())?;
//! for fault in shown.faults(&server, &Terms { days: 21, client: Some("certificates") }) {
//!     println!("{}\n  help: {}", fault.problem, fault.remedy);
//! }
//! # Ok::<(), cairn_certificates::CertificateError>(())
//! ```

mod chain;
mod connection;
mod error;
mod faults;
mod shown;

pub use chain::{Chain, Roots};
pub use connection::{Server, Stream, connect};
pub use error::CertificateError;
pub use faults::{Fault, Terms};
pub use shown::Shown;

/// Seconds since 1970.
pub fn now() -> u64 {
    rustls::pki_types::UnixTime::now().as_secs()
}
