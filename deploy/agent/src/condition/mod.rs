//! How a host is, apart from the health of its services: what somebody changed by hand, whether it
//! wants a reboot, how full it is.

pub(crate) mod drift;
pub(crate) mod kernel;

use std::fs;

use cairn_closure::Manifest;
use cairn_formats::StorePath;
use cairn_protocol::{Condition, Disk};
use nix::sys::statvfs::statvfs;

use crate::error::{Result, file};
use crate::paths::Paths;
use crate::{maintenance, system};

/// `busy`: an activation is under way, so that units of two generations run.
pub fn of(paths: &Paths, live: Option<(&StorePath, &Manifest)>, busy: bool) -> Result<Condition> {
    let mut condition = Condition { reboot: reboot(paths), disks: disks(paths)?, ..Condition::default() };
    if let Some((closure, manifest)) = live {
        condition.drift = drift::of(paths, closure, manifest, busy)?;
        if !busy {
            condition.drift.extend(system::drift(paths, closure, &manifest.system)?);
        }
        condition.maintenance = maintenance::list(paths, manifest)?;
        condition.maintenance.retain(|service| service.on);
    }
    Ok(condition)
}

/// Debian's packages ask for a reboot by this file; a newer kernel waits for one, file or not.
fn reboot(paths: &Paths) -> Option<String> {
    if paths.at("/run/reboot-required").exists() {
        let packages = fs::read_to_string(paths.at("/run/reboot-required.pkgs")).unwrap_or_default();
        let packages: Vec<&str> = packages.lines().filter(|line| !line.is_empty()).collect();
        return Some(match packages.is_empty() {
            true => "asked for by /run/reboot-required".to_owned(),
            false => format!("asked for by {}", packages.join(", ")),
        });
    }
    let running = fs::read_to_string(paths.at("/proc/sys/kernel/osrelease")).ok()?;
    let newer = kernel::newer(running.trim(), &installed(paths))?;
    Some(format!("kernel {newer} is installed, {} runs", running.trim()))
}

/// Releases of the kernels that are installed.
fn installed(paths: &Paths) -> Vec<String> {
    let names = |folder: &str| -> Vec<String> {
        let entries = fs::read_dir(paths.at(folder)).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let images = names("/boot").into_iter().filter_map(|name| Some(name.strip_prefix("vmlinuz-")?.to_owned()));
    images.chain(names("/lib/modules")).collect()
}

/// The root file system, and the store's if that is another one.
fn disks(paths: &Paths) -> Result<Vec<Disk>> {
    let mut disks: Vec<(u64, Disk)> = Vec::new();
    for name in ["/", "/nix"] {
        let path = paths.at(name);
        let stat = statvfs(&path).map_err(|e| file("cannot measure", &path)(e.into()))?;
        let free = stat.blocks_available();
        let used = stat.blocks().saturating_sub(stat.blocks_free());
        let disk = Disk {
            path: name.to_owned(),
            used_percent: percent(used, free),
            free_bytes: free.saturating_mul(stat.fragment_size()),
        };
        let same = |(id, other): &(u64, Disk)| *id == stat.filesystem_id() && other.free_bytes == disk.free_bytes;
        if !disks.iter().any(same) {
            disks.push((stat.filesystem_id(), disk));
        }
    }
    Ok(disks.into_iter().map(|(_, disk)| disk).collect())
}

/// As df(1) has it: of what is used or can be, rounded up.
fn percent(used: u64, free: u64) -> u8 {
    let all = used.saturating_add(free);
    if all == 0 {
        return 0;
    }
    u8::try_from((u128::from(used) * 100).div_ceil(u128::from(all))).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn space_is_counted_as_df_counts_it() {
        for (used, free, expected) in [(0, 0, 0), (0, 10, 0), (1, 999, 1), (50, 50, 50), (10, 0, 100)] {
            assert_eq!(percent(used, free), expected);
        }
    }
}
