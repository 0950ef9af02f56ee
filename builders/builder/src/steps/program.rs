//! `program`: one executable file as `bin/NAME` of a store path of its own.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use cairn_formats::RelPath;

use crate::error::{Error, Result};
use crate::inputs::Inputs;

pub fn run(name: &str, inputs: &Inputs, out: &Path) -> Result<()> {
    let file = RelPath::root()
        .join(name.as_bytes())
        .map_err(|_| Error::parameter("name", name, "it must be the name of a file"))?;
    let from = inputs.one("program")?;
    let bin = out.join("bin");
    for directory in [out, &bin] {
        fs::create_dir(directory).map_err(Error::io("create", directory))?;
    }
    let to = bin.join(file.as_path());
    fs::copy(from, &to)
        .and_then(|_| fs::set_permissions(&to, Permissions::from_mode(0o755)))
        .map_err(Error::io("copy to", &to))
}
