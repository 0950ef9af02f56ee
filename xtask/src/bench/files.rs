//! Images that are nothing but files, and hosts that run them: as many paths and bytes as a
//! measurement wants. The bytes are those of the project's own root file systems, or noise.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Bench;
use super::way::Way;

/// A user's number, for a host that runs one of these images.
pub const USER: usize = 10042;

/// The program of these images, static.
const BUSYBOX: &str = "/bin/busybox";

/// Makes an image whose folder `/srv` is the returned folder, with a program in it that sleeps.
/// What is in `/srv/changed` is kept apart: [`changed`]. Images of one host cannot share a `user`.
pub fn image(bench: &Bench, name: &str, user: usize) -> Result<PathBuf> {
    let folder = bench.project.join("images").join(name);
    for part in ["files", "changed"] {
        fs::create_dir_all(folder.join(part))?;
    }
    let platform = if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" };
    let definition = format!(
        "platforms = [\"{platform}\"]\n\n\
         [[files]]\nsource = \"files\"\ntarget = \"/srv\"\n\n\
         [[files]]\nsource = \"changed\"\ntarget = \"/srv/changed\"\n\n\
         [users.bench]\nuid = {user}\n\n\
         [image]\nuser = \"bench\"\nentrypoint = [\"/srv/busybox\", \"sleep\", \"1000000\"]\n"
    );
    fs::write(folder.join("image.toml"), definition)?;
    // What none of them has need not be resolved for each.
    let lock = bench.project.join("images/files.lock");
    if !lock.exists() {
        bench.deploy(&["lock", &format!("images.{name}")]).output()?;
        fs::copy(folder.join("image.lock"), &lock)?;
    }
    fs::copy(&lock, folder.join("image.lock"))?;
    let files = folder.join("files");
    fs::copy(BUSYBOX, files.join("busybox")).with_context(|| format!("{BUSYBOX} is missing"))?;
    Ok(files)
}

/// The file of an image of [`image`] that a measurement changes.
pub fn changed(bench: &Bench, name: &str) -> PathBuf {
    bench.project.join("images").join(name).join("changed/file")
}

/// Says that a host runs these images, one service each.
pub fn host(bench: &Bench, name: &str, images: &[String], way: &Way) -> Result<()> {
    let services = images.iter().map(|image| format!("\n[services.{image}]\nimage = \"{image}\"\n"));
    let text = format!("{}{}", way.section(), services.collect::<String>());
    Ok(fs::write(bench.project.join(format!("hosts/{name}.toml")), text)?)
}

/// Different files of the project's own root file systems, with so many bytes in all.
pub fn contents(bench: &Bench, bytes: u64) -> Result<Vec<PathBuf>> {
    let store = bench.store().join("nix/store");
    let mut roots = Vec::new();
    for entry in fs::read_dir(&store)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if ["-api-rootfs", "-postgres-rootfs", "-proxy-rootfs"].iter().any(|end| name.ends_with(end)) {
            // By name, not by hash: the same order for whoever has the same images.
            roots.push((name[33..].to_owned(), path));
        }
    }
    roots.sort();
    let (mut found, mut left, mut seen) = (Vec::new(), bytes, BTreeSet::new());
    for (_, root) in roots {
        take(&root, &mut left, &mut seen, &mut found)?;
    }
    if left > bytes / 20 {
        bail!("the root file systems of the project have {left} bytes less than {bytes}");
    }
    Ok(found)
}

/// Files below `at` that still have room in `left` and were not seen, in the order of their names.
fn take(at: &Path, left: &mut u64, seen: &mut BTreeSet<u64>, found: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries = fs::read_dir(at)?.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let meta = entry.metadata()?;
        if meta.is_dir() {
            take(&entry.path(), left, seen, found)?;
        } else if meta.is_file() && meta.len() > 0 && meta.len() <= *left && seen.insert(meta.ino()) {
            *left -= meta.len();
            found.push(entry.path());
        }
    }
    Ok(())
}

/// Writes files of noise: `count` times `size` bytes that do not compress, the same each time.
pub fn noise(into: &Path, count: u64, size: usize) -> Result<()> {
    for number in 1..=count {
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < size {
            // Xorshift, by G. Marsaglia.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(size);
        fs::write(into.join(format!("noise-{number}")), bytes)?;
    }
    Ok(())
}
