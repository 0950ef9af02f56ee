//! From what a definition asks for to exact files with hashes.
//!
//! [`lock_image`] resolves the Debian packages ([`debian`]) and the Python packages ([`pypi`]) of
//! one image for all of its platforms, verifies everything on the way, and returns the [`Lock`]
//! that stands in `image.lock`. Building never resolves.
//!
//! Locking has a memory: against the lock before, a release that is older, another signer or
//! another file for the same version is an error, unless [`Accept`] names it.
//!
//! ```no_run
//! use cairn_fetch::{Fetcher, Mirrors, MirrorsConfig};
//! use cairn_lock::{Accept, ExcludeNewer, LockRequest, lock_image};
//! use cairn_recipe::Project;
//!
//! let image = Project::find(None)?.image("api")?;
//! let cache = std::path::Path::new("/tmp/cairn-cache");
//! let locked = lock_image(
//!     &LockRequest {
//!         definition: &image.definition,
//!         folder: image.folder(),
//!         mirrors: &Mirrors::discover(&MirrorsConfig::default()),
//!         fetcher: &Fetcher::new(&cache.join("downloads"))?,
//!         previous: None,
//!         accept: &Accept::default(),
//!         exclude_newer: ExcludeNewer::AsLocked,
//!         cache_dir: cache,
//!         scratch: &cache.join("scratch"),
//!         now: std::time::SystemTime::now(),
//!     },
//!     &(),
//! )?;
//! print!("{}", locked.lock.to_toml());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod changes;
pub mod debian;
mod exclude_newer;
#[doc(hidden)]
pub mod fuzzing;
mod image;
mod memory;
pub mod pypi;

pub use cairn_recipe::Lock;
pub use changes::changes;
pub use exclude_newer::{BadTime, ExcludeNewer};
pub use image::{LockError, LockRequest, Locked, lock_image};
pub use memory::{Accept, ChangedFile, ChangedFiles, Content};
