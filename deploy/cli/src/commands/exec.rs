//! `deploy exec`: a command where a service runs.

use anyhow::{Result, bail};
use cairn_closure::layout::AGENT_PROGRAM;
use cairn_protocol::encode_word;

use super::{of_service, ssh};
use crate::arguments::ExecOptions;
use crate::context::Context;

pub fn run(context: &Context, options: &ExecOptions) -> Result<u8> {
    let project = context.project()?;
    let named: Vec<String> = options.host.iter().cloned().collect();
    let mut hosts = of_service::hosts(context, &project, &options.service, &named)?;
    let host = match (hosts.pop(), hosts.as_slice()) {
        (Some(host), []) => host,
        (last, others) => {
            let names: Vec<&str> = others.iter().chain(&last).map(|host| host.name.as_str()).collect();
            let service = &options.service;
            bail!("`{service}` runs on {}\n  help: name one: `deploy exec {service} HOST`", names.join(", "))
        }
    };
    let store = context.store()?;
    let agent = context.agent(&project, &store, host.definition.platform)?;
    let fleet = context.fleet(&store)?;
    // Its input will be the command's, so it cannot be sent along.
    fleet.place_agent(&host, &agent)?;
    let replica = options.replica.map_or("-".to_owned(), |number| number.to_string());
    let words: Vec<String> = options.command.iter().map(|word| encode_word(word.as_bytes())).collect();
    // A service's name is checked by the agent; encoded it is as harmless as the words.
    let service = encode_word(options.service.as_bytes());
    let call = format!("{}/{AGENT_PROGRAM} exec {service} {replica} {}", agent.absolute(), words.join(" "));
    // Any shell reads this, whoever logs in.
    let remote = format!("exec sh -c '[ \"$(id -u)\" = 0 ] && exec {call}; exec sudo -n {call}'");
    ssh::become_ssh(fleet.attended(&host, ssh::has_terminal(), &remote)?)
}
