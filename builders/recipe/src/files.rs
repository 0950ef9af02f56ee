//! Files of the project, read beneath its top folder.
//!
//! A pull request can change what definitions name. So a name that
//! leads out, be it absolute, by `..` or by a link, is refused: else `source = "/proc/self/environ"`
//! would put the operator's credentials into the store, and into the output of a plan. Folders outside
//! that a project does share are named in `deploy.toml`. A pull request can change that file as well, so
//! nothing is read there until the operator has allowed the folder ([`ProjectFiles::allow`]).
//!
//! ```toml
//! [files]
//! outside = ["../shared"]    # relative to deploy.toml
//! ```

use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use crate::error::DefinitionError;

/// Definitions, templates and what they name are texts.
const LARGEST_TEXT: u64 = 16 << 20;

/// Whether no definition may read a folder, free of links, whatever is allowed.
pub fn is_never_read(folder: &Path) -> bool {
    folder.parent().is_none() || NEVER.iter().any(|never| folder.starts_with(never))
}

/// Folders of the kernel: environments of processes, keys, devices.
const NEVER: [&str; 3] = ["/proc", "/sys", "/dev"];

/// `[files]` of `deploy.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesSection {
    /// Folders outside of the project that definitions may read once an operator has allowed it, relative
    /// to `deploy.toml`.
    #[serde(default)]
    pub outside: Vec<PathBuf>,
}

/// Reads what definitions name.
#[derive(Debug, Clone, Default)]
pub struct ProjectFiles(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Absolute, without `..`.
    top: PathBuf,
    /// What `deploy.toml` names.
    outside: Vec<PathBuf>,
    /// What the operator allows, free of links.
    allowed: Vec<PathBuf>,
    used: Mutex<BTreeSet<PathBuf>>,
}

impl ProjectFiles {
    pub fn new(top: &Path, outside: &[PathBuf]) -> Self {
        let top = absolute(top);
        let outside = outside.iter().map(|folder| plain(&top.join(folder))).collect();
        Self(Arc::new(Inner { top, outside, allowed: Vec::new(), used: Mutex::default() }))
    }

    /// The folders outside of the project that `deploy.toml` names, absolute.
    pub fn outside(&self) -> &[PathBuf] {
        &self.0.outside
    }

    /// The same, where an operator allows these folders, which are free of links. Only a folder that
    /// `deploy.toml` names itself can be among them: it could name more below one of them later.
    #[must_use]
    pub fn allow(&self, folders: &[PathBuf]) -> Self {
        let Inner { top, outside, .. } = &*self.0;
        // One that is not there allows nothing, and one that became a link since leads elsewhere now.
        let is_itself = |folder: &&PathBuf| folder.canonicalize().is_ok_and(|real| real == **folder);
        let allowed = folders.iter().filter(is_itself).cloned().collect();
        Self(Arc::new(Inner { top: top.clone(), outside: outside.clone(), allowed, used: Mutex::default() }))
    }

    /// The folders outside of the project that something was read from.
    pub fn used_outside(&self) -> Vec<PathBuf> {
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub fn read(&self, file: &Path) -> Result<String, DefinitionError> {
        self.text(file).map_err(|source| DefinitionError::Read { file: file.to_owned(), source })
    }

    /// `None` if there is no such file.
    pub fn read_if_there(&self, file: &Path) -> Result<Option<String>, DefinitionError> {
        match self.text(file) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DefinitionError::Read { file: file.to_owned(), source }),
        }
    }

    /// As [`ProjectFiles::read`], for callers that know better what to say of the error.
    pub fn text(&self, file: &Path) -> io::Result<String> {
        let bytes = self.within(file, |top, below| cairn_beneath::read(top, below, LARGEST_TEXT))?;
        String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not a text in UTF-8"))
    }

    /// The path of a file or folder, free of links, to be read by something else.
    pub fn locate(&self, path: &Path) -> io::Result<PathBuf> {
        self.within(path, cairn_beneath::locate)
    }

    pub fn is_file(&self, path: &Path) -> bool {
        self.locate(path).is_ok_and(|path| path.is_file())
    }

    /// Does it beneath the folder that the path lies in: the project's, or one that is allowed.
    fn within<T>(&self, path: &Path, open: impl Fn(&Path, &Path) -> io::Result<T>) -> io::Result<T> {
        let Inner { top, outside, used, .. } = &*self.0;
        let path = absolute(path);
        let named = |path: &Path| match outside.iter().find(|folder| path.starts_with(folder)) {
            Some(folder) => self.is_allowed(folder).map(|()| folder),
            None => Err(self.leads_out()),
        };
        // The same for a path that is free of links, as the way to the project need not be.
        let really_named = |path: &Path| {
            let real = |folder: &PathBuf| folder.canonicalize().unwrap_or_default();
            match outside.iter().find(|folder| path.starts_with(real(folder)) && folder.exists()) {
                Some(folder) => self.is_allowed(folder).map(|()| (folder, real(folder))),
                None => Err(self.leads_out()),
            }
        };
        let note = |folder: &PathBuf| used.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.clone());
        if let Ok(below) = path.strip_prefix(top) {
            return match open(top, below) {
                // An absolute link may lead to a place inside, any link to where definitions may read.
                Err(error) if cairn_beneath::leads_out(&error) => {
                    let real = path.canonicalize().unwrap_or_default();
                    if let Ok(below) = real.strip_prefix(top.canonicalize()?) {
                        return open(top, below);
                    }
                    let (folder, above) = really_named(&real)?;
                    note(folder);
                    open(&above, real.strip_prefix(&above).unwrap_or(&real))
                }
                other => other,
            };
        }
        let folder = named(&path)?;
        note(folder);
        let opened = open(folder, path.strip_prefix(folder).unwrap_or(&path));
        opened.map_err(|error| if cairn_beneath::leads_out(&error) { self.leads_out() } else { error })
    }

    /// Whether the operator allows a folder that `deploy.toml` names.
    fn is_allowed(&self, folder: &Path) -> io::Result<()> {
        let real = folder.canonicalize()?;
        if is_never_read(&real) {
            return Err(io::Error::other(format!(
                "it is in {}, and nothing is read from there: it shows what this computer does\n  help: take the folder out of `[files] outside` in deploy.toml",
                folder.display()
            )));
        }
        match self.0.allowed.contains(&real) {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "it is in {}, which deploy.toml names and which is not allowed on this computer yet\n  help: if definitions may read all that is there, run this again with `--allow-outside {}`; this computer remembers it for the project",
                folder.display(),
                real.display()
            ))),
        }
    }

    fn leads_out(&self) -> io::Error {
        io::Error::other(format!(
            "it leads out of the project {}\n  help: put it into the project, or name its folder in deploy.toml: `[files] outside = [\"FOLDER\"]`",
            self.0.top.display()
        ))
    }
}

fn absolute(path: &Path) -> PathBuf {
    // Without a current folder nothing relative can be opened either.
    plain(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
}

/// Without `..`, so that one file has one name.
pub(crate) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if plain.file_name().is_some() => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A project with every way out, a secret beside it, and a folder that it shares with others.
    fn project() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let top = root.path().canonicalize().unwrap().join("project");
        for folder in ["project/hosts", "shared", "private"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        fs::write(top.join("hosts/motd"), "inside").unwrap();
        fs::write(root.path().join("shared/motd"), "shared").unwrap();
        fs::write(root.path().join("private/key"), "secret").unwrap();
        symlink("../../private/key", top.join("hosts/leak")).unwrap();
        symlink("../private", top.join("folder")).unwrap();
        symlink("hosts", top.join("inner")).unwrap();
        symlink("../shared", top.join("common")).unwrap();
        symlink("../private/key", root.path().join("shared/leak")).unwrap();
        (root, top)
    }

    #[test]
    fn nothing_outside_is_read_unless_it_is_named() {
        let (root, top) = project();
        let private = root.path().canonicalize().unwrap().join("private/key");
        symlink(top.join("hosts/motd"), top.join("absolute")).unwrap();
        for outside in [&[][..], &[PathBuf::from("../shared")]] {
            let shared = top.parent().unwrap().join("shared");
            let files = ProjectFiles::new(&top, outside).allow(&[shared]);
            assert_eq!(files.read(&top.join("absolute")).unwrap(), "inside", "by a link that is absolute");
            for inside in ["hosts/motd", "inner/motd", "hosts/../hosts/motd", "inner/../hosts/motd"] {
                assert_eq!(files.read(&top.join(inside)).unwrap(), "inside", "{inside}");
            }
            assert_eq!(files.locate(&top.join("inner")).unwrap(), top.join("hosts"));
            for out in ["hosts/leak", "folder/key", "../private/key", "/proc/self/environ", "../shared/leak"] {
                let error = files.read(&top.join(out)).unwrap_err().to_string();
                assert!(
                    error.contains("leads out of the project") && error.contains("[files] outside"),
                    "{out}: {error}"
                );
                assert!(files.locate(&top.join(out)).is_err(), "{out}");
            }
            assert!(files.read(&private).is_err());
            assert!(files.read_if_there(&top.join("none")).unwrap().is_none());
            assert!(files.read_if_there(&top.join("hosts/leak")).is_err());
            let shared = ["../shared/motd", "common/motd"].map(|path| files.read(&top.join(path)).ok());
            let expected = (!outside.is_empty()).then(|| "shared".to_owned());
            assert_eq!(shared, [expected.clone(), expected]);
            assert_eq!(files.used_outside().len(), outside.len());
        }
    }

    /// A pull request that names a file can name its folder, too.
    #[test]
    fn a_folder_that_only_the_project_names_is_not_read() {
        let (root, top) = project();
        let shared = top.join("../shared/motd");
        let named = ProjectFiles::new(&top, &[PathBuf::from("../shared")]);
        let above = root.path().to_owned();
        for allowed in [vec![], vec![root.path().join("private")], vec![root.path().join("none")], vec![above]] {
            let files = named.allow(&allowed);
            for way in [&shared, &top.join("common/motd")] {
                let error = files.read(way).unwrap_err().to_string();
                assert!(error.contains("--allow-outside") && error.contains("/shared"), "{error}");
                assert!(files.locate(way).is_err());
            }
            assert!(files.used_outside().is_empty());
        }
        let real = root.path().canonicalize().unwrap().join("shared");
        assert_eq!(named.allow(std::slice::from_ref(&real)).read(&shared).unwrap(), "shared");
        // The same, where a link leads to the project.
        symlink(&top, root.path().join("way")).unwrap();
        let by_link = ProjectFiles::new(&root.path().join("way"), std::slice::from_ref(&real));
        let by_link = by_link.allow(std::slice::from_ref(&real));
        assert_eq!(by_link.read(&root.path().join("way/common/motd")).unwrap(), "shared");
        // A pull request puts a link in place of the folder that was allowed.
        fs::rename(&real, root.path().join("before")).unwrap();
        symlink("private", &real).unwrap();
        let error = named.allow(&[real]).read(&top.join("../shared/key")).unwrap_err().to_string();
        assert!(error.contains("--allow-outside") && error.contains("/private"), "{error}");
        // Allowed or not.
        for (folder, file) in [("/proc/self", "/proc/self/environ"), ("/", "/etc/passwd"), ("/dev", "/dev/zero")] {
            let files = ProjectFiles::new(&top, &[PathBuf::from(folder)]).allow(&[PathBuf::from(folder)]);
            let error = files.read(Path::new(file)).unwrap_err().to_string();
            assert!(error.contains("nothing is read from there"), "{folder}: {error}");
        }
    }
}
