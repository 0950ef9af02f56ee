//! Which project a record belongs to.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::error::at;

/// What a project is known by: its folder, or in a git repository the place of the repository's data
/// (which all worktrees share) and the project's place in the tree. No program is run for this: git would
/// read the configuration of the repository.
pub(super) fn identity(project: &Path) -> Result<PathBuf> {
    let project = fs::canonicalize(project).map_err(at("find", project))?;
    let Some(top) = project.ancestors().find(|folder| folder.join(".git").symlink_metadata().is_ok()) else {
        return Ok(project);
    };
    match (common_folder(&top.join(".git")), project.strip_prefix(top)) {
        (Some(common), Ok(below)) => Ok(common.join(below)),
        _ => Ok(project),
    }
}

/// Of a worktree `.git` is a file that names its own folder in the repository, whose `commondir` names
/// what is shared (gitrepository-layout(5)).
fn common_folder(git: &Path) -> Option<PathBuf> {
    if git.symlink_metadata().ok()?.is_dir() {
        return fs::canonicalize(git).ok();
    }
    let own = small(git)?.strip_prefix("gitdir:")?.trim().to_owned();
    let own = git.parent()?.join(own);
    let common = small(&own.join("commondir")).map_or_else(|| own.clone(), |below| own.join(below.trim()));
    fs::canonicalize(common).ok()
}

/// The text of a file that holds a path.
fn small(file: &Path) -> Option<String> {
    let meta = file.metadata().ok()?;
    (meta.is_file() && meta.len() <= 8192).then(|| fs::read_to_string(file).ok())?
}
