//! From what a definition asks for to exact files with hashes.
//!
//! [`lock_image`] resolves the Debian packages ([`debian`]) and the Python packages ([`pypi`]) of
//! one image for all of its platforms, verifies everything on the way, and returns the [`Lock`]
//! that stands in `image.lock`. Building never resolves.
//!
//! ```no_run
//! use cairn_fetch::{Fetcher, Mirrors, MirrorsConfig};
//! use cairn_lock::{LockRequest, lock_image};
//! use cairn_recipe::Project;
//!
//! let image = Project::find(None)?.image("api")?;
//! let cache = std::path::Path::new("/tmp/cairn-cache");
//! let lock = lock_image(
//!     &LockRequest {
//!         definition: &image.definition,
//!         folder: image.folder(),
//!         mirrors: &Mirrors::discover(&MirrorsConfig::default()),
//!         fetcher: &Fetcher::new(&cache.join("downloads"))?,
//!         accept_stale: false,
//!         previous: None,
//!         cache_dir: cache,
//!         now: std::time::SystemTime::now(),
//!     },
//!     &(),
//! )?;
//! print!("{}", lock.to_toml());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod debian;
#[doc(hidden)]
pub mod fuzzing;
mod image;
pub mod pypi;

pub use cairn_recipe::Lock;
pub use image::{LockError, LockRequest, lock_image};
