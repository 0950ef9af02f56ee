//! Requests of the client, events and responses of the agent.

use cairn_formats::StorePath;
use serde::{Deserialize, Serialize};

use crate::reading::{Reading, Texts};
use crate::{
    ActivationId, ActivationRequest, AdoptRequest, Adopted, Attempt, Examination, Examined, Failure, Generation,
    LockHolder, LogLine, LogRequest, Maintained, MaintenanceRequest, Outcome, RestartReport, RestartRequest, Retention,
    Stamped, StatusReport, UninstallRequest, Uninstalled,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Which of these are not valid on the host? Asked only when the hello could not name all
    /// valid paths.
    Missing {
        paths: Vec<StorePath>,
    },
    /// A data stream with the manifests follows (see [`crate::manifest`]); the agent answers with
    /// a data stream that says which contents it lacks ([`crate::wanted`]); a data stream with
    /// those follows.
    Copy(CopyRequest),
    /// Keeps secrets, sealed to the host's own key, for closures that will name them.
    KeepSecrets {
        secrets: Vec<SealedSecret>,
    },
    /// Holds the fleet's lock, which lies on this host, until the session ends.
    HoldFleet {
        fleet: String,
        operator: String,
        /// What for, as the one who is refused reads it.
        purpose: String,
        reason: Option<String>,
        /// Seconds without a request after which the client counts as gone, and the lock falls.
        silence: u32,
    },
    /// Nothing but that the client is there.
    StillHere,
    /// Events of the activation until it waits for confirmation or has ended.
    Switch(ActivationRequest),
    /// As `Switch`, with the closure of an earlier generation.
    Rollback {
        to: RollbackTarget,
        operator: String,
        reason: Option<String>,
        confirm_within: u32,
    },
    /// Over a fresh connection: the trial stays. Events until the activation has ended.
    Confirm {
        id: ActivationId,
        operator: String,
    },
    /// Watches an activation again after a lost connection.
    Follow {
        id: ActivationId,
    },
    /// Gives up an activation that waits for confirmation. Events until it has ended.
    Revert {
        id: ActivationId,
    },
    Generations,
    Status,
    /// Past activations, the newest first.
    History {
        limit: u32,
    },
    /// Text files of a valid store path.
    Read(Reading),
    /// Pins a generation, or takes its pin away. Answered with all generations.
    Pin {
        number: u64,
        pinned: bool,
        operator: String,
    },
    /// Deletes generations that need not stay, and collects garbage.
    Collect {
        retention: Retention,
        dry_run: bool,
        operator: String,
    },
    /// Who holds the host's lock, or held it last.
    Lock,
    /// Ends the process that holds the lock. An activation goes back: its events until it has ended,
    /// as to `Revert`. Anything else is over when `Unlocked` comes.
    Unlock {
        operator: String,
    },
    /// Events with lines of the journal.
    Logs(LogRequest),
    /// Events of each replica as it goes down and comes up.
    Restart(RestartRequest),
    Maintenance(MaintenanceRequest),
    /// Looks at a host, ours or not. Changes nothing, and makes nothing for it.
    Examine(Examination),
    /// Makes the host ours, with this agent, which is in its store.
    Install {
        agent: StorePath,
        operator: String,
    },
    Adopt(AdoptRequest),
    /// Gives the host back.
    Uninstall(UninstallRequest),
}

/// A secret's value that only the host can read.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedSecret {
    pub name: String,
    pub version: u64,
    /// An age file in ASCII armor.
    pub ciphertext: String,
}

impl std::fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.v{} ({} bytes sealed)", self.name, self.version, self.ciphertext.len())
    }
}

/// Paths that the client saw as valid and relies on. The host holds them against collection while
/// the session lasts, and refuses the copy if one is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyRequest {
    /// By their place in the hello's list, which takes a tenth of their names.
    pub announced: Vec<u32>,
    /// Those that the hello did not name.
    pub named: Vec<StorePath>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackTarget {
    /// The generation before the current one.
    Previous,
    Number(u64),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum Event {
    Copy(CopyEvent),
    Activation {
        id: ActivationId,
        line: Stamped,
    },
    Log(LogLine),
    /// Of what is no activation.
    Progress {
        line: Stamped,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "copy")]
pub enum CopyEvent {
    /// All contents have arrived; trees are built and checked now.
    Received {
        files: u64,
        bytes: u64,
    },
    Checked {
        path: StorePath,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    Missing {
        paths: Vec<StorePath>,
    },
    Copied(CopyResult),
    Kept,
    Held,
    /// To `Switch`, `Rollback`, `Confirm`, `Follow`, `Revert` and `Unlock`.
    Switch {
        id: ActivationId,
        end: SwitchEnd,
    },
    Generations {
        generations: Vec<Generation>,
    },
    Status {
        status: StatusReport,
    },
    History {
        attempts: Vec<Attempt>,
    },
    Read {
        texts: Texts,
    },
    Collected(CollectReport),
    Lock {
        holder: Option<LockHolder>,
    },
    Unlocked,
    Logged,
    Restarted(RestartReport),
    Maintenance {
        services: Vec<Maintained>,
    },
    Examined(Examined),
    /// What was done; nothing if all was there.
    Installed {
        steps: Vec<String>,
    },
    Adopted(Adopted),
    Uninstalled(Uninstalled),
    Failed {
        failure: Failure,
    },
}

/// Where an activation stands when the agent stops forwarding its events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchEnd {
    AwaitingConfirmation { seconds: u32 },
    Ended(Outcome),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyResult {
    pub paths: u64,
    /// Contents that were received, and those that the host had already.
    pub files_received: u64,
    pub files_present: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectReport {
    /// Those that went.
    pub generations: Vec<u64>,
    /// Store paths that went, and the bytes that were freed.
    pub paths: u64,
    pub bytes: u64,
}
