//! What a host runs right now.

use serde::{Deserialize, Serialize};

use crate::{ActivationId, Condition, Generation, PullStatus};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nothing of ours runs here.
    Empty,
    Healthy,
    Starting,
    Degraded,
    Unhealthy,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    pub generation: Option<Generation>,
    /// Seconds since 1970 at which the current generation became live (or the host booted).
    pub since: Option<i64>,
    pub health: Health,
    pub services: Vec<ServiceStatus>,
    pub endpoints: Vec<Endpoint>,
    /// An activation that is under way, or waits for its confirmation.
    pub activation: Option<ActivationId>,
    #[serde(default)]
    pub condition: Condition,
    /// Of a host that fetches by itself what it is to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<PullStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    pub service: String,
    pub unit: String,
    pub health: Health,
    /// systemd's `ActiveState/SubState`, or the last answer of the health check.
    pub detail: String,
    pub memory_bytes: Option<u64>,
    pub restarts: u32,
}

/// Where a service is reached, seen from the host itself: the client puts the address by which it
/// reached the host in place of `host`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub service: String,
    pub scheme: String,
    pub port: u16,
    pub path: String,
}
