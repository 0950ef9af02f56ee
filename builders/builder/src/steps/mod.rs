//! The steps that a recipe is made of, one file each. [`cairn_recipe::step`] says what each takes.

mod config;
mod deb;
mod debpyc;
mod files;
mod generated;
mod host;
mod image;
mod layer;
mod program;
mod rootfs;
mod verify;
mod wheel;

use std::path::Path;

use cairn_recipe::step::{Request, Step};

use crate::bytecode::Python;
use crate::error::Result;
use crate::inputs::Inputs;

/// Name of the control stanza beside the tree of a Debian package.
pub const CONTROL: &str = "control";

/// Runs the step. On success the output stands at `request.out`; on failure what stands there is
/// of no use, and the caller removes it.
pub fn run(request: &Request) -> Result<()> {
    let (inputs, out) = (&Inputs::from(&request.inputs), Path::new(&request.out));
    match &request.step {
        Step::Deb { exclude } => deb::run(exclude, inputs, out),
        Step::DebPyc { interpreter, native } => debpyc::run(Python { interpreter, native: *native }, inputs, out),
        Step::Wheel { interpreter, native, site } => {
            wheel::run(Python { interpreter, native: *native }, site, inputs, out)
        }
        Step::Files { target, interpreter, native } => {
            let python = interpreter.as_deref().map(|interpreter| Python { interpreter, native: *native });
            files::run(target, python, inputs, out)
        }
        Step::Generated(step) => generated::run(step, inputs, out),
        Step::Rootfs {} => rootfs::run(inputs, out),
        Step::Layer { compression } => layer::run(compression, inputs, out),
        Step::Image { platforms, annotations } => image::run(platforms, annotations, inputs, out),
        Step::Config { files, links } => config::run(files, links, out),
        Step::Verify(step) => verify::run(step, inputs, out),
        Step::Host { spec } => host::run(spec, inputs, out),
        Step::Program { name } => program::run(name, inputs, out),
    }
}
