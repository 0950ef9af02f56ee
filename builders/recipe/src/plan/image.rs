//! One image: trees of packages, wheels and files; layers over them; the image over those.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cairn_formats::Platform;

use super::Planned;
use crate::error::DefinitionError;
use crate::graph::{Graph, NodeId, Origin, Source};
use crate::image::{ImageDefinition, PythonSection};
use crate::lock::{Lock, LockedDeb, LockedWheel};
use crate::project::Image;
use crate::step::{Generated, Health, ImagePlatform, Step, User};

/// What no image needs: documentation and translations, but not the licences.
const EXCLUDED: [&str; 9] = [
    "usr/share/doc/**",
    "!usr/share/doc/*/copyright",
    "usr/share/doc-base/**",
    "usr/share/info/**",
    "usr/share/lintian/**",
    "usr/share/locale/**",
    "usr/share/man/**",
    "usr/share/bug/**",
    "usr/share/menu/**",
];

/// Plans the image for `platforms` into one OCI image layout.
pub fn image(image: &Image, lock: &Lock, platforms: &[Platform]) -> Result<Planned, DefinitionError> {
    let mut graph = Graph::default();
    let mut inputs = BTreeMap::new();
    let mut configs = Vec::new();
    for (n, platform) in platforms.iter().enumerate() {
        let trees = Trees::plan(&mut graph, image, lock, *platform)?;
        let compression = image.definition.image.compression.id();
        let layers = trees.by_layer.into_iter().map(|(name, trees)| {
            let name = format!("{}-{name}-layer", image.name);
            graph.run(
                &name,
                Step::Layer { compression: compression.to_owned() },
                BTreeMap::from([("trees".to_owned(), trees)]),
            )
        });
        inputs.insert(format!("layers.{n}"), layers.collect());
        configs.push(run_config(&image.definition, *platform));
    }
    let mut annotations = BTreeMap::from([("org.opencontainers.image.title".to_owned(), image.name.clone())]);
    if !image.definition.description.is_empty() {
        annotations.insert("org.opencontainers.image.description".to_owned(), image.definition.description.clone());
    }
    let step = Step::Image { platforms: configs, annotations };
    let target = graph.run(&format!("{}-image", image.name), step, inputs);
    Ok(Planned { graph, target })
}

/// Plans the image's root file system for one platform, within a graph that may hold others.
pub fn rootfs(graph: &mut Graph, image: &Image, lock: &Lock, platform: Platform) -> Result<NodeId, DefinitionError> {
    let trees = Trees::plan(graph, image, lock, platform)?;
    let all: Vec<NodeId> = trees.by_layer.into_iter().flat_map(|(_, trees)| trees).collect();
    Ok(graph.run(&format!("{}-rootfs", image.name), Step::Rootfs {}, BTreeMap::from([("trees".to_owned(), all)])))
}

/// All trees of one platform's image, by layer, in the order of the layers: packages by layer
/// name, wheels, generated files, files of the project.
struct Trees {
    by_layer: Vec<(String, Vec<NodeId>)>,
}

impl Trees {
    fn plan(graph: &mut Graph, image: &Image, lock: &Lock, platform: Platform) -> Result<Self, DefinitionError> {
        if !lock.platforms.contains(&platform) {
            return Err(DefinitionError::NotLockedFor { image: image.name.clone(), platform });
        }
        let definition = &image.definition;
        let debs: Vec<(&LockedDeb, NodeId)> = lock.debs_for(platform).map(|d| (d, deb(graph, d))).collect();
        let python = definition.python.as_ref().map(|section| Python::plan(graph, section, &debs, platform));

        let mut layers: BTreeMap<(u8, &str), Vec<NodeId>> = BTreeMap::new();
        for (locked, tree) in &debs {
            let layer = layers.entry((0, &locked.layer)).or_default();
            layer.push(*tree);
            if let Some(python) = &python
                && is_python_package(&locked.name)
            {
                layer.push(python.compile_deb(graph, locked, *tree));
            }
        }
        if let Some(python) = &python {
            for locked in lock.wheels_for(platform) {
                layers.entry((1, &locked.layer)).or_default().push(python.wheel(graph, locked));
            }
        }
        let generated = generated(graph, definition, debs.iter().map(|(_, tree)| *tree).collect(), platform);
        layers.entry((2, "generated")).or_default().push(generated);
        for entry in &definition.files {
            let name = format!("{}-{}", image.name, entry.target.trim_matches('/').replace('/', "-"));
            let source = graph.add(&format!("{name}-source"), source(image, &entry.source)?);
            let mut inputs = BTreeMap::from([("source".to_owned(), vec![source])]);
            let compiler = python.as_ref().filter(|_| entry.compile);
            if let Some(python) = compiler {
                inputs.insert("python".to_owned(), vec![python.root]);
            }
            let step = Step::Files {
                target: entry.target.clone(),
                interpreter: compiler.map(|p| p.program.clone()),
                native: platform == Platform::native(),
            };
            layers.entry((3, "files")).or_default().push(graph.run(&name, step, inputs));
        }
        Ok(Self { by_layer: layers.into_iter().map(|((_, name), trees)| (name.to_owned(), trees)).collect() })
    }
}

/// Where the files lie that an image takes from the project.
fn source(image: &Image, named: &Path) -> Result<PathBuf, DefinitionError> {
    let path = image.folder().join(named);
    match image.files.locate(&path) {
        // What adds it to the store names the step that needs it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(path),
        other => other.map_err(|source| DefinitionError::Read { file: path, source }),
    }
}

fn deb(graph: &mut Graph, locked: &LockedDeb) -> NodeId {
    let source = graph.fetch(Source {
        origin: Origin::Debian {
            archive: locked.archive.clone(),
            pool: locked.pool.clone(),
            package: locked.name.clone(),
            version: locked.version.clone(),
        },
        file: locked.file_name().to_owned(),
        size: locked.size,
        sha256: locked.sha256,
    });
    let exclude = EXCLUDED.iter().map(|glob| (*glob).to_owned()).collect();
    let name = format!("{}-{}", locked.name, locked.version);
    graph.run(&name, Step::Deb { exclude }, BTreeMap::from([("deb".to_owned(), vec![source])]))
}

/// Debian's modules lie in packages of these names; others hold no bytecode worth a step.
fn is_python_package(name: &str) -> bool {
    name.starts_with("python3") || name.starts_with("libpython3")
}

/// The interpreter of the image, as a root of its own: just its package and what that needs, so
/// that a change of any other package compiles nothing anew.
struct Python<'a> {
    section: &'a PythonSection,
    program: String,
    native: bool,
    root: NodeId,
}

impl<'a> Python<'a> {
    fn plan(graph: &mut Graph, section: &'a PythonSection, debs: &[(&LockedDeb, NodeId)], platform: Platform) -> Self {
        let by_name: BTreeMap<&str, (&LockedDeb, NodeId)> =
            debs.iter().map(|(d, n)| (d.name.as_str(), (*d, *n))).collect();
        let mut needed = BTreeSet::new();
        let mut open = vec![section.interpreter.as_str()];
        while let Some(name) = open.pop() {
            if let Some((deb, _)) = by_name.get(name)
                && needed.insert(name)
            {
                open.extend(deb.depends.iter().map(String::as_str));
            }
        }
        let mut trees: Vec<NodeId> = needed.iter().map(|name| by_name[name].1).collect();
        let base = Step::Generated(Generated { platform: Some(platform), ..Generated::default() });
        let inputs = BTreeMap::from([("trees".to_owned(), trees.clone())]);
        trees.push(graph.run(&format!("{}-base", section.interpreter), base, inputs));
        let inputs = BTreeMap::from([("trees".to_owned(), trees)]);
        let root = graph.run(&format!("{}-root", section.interpreter), Step::Rootfs {}, inputs);
        Self { section, program: section.program(), native: platform == Platform::native(), root }
    }

    fn compile_deb(&self, graph: &mut Graph, deb: &LockedDeb, tree: NodeId) -> NodeId {
        let step = Step::DebPyc { interpreter: self.program.clone(), native: self.native };
        let inputs = BTreeMap::from([("tree".to_owned(), vec![tree]), ("python".to_owned(), vec![self.root])]);
        graph.run(&format!("{}-{}-bytecode", deb.name, deb.version), step, inputs)
    }

    fn wheel(&self, graph: &mut Graph, locked: &LockedWheel) -> NodeId {
        let source = graph.fetch(Source {
            origin: Origin::Pypi { package: locked.name.clone(), version: locked.version.clone() },
            file: locked.file.clone(),
            size: locked.size,
            sha256: locked.sha256,
        });
        let step = Step::Wheel { interpreter: self.program.clone(), native: self.native, site: self.section.site() };
        let inputs = BTreeMap::from([("wheel".to_owned(), vec![source]), ("python".to_owned(), vec![self.root])]);
        graph.run(&format!("{}-{}", locked.name, locked.version), step, inputs)
    }
}

fn generated(graph: &mut Graph, definition: &ImageDefinition, trees: Vec<NodeId>, platform: Platform) -> NodeId {
    let users = definition
        .users
        .iter()
        .map(|(name, user)| (name.clone(), User { uid: user.uid, gid: user.gid(), home: user.home.clone() }));
    let step = Step::Generated(Generated {
        platform: Some(platform),
        users: users.collect(),
        links: definition.links.iter().map(|l| (l.path.clone(), l.target.clone())).collect(),
        volumes: definition.image.volumes.iter().map(|path| (path.clone(), owner(definition))).collect(),
    });
    graph.run("generated", step, BTreeMap::from([("trees".to_owned(), trees)]))
}

/// The user and group that the image runs as.
fn owner(definition: &ImageDefinition) -> (u32, u32) {
    definition.user(definition.image.user.as_deref().unwrap_or("root")).unwrap_or((0, 0))
}

fn run_config(definition: &ImageDefinition, platform: Platform) -> ImagePlatform {
    let run = &definition.image;
    let (uid, gid) = owner(definition);
    let nanoseconds = |d: std::time::Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
    ImagePlatform {
        platform,
        user: format!("{uid}:{gid}"),
        workdir: run.workdir.clone(),
        entrypoint: run.entrypoint.clone(),
        command: run.command.clone(),
        env: run.env.clone(),
        ports: run.ports.clone(),
        volumes: run.volumes.clone(),
        labels: run.labels.clone(),
        stop_signal: run.stop_signal.clone(),
        health: run.health.as_ref().map(|h| Health {
            command: h.command.clone(),
            interval: nanoseconds(h.interval),
            timeout: nanoseconds(h.timeout),
            start_period: nanoseconds(h.start_period),
            retries: h.retries,
        }),
    }
}
