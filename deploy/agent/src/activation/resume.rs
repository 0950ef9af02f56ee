//! Picks up an activation that another process left, be it killed or rebooted.

use cairn_closure::layout::PROFILE_NAME;
use cairn_store::Store;

use super::machine::Phase;
use super::record::{self, Record};
use super::{drive, holder_of};
use crate::error::{AgentError, Result};
use crate::paths::Paths;
use crate::{generations, systemd};

/// With the lock held: an activation that is under way (its process waits for the lock) keeps
/// the place; one that nobody works at any more is brought to an end first.
pub fn settle_earlier(store: &Store, paths: &Paths) -> Result<()> {
    let Some(record) = record::newest(paths) else {
        return Ok(());
    };
    let phase = record.phase;
    if phase.has_ended() && phase != Phase::Broken {
        return drive::wind_up_anew(paths, &record);
    }
    let same_boot = record.boot_id == record::boot_id(paths);
    if same_boot && !phase.has_ended() && systemd::is_live(&Record::unit(&record.id))? {
        return Err(AgentError::Locked(Box::new(holder_of(&record))));
    }
    resume(store, paths, record).map(drop)
}

/// At boot: what the reboot cut off is settled by what the profile says, without touching
/// services. Costs nothing if there is nothing to settle.
pub fn settle_after_boot(paths: &Paths) -> Result<()> {
    let boot_id = record::boot_id(paths);
    let Some(record) = record::newest(paths).filter(|record| record.boot_id != boot_id) else {
        return Ok(());
    };
    if record.phase.has_ended() && record.phase != Phase::Broken {
        return drive::wind_up_anew(paths, &record);
    }
    let store = Store::open(paths.root())?;
    resume(&store, paths, record).map(drop)
}

/// Picks up an activation whose process is gone.
pub fn resume(store: &Store, paths: &Paths, record: Record) -> Result<Record> {
    let same_boot = record.boot_id == record::boot_id(paths);
    let current = store.profile(PROFILE_NAME)?.current()?;
    let committed = record.is_committed_by(current.as_ref().map(|g| (g.number, &g.path)));
    let mut record = drive::pick_up(record, same_boot, committed);
    if record.phase.has_ended() {
        generations::forget_uncommitted(store, &record)?;
        drive::end(paths, &mut record, current.map(|g| g.number))?;
        return Ok(record);
    }
    record.save(paths)?;
    super::drive_to_the_end(store, paths, record)
}
