//! What an activation does to a host, in steps so small that each is done or not done.
//!
//! [`crate::activation::effects`] does them to the real one; the tests have a model that fails,
//! dies and reboots between any two.

use cairn_closure::{InstanceId, Manifest, ServiceName, UnitName, User};

use super::plan::Plan;
use crate::error::Result;
use crate::health::Via;

/// Which closure a unit's text is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Old,
    New,
}

/// The replicas to ask for their health.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub side: Side,
    pub service: &'a ServiceName,
    /// `None`: all replicas.
    pub units: Option<&'a [UnitName]>,
    pub via: Via,
}

/// Every operation may be repeated: doing what is done already is a success.
pub trait Host {
    /// Changes nothing.
    fn preflight(&mut self, plan: &Plan) -> Result<()>;

    /// Puts the secrets of the new closure, or of both, where units find them.
    fn place_secrets(&mut self, plan: &Plan) -> Result<()>;
    /// Takes away the secrets of all closures but this one.
    fn sweep_secrets(&mut self, keep: Option<&Manifest>) -> Result<()>;
    /// Makes the folders of the new services' state that are missing. They stay, as do users.
    fn ensure_state(&mut self, plan: &Plan) -> Result<()>;
    /// Makes the users that the new services run as. They stay, whatever happens then.
    fn ensure_users(&mut self, plan: &Plan) -> Result<()>;
    fn make_directory(&mut self, service: &ServiceName, instance: &InstanceId, user: &User) -> Result<()>;
    /// Gives an instance a slot that the live one does not have.
    fn take_slot(&mut self, service: &ServiceName, instance: &InstanceId) -> Result<()>;
    /// Puts the files that a service may read again where its instance sees them, and that it is in
    /// maintenance if it is; nothing for one that has none.
    fn place_live(&mut self, manifest: &Manifest, service: &ServiceName) -> Result<()>;
    /// Tells those of the service's replicas that run to read them again.
    fn tell_to_reload(&mut self, manifest: &Manifest, service: &ServiceName) -> Result<()>;
    /// Removes the directories of all instances but those of `keep`.
    fn sweep_directories(&mut self, keep: Option<&Manifest>) -> Result<()>;

    /// Links units into the runtime directory.
    fn link(&mut self, side: Side, units: &[UnitName]) -> Result<()>;
    /// Removes every unit of ours from the runtime directory.
    fn unlink_all(&mut self) -> Result<()>;
    fn reload(&mut self) -> Result<()>;
    /// Whether systemd understood the units.
    fn expect_loaded(&mut self, units: &[UnitName]) -> Result<()>;
    /// Stops units of the host in whose place the new generation comes.
    fn replace_adopted(&mut self) -> Result<()>;
    /// Starts those again in whose place the generation does not stand.
    fn give_back_adopted(&mut self, side: Side) -> Result<()>;
    fn start(&mut self, units: &[UnitName]) -> Result<()>;
    fn stop(&mut self, units: &[UnitName]) -> Result<()>;
    /// Makes units active that stand for others, and starts none of those.
    fn mark(&mut self, milestones: &[UnitName]) -> Result<()>;
    /// Whether services that are in maintenance let the host's own checks through.
    fn let_checks_through(&mut self, plan: &Plan, through: bool) -> Result<()>;
    /// Runs a task or check to its end.
    fn run(&mut self, service: &ServiceName, unit: &UnitName) -> Result<()>;
    /// Replicas, sockets and targets of ours that are up, or failed, and not of `keep`.
    fn strays(&mut self, keep: Option<&Manifest>) -> Result<Vec<UnitName>>;
    /// Waits until all of these are healthy.
    fn expect_healthy(&mut self, plan: &Plan, asks: &[Ask<'_>]) -> Result<()>;

    /// The instance that a service's traffic goes to.
    fn current(&self, service: &ServiceName) -> Option<InstanceId>;
    /// Moves a service's traffic.
    fn set_current(&mut self, service: &ServiceName, instance: Option<&InstanceId>) -> Result<()>;
    /// Waits until the units' listen backlogs are empty, for a bounded time.
    fn drain(&mut self, plan: &Plan, side: Side, units: &[UnitName]) -> Result<()>;

    /// Links mounts and plain units of one side that are otherwise on the other one; for the new side
    /// also those of the old one that go.
    fn link_system(&mut self, plan: &Plan, side: Side) -> Result<()>;
    /// Makes people who are missing, and the others as this side has them.
    fn ensure_people(&mut self, plan: &Plan, side: Side) -> Result<()>;
    fn set_kernel(&mut self, plan: &Plan, side: Side) -> Result<()>;
    /// Moves `/etc` to the files of this side: the rename, and the names that come and go with it.
    fn place_etc(&mut self, plan: &Plan, side: Side) -> Result<()>;
    /// Brings up mounts and plain units that this side has otherwise than the other one.
    fn start_system(&mut self, plan: &Plan, side: Side) -> Result<()>;
    /// Tells units of the host of files that are others now.
    fn tell_system(&mut self, plan: &Plan, side: Side) -> Result<()>;
    /// Stops mounts and plain units of all closures but this one.
    fn sweep_system(&mut self, keep: Option<&Manifest>) -> Result<()>;
    /// Removes people of all closures but this one, and files that nothing leads to.
    fn sweep_people(&mut self, keep: Option<&Manifest>) -> Result<()>;

    fn await_confirmation(&mut self) -> Result<()>;
    /// The rename that makes the new closure the host's generation.
    fn commit(&mut self) -> Result<()>;
    fn is_committed(&self) -> Result<bool>;
    /// Removes a generation that was added but never switched to.
    fn forget_uncommitted(&mut self) -> Result<()>;
}
