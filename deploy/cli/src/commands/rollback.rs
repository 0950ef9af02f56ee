//! `deploy rollback`: an earlier generation becomes live again.

use anyhow::{Result, bail};
use cairn_fleet::{OnHosts, Run, Terms};
use cairn_protocol::RollbackTarget;

use super::switch::{conclude, not_held, tell_of_pulls};
use crate::arguments::RollbackOptions;
use crate::context::Context;
use crate::{interrupt, news};

pub fn run(context: &Context, options: &RollbackOptions) -> Result<u8> {
    let project = context.project()?;
    let hosts = context.hosts(&project, &options.hosts)?;
    tell_of_pulls(context, &hosts);
    let store = context.store()?;
    let agents = hosts
        .iter()
        .map(|host| context.agent(&project, &store, host.definition.platform))
        .collect::<Result<Vec<_>>>()?;
    if !options.yes {
        let to = options.to.map_or("the generation before".to_owned(), |n| format!("generation {n}"));
        let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        let question = format!("Roll {} back to {to}?", names.join(", "));
        match context.display.ask(&question) {
            Some(true) => {}
            Some(false) => return Ok(1),
            None => bail!("nothing was rolled back: there is no terminal to ask on\n  help: add --yes"),
        }
    }
    let (message, events) = (options.message.as_deref(), options.events.as_deref());
    let run = news::Run { command: "rollback", hosts: &hosts, source: None, message, events };
    let news = news::announcer(context, &project, &run)?;
    let progress = context.display.hosts();
    let to = options.to.map_or(RollbackTarget::Previous, RollbackTarget::Number);
    let listener = |event: cairn_fleet::Event| {
        news.on(&event);
        progress.on(&event);
    };
    let terms = Terms {
        reason: message,
        source: None,
        expected: None,
        seal: None,
        confirm_within: options.confirm_within,
        listener: &listener,
    };
    interrupt::listen(news::interrupted(&news, progress.speaker()))?;
    let fleet = context.fleet_apart(&store)?;
    // Back in the opposite order: those that need others before these. A host that fails holds
    // nobody up, since going back is what is wanted everywhere.
    let waves = cairn_fleet::waves(&hosts)?.into_iter().rev().collect();
    news.started();
    news.agreed();
    let _held = match fleet.hold(&hosts, &agents, "rollback", terms) {
        Ok(held) => held,
        Err(error) => return conclude(context, &news, not_held(&hosts, *error), false),
    };
    let begin = |at: usize| fleet.rollback(&hosts[at], &agents[at], to, terms);
    let actions =
        OnHosts { fleet: &fleet, hosts: &hosts, agents: &agents, terms, begin: &begin, interrupted: &interrupt::came };
    let reports = Run::of_all(&hosts, waves, options.reach.parallel.map(usize::from)).carry_out(&actions);
    progress.clear();
    conclude(context, &news, reports, options.reach.skip_unreachable)
}
