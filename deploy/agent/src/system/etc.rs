//! Files below `/etc`: `/etc/X` is a link to `/run/cairn/etc/current/X`, and `current` leads to a
//! folder with the files of one closure. Renaming `current` changes all of them at once.
//!
//! Names come and go around that rename, so that no link ever leads nowhere: those that the wanted
//! files lack go before it, and those that the others lacked come after it. A file that was there
//! before us is replaced only if `adopted/etc/X` holds the same file; it is given back when the name
//! goes.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use cairn_closure::layout::{ETC_DIR, KEYS_DIR};
use cairn_closure::{EtcPath, System};
use cairn_formats::{Sha256, StorePath};
use cairn_protocol::Drift;
use serde::{Deserialize, Serialize};

use crate::error::{Fault, Result, file};
use crate::files;
use crate::folder::{Folder, give};
use crate::paths::Paths;
use crate::private;
use crate::services::directory;

#[cfg(test)]
#[path = "../fixtures/etc.rs"]
mod fixtures;

/// What may be ours, written before anything is done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    files: BTreeSet<EtcPath>,
    /// Folders below `/etc` that were made for them.
    folders: BTreeSet<String>,
}

/// What is found in a file's place.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Ours,
    /// Equal to what was adopted.
    Adopted,
    Another,
}

fn target(path: &EtcPath) -> PathBuf {
    Path::new(ETC_DIR).join("current").join(path.as_str())
}

/// The folder below `/etc` that a path lies in; `None` if there is none.
fn folder_of(paths: &Paths, path: &EtcPath) -> Result<Option<Folder>> {
    Folder::open(&paths.at("/etc"), Path::new(parent_of(path)))
}

fn parent_of(path: &EtcPath) -> &str {
    path.as_str().rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The last part of a path.
fn name_of(path: &EtcPath) -> &str {
    path.as_str().rsplit('/').next().unwrap_or_default()
}

fn found(paths: &Paths, path: &EtcPath) -> Result<Found> {
    match folder_of(paths, path)? {
        Some(folder) => found_in(&folder, paths, path),
        None => Ok(Found::Nothing),
    }
}

fn found_in(folder: &Folder, paths: &Paths, path: &EtcPath) -> Result<Found> {
    let name = name_of(path);
    Ok(match folder.target(name) {
        Some(led) if led == target(path) => Found::Ours,
        Some(led) if files::target(&paths.adopted_file(path)) == Some(led.clone()) => Found::Adopted,
        Some(_) => Found::Another,
        None if !folder.has(name)? => Found::Nothing,
        None if equal(folder, name, &paths.adopted_file(path))? => Found::Adopted,
        None => Found::Another,
    })
}

/// Whether the file of this name is the same as our copy to whoever reads them.
fn equal(folder: &Folder, name: &str, copy: &Path) -> Result<bool> {
    let Ok(kept) = fs::symlink_metadata(copy) else { return Ok(false) };
    if !kept.is_file() {
        return Ok(false);
    }
    let Some(here) = folder.open_file(name)? else { return Ok(false) };
    let wrong = |error| file("cannot read", &folder.path().join(name))(error);
    let known = |meta: &fs::Metadata| (meta.len(), meta.mode() & 0o7777, meta.uid(), meta.gid());
    if known(&kept) != known(&here.metadata().map_err(wrong)?) {
        return Ok(false);
    }
    let mut bytes = Vec::new();
    // It may have grown since.
    here.take(kept.len() + 1).read_to_end(&mut bytes).map_err(wrong)?;
    Ok(fs::read(copy).map_err(file("cannot read", copy))? == bytes)
}

/// Refuses what is in the way. Changes nothing.
pub fn check(paths: &Paths, system: &System) -> Result<()> {
    for path in system.etc.keys() {
        let place = paths.etc(path.as_str());
        for folder in folders(path) {
            let place = paths.etc(folder);
            if fs::symlink_metadata(&place).is_ok_and(|meta| !meta.is_dir()) {
                return Err(Fault::new(format!("{} is no folder, so {path} cannot lie in it", place.display()))
                    .advice("move it away, or declare the file where it leads")
                    .into());
            }
        }
        if found(paths, path)? == Found::Another {
            return Err(Fault::new(format!("{} exists, and is not Cairn's", place.display()))
                .advice("take it over with `deploy adopt`, which keeps it to be given back, or move it away")
                .into());
        }
    }
    Ok(())
}

/// The folders that a path lies in, the outermost first.
fn folders(path: &EtcPath) -> impl DoubleEndedIterator<Item = &str> {
    path.as_str().match_indices('/').map(|(at, _)| &path.as_str()[..at])
}

/// Makes `/etc` what `system`, of this closure, says.
pub fn place(paths: &Paths, closure: Option<&StorePath>, system: &System) -> Result<()> {
    let mut record: Record = files::read_json(&paths.etc_record())?.unwrap_or_default();
    let current = paths.etc_current();
    if let Some(closure) = closure {
        make_tree(paths, closure, system)?;
    }
    let missing = system.etc.keys().flat_map(folders).filter(|folder| !paths.etc(folder).exists());
    let all = Record {
        files: record.files.iter().chain(system.etc.keys()).cloned().collect(),
        folders: missing.map(str::to_owned).chain(record.folders.iter().cloned()).collect(),
    };
    if all != record {
        save(paths, &all)?;
    }
    record = all;
    for path in record.files.iter().filter(|path| !system.etc.contains_key(*path)) {
        give_up(paths, path)?;
    }
    let needed: BTreeSet<&str> = system.etc.keys().flat_map(folders).collect();
    // The innermost first; one that holds something of others stays, and is theirs.
    for folder in record.folders.iter().rev().filter(|folder| !needed.contains(folder.as_str())) {
        let (parent, name) = folder.rsplit_once('/').unwrap_or(("", folder));
        if let Ok(Some(parent)) = Folder::open(&paths.at("/etc"), Path::new(parent)) {
            parent.remove_if_empty(name);
        }
    }
    match holds_files(system) {
        true => files::point(&current, Path::new(system.files_id().as_str()))?,
        false => files::remove(&current)?,
    }
    for path in system.etc.keys() {
        take(paths, path)?;
    }
    let end = Record {
        files: system.etc.keys().cloned().collect(),
        folders: record.folders.iter().filter(|folder| needed.contains(folder.as_str())).cloned().collect(),
    };
    match end == Record::default() {
        true => files::remove(&paths.etc_record()),
        false if end != record => save(paths, &end),
        false => Ok(()),
    }
}

/// What may be ours, as absolute paths.
pub fn files(paths: &Paths) -> Result<Vec<String>> {
    let record: Record = files::read_json(&paths.etc_record())?.unwrap_or_default();
    Ok(record.files.iter().map(|path| format!("/etc/{path}")).collect())
}

fn save(paths: &Paths, record: &Record) -> Result<()> {
    private::make_state_dir(paths)?;
    files::replace_json(&paths.etc_record(), record)
}

fn holds_files(system: &System) -> bool {
    !system.etc.is_empty() || system.users.values().any(|account| !account.keys.is_empty())
}

fn give_up(paths: &Paths, path: &EtcPath) -> Result<()> {
    // Where a link leads, nothing of ours lies.
    let Some(folder) = Folder::find(&paths.at("/etc"), Path::new(parent_of(path)))? else { return Ok(()) };
    if found_in(&folder, paths, path)? != Found::Ours {
        return Ok(());
    }
    let (name, kept) = (name_of(path), paths.adopted_file(path));
    match (files::target(&kept), kept.exists()) {
        (Some(led), _) => folder.point(name, &led),
        (None, true) => copy_as_it_is(&kept, &folder, name),
        (None, false) => folder.remove(name),
    }
}

/// With mode and owner, in one step.
fn copy_as_it_is(from: &Path, folder: &Folder, name: &str) -> Result<()> {
    let temporary = format!("{name}.cairn-new");
    let mut out = folder.new_file(&temporary, 0o600)?;
    let mut copy = || {
        let meta = fs::metadata(from)?;
        out.write_all(&fs::read(from)?)?;
        give(&out, meta.mode() & 0o7777, Some((meta.uid(), meta.gid())))?;
        out.sync_all()
    };
    copy().map_err(file("cannot give back", &folder.path().join(name)))?;
    folder.rename(&temporary, name)
}

fn take(paths: &Paths, path: &EtcPath) -> Result<()> {
    let mut folder = Folder::trusted(&paths.at("/etc"))?;
    for part in path.as_str().split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev() {
        (folder, _) = folder.make(part, 0o755)?;
    }
    let name = name_of(path);
    match found_in(&folder, paths, path)? {
        Found::Ours => Ok(()),
        Found::Nothing => folder.link_new(name, &target(path)),
        Found::Adopted => folder.point(name, &target(path)),
        Found::Another => {
            Err(Fault::new(format!("{} is in the way: it is not Cairn's", folder.path().join(name).display()))
                .advice("move it away, and switch again")
                .into())
        }
    }
}

/// The files of one closure, below `/run/cairn/etc`, each with its mode; whole or not there.
pub fn make_tree(paths: &Paths, closure: &StorePath, system: &System) -> Result<()> {
    let id = system.files_id();
    let tree = paths.etc_trees().join(id.as_str());
    if !holds_files(system) || tree.exists() {
        return Ok(());
    }
    directory(&paths.run_dir(), 0o755)?;
    directory(&paths.etc_trees(), 0o755)?;
    let growing = paths.etc_trees().join(format!("{id}.new"));
    if growing.exists() {
        fs::remove_dir_all(&growing).map_err(file("cannot remove", &growing))?;
    }
    let from = paths.store_path(closure).join("etc");
    let folder = |place: &Path| {
        let parent = place.parent().unwrap_or(&growing);
        let made = DirBuilder::new().recursive(true).mode(0o755).create(parent);
        made.map_err(file("cannot make the directory", parent))
    };
    for (path, declared) in &system.etc {
        let (source, place) = (from.join(path.as_str()), growing.join(path.as_str()));
        folder(&place)?;
        let text = fs::read(&source).map_err(file("cannot read", &source))?;
        write(&place, &text, declared.mode)?;
    }
    for (name, account) in system.users.iter().filter(|(_, account)| !account.keys.is_empty()) {
        let place = growing.join(KEYS_DIR).join(name.as_str());
        folder(&place)?;
        write(&place, format!("{}\n", account.keys.join("\n")).as_bytes(), 0o644)?;
    }
    fs::rename(&growing, &tree).map_err(file("cannot make", &tree))
}

fn write(place: &Path, text: &[u8], mode: u32) -> Result<()> {
    let write = || {
        fs::write(place, text)?;
        fs::set_permissions(place, Permissions::from_mode(mode))
    };
    write().map_err(file("cannot write", place))
}

/// Removes the files of all closures but `current`'s.
pub fn sweep(paths: &Paths) -> Result<()> {
    let kept = files::target(&paths.etc_current());
    for entry in fs::read_dir(paths.etc_trees()).into_iter().flatten().flatten() {
        let tree = entry.path();
        let is_kept = kept.as_deref() == Some(Path::new(&entry.file_name()));
        if !is_kept && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            fs::remove_dir_all(&tree).map_err(file("cannot remove", &tree))?;
        }
    }
    Ok(())
}

pub fn drift(paths: &Paths, system: &System) -> Vec<Drift> {
    let problem = |path: &EtcPath, declared: &cairn_closure::EtcFile| -> Option<String> {
        let place = paths.etc(path.as_str());
        match found(paths, path) {
            Err(error) => return Some(error.to_string()),
            Ok(Found::Nothing) => return Some("is gone".to_owned()),
            Ok(Found::Adopted | Found::Another) => return Some("was replaced by something else".to_owned()),
            Ok(Found::Ours) => {}
        }
        // Below a root that is not `/` the link leads elsewhere.
        let content = paths.etc_current().join(path.as_str());
        let meta = fs::metadata(&content).ok();
        match fs::read(&content) {
            Ok(text) if Sha256::of(&text) != declared.hash => Some("was changed".to_owned()),
            Ok(_) if meta.is_some_and(|meta| meta.mode() & 0o7777 != declared.mode) => {
                Some("has another mode".to_owned())
            }
            Ok(_) => None,
            Err(e) => Some(format!("{} does not read: {e}", place.display())),
        }
    };
    let found = system.etc.iter().filter_map(|(path, declared)| Some((path, problem(path, declared)?)));
    found.map(|(path, problem)| Drift { unit: format!("/etc/{path}"), problem }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::*;
    use cairn_closure::{EtcFile, HostUnit};

    /// A root with closures whose files are those given, each under a number of its own.
    struct Root {
        dir: tempfile::TempDir,
        paths: Paths,
    }

    impl Root {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let paths = Paths::new(dir.path());
            for folder in ["etc/ssh/sshd_config.d", "run"] {
                fs::create_dir_all(dir.path().join(folder)).unwrap();
            }
            Self { dir, paths }
        }

        fn system(&self, number: u32, files: &[(&str, &str)]) -> (StorePath, System) {
            let closure = StorePath::parse(&format!("{number}mdqa9w1p6cmli6976v4wi0sw9r4p5pr-host")).unwrap();
            let mut system = System::default();
            for (path, text) in files {
                let place = self.paths.store_path(&closure).join("etc").join(path);
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                fs::write(&place, text).unwrap();
                let reload: BTreeSet<HostUnit> = [HostUnit::parse("ssh.service").unwrap()].into();
                let hash = Sha256::of(text.as_bytes());
                let file = EtcFile { hash, mode: 0o640, reload, restart: BTreeSet::new() };
                system.etc.insert(EtcPath::parse(path).unwrap(), file);
            }
            (closure, system)
        }

        /// What a reader sees: links followed as on a host, whose root this is.
        fn listing(&self) -> Vec<(String, String)> {
            fn walk(root: &Path, at: &Path, into: &mut Vec<(String, String)>) {
                for entry in fs::read_dir(at).unwrap().flatten() {
                    let path = entry.path();
                    let name = path.strip_prefix(root.join("etc")).unwrap().display().to_string();
                    match fs::read_link(&path) {
                        Ok(led) => {
                            let led = root.join(led.strip_prefix("/").unwrap());
                            into.push((
                                name,
                                format!("-> {}", fs::read_to_string(led).expect("no link leads nowhere")),
                            ));
                        }
                        Err(_) if path.is_dir() => {
                            into.push((name, "folder".to_owned()));
                            walk(root, &path, into);
                        }
                        Err(_) => into.push((name, fs::read_to_string(&path).unwrap())),
                    }
                }
            }
            let mut found = Vec::new();
            walk(self.dir.path(), &self.dir.path().join("etc"), &mut found);
            found.sort();
            found
        }
    }

    #[test]
    fn files_come_change_and_go_and_leave_nothing() {
        let root = Root::new();
        let before = root.listing();
        let (one, first) = root.system(1, &[("ssh/sshd_config.d/10-a.conf", "one"), ("new/deep/x", "x")]);
        let (two, second) = root.system(2, &[("ssh/sshd_config.d/10-a.conf", "two"), ("motd", "hello")]);
        for _ in 0..2 {
            check(&root.paths, &first).unwrap();
            place(&root.paths, Some(&one), &first).unwrap();
            assert_eq!(
                root.listing().into_iter().filter(|(_, text)| text.starts_with("->")).collect::<Vec<_>>(),
                [
                    ("new/deep/x".to_owned(), "-> x".to_owned()),
                    ("ssh/sshd_config.d/10-a.conf".to_owned(), "-> one".to_owned())
                ]
            );
            assert_eq!(drift(&root.paths, &first), []);
            place(&root.paths, Some(&two), &second).unwrap();
            let names: Vec<_> = root.listing().into_iter().map(|(name, text)| format!("{name} {text}")).collect();
            assert_eq!(
                names,
                ["motd -> hello", "ssh folder", "ssh/sshd_config.d folder", "ssh/sshd_config.d/10-a.conf -> two"]
            );
            sweep(&root.paths).unwrap();
        }
        place(&root.paths, None, &System::default()).unwrap();
        sweep(&root.paths).unwrap();
        assert_eq!(root.listing(), before);
        assert!(!root.paths.etc_record().exists());
        assert_eq!(fs::read_dir(root.paths.etc_trees()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_not_ours_is_refused_and_what_was_adopted_is_given_back() {
        let root = Root::new();
        let (one, system) = root.system(1, &[("motd", "ours")]);
        let motd = root.paths.etc("motd");
        fs::write(&motd, "theirs").unwrap();
        fs::set_permissions(&motd, Permissions::from_mode(0o604)).unwrap();
        let error = check(&root.paths, &system).unwrap_err();
        assert!(error.to_string().contains("motd exists, and is not Cairn's"), "{error}");
        assert!(error.advice().unwrap().contains("deploy adopt"));
        assert!(place(&root.paths, Some(&one), &system).is_err());
        assert_eq!(fs::read_to_string(&motd).unwrap(), "theirs");

        let kept = root.paths.adopted_file(&EtcPath::parse("motd").unwrap());
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        fs::copy(&motd, &kept).unwrap();
        check(&root.paths, &system).unwrap();
        place(&root.paths, Some(&one), &system).unwrap();
        assert_eq!(root.listing()[0], ("motd".to_owned(), "-> ours".to_owned()));
        place(&root.paths, None, &System::default()).unwrap();
        assert_eq!(fs::read_to_string(&motd).unwrap(), "theirs");
        assert_eq!(fs::metadata(&motd).unwrap().mode() & 0o777, 0o604);

        // A rollback takes it again; what somebody wrote since is not lost.
        check(&root.paths, &system).unwrap();
        for theirs in ["their own new one", "short", "THEIRS"] {
            fs::write(&motd, theirs).unwrap();
            let error = check(&root.paths, &system).unwrap_err();
            assert!(error.to_string().contains("is not Cairn's"), "{theirs}: {error}");
            // Going back does not stumble over it.
            place(&root.paths, None, &System::default()).unwrap();
            assert_eq!(fs::read_to_string(&motd).unwrap(), theirs);
        }
        // Nor a link that leads elsewhere, unless it was adopted as one.
        let lead = |place: &Path| {
            fs::remove_file(place).unwrap();
            symlink("/run/motd", place).unwrap();
        };
        lead(&motd);
        assert!(check(&root.paths, &system).is_err());
        lead(&kept);
        check(&root.paths, &system).unwrap();
        place(&root.paths, Some(&one), &system).unwrap();
        place(&root.paths, None, &System::default()).unwrap();
        assert_eq!(fs::read_link(&motd).unwrap(), Path::new("/run/motd"));
    }

    #[test]
    fn a_folder_that_leads_elsewhere_is_refused() {
        let root = Root::new();
        let (_, system) = root.system(1, &[("x.d/conf", "x")]);
        symlink("/tmp", root.paths.etc("x.d")).unwrap();
        assert!(check(&root.paths, &system).unwrap_err().to_string().contains("no folder"));
    }

    /// Its owner may do so while a generation has a file in it.
    #[test]
    fn a_folder_that_became_a_link_keeps_no_generation_from_going() {
        let root = Root::new();
        let (one, system) = root.system(1, &[("x.d/conf", "x")]);
        place(&root.paths, Some(&one), &system).unwrap();
        let elsewhere = root.dir.path().join("elsewhere");
        fs::rename(root.paths.etc("x.d"), &elsewhere).unwrap();
        symlink(&elsewhere, root.paths.etc("x.d")).unwrap();
        place(&root.paths, None, &System::default()).unwrap();
        assert!(elsewhere.join("conf").is_symlink(), "no link was followed");
        assert!(!root.paths.etc_record().exists());
    }

    #[test]
    fn edits_are_drift() {
        let root = Root::new();
        let (one, system) = root.system(1, &[("a", "a"), ("b", "b"), ("c", "c"), ("d", "d")]);
        place(&root.paths, Some(&one), &system).unwrap();
        fs::write(root.paths.etc_current().join("a"), "other").unwrap();
        fs::remove_file(root.paths.etc("b")).unwrap();
        fs::remove_file(root.paths.etc("c")).unwrap();
        fs::write(root.paths.etc("c"), "c").unwrap();
        let found: Vec<String> =
            drift(&root.paths, &system).into_iter().map(|drift| format!("{} {}", drift.unit, drift.problem)).collect();
        assert_eq!(found, ["/etc/a was changed", "/etc/b is gone", "/etc/c was replaced by something else"]);
    }
}
