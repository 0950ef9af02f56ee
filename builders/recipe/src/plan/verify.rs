//! The test of a service's rendered configuration, by a command that its image brings.

use cairn_closure::{ServiceSpec, layout};
use cairn_formats::Platform;

use super::host::Material;
use crate::project::Host;
use crate::step::Verify;

/// `None` where the image has no such command, or one that this computer cannot run.
pub fn plan(material: &Material, service: &ServiceSpec, platform: Platform) -> Option<Verify> {
    let run = &material.image.definition.image;
    let verify = run.verify.as_ref().filter(|_| platform == Platform::native())?;
    // As the first replica has it.
    let filled = |(key, value): (&String, &String)| (key.clone(), layout::fill(value, 1));
    Some(Verify {
        command: verify.command.clone(),
        uid: service.user.uid,
        gid: service.user.gid,
        environment: service.environment.iter().map(filled).collect(),
        workdir: run.workdir.clone(),
        volumes: run.volumes.clone(),
        timeout: u64::try_from(verify.timeout.as_millis()).unwrap_or(u64::MAX),
    })
}

/// What an error begins with.
pub fn task(host: &Host, service: &str, image: &str) -> String {
    format!(
        "testing the configuration of service `{service}` on host `{}` ({}) by its image `{image}`",
        host.name,
        host.file.display()
    )
}
