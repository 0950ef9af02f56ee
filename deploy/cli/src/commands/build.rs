//! `deploy build`: targets become store paths.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use cairn_exposure::{Assessed, Assessment};
use cairn_formats::{Platform, Sha256};
use cairn_realise::Realised;
use cairn_recipe::Project;
use cairn_recipe::plan::{self, Planned};
use cairn_recipe::project::{Host, Target};
use cairn_store::Store;
use serde::Serialize;

use crate::arguments::BuildOptions;
use crate::context::Context;
use crate::display::{failure, size, table};

#[derive(Serialize)]
struct Report {
    targets: Vec<TargetReport>,
}

#[derive(Serialize)]
struct TargetReport {
    name: String,
    /// Logical, `/nix/store/…`; the bytes lie at `file`.
    store_path: String,
    file: String,
    /// `sha256-<base64>`.
    nar_hash: String,
    /// Of an image: the manifest's, or the index's when it has several platforms.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// Bytes of the output, as a NAR.
    bytes: u64,
    /// Nothing had to be run.
    cached: bool,
    seconds: f64,
    /// Of a host: how exposed each service is.
    #[serde(skip_serializing_if = "Option::is_none")]
    services: Option<Vec<Assessed>>,
    /// Why the services have no score.
    #[serde(skip_serializing_if = "Option::is_none")]
    unscored: Option<String>,
}

/// A target that is about to be built.
struct Job<'a> {
    target: &'a Target,
    planned: Planned,
    host: Option<Host>,
}

pub fn run(context: &Context, options: &BuildOptions) -> Result<u8> {
    let project = context.project()?;
    let targets = project.targets(&options.targets)?;
    if targets.is_empty() {
        bail!("the project has no such targets: {}", options.targets.join(", "));
    }
    if options.out.is_some() && targets.len() != 1 {
        bail!("--out takes the result of one target, and there are {}", targets.len());
    }
    // All definitions are read before anything is built: a typo in the last one is told at once.
    let planned = targets
        .iter()
        .map(|target| plan_target(context, &project, target, &options.platform))
        .collect::<Result<Vec<_>>>()?;
    let store = context.store()?;
    let mut reports = Vec::new();
    let mut differs = false;
    context.with_realiser(&project, &store, options.jobs, |realiser| {
        for Job { target, planned, host } in &planned {
            let name = target.to_string();
            let progress = context.display.build(&name);
            let realised = realiser.realise(planned, planned.target, &|event| progress.on(&event))?;
            let assessment = match host {
                Some(host) => context.assess(&store, host, planned, &realised.path)?,
                None => None,
            };
            store.set_root(&name, &realised.path)?;
            if options.check {
                for difference in realiser.check(planned, planned.target, &|event| progress.on(&event))? {
                    differs = true;
                    let files: String = difference.files.iter().map(|file| format!("\n  {file}")).collect();
                    failure(&format!("{} gave other bytes when it was built again:{files}", difference.name));
                }
            }
            drop(progress);
            reports.push(report(&store, target, &realised, assessment)?);
        }
        Ok(())
    })?;
    if let (Some(out), [only]) = (&options.out, reports.as_slice()) {
        copy_out(Path::new(&only.file), out)?;
    }
    let report = Report { targets: reports };
    context.display.result(&report, || text(&report))?;
    Ok(u8::from(differs))
}

fn plan_target<'a>(
    context: &Context,
    project: &Project,
    target: &'a Target,
    platforms: &[Platform],
) -> Result<Job<'a>> {
    let (planned, host) = match target {
        Target::Image(name) => {
            let image = project.image(name)?;
            let lock = project.lock(&image)?;
            let native = [Platform::native()];
            (plan::image(&image, &lock, if platforms.is_empty() { &native } else { platforms })?, None)
        }
        Target::Host(name) => {
            let host = project.host(name)?;
            (context.plan_host(project, &host)?, Some(host))
        }
    };
    Ok(Job { target, planned, host })
}

fn report(store: &Store, target: &Target, realised: &Realised, assessment: Option<Assessment>) -> Result<TargetReport> {
    let path = &realised.path;
    let info = store.query(path)?.with_context(|| format!("{path} has left the store while it was built"))?;
    let file = store.physical(path);
    let digest = match target {
        Target::Image(_) => Some(cairn_oci::layout::read(&file)?.info.digest().to_string()),
        Target::Host(_) => None,
    };
    Ok(TargetReport {
        name: target.to_string(),
        store_path: path.absolute(),
        file: file.display().to_string(),
        nar_hash: sri(&info.nar_hash),
        digest,
        bytes: info.nar_size,
        cached: realised.cached,
        seconds: realised.took.as_secs_f64(),
        unscored: assessment.as_ref().and_then(|assessment| Some(assessment.unscored.as_ref()?.to_string())),
        services: assessment.map(|assessment| assessment.services),
    })
}

fn sri(hash: &Sha256) -> String {
    hash.sri()
}

fn text(report: &Report) -> String {
    let mut rows = vec![["TARGET", "SIZE", "TIME", "RESULT"].map(str::to_owned).to_vec()];
    for target in &report.targets {
        let time = if target.cached { "cached".to_owned() } else { format!("{:.1} s", target.seconds) };
        rows.push(vec![target.name.clone(), size(target.bytes), time, target.file.clone()]);
        if let Some(digest) = &target.digest {
            rows.push(vec![String::new(), String::new(), String::new(), digest.clone()]);
        }
    }
    let hosts = report.targets.iter().filter_map(|target| Some(exposure(target, target.services.as_ref()?)));
    table(&rows) + &hosts.collect::<String>()
}

/// Each service's score, and below it what was loosened and why.
fn exposure(target: &TargetReport, services: &[Assessed]) -> String {
    let mut text = format!("\n{}: exposure of its services, from 0 (closed) to 10\n", target.name);
    let longest = services.iter().map(|service| service.name.len()).max().unwrap_or(0);
    for service in services {
        let score = service.exposure.map_or("not scored".to_owned(), |score| format!("{score:.1}"));
        text.push_str(&format!("  {:<longest$}  {score}, at most {:.1}\n", service.name, service.limit));
        for loosened in &service.loosened {
            text.push_str(&format!("    {}={}: {}\n", loosened.directive, loosened.value, loosened.reason));
        }
    }
    if let Some(unscored) = &target.unscored {
        text.push_str(&format!("  {unscored}\n"));
    }
    text
}

/// Copies a result out of the store, with modes that let its owner change it.
fn copy_out(from: &Path, to: &Path) -> Result<()> {
    let fail = |at: &Path| format!("cannot copy to {}", at.display());
    if to.exists() {
        bail!("{} exists already\n  help: remove it, or name another folder", to.display());
    }
    let mut open = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = open.pop() {
        let meta = std::fs::symlink_metadata(&from).with_context(|| fail(&to))?;
        if meta.is_dir() {
            std::fs::create_dir(&to).with_context(|| fail(&to))?;
            for entry in std::fs::read_dir(&from).with_context(|| fail(&to))? {
                let entry = entry?;
                open.push((entry.path(), to.join(entry.file_name())));
            }
        } else if meta.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(&from)?, &to).with_context(|| fail(&to))?;
        } else {
            let mut source = std::fs::File::open(&from).with_context(|| fail(&to))?;
            let mut file = std::fs::File::create(&to).with_context(|| fail(&to))?;
            std::io::copy(&mut source, &mut file).with_context(|| fail(&to))?;
        }
    }
    Ok(())
}
