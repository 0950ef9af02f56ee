//! Bytes from mirrors, verified.
//!
//! A [`Download`] says what is wanted (hash, size if known) and where it may be had; [`Fetcher`]
//! brings it into a folder: streaming, never a whole file in memory, resuming what an interrupted
//! run left, and giving the file its name only after size and hash are right. A wrong byte is an
//! error that says what was expected, what came and from where. Nothing here trusts a mirror.
//!
//! Where mirrors are is policy, and [`Mirrors`] finds it: `deploy.toml`, else the environment,
//! else what the machine's own apt and pip use. No host name is built in.
//!
//! An address with `https://` stays encrypted: a redirect to `http://` is an error.
//!
//! HTTPS trusts what the machine trusts: `SSL_CERT_FILE` and `SSL_CERT_DIR` when set, else the
//! system's bundle. `http_proxy` and its relatives apply. `file://` URLs work like any other.
//!
//! ```no_run
//! use cairn_fetch::{Download, Fetcher, Mirrors, MirrorsConfig};
//! use cairn_formats::Sha256;
//!
//! let mirrors = Mirrors::discover(&MirrorsConfig::default());
//! let pool = "pool/main/t/tzdata/tzdata_2025b-0+deb12u2_all.deb";
//! let fetcher = Fetcher::new("/tmp/downloads".as_ref())?;
//! let path = fetcher.fetch(
//!     &Download {
//!         what: "package tzdata".into(),
//!         urls: mirrors.debian_urls("debian", pool)?,
//!         sha256: Sha256::of(b"as locked"),
//!         size: Some(9),
//!         file_name: "tzdata_2025b-0+deb12u2_all.deb".into(),
//!     },
//!     &(),
//! )?;
//! # Ok::<(), cairn_fetch::FetchError>(())
//! ```

mod apt;
mod error;
mod fetcher;
#[doc(hidden)]
pub mod fuzzing;
mod mirrors;
mod part;
mod pip;
mod program;
mod progress;
mod transport;

pub use apt::{AptSource, apt_sources, is_debian_keyring};
pub use error::{FetchError, without_login};
pub use fetcher::{Download, Fetcher};
pub use mirrors::{ArchiveSource, Mirrors, MirrorsConfig};
pub use program::search_path;
pub use progress::Progress;
pub use transport::client;

#[cfg(test)]
mod test_server;
