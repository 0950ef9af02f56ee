//! `deb`: one Debian package as a tree, with its control stanza beside it in `OUT/control`.

use std::path::Path;

use super::CONTROL;
use crate::deb;
use crate::error::Result;
use crate::glob::Excludes;
use crate::inputs::Inputs;
use crate::tree::{TreeWriter, write_file};

pub fn run(exclude: &[String], inputs: &Inputs, out: &Path) -> Result<()> {
    let excludes = Excludes::parse(exclude)?;
    let mut tree = TreeWriter::create(out)?;
    let stanza = deb::unpack(inputs.one("deb")?, &excludes, &mut tree)?;
    write_file(&out.join(CONTROL), &stanza)?;
    tree.finish()
}
