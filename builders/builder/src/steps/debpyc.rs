//! `debpyc`: the byte code of a Debian package's Python files, as a tree of its own.
//!
//! Debian packages ship sources only; their maintainer scripts compile them on the machine.

use std::path::Path;

use crate::bytecode::{Python, Source, is_source};
use crate::error::Result;
use crate::inputs::Inputs;
use crate::tree::{Kind, TreeWriter, Union};

pub fn run(python: Python<'_>, inputs: &Inputs, out: &Path) -> Result<()> {
    let union = Union::read(std::slice::from_ref(inputs.one("tree")?))?;
    // The standard library (usr/lib/python3.11) and Debian's modules (usr/lib/python3). Others
    // belong to other versions of Python, or are private to programs that run once.
    let sources: Vec<Source> = union
        .entries()
        .filter(|(path, found)| {
            path.as_bytes().starts_with(b"usr/lib/python3")
                && is_source(path)
                && matches!(found.kind, Kind::File { .. })
        })
        .map(|(path, found)| Source::new(union.physical(path, found), path))
        .collect();
    let mut tree = TreeWriter::create(out)?;
    python.compile(inputs, &sources, &mut tree)?;
    tree.finish()
}
