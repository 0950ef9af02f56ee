//! `deploy lock`: definitions become locks.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use cairn_lock::{Accept, LockRequest, Locked};
use cairn_recipe::lock::lock_file;
use cairn_recipe::project::Target;
use cairn_recipe::{Lock, Project};
use serde::Serialize;

use crate::arguments::LockOptions;
use crate::context::Context;

#[derive(Serialize)]
struct Report {
    images: Vec<ImageReport>,
}

#[derive(Serialize)]
struct ImageReport {
    name: String,
    file: String,
    packages: usize,
    wheels: usize,
    /// `name old → new`, `+ name new`, `- name old`, and what else differs from the lock before.
    changes: Vec<String>,
    warnings: Vec<String>,
    /// Python packages that were uploaded at this time or later are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    exclude_newer: Option<String>,
}

pub fn run(context: &Context, options: &LockOptions) -> Result<u8> {
    let project = context.project()?;
    let store = context.store()?;
    let fetcher = context.fetcher(&store)?;
    let mirrors = context.mirrors(&project);
    let cache = store.root().join("nix/var/cairn/lock");
    // What an interrupted run leaves there is removed by the next collection.
    let scratch = store.build_dir()?;
    let accept = Accept {
        stale: options.accept_stale,
        older_releases: options.accept_older_release.iter().cloned().collect(),
        signers: options.accept_signer.iter().cloned().collect(),
        changed_hashes: options.accept_changed_hash.iter().cloned().collect(),
    };
    let mut images = Vec::new();
    for target in project.targets(&options.targets)? {
        let Target::Image(name) = target else {
            bail!("`{target}` has no lock of its own\n  help: lock the images that it runs: `deploy lock images`");
        };
        let image = project.image(&name)?;
        let file = lock_file(&image.file);
        let previous = lock_before(context, &project, &name, &file)?;
        if let Some(keyring) = image.definition.debian.as_ref().and_then(|debian| debian.keyring.as_ref()) {
            let path = image.folder().join(keyring);
            image.files.locate(&path).with_context(|| format!("cannot read the keyring {}", path.display()))?;
        }
        context.display.note(&format!("images.{name}: resolving"));
        let request = LockRequest {
            definition: &image.definition,
            folder: image.folder(),
            mirrors: &mirrors,
            fetcher: &fetcher,
            previous: previous.as_ref(),
            accept: &accept,
            exclude_newer: options.exclude_newer.unwrap_or_default(),
            cache_dir: &cache,
            scratch: scratch.path(),
            now: std::time::SystemTime::now(),
        };
        let Locked { lock, warnings } = cairn_lock::lock_image(&request, &())?;
        for warning in &warnings {
            context.display.warn(&format!("images.{name}: {warning}"));
        }
        write(&file, &lock.to_toml())?;
        images.push(ImageReport {
            packages: lock.debs.len(),
            wheels: lock.wheels.len(),
            changes: previous.map(|previous| cairn_lock::changes(&previous, &lock)).unwrap_or_default(),
            warnings,
            exclude_newer: lock.exclude_newer,
            file: file.display().to_string(),
            name,
        });
    }
    let report = Report { images };
    context.display.result(&report, || text(&report))?;
    Ok(0)
}

/// The lock before. One that cannot be parsed is replaced as a whole: nothing in it is kept, and
/// nothing is compared with it.
fn lock_before(context: &Context, project: &Project, name: &str, file: &Path) -> Result<Option<Lock>> {
    let Some(text) = project.files.read_if_there(file)? else { return Ok(None) };
    match Lock::parse(file, &text) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) => {
            context.display.warn(&format!(
                "images.{name}: the lock before cannot be parsed, so nothing is compared with it: {error}"
            ));
            Ok(None)
        }
    }
}

/// Whole or not at all. What has the temporary name, be it a link of the repository, is not written to.
fn write(file: &Path, text: &str) -> Result<()> {
    let temporary = file.with_extension("lock.new");
    let written = || {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::File::create_new(&temporary)?.write_all(text.as_bytes())
    };
    written().with_context(|| format!("cannot write {}", temporary.display()))?;
    fs::rename(&temporary, file).with_context(|| format!("cannot replace {}", file.display()))
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for image in &report.images {
        text.push_str(&format!(
            "images.{}: {} packages, {} wheels → {}\n",
            image.name, image.packages, image.wheels, image.file
        ));
        for change in &image.changes {
            text.push_str(&format!("  {change}\n"));
        }
        if let Some(time) = &image.exclude_newer {
            text.push_str(&format!("  without Python packages uploaded since {time} (--exclude-newer)\n"));
        }
    }
    text
}
