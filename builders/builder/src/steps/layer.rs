//! `layer`: trees as one compressed layer of an image; the work is done by [`cairn_oci::layer`].

use std::path::Path;

use cairn_oci::compress::Compression;
use cairn_oci::layer;

use crate::error::{Error, Result};
use crate::inputs::Inputs;

/// `compressor` names program, version and settings; another one would give other bytes.
pub fn run(compressor: &str, inputs: &Inputs, out: &Path) -> Result<()> {
    let compression = (Compression::ALL.into_iter())
        .find(|known| known.id() == compressor)
        .ok_or_else(|| Error::Compressor { wanted: compressor.to_owned() })?;
    layer::write_layer(inputs.several("trees")?, compression, out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use cairn_oci::compress::Compression;
    use cairn_recipe::image::CompressionKind;

    #[test]
    fn recipes_name_the_compressors_that_there_are() {
        let named = [CompressionKind::Gzip, CompressionKind::Zstd].map(CompressionKind::id);
        assert_eq!(named, Compression::ALL.map(Compression::id));
    }
}
