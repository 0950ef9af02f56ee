//! What the end-to-end tests share: a project to change, the `deploy` that was built, machines
//! that go away again, and small clients.
//!
//! `cargo xtask test` sets `CAIRN_PROGRAMS` (the folder of the built programs) and
//! `CAIRN_TEST_STATE` (a folder that keeps stores and the machines' base from test to test).

pub mod authority;
pub mod bucket;
pub mod clients;
pub mod database;
pub mod earlier;
pub mod hook;
pub mod http;
pub mod phase;
pub mod power;
pub mod project;
pub mod run;
pub mod streams;
mod whole;

pub use project::{Machine, Project};
pub use run::{Ran, programs, run, tool};

/// Waits until something holds, for at most `limit`.
#[track_caller]
pub fn eventually(limit: std::time::Duration, mut holds: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + limit;
    while !holds() {
        assert!(std::time::Instant::now() < end, "not within {limit:?}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

/// Where stores and machine bases are kept between tests.
pub fn state() -> std::path::PathBuf {
    let target = || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-state");
    let dir = std::env::var_os("CAIRN_TEST_STATE").map_or_else(target, Into::into);
    std::fs::create_dir_all(&dir).expect("a folder for the tests' state");
    dir.canonicalize().expect("a folder that was just made")
}
