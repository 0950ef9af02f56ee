//! `wheel`: one Python wheel as a tree, with byte code.

use std::path::Path;

use crate::bytecode::Python;
use crate::error::Result;
use crate::inputs::Inputs;
use crate::tree::TreeWriter;
use crate::wheel::{self, Scheme};

pub fn run(python: Python<'_>, site: &str, inputs: &Inputs, out: &Path) -> Result<()> {
    let scheme = Scheme::new(site, python.interpreter)?;
    let mut tree = TreeWriter::create(out)?;
    let installed = wheel::install(inputs.one("wheel")?, &scheme, &mut tree)?;
    let site = [scheme.site().as_bytes(), b"/"].concat();
    let byte_code = python.compile_tree(inputs, &mut tree, |path| path.as_bytes().starts_with(&site))?;
    installed.finish(byte_code, &mut tree)?;
    tree.finish()
}
