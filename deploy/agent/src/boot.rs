//! `cairn-boot.service`: what `/run` must hold before the services start.

use crate::error::Result;
use crate::paths::Paths;
use crate::{activation, maintenance, manifests, secrets, services, system};

/// Makes the directories and `current` links of the committed generation, and settles
/// activations that the reboot cut off. May run again at any time.
pub fn run() -> Result<()> {
    let paths = &Paths::host();
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
        return activation::settle_after_boot(paths).and(placed).and(set);
    }
    activation::settle_after_boot(paths)
}
