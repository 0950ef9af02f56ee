//! Plans in a file: what was looked at is what is applied later, or nothing is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cairn_formats::StorePath;
use cairn_protocol::Source;
use serde::{Deserialize, Serialize};

use crate::FleetError;

const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plans {
    pub version: u32,
    /// What the closures were built from.
    pub source: Option<Source>,
    pub hosts: Vec<Kept>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    pub host: String,
    pub closure: StorePath,
    /// The generation that was live; `None` on a host that ran nothing of ours.
    pub generation: Option<u64>,
}

impl Plans {
    pub fn new(source: Option<Source>, hosts: Vec<Kept>) -> Self {
        Self { version: VERSION, source, hosts }
    }

    pub fn read(file: &Path) -> Result<Self, FleetError> {
        let fail = |message: String| FleetError::Kept { file: file.to_owned(), message };
        let text = fs::read(file).map_err(|e| fail(format!("cannot read the plan: {e}")))?;
        let plans: Self = serde_json::from_slice(&text)
            .map_err(|e| fail(format!("this is no plan: {e}\n  help: `deploy plan HOST --out FILE` writes one")))?;
        if plans.version != VERSION {
            let version = plans.version;
            return Err(fail(format!("a plan of version {version}, and this program reads version {VERSION}")));
        }
        Ok(plans)
    }

    pub fn write(&self, file: &Path) -> Result<(), FleetError> {
        let fail = |message: String| FleetError::Kept { file: file.to_owned(), message };
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| fail(e.to_string()))?;
        text.push(b'\n');
        fs::write(file, text).map_err(|e| fail(format!("cannot write the plan: {e}")))
    }

    /// Host → the generation that must be live on it.
    pub fn expected(&self) -> BTreeMap<String, Option<u64>> {
        self.hosts.iter().map(|kept| (kept.host.clone(), kept.generation)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_plan_reads_back_and_anything_else_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plan.json");
        let closure = StorePath::parse("0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-host").unwrap();
        let source = Some(Source { revision: "0123abcd".to_owned(), clean: false });
        let plans = Plans::new(source, vec![Kept { host: "web".to_owned(), closure, generation: Some(3) }]);
        plans.write(&file).unwrap();
        assert_eq!(Plans::read(&file).unwrap(), plans);
        assert_eq!(plans.expected(), BTreeMap::from([("web".to_owned(), Some(3))]));
        let text = fs::read_to_string(&file).unwrap();
        for (from, to, wanted) in [
            ("\"version\": 1", "\"version\": 2", "version 2"),
            ("-host", "/../etc", "no plan"),
            ("\"hosts\"", "\"host\"", "no plan"),
        ] {
            fs::write(&file, text.replace(from, to)).unwrap();
            let error = Plans::read(&file).unwrap_err().to_string();
            assert!(error.contains(wanted) && error.contains("plan.json"), "{error}");
        }
    }
}
