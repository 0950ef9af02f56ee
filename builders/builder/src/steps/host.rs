//! `host`: the closure of one host, rendered by [`cairn_closure`] once the places of its inputs
//! are known.

use std::path::Path;

use cairn_closure::{HostSpec, StoreDir};
use cairn_recipe::step::placeholder;

use crate::error::{Error, Result};
use crate::inputs::Inputs;

pub fn run(spec: &HostSpec, inputs: &Inputs, out: &Path) -> Result<()> {
    let mut spec = spec.clone();
    spec.agent = store_dir("agent", inputs)?;
    for (name, service) in &mut spec.services {
        let label = format!("rootfs.{}", service.image);
        if service.rootfs.0 != placeholder(&label) {
            let reason = format!("it should be the placeholder of the input `{label}`");
            return Err(Error::parameter("rootfs", service.rootfs.to_string(), reason));
        }
        service.rootfs = store_dir(&label, inputs)?;
        if service.config.is_some() {
            service.config = Some(store_dir(&format!("config.{name}"), inputs)?);
        }
        if let Some(reload) = &mut service.reload {
            reload.files = store_dir(&format!("live.{name}"), inputs)?;
        }
    }
    let closure = cairn_closure::render(&spec)?;
    Ok(cairn_closure::write(&closure, out)?)
}

fn store_dir(label: &str, inputs: &Inputs) -> Result<StoreDir> {
    let path = inputs.one(label)?.display().to_string();
    StoreDir::try_from(path.clone()).map_err(|error| Error::parameter("inputs", path, error.to_string()))
}
