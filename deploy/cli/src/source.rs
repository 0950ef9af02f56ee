//! The commit that the project is at, asked of the system's git.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use cairn_protocol::Source;

use crate::display::Display;

/// `None` if the project is not in a git tree, or git cannot tell, which is noted.
pub fn of(project: &Path, display: &Display) -> Option<Source> {
    // Without one, git itself may be missing as well.
    let project = project.canonicalize().ok()?;
    let top = project.ancestors().find(|dir| dir.join(".git").exists())?;
    let below = match project.strip_prefix(top).unwrap_or(&project) {
        whole if whole.as_os_str().is_empty() => Path::new("."),
        below => below,
    };
    let revision = git(top, &["rev-parse", "--verify", "HEAD"], None);
    let status = revision.and_then(|revision| {
        let status = git(top, &["status", "--porcelain", "--ignore-submodules=all"], Some(below))?;
        Ok((revision, status))
    });
    match status {
        Ok((revision, status)) => Some(Source { revision: revision.trim().to_owned(), clean: status.is_empty() }),
        Err(why) => {
            display.note(&format!("the revision of the project is not recorded: {why}"));
            None
        }
    }
}

/// Settings that name a program, or a folder of programs, which git would run.
const RUN_NOTHING: [&str; 4] =
    ["core.fsmonitor=false", "core.hooksPath=/dev/null", "core.pager=cat", "safe.bareRepository=explicit"];

/// Asks git at the top of the tree. Below it the repository may hold folders that look like a
/// repository themselves (`HEAD`, `config`, `objects`), and git would run what their `config` names;
/// where `.git` is, git looks no further.
fn git(top: &Path, arguments: &[&str], below: Option<&Path>) -> Result<String, String> {
    let mut command = Command::new("git");
    // A question must not take the index's lock from another process that works in the tree.
    command.args(["--no-optional-locks", "-C"]).arg(top);
    for setting in RUN_NOTHING {
        command.args(["-c", setting]);
    }
    command.args(arguments);
    if let Some(below) = below {
        command.arg("--").arg(below);
    }
    // Within a hook these name the tree of that hook.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"] {
        command.env_remove(variable);
    }
    let output: Output = command.stdin(Stdio::null()).output().map_err(|error| format!("cannot run git: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("git {}: {}", arguments[0], said.lines().next().unwrap_or("failed")))
}

/// As people read it: the first digits, with a mark when the tree was not clean.
pub fn short(source: Option<&Source>) -> String {
    source.map_or_else(String::new, |source| {
        let revision: String = source.revision.chars().take(10).collect();
        if source.clean { revision } else { format!("{revision}+") }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A project in a folder of a git tree, with a repository in its folder whose `config` names a
    /// program to run.
    #[test]
    fn a_repository_inside_the_project_runs_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (top, ran) = (root.path().join("tree"), root.path().join("ran"));
        let project = top.join("infra");
        std::fs::create_dir_all(project.join("objects")).unwrap();
        std::fs::create_dir_all(project.join("refs/heads")).unwrap();
        std::fs::write(project.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        let payload = format!("touch {}; false", ran.display());
        let config = format!(
            "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = .\n\tfsmonitor = \"{payload}\"\n"
        );
        std::fs::write(project.join("config"), config).unwrap();
        std::fs::write(project.join("deploy.toml"), "").unwrap();
        let tool = |arguments: &[&str]| {
            let identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "init.defaultBranch=main"];
            let status = Command::new("git").arg("-C").arg(&top).args(identity).args(arguments).output().unwrap();
            assert!(status.status.success(), "{status:?}");
        };
        tool(&["init", "-q"]);
        tool(&["add", "-A"]);
        tool(&["commit", "-q", "-m", "x"]);
        let found = of(&project, &Display::new(false, true)).unwrap();
        assert_eq!((found.revision.len(), found.clean), (40, true));
        std::fs::write(project.join("deploy.toml"), "# changed\n").unwrap();
        assert!(!of(&project, &Display::new(false, true)).unwrap().clean);
        assert!(!ran.exists(), "git ran a program that the repository names");
    }

    #[test]
    fn a_revision_is_short_and_marked_when_the_tree_was_not_clean() {
        let source = |clean| Source { revision: "0123456789abcdef".to_owned(), clean };
        assert_eq!(short(Some(&source(true))), "0123456789");
        assert_eq!(short(Some(&source(false))), "0123456789+");
        assert_eq!(short(None), "");
    }
}
