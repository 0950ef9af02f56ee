//! Binary caches: closures go out to a folder, a web server or a bucket, and come in on hosts that
//! fetch what they are to run by themselves.
//!
//! ```text
//! nix-cache-info              that it is one
//! HASH.narinfo                a store path: what it is, where its archive lies, who signed that
//! nar/FILEHASH.nar.zst        the archive
//! cairn/HOST.json             the pointer: what a host is to run; all that ever changes
//! cairn/secrets/SHA256.age    values of secrets, sealed to the hosts' key
//! cairn/agent/SHA256          the agent, for a host that has none yet
//! ```
//!
//! The first three are Nix's own format, and Nix reads such a cache as any other. [`upload`] writes
//! what is missing there, [`Pointer`] is written last, [`substitute`] brings a closure into a store.
//!
//! A host believes nothing that lies there. The pointer and each narinfo must be signed by a key
//! that it trusts; each tree must have the hash, and its path follow from the content, before the
//! store takes it; and whatever is read has a limit that a signed number gives.
//!
//! ```
//! use cairn_cache::{Cache, SecretKey, Terms, substitute, upload};
//! use cairn_formats::StoreName;
//! use cairn_store::Store;
//!
//! let dir = tempfile::tempdir()?;
//! let ours = Store::open(&dir.path().join("ours"))?;
//! let build = ours.build_dir()?;
//! std::fs::write(build.path().join("greeting"), "hello\n")?;
//! let info = ours.add_output(&build.path().join("greeting"), &StoreName::parse("greeting")?, &Default::default())?;
//!
//! let (key, _) = SecretKey::generate("example-1")?;
//! let cache = Cache::open(&format!("file://{}/cache", dir.path().display()))?;
//! upload(&ours, &cache, &key, std::slice::from_ref(&info.path), &|_| ())?;
//!
//! let theirs = Store::open(&dir.path().join("theirs"))?;
//! substitute(&theirs, &cache, &info.path, &[key.public()], &Terms::default())?;
//! assert_eq!(std::fs::read(theirs.physical(&info.path))?, b"hello\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arriving;
mod cache;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod key;
mod pointer;
mod publish;
mod s3;
mod seen;
mod substitute;
mod web;
mod write_pointer;

pub use cache::{Answer, Cache, Revision};
pub use error::{CacheError, Result};
pub use key::{PublicKey, SecretKey};
pub use pointer::{MAX_AHEAD, MAX_POINTER, OpenedPointer, PointedSecret, Pointer, VERSION as POINTER_VERSION, key_of};
pub use publish::{Uploaded, upload};
pub use seen::{Seen, SeenByKey};
pub use substitute::{Fetched, Progress, Terms, substitute};
pub use write_pointer::{PointerWriter, write_pointer};
