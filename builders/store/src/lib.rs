//! The store on disk: a real Nix store, `ROOT/nix/store` with Nix's own database beside it.
//!
//! Trees enter through [`Store::add_output`] (a build's result), [`Store::add_source`] (a file or
//! folder from anywhere), [`Store::add_flat`] (one downloaded file) and [`Store::import`] (a copy
//! from another store). Each becomes a content-addressed path: the bytes and the references found
//! in them decide its name, so it needs no signature and equal content is stored once. Trees leave
//! as paths ([`Store::physical`]) or as NARs ([`tree::dump`]).
//!
//! Files are read-only, dated one second past the epoch and shared through `.links`; directories
//! of a finished path are read-only too. A path is valid when the database says so, and it says so
//! only after the bytes are on disk: whatever a crash leaves behind is replaced by the next add or
//! swept by [`Store::collect_garbage`].
//!
//! An unmodified Nix works on the same root at the same time (`nix-store --store ROOT …`): the
//! schema, the lock files and the temporary roots are Nix's own (version 2.8, store schema 10).
//! What is ours alone lives in `ROOT/nix/var/cairn`.
//!
//! ```
//! use cairn_formats::StoreName;
//! use cairn_store::Store;
//!
//! let root = tempfile::tempdir()?;
//! let store = Store::open(root.path())?;
//! let build = store.build_dir()?;
//! std::fs::write(build.path().join("greeting"), "hello\n")?;
//! let name = StoreName::parse("greeting")?;
//! let info = store.add_output(&build.path().join("greeting"), &name, &Default::default())?;
//! assert_eq!(std::fs::read(store.physical(&info.path))?, b"hello\n");
//! assert_eq!(store.query(&info.path)?, Some(info));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod add;
mod build_dir;
mod canonical;
mod closure;
mod db;
mod error;
mod gc;
mod group;
mod import;
mod info;
mod ingest;
mod layout;
mod links;
mod lock;
mod profile;
mod realisation;
mod remove;
mod roots;
mod runtime;
mod scan;
mod store;
mod temp_roots;
pub mod tree;
mod verify;
mod walk;

pub use add::Output;
pub use build_dir::BuildDir;
pub use error::{Result, StoreError};
pub use gc::GcReport;
pub use info::PathInfo;
pub use lock::PathLock;
pub use profile::{Generation, Profile};
pub use roots::Root;
pub use store::Store;
pub use verify::Fault;
