//! The program that runs inside the build sandbox: one step of a recipe, its inputs, one output.
//!
//! In goes one JSON document ([`cairn_recipe::step::Request`]), out comes a file tree at the path it names, or one JSON
//! line with the reason why not. The same inputs give the same bytes on any machine: nothing here
//! looks at the clock, the locale, the network, the number of processors, or the order in which a
//! directory lists its files. It runs as an ordinary process without privileges, and needs nothing
//! on the machine, not even a shell; keeping everything else out of its sight is the caller's part.
//!
//! Most steps make a tree; `rootfs` lays trees over each other. Archives are hostile until each
//! member was checked: the modules `deb` and `wheel` say what they refuse, `tree` how nothing is
//! ever written outside.
//!
//! ```
//! let scratch = tempfile::tempdir()?;
//! std::fs::write(scratch.path().join("hello.txt"), "hello\n")?;
//! let request = serde_json::from_value(serde_json::json!({
//!     "step": {"kind": "files", "target": "/srv/hello.txt", "interpreter": null, "native": true},
//!     "inputs": {"source": [scratch.path().join("hello.txt")]},
//!     "out": scratch.path().join("out"),
//! }))?;
//! cairn_builder::run(&request)?;
//! assert_eq!(std::fs::read_to_string(scratch.path().join("out/tree/srv/hello.txt"))?, "hello\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bytecode;
mod deb;
mod elf;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod generated;
pub mod glob;
mod inputs;
mod layout;
mod steps;
mod tree;
mod wheel;

pub use error::{Error, Problem, Result};
pub use steps::run;
