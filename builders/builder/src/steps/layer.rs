//! `layer`: trees as one compressed layer of an image; the work is done by [`cairn_oci::layer`].

use std::path::Path;

use cairn_oci::compress::Compression;
use cairn_oci::layer;
use cairn_recipe::image::CompressionKind;

use crate::error::Result;
use crate::inputs::Inputs;

pub fn run(compression: CompressionKind, inputs: &Inputs, out: &Path) -> Result<()> {
    let compression = match compression {
        CompressionKind::Gzip => Compression::Gzip,
        CompressionKind::Zstd => Compression::Zstd,
    };
    layer::write_layer(inputs.several("trees")?, compression, out)?;
    Ok(())
}
