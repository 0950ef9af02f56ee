//! `cairn-boot.service`: what `/run` must hold before the services start; how sockets wait for those
//! that stand behind them, and operators for the boot.

use std::thread;
use std::time::{Duration, Instant};

use cairn_closure::BOOT_SERVICE;

use crate::activation::Holder;
use crate::error::{AgentError, Result};
use crate::health::{self, Via, wait};
use crate::paths::Paths;
use crate::{activation, files, maintenance, manifests, secrets, services, system, systemd};

/// How long an operator waits for the boot: the client allows 2 minutes for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes the directories and `current` links of the committed generation, and settles
/// activations that the reboot cut off. May run again at any time.
pub fn run() -> Result<()> {
    let paths = &Paths::host();
    let prepared = prepare(paths);
    // However it went, nobody need wait for it any more.
    let told = files::make_directories(&paths.run_dir()).and_then(|()| files::replace(&paths.booted(), b""));
    prepared.and(told)
}

fn prepare(paths: &Paths) -> Result<()> {
    if let Some((_, closure)) = manifests::committed(paths)? {
        let manifest = manifests::of(paths, &closure)?;
        // Once more, for interfaces, modules and homes that came late.
        let set = system::kernel::apply(paths, &manifest.system);
        let set = system::people::ensure(paths, &manifest.system).and(set);
        services::state::ensure(paths, &manifest)?;
        // What does not open keeps no service from its place: it starts once the secret is there.
        let placed = secrets::place(paths, &manifest);
        for (name, service) in &manifest.services {
            services::make_directory(paths, name, &service.instance, &service.user)?;
            services::live::place(paths, &manifest, name)?;
            maintenance::place(paths, &manifest, name)?;
            if service.has_unix_sockets() {
                services::slots::take(paths, name, &service.instance)?;
                services::set_current(paths, name, Some(&service.instance))?;
            }
        }
        // Without its timer it would not end; that must not keep the services down.
        let resumed = maintenance::resume(paths, &manifest);
        return activation::settle_after_boot(paths).and(placed).and(set).and(resumed);
    }
    activation::settle_after_boot(paths)
}

/// Waits until [`run`] has run since the host came up. What it prepares is the committed generation's,
/// so nobody may put another one in its place meanwhile.
pub fn await_end(paths: &Paths) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !paths.booted().exists() && systemd::is_awaited(BOOT_SERVICE)? {
        if Instant::now() >= deadline {
            let holder = Holder {
                reason: Some(format!("{BOOT_SERVICE} has not ended")),
                since: activation::record::seconds() - systemd::uptime()?.as_secs().cast_signed(),
                pid: 1,
                ..Holder::now("systemd", "the boot")
            };
            return Err(AgentError::Locked(Box::new(holder)));
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Waits until all replicas of these services are healthy.
pub fn wait_for(services: &[&str]) -> Result<()> {
    let paths = &Paths::host();
    let manifest = manifests::live(paths)?;
    let wanted = manifest.services.iter().filter(|(name, _)| services.contains(&name.as_str()));
    let checks: Vec<_> =
        wanted.flat_map(|(name, service)| health::checks(paths, name, service, Via::Current, |_| true)).collect();
    wait::wait(&checks, |_, _| ())
}
