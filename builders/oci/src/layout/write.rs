//! Layer outputs and configurations to an image layout.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cairn_formats::Platform;

use super::{
    Descriptor, INDEX, ImageInfo, Index, LAYOUT_VERSION, LayoutFile, MANIFEST, Manifest, ManifestInfo, PlatformFile,
    REFERENCE, REFERENCE_KEY,
};
use crate::config::{self, ImageConfig, ListedLayer};
use crate::error::at;
use crate::layer::LayerInfo;
use crate::{Digest, OciError, Result, json};

/// One platform of an image to write.
#[derive(Debug, Clone)]
pub struct PlatformImage {
    pub platform: Platform,
    pub config: ImageConfig,
    /// Lowest first.
    pub layers: Vec<ImageLayer>,
}

/// A layer output and what people are told that it holds (`podman history`).
#[derive(Debug, Clone)]
pub struct ImageLayer {
    pub name: String,
    pub output: PathBuf,
}

impl From<PathBuf> for ImageLayer {
    fn from(output: PathBuf) -> Self {
        Self { name: "layer".to_owned(), output }
    }
}

/// Writes the image layout `out`, which must not exist. The order of `images` does not matter.
pub fn write_image(images: &[PlatformImage], annotations: &BTreeMap<String, String>, out: &Path) -> Result<ImageInfo> {
    let mut by_platform = BTreeMap::new();
    for image in images {
        if by_platform.insert(image.platform, image).is_some() {
            return Err(OciError::DuplicatePlatform { platform: image.platform.to_string() });
        }
    }
    if by_platform.is_empty() {
        return Err(OciError::NoPlatform { path: out.to_owned() });
    }
    let blobs = out.join("blobs/sha256");
    fs::create_dir(out).map_err(at("create", out))?;
    fs::create_dir_all(&blobs).map_err(at("create", &blobs))?;

    let mut manifests = Vec::new();
    for image in by_platform.values() {
        manifests.push(write_platform(image, annotations, out)?);
    }
    let infos = by_platform.keys().zip(&manifests);
    let infos =
        infos.map(|(platform, manifest)| ManifestInfo { platform: *platform, digest: manifest.digest }).collect();
    let mut index_digest = None;
    let entries = if manifests.len() == 1 {
        manifests.into_iter().map(|manifest| named(manifest, REFERENCE.to_owned())).collect()
    } else {
        let index = Index::new(manifests.clone(), annotations.clone());
        let index = write_blob(&json::canonical(&index, out)?, INDEX, out)?;
        index_digest = Some(index.digest);
        let platforms = by_platform.keys().map(|platform| platform.oci().replace('/', "-"));
        std::iter::once(named(index, REFERENCE.to_owned()))
            .chain(manifests.into_iter().zip(platforms).map(|(manifest, name)| named(manifest, name)))
            .collect()
    };
    json::write(&Index::new(entries, BTreeMap::new()), &out.join("index.json"))?;
    json::write(&LayoutFile { image_layout_version: LAYOUT_VERSION.to_owned() }, &out.join("oci-layout"))?;
    ImageInfo::new(index_digest, infos).ok_or_else(|| OciError::NoPlatform { path: out.to_owned() })
}

fn write_platform(image: &PlatformImage, annotations: &BTreeMap<String, String>, out: &Path) -> Result<Descriptor> {
    let mut listed = Vec::new();
    let mut layers = Vec::new();
    for layer in &image.layers {
        let info = LayerInfo::read(&layer.output)?;
        place_layer(&layer.output, &info, out)?;
        listed.push(ListedLayer { diff_id: info.diff_id, name: &layer.name });
        layers.push(descriptor(info.digest, info.size, &info.media_type));
    }
    let config = config::render(&image.config, image.platform, &listed, out)?;
    let manifest = Manifest {
        annotations: annotations.clone(),
        config: write_blob(&config, config::MEDIA_TYPE, out)?,
        layers,
        media_type: MANIFEST.to_owned(),
        schema_version: 2,
    };
    let mut manifest = write_blob(&json::canonical(&manifest, out)?, MANIFEST, out)?;
    manifest.platform = Some(PlatformFile { architecture: image.platform.debian().to_owned(), os: "linux".to_owned() });
    Ok(manifest)
}

/// Links the layer's blob if it lies on the same file system, else copies it: a store keeps equal
/// files once anyway.
fn place_layer(output: &Path, info: &LayerInfo, out: &Path) -> Result<()> {
    let from = output.join("blob");
    let to = out.join(info.digest.blob_path());
    if to.exists() {
        return Ok(());
    }
    let found = fs::metadata(&from).map_err(at("read", &from))?.len();
    if found != info.size {
        return Err(OciError::BlobSize { path: from, expected: info.size, found });
    }
    if fs::hard_link(&from, &to).is_err() {
        fs::copy(&from, &to).map_err(at("write", &to))?;
    }
    Ok(())
}

fn write_blob(bytes: &[u8], media_type: &str, out: &Path) -> Result<Descriptor> {
    let digest = Digest::of(bytes);
    let path = out.join(digest.blob_path());
    fs::write(&path, bytes).map_err(at("write", &path))?;
    Ok(descriptor(digest, bytes.len() as u64, media_type))
}

fn descriptor(digest: Digest, size: u64, media_type: &str) -> Descriptor {
    Descriptor { annotations: BTreeMap::new(), digest, media_type: media_type.to_owned(), platform: None, size }
}

fn named(mut descriptor: Descriptor, name: String) -> Descriptor {
    descriptor.annotations.insert(REFERENCE_KEY.to_owned(), name);
    descriptor
}
