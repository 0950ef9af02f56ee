//! `deploy plan`: what a switch would change on hosts; kept in a file, exactly that is what
//! `deploy switch --plan` applies.

mod image;

use anyhow::Result;
use cairn_fleet::{Contents, Difference, Fleet, FleetError, Kept, Needs, Plan, Plans, Reader};
use cairn_formats::StorePath;
use cairn_recipe::project::Host;
use serde::Serialize;

use super::each::{self, Answer};
use crate::arguments::PlanOptions;
use crate::context::Context;
use crate::{display, source};

#[derive(Serialize)]
struct Report {
    hosts: Vec<Answer<Entry>>,
}

#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    plan: Plan,
    #[serde(flatten)]
    needs: Needs,
    difference: Difference,
}

pub fn run(context: &Context, options: &PlanOptions) -> Result<u8> {
    if let Some(action) = &options.action {
        return image::run(context, action);
    }
    let project = context.project()?;
    let hosts = context.hosts(&project, &options.hosts)?;
    let store = context.store()?;
    let source = source::of(&project.root, &context.display);
    let closures = context.build_hosts(&project, &store, &hosts)?;
    let wanted: Vec<(Host, StorePath)> = hosts.into_iter().zip(closures).collect();
    let fleet = context.fleet(&store)?;
    let answers = each::each(&wanted, |(host, closure)| plan(context, &fleet, host, closure));
    let code = each::exit_code(&answers);
    if let Some(file) = options.out.as_ref().filter(|_| code == 0) {
        let kept = answers.iter().filter_map(|answer| answer.answer.as_ref()).map(|entry| Kept {
            host: entry.plan.host.clone(),
            closure: entry.plan.closure.clone(),
            generation: entry.plan.current,
        });
        Plans::new(source, kept.collect()).write(file)?;
    }
    let report = Report { hosts: answers };
    context.display.result(&report, || text(&report))?;
    Ok(code)
}

fn plan(context: &Context, fleet: &Fleet, host: &Host, closure: &StorePath) -> Result<Entry, FleetError> {
    let progress = context.display.hosts();
    let listener = |event: cairn_fleet::Event| progress.on(&event);
    let reached = fleet.reach(host, true, &listener)?;
    let agent = cairn_fleet::agent_of(fleet.store, closure)?;
    let mut session = fleet.connect(host, &reached, &agent)?;
    let hello = session.hello().clone();
    let live = hello.current.as_ref().map(|current| &current.closure);
    let mut reader = Reader::new(fleet.store, &mut session);
    let (old, new) = Contents::of_both(&mut reader, live, closure)?;
    let paths = fleet.store.closure(std::slice::from_ref(closure))?;
    let entry = Entry {
        plan: Plan::against(old.as_ref().map(|old| &old.manifest), fleet.store, &host.name, &hello, closure, &paths)?,
        needs: Needs::of(fleet.store, &hello, &paths)?,
        difference: Difference::between(old.as_ref(), &new),
    };
    session.close();
    Ok(entry)
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for entry in report.hosts.iter().filter_map(|host| host.answer.as_ref()) {
        text.push_str(&display::plan(&entry.plan));
        text.push_str(&display::needs(&entry.needs));
        text.push_str(&display::contents(&entry.difference));
    }
    text
}
