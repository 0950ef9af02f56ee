//! `deploy lock`: definitions become locks.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use cairn_lock::LockRequest;
use cairn_recipe::Lock;
use cairn_recipe::lock::lock_file;
use cairn_recipe::project::Target;
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
    /// `name old → new`, `+ name new`, `- name old`.
    changes: Vec<String>,
}

pub fn run(context: &Context, options: &LockOptions) -> Result<u8> {
    let project = context.project()?;
    let store = context.store()?;
    let fetcher = context.fetcher(&store)?;
    let mirrors = context.mirrors(&project);
    let cache = store.root().join("nix/var/cairn/lock");
    let mut images = Vec::new();
    for target in project.targets(&options.targets)? {
        let Target::Image(name) = target else {
            bail!("`{target}` has no lock of its own\n  help: lock the images that it runs: `deploy lock images`");
        };
        let image = project.image(&name)?;
        let file = lock_file(&image.file);
        // A lock that does not read is replaced as a whole: nothing in it is kept.
        let previous = fs::read_to_string(&file).ok().and_then(|text| Lock::parse(&file, &text).ok());
        context.display.note(&format!("images.{name}: resolving"));
        let request = LockRequest {
            definition: &image.definition,
            folder: image.folder(),
            mirrors: &mirrors,
            fetcher: &fetcher,
            accept_stale: options.accept_stale,
            previous: previous.as_ref(),
            cache_dir: &cache,
            now: std::time::SystemTime::now(),
        };
        let lock = cairn_lock::lock_image(&request, &())?;
        write(&file, &lock.to_toml())?;
        images.push(ImageReport {
            packages: lock.debs.len(),
            wheels: lock.wheels.len(),
            changes: changes(previous.as_ref(), &lock),
            file: file.display().to_string(),
            name,
        });
    }
    let report = Report { images };
    context.display.result(&report, || text(&report))?;
    Ok(0)
}

/// Whole or not at all.
fn write(file: &Path, text: &str) -> Result<()> {
    let temporary = file.with_extension("lock.new");
    fs::write(&temporary, text).with_context(|| format!("cannot write {}", temporary.display()))?;
    fs::rename(&temporary, file).with_context(|| format!("cannot replace {}", file.display()))
}

fn changes(previous: Option<&Lock>, lock: &Lock) -> Vec<String> {
    use std::collections::BTreeMap;
    let versions = |lock: &Lock| -> BTreeMap<(String, String), String> {
        let debs = lock.debs.iter().map(|d| ((d.name.clone(), d.arch.clone()), d.version.clone()));
        let wheels = lock.wheels.iter().map(|w| ((w.name.clone(), "wheel".to_owned()), w.version.clone()));
        debs.chain(wheels).collect()
    };
    let Some(previous) = previous else { return Vec::new() };
    let (old, new) = (versions(previous), versions(lock));
    let mut lines = Vec::new();
    for (key, version) in &new {
        match old.get(key) {
            Some(was) if was == version => {}
            Some(was) => lines.push(format!("{} ({}) {was} → {version}", key.0, key.1)),
            None => lines.push(format!("+ {} ({}) {version}", key.0, key.1)),
        }
    }
    let gone = old.iter().filter(|(key, _)| !new.contains_key(*key));
    lines.extend(gone.map(|(key, version)| format!("- {} ({}) {version}", key.0, key.1)));
    lines
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
    }
    text
}
