//! Image layouts: a folder that holds an image, OCI image specification 1.1, `image-layout.md`.
//!
//! ```text
//! oci-layout            {"imageLayoutVersion":"1.0.0"}
//! index.json            the way in
//! blobs/sha256/…        layers, configurations, manifests and, with several platforms, their index
//! ```
//!
//! With one platform `index.json` names its manifest, under the reference `latest`. With several,
//! `latest` is an image index, as a registry would hold it, and each manifest stands in
//! `index.json` as well, under a reference such as `linux-amd64`:
//!
//! * `skopeo` and `podman` take `oci:DIR:latest` and choose the platform themselves;
//! * `umoci` cannot choose and takes `DIR:linux-amd64`.

mod read;
mod write;

use cairn_formats::Platform;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::Digest;

pub use read::{Image, ReadImage, ReadLayer, read, verify};
pub use write::{ImageLayer, PlatformImage, write_image};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The reference of the whole image in its layout.
pub const REFERENCE: &str = "latest";

/// The annotation that gives a descriptor in `index.json` its name.
const REFERENCE_KEY: &str = "org.opencontainers.image.ref.name";

/// What identifies an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    digest: Digest,
    /// Of the image index over all platforms; with one platform there is no index.
    pub index_digest: Option<Digest>,
    /// Sorted by platform.
    pub manifests: Vec<ManifestInfo>,
}

/// One platform of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestInfo {
    pub platform: Platform,
    pub digest: Digest,
}

impl ImageInfo {
    /// None if there is no manifest at all.
    fn new(index_digest: Option<Digest>, manifests: Vec<ManifestInfo>) -> Option<Self> {
        let digest = index_digest.or(Some(manifests.first()?.digest))?;
        Some(Self { digest, index_digest, manifests })
    }

    /// The digest by which the image is known, here and in a registry: that of the manifest if there
    /// is one platform, else that of the image index. It is what `deploy build` reports, and what
    /// `skopeo inspect --raw oci:DIR:latest | sha256sum` gives.
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}

/// Points at a blob.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    digest: Digest,
    media_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<PlatformFile>,
    size: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct PlatformFile {
    architecture: String,
    os: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
    media_type: String,
    schema_version: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    manifests: Vec<Descriptor>,
    media_type: String,
    schema_version: u32,
}

impl Index {
    fn new(manifests: Vec<Descriptor>, annotations: BTreeMap<String, String>) -> Self {
        Self { annotations, manifests, media_type: INDEX.to_owned(), schema_version: 2 }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutFile {
    image_layout_version: String,
}

const LAYOUT_VERSION: &str = "1.0.0";
