//! `deploy machine`: systemd machines on this computer.

use anyhow::{Result, bail};
use cairn_machine::{Machine, MachineSpec, Machines, State};
use serde::Serialize;

use crate::arguments::MachineAction;
use crate::context::Context;
use crate::display::table;

#[derive(Serialize)]
struct Report {
    machines: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    state: &'static str,
    address: String,
    pid: Option<u32>,
}

pub fn run(context: &Context, action: &MachineAction) -> Result<u8> {
    let machines = Machines::new(Machines::default_state()?)?;
    let entries = match action {
        MachineAction::List => machines.list()?.iter().map(entry).collect(),
        MachineAction::Start { host } => {
            let project = context.project()?;
            if project.host(host)?.definition.machine.is_none() {
                bail!("host `{host}` is not a machine of this computer: its definition has no [machine] section");
            }
            let machine = machines.ensure_running(host, &MachineSpec::default(), &|event| {
                context.display.note(&format!("{host}: {event}"));
            })?;
            vec![entry(&machine)]
        }
        MachineAction::Stop { host } => {
            machines.stop(host)?;
            context.display.note(&format!("{host} is stopped"));
            vec![entry(&machines.get(host)?)]
        }
        MachineAction::Remove { host } => {
            machines.remove(host)?;
            context.display.note(&format!("{host} is removed"));
            Vec::new()
        }
    };
    let report = Report { machines: entries };
    context.display.result(&report, || text(&report, matches!(action, MachineAction::List)))?;
    Ok(0)
}

fn entry(machine: &Machine) -> Entry {
    Entry {
        name: machine.name.clone(),
        state: match machine.state {
            State::Running => "running",
            State::Stopped => "stopped",
        },
        address: machine.address.to_string(),
        pid: machine.pid,
    }
}

fn text(report: &Report, list: bool) -> String {
    if report.machines.is_empty() {
        return if list { "no machines".to_owned() } else { String::new() };
    }
    let mut rows = vec![["MACHINE", "STATE", "ADDRESS", "PID"].map(str::to_owned).to_vec()];
    for machine in &report.machines {
        let pid = machine.pid.map_or("-".to_owned(), |p| p.to_string());
        rows.push(vec![machine.name.clone(), machine.state.to_owned(), machine.address.clone(), pid]);
    }
    table(&rows)
}
