//! The folders of a service, and the image's volumes that they lie on.

use std::collections::BTreeMap;

use cairn_closure::{self as closure, Read, ServiceName, StateName};

use super::service::Fault;
use crate::error::nearest;
use crate::host::{KindEntry, ServiceEntry};
use crate::project::Image;

/// Whose folder lies on each volume of the image: the service's own, or another's to read.
#[allow(clippy::type_complexity)]
pub fn volumes(entry: &ServiceEntry, image: &Image) -> Result<(BTreeMap<StateName, String>, Vec<Read>), Fault> {
    let volumes = &image.definition.image.volumes;
    let known = |key: &str, path: &String| {
        if volumes.contains(path) {
            return Ok(());
        }
        let near = nearest(path, volumes.iter().map(String::as_str));
        let help = near.map_or_else(
            || format!("add it to `volumes` of [image] in {}", image.file.display()),
            |near| format!("did you mean `{near}`?"),
        );
        Err((key.to_owned(), format!("`{path}` is not a volume of image `{}`", image.name), Some(help)))
    };
    let mut reads = Vec::new();
    for (key, from, path) in folders(entry).into_iter().filter(|(key, ..)| *key != "state") {
        known(key, path)?;
        let named = |e: closure::ClosureError| (key.to_owned(), e.to_string(), None);
        let (service, state) = from.split_once('/').unwrap_or((&from, ""));
        reads.push(Read {
            service: ServiceName::parse(service).map_err(named)?,
            state: StateName::parse(state).map_err(named)?,
            path: path.clone(),
            write: key == "shares",
        });
    }
    let mut state = entry.state.clone();
    entry.state.values().try_for_each(|path| known("state", path))?;
    let mut taken: BTreeMap<&String, String> = BTreeMap::new();
    for (key, folder, path) in folders(entry) {
        if let Some(first) = taken.insert(path, folder.clone()) {
            let message = format!("`{path}` would be both `{first}` and `{folder}`");
            return Err((key.to_owned(), message, Some("give each folder a volume of its own".to_owned())));
        }
    }
    for volume in volumes.iter().filter(|volume| !taken.contains_key(volume)) {
        // What runs to its end keeps nothing unless it says so.
        if entry.kind != KindEntry::Service {
            continue;
        }
        let last = volume.rsplit('/').next().unwrap_or_default();
        let named = |e: closure::ClosureError| {
            let help = format!("name its folder: state = {{ data = \"{volume}\" }}");
            ("state".to_owned(), e.to_string(), Some(help))
        };
        if state.insert(StateName::parse(last).map_err(named)?, volume.clone()).is_some() {
            let message = format!("two volumes of image `{}` would be the state folder `{last}`", image.name);
            return Err(("state".to_owned(), message, Some("name the folder of each in `state`".to_owned())));
        }
    }
    Ok((state, reads))
}

/// What a service says of folders: the key, the folder, its volume.
fn folders(entry: &ServiceEntry) -> Vec<(&'static str, String, &String)> {
    let own = entry.state.iter().map(|(folder, path)| ("state", folder.to_string(), path));
    let others = [("reads", &entry.reads), ("shares", &entry.shares)];
    let others = others.into_iter().flat_map(|(key, folders)| folders.iter().map(move |(f, p)| (key, f.clone(), p)));
    own.chain(others).collect()
}
