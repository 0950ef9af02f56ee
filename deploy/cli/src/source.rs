//! The commit that the project is at, asked of the system's git.

use std::path::Path;
use std::process::{Command, Output};

use cairn_protocol::Source;

use crate::display::Display;

/// `None` if the project is no git tree, or git cannot tell, which is said.
pub fn of(project: &Path, display: &Display) -> Option<Source> {
    // Without one, git itself may be missing as well.
    if !project.ancestors().any(|dir| dir.join(".git").exists()) {
        return None;
    }
    let revision = git(project, &["rev-parse", "--verify", "HEAD"]);
    let status = revision.and_then(|revision| Ok((revision, git(project, &["status", "--porcelain", "--", "."])?)));
    match status {
        Ok((revision, status)) => Some(Source { revision: revision.trim().to_owned(), clean: status.is_empty() }),
        Err(why) => {
            display.note(&format!("the revision of the project is not recorded: {why}"));
            None
        }
    }
}

fn git(project: &Path, arguments: &[&str]) -> Result<String, String> {
    let output: Output = Command::new("git")
        // A question must not take the index's lock from somebody who works in the tree.
        .args(["--no-optional-locks", "-C"])
        .arg(project)
        .args(arguments)
        // Within a hook these name the tree of that hook.
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .output()
        .map_err(|error| format!("cannot run git: {error}"))?;
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
    use super::*;

    #[test]
    fn a_revision_is_short_and_marked_when_the_tree_was_not_clean() {
        let source = |clean| Source { revision: "0123456789abcdef".to_owned(), clean };
        assert_eq!(short(Some(&source(true))), "0123456789");
        assert_eq!(short(Some(&source(false))), "0123456789+");
        assert_eq!(short(None), "");
    }
}
