//! Whether a host runs one generation, all of it and nothing else.

use std::time::Duration;

use crate::{Machine, eventually};

impl Machine<'_> {
    /// Waits for the end of whatever goes on; what nobody works at, the next activation ends.
    #[track_caller]
    pub fn settled(&self) {
        eventually(Duration::from_secs(120), || {
            let units =
                "systemctl list-units --plain --no-legend 'cairn-activation-*' --state=active,activating,deactivating";
            // Its sshd may be about to come up again.
            let asked = self.ssh(units);
            asked.code == 0 && asked.stdout.trim().is_empty()
        });
    }

    /// What should not be, a line each.
    #[track_caller]
    pub fn faults(&self) -> String {
        self.ssh(LOOK).ok().stdout
    }
}

const LOOK: &str = r#"
live=$(readlink -f /nix/var/nix/profiles/cairn)
say() { while read -r line; do echo "$1: $line"; done; }
flock -n /nix/var/cairn/lock true || echo "the lock is held"
ls /nix/var/nix/gcroots/cairn 2>/dev/null | grep activation | say "a root is left"
ls -d /run/systemd/system/cairn-* 2>/dev/null | say "a unit of a trial is left"
systemctl list-units --plain --no-legend --state=failed 'cairn-*' | grep -v '^cairn-activation-' | say "failed"
running() { systemctl list-units --plain --no-legend --state=active "$1" | cut -d' ' -f1 | grep -v '^cairn-activation-'; }
for unit in $(running 'cairn-*.service') $(running 'cairn-*.socket'); do
    [ -e "$live/units/$unit" ] || echo "not of the generation: $unit"
done
for unit in "$live"/units/*-[0-9].service "$live"/units/*.socket; do
    # Tasks and checks run to their end.
    grep -q '^Type=oneshot' "$unit" && continue
    systemctl is-active --quiet "${unit##*/}" || echo "does not run: $unit"
done
for folder in /run/cairn/api/*/; do
    name=$(basename "$folder")
    case $name in current|a|b) continue ;; esac
    ls "$live"/units/ | grep -q -- "-$name-" || echo "a folder is left: $folder"
done
ls -A /nix/store | grep '^\.' | grep -v '^\.links$' | say "a temporary file is left"
exit 0
"#;
