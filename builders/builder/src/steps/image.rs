//! `image`: layers and a configuration for each platform as an OCI image layout; the work is done
//! by [`cairn_oci::layout`].

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cairn_oci::config::{Healthcheck, ImageConfig, User};
use cairn_oci::layout::{self, ImageLayer, PlatformImage};
use cairn_recipe::step::{Health, ImagePlatform};

use crate::error::{Error, Result, label};
use crate::inputs::Inputs;

pub fn run(
    platforms: &[ImagePlatform],
    annotations: &BTreeMap<String, String>,
    inputs: &Inputs,
    out: &Path,
) -> Result<()> {
    let mut images = Vec::new();
    for (number, platform) in platforms.iter().enumerate() {
        let layers = inputs.all(&format!("layers.{number}"));
        let layers = layers.iter().map(|output| ImageLayer { name: layer_name(output), output: output.clone() });
        images.push(PlatformImage { platform: platform.platform, config: config(platform)?, layers: layers.collect() });
    }
    layout::write_image(&images, annotations, out)?;
    Ok(())
}

/// What `podman history` shows: the name of the store path, without its hash.
fn layer_name(output: &Path) -> String {
    let base = label(output);
    base.split_once('-').filter(|(hash, _)| hash.len() == 32).map_or_else(|| base.clone(), |(_, name)| name.to_owned())
}

fn config(platform: &ImagePlatform) -> Result<ImageConfig> {
    Ok(ImageConfig {
        env: platform.env.clone(),
        entrypoint: platform.entrypoint.clone(),
        cmd: platform.command.clone(),
        working_dir: platform.workdir.clone(),
        exposed_ports: platform.ports.iter().map(|port| format!("{port}/tcp")).collect(),
        volumes: platform.volumes.iter().cloned().collect(),
        labels: platform.labels.clone(),
        stop_signal: platform.stop_signal.clone(),
        healthcheck: platform.health.as_ref().map(healthcheck),
        ..ImageConfig::new(user(&platform.user)?)
    })
}

fn healthcheck(health: &Health) -> Healthcheck {
    Healthcheck {
        command: health.command.clone(),
        interval: Duration::from_nanos(health.interval),
        timeout: Duration::from_nanos(health.timeout),
        start_period: Duration::from_nanos(health.start_period),
        retries: health.retries,
    }
}

fn user(text: &str) -> Result<User> {
    let ids = text.split_once(':').and_then(|(uid, gid)| Some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()? }));
    ids.ok_or_else(|| Error::parameter("user", text, "it must be two numbers, `uid:gid`"))
}
