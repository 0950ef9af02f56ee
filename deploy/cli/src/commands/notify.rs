//! `deploy notify`: tries whether those who are told of runs can be reached.

use anyhow::{Result, bail};
use cairn_notify::{Announcer, Facts};
use serde::Serialize;

use crate::arguments::NotifyAction;
use crate::context::{Context, operator};
use crate::news;

#[derive(Serialize)]
struct Report {
    targets: usize,
    failed: usize,
}

pub fn run(context: &Context, action: &NotifyAction) -> Result<u8> {
    let NotifyAction::Test = action;
    let project = context.project()?;
    let targets = news::targets(&project, |_| true)?;
    if targets.is_empty() {
        bail!("nobody is told of anything\n  help: add [[notify]] to deploy.toml: docs/definitions.md, Notifications");
    }
    let count = targets.len();
    let announcer = Announcer::new(Facts { operator: operator(), ..Facts::default() }, Vec::new(), None, targets);
    announcer.test();
    let report = Report { targets: count, failed: news::finish(&context.display, &announcer) };
    context.display.result(&report, || format!("{} of {count} have taken the message", count - report.failed))?;
    Ok(u8::from(report.failed > 0))
}
