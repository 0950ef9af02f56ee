//! What most commands need, made when first asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use cairn_closure::ServiceName;
use cairn_exposure::Assessment;
use cairn_fetch::{FetchError, Fetcher, Mirrors, MirrorsConfig};
use cairn_fleet::{AT_ONCE, Ahead, Fleet};
use cairn_formats::{Platform, StorePath};
use cairn_machine::{MachineSpec, Machines};
use cairn_realise::{Confinement, DEFAULT_TIMEOUT, Mirrored, Realised, Realiser};
use cairn_recipe::Project;
use cairn_recipe::files::is_never_read;
use cairn_recipe::graph::Source;
use cairn_recipe::plan::{self, Material, Materials, Planned, Programs};
use cairn_recipe::project::Host;
use cairn_secrets::Accepted;
use cairn_store::Store;
use cairn_transport::Options;
use rayon::prelude::*;

use crate::arguments::Global;
use crate::display::Display;
use crate::host_keys;
use crate::programs;
use crate::secrets::Secrets;

pub struct Context {
    pub display: Display,
    project_dir: Option<PathBuf>,
    allow_outside: Vec<PathBuf>,
    store_root: Option<PathBuf>,
    confinement: Confinement,
    /// Images that were read: many hosts run the same.
    read: Mutex<BTreeMap<String, Material>>,
    /// Agents that were built: many hosts need the same.
    agents: Mutex<BTreeMap<Platform, StorePath>>,
    /// Folders outside of the project that were reported as read.
    outside: Mutex<BTreeSet<PathBuf>>,
}

/// The folder of `--allow-outside`, free of links, if `deploy.toml` names it.
fn named_outside(project: &Project, folder: &Path) -> Result<PathBuf> {
    let shown = folder.display();
    let origin = "--allow-outside (or DEPLOY_ALLOW_OUTSIDE)";
    let real = folder.canonicalize().with_context(|| {
        format!("{origin}: cannot find {shown}\n  help: name a folder that is there, relative to the current one")
    })?;
    if is_never_read(&real) {
        bail!("{origin}: {shown} is never read\n  help: allow the folder that is shared, and no more");
    }
    let named = project.files.outside();
    if named.iter().any(|named| named.canonicalize().is_ok_and(|named| named == real)) {
        return Ok(real);
    }
    let names: Vec<String> = named.iter().map(|named| named.display().to_string()).collect();
    let file = project.root.join("deploy.toml");
    bail!(
        "{origin}: {} does not name {shown}\n  help: {}",
        file.display(),
        match names.is_empty() {
            true => format!("write `[files] outside = [{:?}]` there", real.display().to_string()),
            false => format!("it names {}", names.join(", ")),
        }
    )
}

impl Context {
    pub fn new(global: &Global) -> Result<Self> {
        Ok(Self {
            display: Display::new(global.json, global.quiet),
            project_dir: global.project.clone(),
            allow_outside: global.allow_outside.clone(),
            store_root: global.store.clone(),
            confinement: Confinement::new(global.allow_weak_sandbox, global.step_timeout.unwrap_or(DEFAULT_TIMEOUT)),
            read: Mutex::default(),
            agents: Mutex::default(),
            outside: Mutex::default(),
        })
    }

    pub fn project(&self) -> Result<Project> {
        let project = Project::find(self.project_dir.as_deref())?;
        if project.config.files.outside.is_empty() && self.allow_outside.is_empty() {
            return Ok(project);
        }
        let mut accepted = Accepted::open(&host_keys::folder()?, &project.root)?;
        for folder in &self.allow_outside {
            accepted.accept_outside(&named_outside(&project, folder)?)?;
        }
        let allowed = accepted.outside();
        Ok(project.allow_outside(&allowed))
    }

    pub fn store(&self) -> Result<Store> {
        let root = match &self.store_root {
            Some(root) => std::path::absolute(root).context("cannot find the current folder")?,
            None => Store::default_root()?,
        };
        Ok(Store::open(&root)?)
    }

    pub fn mirrors(&self, project: &Project) -> Mirrors {
        let mirrors = &project.config.mirrors;
        Mirrors::discover(&MirrorsConfig {
            debian: mirrors.debian.clone(),
            debian_security: mirrors.debian_security.clone(),
            pypi: mirrors.pypi.clone(),
        })
    }

    /// Downloads wait beside the store until they are complete.
    pub fn fetcher(&self, store: &Store) -> Result<Fetcher> {
        Ok(Fetcher::new(&store.root().join("nix/var/cairn/downloads"))?)
    }

    /// Runs `work` with a realiser over the store.
    pub fn with_realiser<T>(
        &self,
        project: &Project,
        store: &Store,
        jobs: usize,
        work: impl FnOnce(&Realiser) -> Result<T>,
    ) -> Result<T> {
        self.note_outside(project);
        let fetcher = self.fetcher(store)?;
        let mirrors = self.mirrors(project);
        let wheel = |package: &str, source: &Source| -> Result<Vec<String>, FetchError> {
            cairn_lock::pypi::locate_wheel(&fetcher, &mirrors, package, &source.file, &source.sha256)
        };
        let locate = Mirrored { mirrors: &mirrors, wheel: &wheel };
        work(&Realiser {
            store,
            fetcher: &fetcher,
            locate: &locate,
            builder: programs::builder()?,
            confinement: &self.confinement,
            jobs,
        })
    }

    /// Reports each folder outside of the project that definitions have read files from, once.
    pub fn note_outside(&self, project: &Project) {
        let mut noted = self.outside.lock().unwrap_or_else(PoisonError::into_inner);
        for folder in project.files.used_outside() {
            if noted.insert(folder.clone()) {
                let why = "as `[files] outside` in deploy.toml says and this computer allows";
                self.display
                    .note(&format!("definitions read files of {}, outside of the project, {why}", folder.display()));
            }
        }
    }

    /// The hosts that names of hosts and fleets, tags and patterns stand for.
    pub fn hosts(&self, project: &Project, names: &[String]) -> Result<Vec<Host>> {
        project.hosts_named(names)?.iter().map(|name| Ok(project.host(name)?)).collect()
    }

    /// Builds a host's closure.
    pub fn build_host(&self, project: &Project, store: &Store, host: &Host) -> Result<StorePath> {
        let (planned, closure) = self.realise_host(project, store, host)?;
        self.accept(store, host, &planned, &closure)?;
        Ok(closure)
    }

    /// Builds the closures of hosts. One after the other, since most of what they need is the same and
    /// built once; but each is scored by a process of its own, and those run side by side.
    pub fn build_hosts(&self, project: &Project, store: &Store, hosts: &[Host]) -> Result<Vec<StorePath>> {
        let realise = |host| Ok((host, self.realise_host(project, store, host)?));
        let realised = hosts.iter().map(realise).collect::<Result<Vec<(&Host, (Planned, StorePath))>>>()?;
        // Of several errors the first in the hosts' order is told, whichever came first.
        let accept =
            |(host, (planned, closure)): &(&Host, (Planned, StorePath))| self.accept(store, host, planned, closure);
        realised.par_iter().map(accept).collect::<Vec<Result<()>>>().into_iter().collect::<Result<()>>()?;
        Ok(realised.into_iter().map(|(_, (_, closure))| closure).collect())
    }

    fn realise_host(&self, project: &Project, store: &Store, host: &Host) -> Result<(Planned, StorePath)> {
        let planned = self.plan_host(project, host)?;
        let realised = self.realise(project, store, &planned, &format!("hosts.{}", host.name))?;
        Ok((planned, realised.path))
    }

    /// Keeps a closure, if no service of it is too exposed.
    fn accept(&self, store: &Store, host: &Host, planned: &Planned, closure: &StorePath) -> Result<()> {
        let what = format!("hosts.{}", host.name);
        let assessment = self.assess(store, host, planned, closure)?;
        if let Some(unscored) = &assessment.and_then(|assessment| assessment.unscored) {
            self.display.note(&format!("{what}: services are not scored: {unscored}"));
        }
        Ok(store.set_root(&what, closure)?)
    }

    /// How exposed a host's services are. One above its limit is an error.
    pub fn assess(
        &self,
        store: &Store,
        host: &Host,
        planned: &Planned,
        closure: &StorePath,
    ) -> Result<Option<Assessment>> {
        let Some(spec) = planned.host_spec() else { return Ok(None) };
        let limit = |name: &ServiceName| host.definition.services[name.as_str()].exposure;
        let assessment = cairn_exposure::assess(spec, &store.physical(closure), limit)?;
        assessment.check()?;
        Ok(Some(assessment))
    }

    pub fn plan_host(&self, project: &Project, host: &Host) -> Result<Planned> {
        let images = self.materials(project, host)?;
        let programs = Programs { agent: programs::agent(host.definition.platform)? };
        let secrets = Secrets::of(project)?.versions(host)?;
        Ok(plan::host(host, &Materials { images, secrets, programs })?)
    }

    /// The images that a host runs.
    pub fn materials(&self, project: &Project, host: &Host) -> Result<BTreeMap<String, Material>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<&str> = plan::images_of(&host.definition).collect();
        let material = |name: &str| -> Result<(String, Material)> {
            let image = project.image(name)?;
            let (lock, configuration) = (project.lock(&image)?, project.configuration(&image)?);
            Ok((name.to_owned(), Material { image, lock, configuration }))
        };
        let unknown = names.par_iter().filter(|name| !read.contains_key(**name)).map(|name| material(name));
        let unknown: Vec<Result<(String, Material)>> = unknown.collect();
        read.extend(unknown.into_iter().collect::<Result<Vec<_>>>()?);
        Ok(names.into_iter().map(|name| (name.to_owned(), read[name].clone())).collect())
    }

    /// The agent alone, for commands that only talk to a host.
    pub fn agent(&self, project: &Project, store: &Store, platform: Platform) -> Result<StorePath> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = agents.get(&platform) {
            return Ok(known.clone());
        }
        let planned = plan::agent(&Programs { agent: programs::agent(platform)? });
        let path = self.realise(project, store, &planned, "agent")?.path;
        store.set_root("agent", &path)?;
        agents.insert(platform, path.clone());
        Ok(path)
    }

    /// Goes the way to hosts that are soon to be worked on, while there is still something to build.
    pub fn dial<'h>(&self, project: &Project, fleet: &Fleet, hosts: impl Iterator<Item = &'h Host>) -> Result<()> {
        let with_agent = |host: &'h Host| Ok((host, self.agent(project, fleet.store, host.definition.platform)?));
        let first = hosts.take(AT_ONCE).map(with_agent).collect::<Result<Vec<(&Host, StorePath)>>>()?;
        fleet.dial(first);
        Ok(())
    }

    fn realise(&self, project: &Project, store: &Store, planned: &Planned, what: &str) -> Result<Realised> {
        self.with_realiser(project, store, 0, |realiser| {
            let progress = self.display.build(what);
            Ok(realiser.realise(planned, planned.target, &|event| progress.on(&event))?)
        })
    }

    /// For a command that goes on after Ctrl-C: the way to the hosts must not end with it.
    pub fn fleet_apart<'a>(&self, store: &'a Store) -> Result<Fleet<'a>> {
        let mut fleet = self.fleet(store)?;
        fleet.options.apart = true;
        Ok(fleet)
    }

    pub fn fleet<'a>(&self, store: &'a Store) -> Result<Fleet<'a>> {
        let machines = Machines::default_state()?;
        Ok(Fleet {
            store,
            // Beside the machines.
            options: Options::new(machines.with_file_name("host-keys")),
            machines,
            machine: MachineSpec::default(),
            operator: operator(),
            ahead: Ahead::default(),
        })
    }
}

/// `user@machine`, as the hosts record it.
pub fn operator() -> String {
    let machine = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{}@{machine}", user())
}

/// The account of whoever runs this.
pub fn user() -> String {
    let user =
        ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    let uid = nix::unistd::getuid();
    let account = || nix::unistd::User::from_uid(uid).ok().flatten().map(|account| account.name);
    user.or_else(account).unwrap_or_else(|| format!("uid-{uid}"))
}
