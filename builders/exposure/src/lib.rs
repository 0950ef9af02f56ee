//! How exposed the services of a host closure are.
//!
//! `systemd-analyze security` gives a unit from 0 (closed) to 10. It takes unit files as well as
//! units that run (`--offline=true`, systemd 250), so a closure is scored where it is built:
//! [`assess`] takes the closure and the specification that it was made from, and gives each
//! service's score beside its limit and every directive that was loosened, with the reason. A
//! computer without that program has no scores, and the [`Assessment`] says so.
//!
//! ```no_run
//! # fn example(spec: &cairn_closure::HostSpec) -> Result<(), Box<dyn std::error::Error>> {
//! let assessment = cairn_exposure::assess(spec, std::path::Path::new("result"), |_| 2.0)?;
//! for service in &assessment.services {
//!     println!("{}: {:?}, at most {}", service.name, service.exposure, service.limit);
//! }
//! assessment.check()?;
//! # Ok(())
//! # }
//! ```

mod analyze;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use cairn_closure::{HostSpec, Manifest, Service, ServiceName, UnitName, hardening};
use serde::Serialize;

pub use analyze::{Cost, Unscored};

/// Directives that an error names.
const COSTLIEST: usize = 5;

/// The services of one host.
#[derive(Debug, Clone)]
pub struct Assessment {
    host: String,
    pub services: Vec<Assessed>,
    /// Why there are no scores.
    pub unscored: Option<Unscored>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assessed {
    pub name: String,
    /// From 0 to 10, in tenths.
    pub exposure: Option<f64>,
    pub limit: f64,
    pub loosened: Vec<Loosened>,
    /// The unit that was scored.
    #[serde(skip)]
    unit: PathBuf,
}

/// A directive that is more open than by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loosened {
    pub directive: String,
    pub value: String,
    pub reason: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ExposureError {
    #[error("cannot read {}: {reason}", file.display())]
    Closure { file: PathBuf, reason: String },
    #[error("host `{host}`: {}", listed(services))]
    TooExposed { host: String, services: Vec<(Assessed, Vec<Cost>)> },
}

/// Looks at the closure in the folder `closure`, which was made from `spec`. `limit` gives the most
/// that a service may have.
pub fn assess(
    spec: &HostSpec,
    closure: &Path,
    limit: impl Fn(&ServiceName) -> f64,
) -> Result<Assessment, ExposureError> {
    let file = closure.join("closure.json");
    let fail = |reason: String| ExposureError::Closure { file: file.clone(), reason };
    let text = std::fs::read(&file).map_err(|e| fail(e.to_string()))?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| fail(e.to_string()))?;
    let units: BTreeMap<&ServiceName, PathBuf> = manifest
        .services
        .iter()
        .filter_map(|(name, service)| Some((name, closure.join("units").join(process_unit(service)?.as_str()))))
        .collect();
    let scores = analyze::scores(units.values());
    let services = units.iter().map(|(name, unit)| Assessed {
        name: name.to_string(),
        exposure: scores.as_ref().ok().and_then(|scores| scores.get(unit).copied()),
        limit: limit(name),
        loosened: hardening::loosened(spec, name)
            .into_iter()
            .map(|(directive, l)| Loosened { directive: directive.to_owned(), value: l.value, reason: l.reason })
            .collect(),
        unit: unit.clone(),
    });
    Ok(Assessment { host: spec.name.to_string(), services: services.collect(), unscored: scores.err() })
}

/// The unit in which the service's processes run. Its replicas are all alike.
fn process_unit(service: &Service) -> Option<&UnitName> {
    let job = service.job.as_ref().map(|job| &job.unit);
    job.or_else(|| service.replicas.first().map(|replica| &replica.unit))
}

impl Assessment {
    /// Refuses a service above its limit; what has no score passes.
    pub fn check(&self) -> Result<(), ExposureError> {
        let over = |service: &&Assessed| service.exposure.is_some_and(|exposure| exposure > service.limit);
        let services: Vec<_> =
            self.services.iter().filter(over).map(|s| (s.clone(), analyze::costs(&s.unit))).collect();
        if services.is_empty() { Ok(()) } else { Err(ExposureError::TooExposed { host: self.host.clone(), services }) }
    }
}

fn listed(services: &[(Assessed, Vec<Cost>)]) -> String {
    let mut text = String::new();
    for (n, (service, costs)) in services.iter().enumerate() {
        let separator = if n == 0 { "" } else { "\n" };
        let exposure = service.exposure.unwrap_or_default();
        let _ = write!(
            text,
            "{separator}service `{}` has an exposure of {exposure:.1}, and its limit is {:.1}",
            service.name, service.limit
        );
        for cost in costs.iter().take(COSTLIEST) {
            let _ = write!(text, "\n  {:.1}  {} {}", cost.exposure, cost.directive, cost.description);
        }
    }
    text.push_str("\n  help: loosen less, in `hardening` and `network` of the service, or raise its `exposure`");
    text
}
