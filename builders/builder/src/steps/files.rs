//! `files`: files of the project, put at one place of the image.
//!
//! The content of a source directory goes below the target, a source file exactly there.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use cairn_formats::RelPath;

use crate::bytecode::{self, Python};
use crate::error::{Error, Problem, Result, label};
use crate::inputs::Inputs;
use crate::layout;
use crate::tree::{Attributes, Kind, TreeWriter, walk};

pub fn run(target: &str, python: Option<Python<'_>>, inputs: &Inputs, out: &Path) -> Result<()> {
    let target = layout::absolute(target)
        .ok_or_else(|| Error::parameter("target", target, "it must be an absolute path without `..`"))?;
    let source = inputs.one("source")?;
    let mut tree = TreeWriter::create(out)?;
    let fault = |path: &RelPath, problem| Error::member(&label(source), path.to_string(), problem);
    let metadata = fs::symlink_metadata(source).map_err(Error::io("inspect", source))?;
    if metadata.is_dir() {
        tree.directory(&target, Attributes::DIRECTORY).map_err(|problem| fault(&target, problem))?;
        walk(source, &mut |path, kind| {
            if bytecode::is_cache(path) {
                return Ok(());
            }
            copy(&source.join(path.as_path()), &inside(&target, path), kind, &mut tree)
                .map_err(|problem| fault(path, problem))
        })?;
    } else if metadata.is_file() {
        let executable = metadata.permissions().mode() & 0o100 != 0;
        copy(source, &target, Kind::File { executable, size: metadata.len() }, &mut tree)
            .map_err(|problem| fault(&target, problem))?;
    } else {
        return Err(fault(&target, Problem::Kind("link, device, pipe or socket")));
    }
    if let Some(python) = python {
        python.compile_tree(inputs, &mut tree, |_| true)?;
    }
    tree.finish()
}

fn copy(from: &Path, to: &RelPath, kind: Kind, tree: &mut TreeWriter) -> Result<(), Problem> {
    match kind {
        Kind::Directory => tree.directory(to, Attributes::DIRECTORY),
        Kind::Link { target } => tree.symlink(to, &target, Attributes::LINK),
        Kind::File { executable, size } => tree.file(to, Attributes::file(executable), size, &mut File::open(from)?),
    }
}

fn inside(target: &RelPath, path: &RelPath) -> RelPath {
    path.parts().fold(target.clone(), |at, part| at.join(part).unwrap_or(at))
}
