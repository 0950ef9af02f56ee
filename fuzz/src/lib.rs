//! Fuzz targets: one for every parser of bytes that come from somewhere else.
//!
//! A target feeds its input to one parser and asserts what must hold for any input: no panic, a
//! bounded result, and the same value again where the format has a writer. Targets run in two ways:
//!
//! * `tests/corpus.rs` replays the seeds in `corpus/TARGET/` and the inputs that once failed in
//!   `crashes/TARGET/`, and a few mutations of each, as ordinary tests.
//! * `cargo xtask fuzz [TARGET]` links libFuzzer, which mutates the seeds for as long as it is told
//!   and keeps every input that reaches new code.
//!
//! To add a target: write a function in [`targets`], list it in [`TARGETS`], and put at least one
//! real file into `corpus/TARGET/`. A private parser gets an entry in its crate's `fuzzing` module.
//! To keep a crash: move the file that libFuzzer wrote to `crashes/TARGET/`, named after the fault.

mod input;
pub mod targets;

pub use input::Scratch;

use targets::{cache, certificates, debian, definitions, host, images, packages, protocol, python, secrets, ssh};

/// One parser and the function that feeds it.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// Panics if the parser breaks a promise.
    pub run: fn(&[u8]),
}

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// All targets, grouped by format.
pub const TARGETS: &[Target] = &[
    target("deb", packages::deb),
    target("deb-control", packages::deb_control),
    target("deb-data", packages::deb_data),
    target("wheel", packages::wheel),
    target("wheel-record", packages::wheel_record),
    target("wheel-entry-points", packages::wheel_entry_points),
    target("nar", cache::nar),
    target("narinfo", cache::narinfo),
    target("pointer", cache::pointer),
    target("pointer-payload", cache::pointer_payload),
    target("cache-key", cache::key),
    target("frames", protocol::frames),
    target("messages", protocol::messages),
    target("manifest-stream", protocol::manifest_stream),
    target("wanted", protocol::wanted),
    target("inrelease", debian::inrelease),
    target("keyring", debian::keyring),
    target("release", debian::release),
    target("packages", debian::packages),
    target("relation", debian::relation),
    target("deb-version", debian::version),
    target("apt-sources", debian::apt_sources),
    target("index-page", python::index_page),
    target("pylock", python::pylock),
    target("requirements", python::requirements),
    target("wheel-name", python::wheel_name),
    target("elf", images::elf),
    target("ld-so-conf", images::ld_so_conf),
    target("ld-so-cache", images::ld_so_cache),
    target("oci-layout", images::oci_layout),
    target("glob", images::glob),
    target("host-closure", host::closure),
    target("host-spec", host::spec),
    target("http-answer", host::http_answer),
    target("journal", host::journal),
    target("systemctl", host::systemctl),
    target("proc", host::proc),
    target("netlink", host::netlink),
    target("installed", host::installed),
    target("certificate", certificates::certificate),
    target("ssh", ssh::ssh),
    target("image-lock", definitions::image_lock),
    target("image-toml", definitions::image),
    target("host-toml", definitions::host),
    target("deploy-toml", definitions::project),
    target("config-toml", definitions::configuration),
    target("words", definitions::words),
    target("secrets-toml", secrets::index),
    target("sealed", secrets::sealed),
];

/// The target of a name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
