//! An image by Nix, from start to end on a machine with Debian's `nix-bin`, and its digest beside
//! ours.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{Program, program};
use crate::{build, setup, target};

/// Builds an image by both and compares the digests.
pub fn build(image: &str) -> Result<()> {
    setup::all()?;
    let prepared = Prepared::new(&[image])?;
    let digest = &prepared.digests[0];
    let out = target().join(format!("nix-{image}"));
    // Word for word what `cargo xtask nix-env` promises to work.
    let mut nix = program("nix")
        .args(["build", "--impure", "--print-build-logs", &format!(".#{image}"), "--out-link"])
        .args([&out]);
    for (name, value) in prepared.environment() {
        nix = nix.env(name, value);
    }
    nix.run()?;
    let index = fs::read_to_string(nix_path(&out)?.join("index.json")).context("Nix's result has no index.json")?;
    let theirs = field(&index, "digest").context("Nix's index names no digest")?;
    println!("deploy build  {digest}\nnix build     {theirs}");
    if *digest != theirs {
        bail!("the digests differ");
    }
    Ok(())
}

/// Prepares a store for Nix and prints, for a shell's `eval`, what makes `nix build --impure .#IMAGE` use it.
pub fn env() -> Result<()> {
    setup::all()?;
    let mut images = Vec::new();
    for entry in fs::read_dir(crate::root().join("images"))? {
        let entry = entry?;
        if entry.path().join("image.lock").is_file() {
            images.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    images.sort();
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    for (name, value) in Prepared::new(&images)?.environment() {
        println!("export {name}='{value}'");
    }
    eprintln!("now: nix build --impure .#{}", images.join(", or .#"));
    Ok(())
}

/// A Nix store with the programs and the locked archives of some images in it.
struct Prepared {
    programs: String,
    /// Of the same images by `deploy build`.
    digests: Vec<String>,
}

impl Prepared {
    fn new(images: &[&str]) -> Result<Self> {
        let programs = build::programs()?;
        // Ours first: it fetches the archives, and Nix takes them from our store as they are.
        let root = target().join("test-state/store");
        let mut digests = Vec::new();
        for image in images {
            let built = program(programs.join("deploy"))
                .args(["build", &format!("images.{image}"), "--json"])
                .env("DEPLOY_STORE", &root)
                .output()?;
            digests.push(field(&built, "digest").context("`deploy build` named no digest")?);
        }
        let into = add_programs(&programs)?;
        add_archives(&root)?;
        Ok(Self { programs: into, digests })
    }

    /// Evaluation is impure (`--impure`, which no setting can stand for) only in that CAIRN_PROGRAMS
    /// is read: the programs are compiled by cargo, so no hash of them can be written down beforehand.
    fn environment(&self) -> [(&'static str, String); 2] {
        [("CAIRN_PROGRAMS", self.programs.clone()), ("NIX_CONFIG", settings())]
    }
}

/// Nix with a sandbox, in a store of its own below `target/`: nothing of it stays on the machine.
fn settings() -> String {
    let store = root_of_nix();
    [
        "experimental-features = nix-command flakes",
        "sandbox = true",
        "build-users-group =",
        "substitute = false",
        &format!("store = {}", store.display()),
    ]
    .join("\n")
}

fn nix<const N: usize>(arguments: [&str; N]) -> Program {
    program("nix").args(arguments).env("NIX_CONFIG", settings())
}

fn root_of_nix() -> PathBuf {
    target().join("nix-store")
}

/// Where a result link of that store really leads.
fn nix_path(link: &Path) -> Result<PathBuf> {
    let logical = fs::read_link(link).with_context(|| format!("no result at {}", link.display()))?;
    Ok(root_of_nix().join(logical.strip_prefix("/").unwrap_or(&logical)))
}

/// Adds `deploy` and the builder to Nix's store; gives their path.
fn add_programs(from: &Path) -> Result<String> {
    let dir = target().join("cairn-programs");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(dir.join("bin"))?;
    for name in ["deploy", "cairn-builder"] {
        fs::copy(from.join(name), dir.join("bin").join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    let path = nix(["store", "add-path", "--name", "cairn-programs"]).args([&dir]).output()?;
    Ok(path)
}

/// Copies the locked archives from our store: a real Nix store, with the paths that Nix gives
/// fixed outputs.
fn add_archives(store: &Path) -> Result<()> {
    let dir = store.join("nix/store");
    let mut archives = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".deb") || name.ends_with(".whl") {
            archives.push(format!("/nix/store/{name}"));
        }
    }
    nix(["copy", "--no-check-sigs", "--from"]).args([store]).args(archives).run()
}

/// The first value of a key in JSON that we or the OCI specification shaped: digests hold neither
/// quotes nor escapes.
fn field(json: &str, key: &str) -> Option<String> {
    let rest = json.split_once(&format!("\"{key}\":"))?.1.trim_start();
    Some(rest.strip_prefix('"')?.split_once('"')?.0.to_owned())
}
