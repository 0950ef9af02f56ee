//! What a closure holds, as far as a comparison looks: its manifest, units, configuration, packages.
//!
//! A store path that our own store lacks is read on the host, through its agent. What both closures
//! share is not read at all.

use std::collections::{BTreeMap, BTreeSet};

use cairn_closure::layout::CONFIG_DIR;
use cairn_closure::{Manifest, Service, ServiceName};
use cairn_formats::{RelPath, StorePath};
use cairn_protocol::reading::{self, Reading, Texts, What};
use cairn_protocol::{Request, Response};
use cairn_store::Store;
use cairn_transport::Session;
use serde::Serialize;

use crate::FleetError;

/// Where an image lists its Debian packages: one stanza each.
const DEBIAN: &str = "var/lib/dpkg/status.d";
/// Below these lie the folders of interpreters, in which wheels leave `NAME-VERSION.dist-info`.
const PYTHON: [&str; 2] = ["usr/local/lib", "usr/lib"];

#[derive(Debug, Clone)]
pub struct Contents {
    pub manifest: Manifest,
    /// A unit's name without its instance, `SERVICE/FILE`, or of the host itself `etc/PATH`, `sysctl`,
    /// `users/NAME` → text.
    pub files: BTreeMap<String, String>,
    /// Image → its packages.
    pub packages: BTreeMap<String, Packages>,
}

/// Package → version.
pub type Packages = BTreeMap<(Origin, String), String>;

/// Where packages come from: names of one say nothing about those of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    Debian,
    Python,
}

/// Reads store paths, here or there.
pub struct Reader<'a> {
    store: &'a Store,
    session: &'a mut Session,
    left: Budget,
}

/// What one comparison may take in from a host. The host says which services a generation of it has,
/// and each of them makes the client read on, up to 3 MiB an answer.
#[derive(Debug, Clone, Copy)]
struct Budget {
    answers: usize,
    bytes: usize,
}

/// A host of 100 services, each with Debian and Python packages, takes 600 answers of 60 MiB.
const MOST: Budget = Budget { answers: 4096, bytes: 256 << 20 };

impl Contents {
    /// Both sides of a comparison; `None` for a host that runs nothing of ours.
    pub fn of_both(
        reader: &mut Reader,
        old: Option<&StorePath>,
        new: &StorePath,
    ) -> Result<(Option<Self>, Self), FleetError> {
        let (mut old, mut new) = (old.map(|old| reader.closure(old)).transpose()?, reader.closure(new)?);
        let paths = |side: &Side| side.trees.values().cloned().collect::<BTreeSet<_>>();
        let before = old.as_ref().map(paths).unwrap_or_default();
        let shared: BTreeSet<StorePath> = before.intersection(&paths(&new)).cloned().collect();
        if let Some(old) = &mut old {
            old.read(reader, &shared)?;
        }
        new.read(reader, &shared)?;
        Ok((old.map(|side| side.contents), new.contents))
    }
}

/// A closure on its way to be read.
struct Side {
    contents: Contents,
    trees: BTreeMap<Part, StorePath>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// The root file system of an image.
    Image(String),
    Config(ServiceName),
    /// What a service reads again while it runs.
    Live(ServiceName),
}

impl Side {
    fn read(&mut self, reader: &mut Reader, shared: &BTreeSet<StorePath>) -> Result<(), FleetError> {
        for (part, tree) in self.trees.iter().filter(|(_, tree)| !shared.contains(tree)) {
            match part {
                Part::Image(image) => {
                    self.contents.packages.insert(image.clone(), reader.packages(tree)?);
                }
                Part::Config(service) | Part::Live(service) => {
                    let texts = reader.read(tree, "", What::Texts)?;
                    let named = texts.files.into_iter().map(|(name, text)| (format!("{service}/{name}"), text));
                    self.contents.files.extend(named);
                }
            }
        }
        Ok(())
    }
}

impl<'a> Reader<'a> {
    pub const fn new(store: &'a Store, session: &'a mut Session) -> Self {
        Self { store, session, left: MOST }
    }
}

impl Reader<'_> {
    fn closure(&mut self, path: &StorePath) -> Result<Side, FleetError> {
        let mut texts = self.read(path, "", What::Texts)?;
        let manifest = texts.files.remove("closure.json").unwrap_or_default();
        let manifest: Manifest = serde_json::from_str(&manifest).map_err(|e| {
            self.fault(format!("{} is no host closure of this version: closure.json: {e}", path.absolute()))
        })?;
        let mut files = BTreeMap::new();
        let mut trees = BTreeMap::new();
        for (name, service) in &manifest.services {
            trees.insert(Part::Image(service.image.clone()), service.rootfs.0.clone());
            if let Some(reload) = &service.reload {
                trees.insert(Part::Live(name.clone()), reload.files.0.clone());
            }
            for (unit, text) in units(service, &texts) {
                if let Some(config) = config_of(&text) {
                    trees.insert(Part::Config(name.clone()), config);
                }
                files.insert(unit, text);
            }
        }
        for unit in manifest.units.keys() {
            files.extend(texts.files.get(&format!("units/{unit}")).map(|text| (unit.to_string(), text.clone())));
        }
        for unit in manifest.system.units.keys() {
            files.extend(texts.files.get(&format!("units/{unit}")).map(|text| (unit.to_string(), text.clone())));
        }
        for path in manifest.system.etc.keys() {
            files.extend(texts.files.get(&format!("etc/{path}")).map(|text| (format!("etc/{path}"), text.clone())));
        }
        files.extend(manifest.system.texts());
        Ok(Side { contents: Contents { manifest, files, packages: BTreeMap::new() }, trees })
    }

    fn packages(&mut self, rootfs: &StorePath) -> Result<Packages, FleetError> {
        let stanzas = self.read(rootfs, DEBIAN, What::Texts)?;
        let of = |origin| move |(name, version): (String, String)| ((origin, name), version);
        let stanzas = stanzas.files.values().filter_map(|text| debian(text));
        let mut packages: Packages = stanzas.map(of(Origin::Debian)).collect();
        for lib in PYTHON {
            for python in self.read(rootfs, lib, What::Names)?.files.keys().filter(|name| name.starts_with("python3")) {
                for site in ["dist-packages", "site-packages"] {
                    let names = self.read(rootfs, &format!("{lib}/{python}/{site}"), What::Names)?;
                    packages.extend(names.files.keys().filter_map(|name| wheel(name)).map(of(Origin::Python)));
                }
            }
        }
        Ok(packages)
    }

    fn read(&mut self, path: &StorePath, below: &str, what: What) -> Result<Texts, FleetError> {
        if self.store.is_valid(path)? {
            let fail = |message: String| self.fault(format!("{}: {message}", path.absolute()));
            let place = RelPath::parse(below.as_bytes()).map_err(|e| fail(e.to_string()))?;
            return reading::read(&self.store.physical(path), &place, what).map_err(|e| fail(e.to_string()));
        }
        let wanted = Reading { path: path.clone(), below: below.to_owned(), what };
        match self.session.request(&Request::Read(wanted), &mut |_| ())? {
            Response::Read { texts } => self.within_budget(texts),
            other => Err(FleetError::answer(self.session.host(), &other)),
        }
    }

    /// What a host has answered, if it is not too much by now.
    fn within_budget(&mut self, texts: Texts) -> Result<Texts, FleetError> {
        let files: usize = texts.files.iter().map(|(name, text)| name.len() + text.len()).sum();
        let bytes = files + texts.left_out.iter().map(String::len).sum::<usize>();
        match (self.left.answers.checked_sub(1), self.left.bytes.checked_sub(bytes)) {
            (Some(answers), Some(bytes)) => {
                self.left = Budget { answers, bytes };
                Ok(texts)
            }
            _ => Err(self.fault(format!(
                "what it says its generations hold takes more than {} answers or {} MiB to read, and nothing was \
                 compared: look at the host before you use it again, it may be compromised",
                MOST.answers,
                MOST.bytes >> 20
            ))),
        }
    }

    fn fault(&self, message: String) -> FleetError {
        FleetError::Compare { host: self.session.host().to_owned(), message }
    }
}

/// The units of a service, each once: replicas differ by their number alone. The instance is a hash
/// of the text, so it would differ in each line that names it.
fn units(service: &Service, texts: &Texts) -> Vec<(String, String)> {
    let instance = service.instance.as_str();
    let replicas = service.replicas.iter().take(1).map(|replica| &replica.unit);
    let sockets = service.sockets.iter().map(|socket| &socket.unit);
    let units = replicas.chain(sockets).chain(service.job.iter().map(|job| &job.unit)).chain([&service.target]);
    let plain = |unit: &cairn_closure::UnitName| {
        let text = texts.files.get(&format!("units/{unit}"))?;
        let name = unit.as_str().replace(&format!("-{instance}"), "");
        Some((name, text.replace(instance, "INSTANCE")))
    };
    units.filter_map(plain).collect()
}

/// The store path that a unit's processes see as their configuration.
pub(crate) fn config_of(unit: &str) -> Option<StorePath> {
    let place = format!(":{CONFIG_DIR}");
    let mount = |line: &str| {
        let path = line.strip_prefix("BindReadOnlyPaths=")?.strip_suffix(&place)?.trim_matches('"');
        StorePath::from_absolute(path).ok()
    };
    unit.lines().find_map(mount)
}

pub(crate) fn debian(stanza: &str) -> Option<(String, String)> {
    let field =
        |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    Some((field("Package:")?, field("Version:")?))
}

/// `fastapi-0.109.0.dist-info`; in the name of a wheel no dash is left.
pub(crate) fn wheel(folder: &str) -> Option<(String, String)> {
    let (name, version) = folder.strip_suffix(".dist-info")?.split_once('-')?;
    Some((name.replace('_', "-").to_lowercase(), version.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use cairn_protocol::frame;

    use super::*;

    /// A host that answers every question with the same megabyte.
    #[test]
    fn a_host_does_not_make_us_read_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("root")).unwrap();
        let hello = cairn_protocol::Hello {
            version: cairn_protocol::VERSION,
            agent: String::new(),
            platform: cairn_formats::Platform::native(),
            free_bytes: 0,
            current: None,
            valid: Vec::new(),
            all_valid: true,
            secrets: Vec::new(),
            host_key: None,
            host: cairn_protocol::HostSummary::default(),
        };
        let mut first = cairn_protocol::PREAMBLE.as_bytes().to_vec();
        frame::write_message(&mut first, frame::Kind::Hello, &hello).unwrap();
        let texts = Texts { files: BTreeMap::from([("x".to_owned(), "x".repeat(1 << 20))]), left_out: Vec::new() };
        let mut answer = Vec::new();
        frame::write_message(&mut answer, frame::Kind::Response, &Response::Read { texts }).unwrap();
        std::fs::write(dir.path().join("hello"), first).unwrap();
        std::fs::write(dir.path().join("answer"), answer).unwrap();
        let path = StorePath::parse("0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-api").unwrap();
        for (left, most) in
            [(Budget { answers: 4096, bytes: 5 << 20 }, 4), (Budget { answers: 7, bytes: usize::MAX }, 7)]
        {
            let mut command = std::process::Command::new("sh");
            command.current_dir(dir.path()).args(["-c", "cat hello; while cat answer; do :; done"]);
            let mut session = Session::spawn(command, "web-1").unwrap();
            let mut reader = Reader { left, ..Reader::new(&store, &mut session) };
            let mut read = 0;
            let error = loop {
                assert!(read < 100, "there is no end of it");
                match reader.read(&path, "", What::Texts) {
                    Ok(_) => read += 1,
                    Err(error) => break error.to_string(),
                }
            };
            assert_eq!(read, most);
            assert!(error.contains("web-1") && error.contains("answers or"), "{error}");
        }
    }

    #[test]
    fn packages_are_read_as_images_list_them() {
        let stanza = "Package: libc6\nVersion: 2.36-9+deb12u10\nDescription: x\n Version: not this\n";
        assert_eq!(debian(stanza), Some(("libc6".to_owned(), "2.36-9+deb12u10".to_owned())));
        assert_eq!(debian("Package: libc6\n"), None);
        for (folder, wanted) in [
            ("fastapi-0.109.0.dist-info", Some(("fastapi", "0.109.0"))),
            ("Annotated_Types-0.8.0.dist-info", Some(("annotated-types", "0.8.0"))),
            ("fastapi", None),
            ("x.dist-info", None),
        ] {
            assert_eq!(wheel(folder), wanted.map(|(name, version)| (name.to_owned(), version.to_owned())), "{folder}");
        }
    }

    #[test]
    fn the_configuration_is_where_the_unit_mounts_it() {
        let path = "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-api-config";
        let unit = format!("[Service]\nBindReadOnlyPaths=/x:/y\nBindReadOnlyPaths={path}:/run/cairn/config\n");
        assert_eq!(config_of(&unit).map(|found| found.absolute()), Some(path.to_owned()));
        assert_eq!(config_of("BindReadOnlyPaths=/etc:/run/cairn/config\n"), None);
    }
}
