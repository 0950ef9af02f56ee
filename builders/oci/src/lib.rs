//! Trees of files in, OCI layers and images out; the same bytes on every machine.
//!
//! Two steps, each a build step of its own, so that a rebuild compresses only what changed:
//!
//! * [`layer::write_layer`] takes *tree outputs* (a folder with `tree/` and `meta.json`, see
//!   [`tree`]) and writes a *layer output*: `blob`, the compressed tar, and `layer.json`, which
//!   says what it is ([`layer::LayerInfo`]).
//! * [`layout::write_image`] takes layer outputs and a configuration for each platform and writes
//!   an OCI image layout, version 1.0.0. [`layout::read`] and [`layout::verify`] read one back.
//!
//! The way through a layer is one pass without temporary files: file → [tar](mod@tar) → SHA-256 (diff
//! id) → [compressor](compress) → SHA-256 (digest) → `blob`. Nothing here looks at the clock, the
//! environment, the user or the number of processors in a way that changes a byte.
//!
//! ```
//! use cairn_oci::compress::Compression;
//!
//! let dir = tempfile::tempdir()?;
//! let output = dir.path().join("hello");
//! std::fs::create_dir_all(output.join("tree/srv"))?;
//! std::fs::write(output.join("tree/srv/hello"), "hello\n")?;
//! std::fs::write(output.join("meta.json"), r#"{"exceptions": {}}"#)?;
//!
//! let info = cairn_oci::layer::write_layer(&[output], Compression::Gzip, &dir.path().join("layer"))?;
//! assert_eq!(info.uncompressed, 2560); // a directory, a file with one block, two empty blocks
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod compress;
pub mod config;
mod digest;
mod error;
mod json;
pub mod layer;
pub mod layout;
pub mod tar;
pub mod tree;

pub use digest::Digest;
pub use error::{OciError, Result};
