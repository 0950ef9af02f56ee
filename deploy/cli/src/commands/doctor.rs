//! `deploy doctor`: what is wrong with hosts, why that matters, and the next step. Changes nothing.

use anyhow::Result;
use cairn_protocol::{Examined, Level};
use serde::Serialize;

use super::bootstrap::wanted;
use super::each::{self, Answer};
use crate::arguments::DoctorOptions;
use crate::context::Context;
use crate::display;

#[derive(Serialize)]
struct Report {
    hosts: Vec<Answer<Examined>>,
}

pub fn run(context: &Context, options: &DoctorOptions) -> Result<u8> {
    let project = context.project()?;
    let store = context.store()?;
    let hosts = each::with_agents(context, &project, &store, &options.hosts)?;
    let fleet = context.fleet(&store)?;
    let answers = each::each(&hosts, |(host, agent)| {
        let (request, faulty) = wanted(context, &project, host, agent, options.verify);
        let mut examined = fleet.examine(host, &request, false, &|_| ())?;
        examined.findings.extend(faulty);
        Ok(examined)
    });
    // That nobody answers is what a doctor is asked about as well.
    let unreached = each::exit_code(&answers) != 0;
    let report = Report { hosts: answers };
    context.display.result(&report, || text(&report, options.all))?;
    let wrong = |examined: &Examined| display::count(&examined.findings, Level::Wrong) > 0;
    Ok(u8::from(unreached || report.hosts.iter().filter_map(|host| host.answer.as_ref()).any(wrong)))
}

fn text(report: &Report, all: bool) -> String {
    let mut text = String::new();
    for host in &report.hosts {
        let Some(examined) = &host.answer else { continue };
        let state = match (examined.ours, examined.generation) {
            (false, _) => "not ours yet".to_owned(),
            (true, None) => "ours, without a generation".to_owned(),
            (true, Some(number)) => format!("generation {number}"),
        };
        let [wrong, notes] = [Level::Wrong, Level::Note].map(|level| display::count(&examined.findings, level));
        text.push_str(&format!(
            "{}: {state}; {} checks, {wrong} wrong, {notes} notes\n",
            host.name,
            examined.findings.len()
        ));
        text.push_str(&display::findings(&examined.findings, all));
    }
    text
}
