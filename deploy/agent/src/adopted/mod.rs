//! What was on the host before us and gives its place to generations: files in `/etc`, and units.
//!
//! Adopting changes nothing that is seen. A file is copied to `/nix/var/cairn/adopted/etc/X`, and
//! what it was (owner, mode, attributes, hash) is noted; only then may a generation put its own at
//! `/etc/X`. It is given back when no generation declares it any more, and at the uninstallation.

pub mod copy;
pub mod units;

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use cairn_protocol::{AdoptRequest, Adopted, AdoptedContent, AdoptedFile};

use crate::activation::record;
use crate::error::{Fault, Result, file};
use crate::files;
use crate::folder::Folder;
use crate::paths::Paths;

#[cfg(test)]
#[path = "../fixtures/adopted_files.rs"]
mod fixtures;

/// Adopts what is named, and gives all that is adopted.
pub fn adopt(paths: &Paths, request: &AdoptRequest) -> Result<Adopted> {
    // All are looked at before any is taken.
    let wanted = request.paths.iter().map(|path| checked(paths, path)).collect::<Result<Vec<_>>>()?;
    for unit in &request.units {
        units::check(unit)?;
    }
    let mut known = files(paths)?;
    for path in wanted {
        if !known.iter().any(|file| file.path == path) {
            known.push(take(paths, &path, &request.operator)?);
            save(paths, &mut known)?;
        }
    }
    units::adopt(paths, &request.units, &request.operator)?;
    list(paths)
}

pub fn list(paths: &Paths) -> Result<Adopted> {
    Ok(Adopted { files: files(paths)?, units: units::list(paths)? })
}

/// Those that are adopted, by name.
pub fn files(paths: &Paths) -> Result<Vec<AdoptedFile>> {
    Ok(files::read_json(&paths.adopted_files())?.unwrap_or_default())
}

fn save(paths: &Paths, known: &mut [AdoptedFile]) -> Result<()> {
    known.sort_by(|a, b| a.path.cmp(&b.path));
    files::make_directories(&paths.adopted())?;
    files::replace_json(&paths.adopted_files(), &known)
}

/// Where the copy of a file lies.
pub fn copy_of(paths: &Paths, path: &str) -> PathBuf {
    paths.adopted().join(path.trim_start_matches('/'))
}

/// The path as it is noted, if there is something at it that can be adopted.
fn checked(paths: &Paths, path: &str) -> Result<String> {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::RootDir);
    let below_etc = Path::new(path).strip_prefix("/etc").is_ok_and(|rest| rest.components().next().is_some());
    if !below_etc || !Path::new(path).components().all(plain) {
        return Err(Fault::new(format!("{path} cannot be adopted: it is not below /etc"))
            .advice("name a file of the host by its absolute path, such as /etc/motd")
            .into());
    }
    let at = paths.at(path);
    let refuse =
        |why: &str, advice: &str| Err(Fault::new(format!("{path} cannot be adopted: {why}")).advice(advice).into());
    let found = match fs::symlink_metadata(&at) {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return refuse("there is no such file on the host", "a file that is not there needs no adopting");
        }
        Err(e) => return Err(file("cannot read", &at)(e)),
    };
    if is_ours(&at) {
        return refuse("it is a link of Cairn's own", "`deploy adopt HOST --list` shows what is adopted already");
    }
    if !found.is_file() && !found.is_symlink() {
        return refuse("it is neither a file nor a link", "name the files in a folder one by one");
    }
    Ok(Path::new(path).components().collect::<PathBuf>().display().to_string())
}

/// The folder below `/etc` that a file lies in, and its name there; `None` if there is no such folder.
fn place<'a>(paths: &Paths, path: &'a str) -> Result<Option<(Folder, &'a str)>> {
    let below = path.trim_start_matches("/etc").trim_start_matches('/');
    let (parent, name) = below.rsplit_once('/').unwrap_or(("", below));
    Ok(Folder::open(&paths.at("/etc"), Path::new(parent))?.map(|folder| (folder, name)))
}

/// The copy of a file, among our own records.
fn copy_place<'a>(paths: &Paths, path: &'a str) -> Result<Option<(Folder, &'a str)>> {
    let below = path.trim_start_matches('/');
    let (parent, name) = below.rsplit_once('/').unwrap_or(("", below));
    Ok(Folder::open(&paths.adopted(), Path::new(parent))?.map(|folder| (folder, name)))
}

/// Whether a generation has put it there.
fn is_ours(at: &Path) -> bool {
    fs::read_link(at).is_ok_and(|to| to.starts_with("/nix") || to.starts_with("/run/cairn"))
}

fn take(paths: &Paths, path: &str, operator: &str) -> Result<AdoptedFile> {
    let copy = copy_of(paths, path);
    files::make_directories(copy.parent().unwrap_or(&copy))?;
    let (folder, name) = place(paths, path)?.ok_or_else(|| {
        Fault::new(format!("{path} cannot be adopted: its folder has gone")).advice("look for it, and adopt it again")
    })?;
    let (content, uid, gid) = copy::take(&folder, name, &copy)?;
    Ok(AdoptedFile {
        path: path.to_owned(),
        content,
        uid,
        gid,
        operator: operator.to_owned(),
        since: record::seconds(),
    })
}

/// What became of a file that is adopted no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// It is as it was.
    Restored,
    /// No generation had replaced it.
    InPlace,
    /// Somebody has put another file there, which stays.
    Replaced,
}

/// What would become of it.
pub fn outlook(paths: &Paths, adopted: &AdoptedFile) -> Return {
    let at = paths.at(&adopted.path);
    match fs::symlink_metadata(&at) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Return::Restored,
        _ if is_ours(&at) => Return::Restored,
        _ if is_same(place(paths, &adopted.path), &adopted.content, size_of_copy(paths, adopted)) => Return::InPlace,
        _ => Return::Replaced,
    }
}

/// Puts a file back as it was, and forgets it; `None` if it was not adopted. The copy of a file that
/// somebody has replaced meanwhile is not forgotten.
pub fn give_back(paths: &Paths, path: &str) -> Result<Option<Return>> {
    let mut known = files(paths)?;
    let Some(at) = known.iter().position(|file| file.path == path) else { return Ok(None) };
    let outlook = outlook(paths, &known[at]);
    if outlook == Return::Restored {
        let copy = copy_of(paths, path);
        if !is_whole(paths, &known[at]) {
            return Err(Fault::new(format!("the copy of {path} is damaged: {}", copy.display()))
                .advice("put the file back by hand, from a backup of the host")
                .into());
        }
        let at_etc = place(paths, path)?;
        let (folder, name) = match at_etc {
            Some(found) => found,
            None => {
                // The folder went with what a generation had in it.
                files::make_directories(paths.at(path).parent().unwrap_or(Path::new("/etc")))?;
                place(paths, path)?.ok_or_else(|| Fault::new(format!("the folder of {path} cannot be made")))?
            }
        };
        copy::restore(&copy, &folder, name, &known[at])?;
    }
    if outlook != Return::Replaced {
        known.remove(at);
        save(paths, &mut known)?;
        files::remove(&copy_of(paths, path))?;
    }
    Ok(Some(outlook))
}

/// Whether the copy is whole.
pub fn is_whole(paths: &Paths, adopted: &AdoptedFile) -> bool {
    // However large: earlier versions took files of any size.
    is_same(copy_place(paths, &adopted.path), &adopted.content, u64::MAX)
}

/// The file in `/etc` may have any size meanwhile, and one that is larger need not be read.
fn size_of_copy(paths: &Paths, adopted: &AdoptedFile) -> u64 {
    fs::symlink_metadata(copy_of(paths, &adopted.path)).map_or(copy::LARGEST, |copy| copy.len())
}

fn is_same(place: Result<Option<(Folder, &str)>>, content: &AdoptedContent, most: u64) -> bool {
    matches!(place, Ok(Some((folder, name))) if copy::is_same(&folder, name, content, most))
}

/// For people: what it is.
pub fn describe(adopted: &AdoptedFile) -> String {
    match &adopted.content {
        AdoptedContent::File { mode, .. } => {
            format!("{} (mode {mode:o}, owner {}:{})", adopted.path, adopted.uid, adopted.gid)
        }
        AdoptedContent::Link { target } => format!("{} (a link to {target})", adopted.path),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn host() -> (tempfile::TempDir, Paths) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/app")).unwrap();
        let paths = Paths::new(root.path());
        (root, paths)
    }

    fn request(path: &str) -> AdoptRequest {
        AdoptRequest { paths: vec![path.to_owned()], units: Vec::new(), operator: "alice@desk".to_owned() }
    }

    #[test]
    fn a_file_comes_back_as_it_was() {
        let (_root, paths) = host();
        let (path, at) = ("/etc/app/conf", paths.at("/etc/app/conf"));
        fs::write(&at, "old\n").unwrap();
        fs::set_permissions(&at, fs::Permissions::from_mode(0o640)).unwrap();
        let adopted = adopt(&paths, &request(path)).unwrap();
        assert_eq!(adopted.files.len(), 1);
        // Nothing is seen of it, and adopting again changes nothing.
        assert_eq!(fs::read_to_string(&at).unwrap(), "old\n");
        assert_eq!(adopt(&paths, &request(path)).unwrap(), adopted);

        fs::remove_file(&at).unwrap();
        symlink("/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-etc/conf", &at).unwrap();
        assert_eq!(give_back(&paths, path).unwrap(), Some(Return::Restored));
        assert_eq!(fs::read_to_string(&at).unwrap(), "old\n");
        assert_eq!(fs::symlink_metadata(&at).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(give_back(&paths, path).unwrap(), None);
        assert_eq!(fs::read_dir(at.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn links_come_back_as_links() {
        let (_root, paths) = host();
        let at = paths.at("/etc/app/zone");
        symlink("../usr/zone", &at).unwrap();
        adopt(&paths, &request("/etc/app/zone")).unwrap();
        fs::remove_file(&at).unwrap();
        assert_eq!(give_back(&paths, "/etc/app/zone").unwrap(), Some(Return::Restored));
        assert_eq!(fs::read_link(&at).unwrap(), Path::new("../usr/zone"));
    }

    #[test]
    fn what_somebody_changed_meanwhile_is_not_overwritten() {
        let (_root, paths) = host();
        let at = paths.at("/etc/app/conf");
        fs::write(&at, "old\n").unwrap();
        adopt(&paths, &request("/etc/app/conf")).unwrap();
        fs::write(&at, "by hand\n").unwrap();
        assert_eq!(give_back(&paths, "/etc/app/conf").unwrap(), Some(Return::Replaced));
        assert_eq!(fs::read_to_string(&at).unwrap(), "by hand\n");
        assert_eq!(files(&paths).unwrap().len(), 1, "the copy is not forgotten");
        fs::write(&at, "old\n").unwrap();
        assert_eq!(give_back(&paths, "/etc/app/conf").unwrap(), Some(Return::InPlace));
    }

    #[test]
    fn a_damaged_copy_is_told_and_not_put_back() {
        let (_root, paths) = host();
        let at = paths.at("/etc/app/conf");
        fs::write(&at, "old\n").unwrap();
        adopt(&paths, &request("/etc/app/conf")).unwrap();
        fs::write(copy_of(&paths, "/etc/app/conf"), "odl\n").unwrap();
        fs::remove_file(&at).unwrap();
        assert!(give_back(&paths, "/etc/app/conf").unwrap_err().to_string().contains("damaged"));
        assert!(!at.exists());
    }

    /// `/etc/app` belongs to an application's user, which may put links anywhere in it.
    #[test]
    fn a_link_in_place_of_a_folder_or_file_leads_nowhere() {
        let (root, paths) = host();
        let secret = root.path().join("secret");
        fs::create_dir(&secret).unwrap();
        fs::write(secret.join("conf"), "root's own").unwrap();
        symlink(&secret, paths.at("/etc/app/sub")).unwrap();
        let error = adopt(&paths, &request("/etc/app/sub/conf")).unwrap_err();
        assert!(error.to_string().contains("a link"), "{error}");
        assert!(files(&paths).unwrap().is_empty());

        fs::remove_file(paths.at("/etc/app/sub")).unwrap();
        fs::create_dir(paths.at("/etc/app/sub")).unwrap();
        fs::write(paths.at("/etc/app/sub/conf"), "theirs").unwrap();
        adopt(&paths, &request("/etc/app/sub/conf")).unwrap();
        // A generation has replaced it; then its folder becomes a link, or its temporary name does.
        fs::remove_dir_all(paths.at("/etc/app/sub")).unwrap();
        symlink(&secret, paths.at("/etc/app/sub")).unwrap();
        fs::remove_file(secret.join("conf")).unwrap();
        give_back(&paths, "/etc/app/sub/conf").unwrap_err();
        assert!(!secret.join("conf").exists());
        fs::remove_file(paths.at("/etc/app/sub")).unwrap();
        fs::create_dir(paths.at("/etc/app/sub")).unwrap();
        let planted = paths.at(&format!("/etc/app/sub/conf.new-{}", std::process::id()));
        symlink(secret.join("conf"), planted).unwrap();
        assert_eq!(give_back(&paths, "/etc/app/sub/conf").unwrap(), Some(Return::Restored));
        assert_eq!(fs::read_to_string(paths.at("/etc/app/sub/conf")).unwrap(), "theirs");
        assert!(!secret.join("conf").exists());
    }

    #[test]
    fn only_files_below_etc_are_adopted() {
        let (_root, paths) = host();
        symlink("/nix/store/x", paths.at("/etc/ours")).unwrap();
        for (path, said) in [
            ("/usr/bin/env", "not below /etc"),
            ("/etc/../usr/x", "not below /etc"),
            ("etc/x", "not below /etc"),
            ("/etc", "not below /etc"),
            ("/etc/app", "neither a file nor a link"),
            ("/etc/none", "no such file"),
            ("/etc/ours", "Cairn's own"),
        ] {
            let error = adopt(&paths, &request(path)).unwrap_err();
            assert!(error.to_string().contains(said), "{path}: {error}");
        }
        assert!(!paths.adopted().exists());
    }
}
