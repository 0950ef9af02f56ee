//! The formats of the store: hashes, store paths, content addresses and NAR archives.
//!
//! Everything here is pure: bytes in, values out, no files and no network, so that the same code
//! serves the command, the agent on the host and the program inside the build sandbox. The formats
//! are those of Nix 2.8 (store layer version 1); the tests hold values taken from `nix-store`.
//! [`ar`] reads the outer archive of Debian packages, [`report`] holds what errors about text files
//! share, [`glob`] what patterns over names do, [`time`] how points in time are written, [`printable`]
//! how foreign text is shown.
//!
//! ```
//! use cairn_formats::{Sha256, StoreName, fixed_flat};
//!
//! let name = StoreName::parse("hello.txt")?;
//! let path = fixed_flat(&name, &Sha256::of(b"hello\n"));
//! assert!(path.absolute().starts_with("/nix/store/"));
//! assert_eq!(path.name(), "hello.txt");
//! # Ok::<(), cairn_formats::FormatError>(())
//! ```

pub mod ar;
mod content_address;
mod error;
pub mod glob;
mod hash;
pub mod nar;
pub mod narinfo;
mod nix32;
mod platform;
pub mod printable;
mod rel_path;
pub mod report;
mod store_path;
pub mod time;

pub use content_address::{ContentAddress, fixed_flat, fixed_recursive};
pub use error::FormatError;
pub use hash::{HashWriter, Sha256};
pub use platform::Platform;
pub use rel_path::RelPath;
pub use store_path::{STORE_DIR, StoreName, StorePath};
