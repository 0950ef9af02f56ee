//! An image layout read back, with every digest and size checked.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use cairn_formats::{HashWriter, Platform};
use serde::de::DeserializeOwned;

use super::{
    Descriptor, INDEX, ImageInfo, Index, LAYOUT_VERSION, LayoutFile, MANIFEST, Manifest, ManifestInfo, REFERENCE,
    REFERENCE_KEY,
};
use crate::compress::Compression;
use crate::config::{self, ConfigFile};
use crate::error::at;
use crate::{Digest, OciError, Result, json};

/// Configurations and manifests are small; a file that claims more is none.
const MAX_JSON: u64 = 4 << 20;

/// An image in a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub info: ImageInfo,
    /// In the order of `info.manifests`.
    pub platforms: Vec<ReadImage>,
}

impl Image {
    /// Bytes of all layers as they are stored and sent, each layer counted once.
    pub fn compressed_bytes(&self) -> u64 {
        let layers = self.platforms.iter().flat_map(|image| &image.layers);
        let unique: std::collections::BTreeMap<Digest, u64> = layers.map(|layer| (layer.digest, layer.size)).collect();
        unique.values().sum()
    }
}

/// One platform of an image that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadImage {
    pub platform: Platform,
    pub digest: Digest,
    pub config_digest: Digest,
    pub layers: Vec<ReadLayer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadLayer {
    pub digest: Digest,
    pub diff_id: Digest,
    pub size: u64,
    pub media_type: String,
}

/// Reads the layout at `dir`. Checks digests of what it reads and the sizes of the layers, which it
/// does not read; [`verify`] does.
pub fn read(dir: &Path) -> Result<Image> {
    let path = dir.join("oci-layout");
    let version = json::read::<LayoutFile>(&path)?.image_layout_version;
    if version != LAYOUT_VERSION {
        return Err(OciError::Json { path, reason: format!("layout version {version:?}, expected {LAYOUT_VERSION}") });
    }
    let path = dir.join("index.json");
    let top = json::read::<Index>(&path)?;
    let named = |entry: &&Descriptor| entry.annotations.get(REFERENCE_KEY).is_some_and(|name| name == REFERENCE);
    let whole = top.manifests.iter().find(named).ok_or_else(|| OciError::Json {
        path: path.clone(),
        reason: format!("no entry has the reference {REFERENCE:?}"),
    })?;

    let (index_digest, manifests) = if whole.media_type == INDEX {
        (Some(whole.digest), read_json::<Index>(dir, whole, INDEX)?.manifests)
    } else {
        (None, vec![whole.clone()])
    };
    let platforms = manifests.iter().map(|entry| read_platform(dir, entry)).collect::<Result<Vec<_>>>()?;
    let manifests =
        platforms.iter().map(|image| ManifestInfo { platform: image.platform, digest: image.digest }).collect();
    let info = ImageInfo::new(index_digest, manifests).ok_or_else(|| OciError::NoPlatform { path: dir.to_owned() })?;
    Ok(Image { info, platforms })
}

/// Reads the layout at `dir` and hashes every layer as well.
pub fn verify(dir: &Path) -> Result<Image> {
    let image = read(dir)?;
    let mut checked = std::collections::BTreeSet::new();
    for layer in image.platforms.iter().flat_map(|platform| &platform.layers) {
        if checked.insert(layer.digest) {
            let path = dir.join(layer.digest.blob_path());
            let mut file = File::open(&path).map_err(at("open", &path))?;
            let mut hash = HashWriter::new(io::sink());
            io::copy(&mut file, &mut hash).map_err(at("read", &path))?;
            let found = Digest::from(hash.finish().1);
            if found != layer.digest {
                return Err(OciError::BlobDigest { path, expected: layer.digest, found });
            }
        }
    }
    Ok(image)
}

fn read_platform(dir: &Path, entry: &Descriptor) -> Result<ReadImage> {
    let path = dir.join(entry.digest.blob_path());
    let manifest: Manifest = read_json(dir, entry, MANIFEST)?;
    let config: ConfigFile = read_json(dir, &manifest.config, config::MEDIA_TYPE)?;
    let platform = format!("{}/{}", config.os, config.architecture)
        .parse()
        .map_err(|error| OciError::Json { path: path.clone(), reason: format!("{error}") })?;
    let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    if layers != diff_ids {
        return Err(OciError::LayerCount { path, layers, diff_ids });
    }
    let layers = manifest
        .layers
        .into_iter()
        .zip(config.rootfs.diff_ids)
        .map(|(layer, diff_id)| {
            let path = present(dir, &layer)?;
            if ![Compression::Gzip, Compression::Zstd].iter().any(|c| c.media_type() == layer.media_type) {
                return Err(OciError::MediaType { path, found: layer.media_type, expected: "a gzip or zstd layer" });
            }
            Ok(ReadLayer { digest: layer.digest, diff_id, size: layer.size, media_type: layer.media_type })
        })
        .collect::<Result<_>>()?;
    Ok(ReadImage { platform, digest: entry.digest, config_digest: manifest.config.digest, layers })
}

/// The path of a blob that is there and has the right size.
fn present(dir: &Path, descriptor: &Descriptor) -> Result<PathBuf> {
    let path = dir.join(descriptor.digest.blob_path());
    match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_file() && meta.len() == descriptor.size => Ok(path),
        Ok(meta) => Err(OciError::BlobSize { path, expected: descriptor.size, found: meta.len() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(OciError::MissingBlob { path }),
        Err(error) => Err(at("read", &path)(error)),
    }
}

fn read_json<T: DeserializeOwned>(dir: &Path, descriptor: &Descriptor, expected: &'static str) -> Result<T> {
    let path = present(dir, descriptor)?;
    if descriptor.media_type != expected {
        return Err(OciError::MediaType { path, found: descriptor.media_type.clone(), expected });
    }
    if descriptor.size > MAX_JSON {
        return Err(OciError::Json { path, reason: format!("{} bytes are too many", descriptor.size) });
    }
    let bytes = fs::read(&path).map_err(at("read", &path))?;
    let found = Digest::of(&bytes);
    if found != descriptor.digest {
        return Err(OciError::BlobDigest { path, expected: descriptor.digest, found });
    }
    json::parse(&bytes, &path)
}
