//! The steps that run inside the sandbox, and the request that carries one there.
//!
//! A step with its resolved inputs, in canonical JSON, is the recipe: its hash is the key of the
//! realisation cache. Everything that can change an output's bytes must therefore stand in the
//! step, be an input, or raise [`CONTRACT`].

use std::collections::BTreeMap;

use cairn_closure::HostSpec;
use cairn_formats::{Platform, Sha256, StorePath};
use serde::{Deserialize, Serialize};

/// Version of what the builder makes of a step. Raise it when the same step gives other bytes.
pub const CONTRACT: u32 = 4;

/// One build step. "Tree" means a directory `tree/` with `meta.json` for owners and modes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Step {
    /// `deb` → tree, without what matches `exclude` (globs on image paths).
    Deb { exclude: Vec<String> },
    /// `tree`, `python` → tree of the bytecode of a Debian package's modules.
    DebPyc { interpreter: String, native: bool },
    /// `wheel`, `python` → tree of an installed wheel.
    Wheel { interpreter: String, native: bool, site: String },
    /// `source` (and `python` if `interpreter` is given) → tree with the source at `target`.
    Files { target: String, interpreter: Option<String>, native: bool },
    /// `trees` → tree of the files that package scripts would have made.
    Generated(Generated),
    /// `trees` → the merged root itself.
    Rootfs {},
    /// `trees` → compressed layer and its description. The compressor is named with version and
    /// settings: [`crate::image::CompressionKind::id`].
    Layer { compression: String },
    /// `layers.0`, `layers.1`, … one list a platform → OCI image layout.
    Image { platforms: Vec<ImagePlatform>, annotations: BTreeMap<String, String> },
    /// Nothing → a folder of these text files, and of links by name and target.
    Config {
        files: BTreeMap<String, String>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        links: BTreeMap<String, String>,
    },
    /// `rootfs`, `config`, and `live` where some files are read again → a file that says that the
    /// image's own command takes the configuration.
    Verify(Verify),
    /// `rootfs.IMAGE` for each image, `config.SERVICE` for each service that has files,
    /// `live.SERVICE` for each that reads some of them again, `agent` → host closure. In the
    /// specification a [`placeholder`] stands for each input's path. Inputs `verify.SERVICE` only
    /// have to be there.
    Host { spec: Box<HostSpec> },
    /// `program` → `bin/NAME`, executable.
    Program { name: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    pub platform: Option<Platform>,
    /// Besides root and nobody, which are always there.
    pub users: BTreeMap<String, User>,
    /// Link path → target.
    pub links: BTreeMap<String, String>,
    /// Mount points for state, and the user and group that they belong to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, (u32, u32)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub home: String,
}

/// A command of an image that ends with 0 if it can start with a service's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// Absolute path of the program, and arguments.
    pub command: Vec<String>,
    pub uid: u32,
    pub gid: u32,
    pub environment: BTreeMap<String, String>,
    pub workdir: Option<String>,
    /// Empty, and writable.
    pub volumes: Vec<String>,
    /// How long it may take, in milliseconds.
    pub timeout: u64,
}

/// The run configuration of one platform's image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagePlatform {
    pub platform: Platform,
    /// Numeric, `uid:gid`.
    pub user: String,
    pub workdir: Option<String>,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub ports: Vec<u16>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub stop_signal: Option<String>,
    pub health: Option<Health>,
}

/// Times in nanoseconds, as Docker's `Healthcheck` has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    pub command: Vec<String>,
    pub interval: u64,
    pub timeout: u64,
    pub start_period: u64,
    pub retries: u32,
}

/// The store path that stands in a specification for the input `label` until it is realised.
pub fn placeholder(label: &str) -> StorePath {
    let base = format!("{}-{label}", "0".repeat(32));
    StorePath::parse(&base).expect("labels are made of image names, which are checked")
}

/// Inputs by label, each a list of absolute paths.
pub type Inputs = BTreeMap<String, Vec<String>>;

/// What the builder program reads from its standard input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub step: Step,
    pub inputs: Inputs,
    /// Absolute path to create.
    pub out: String,
}

/// The key of a step in the realisation cache.
pub fn recipe_hash(name: &str, step: &Step, inputs: &BTreeMap<String, Vec<StorePath>>) -> Sha256 {
    #[derive(Serialize)]
    struct Recipe<'a> {
        contract: u32,
        name: &'a str,
        step: &'a Step,
        inputs: &'a BTreeMap<String, Vec<StorePath>>,
    }
    let recipe = Recipe { contract: CONTRACT, name, step, inputs };
    Sha256::of(&serde_json::to_vec(&recipe).expect("strings, numbers, lists and maps with string keys"))
}
