//! The same question to several hosts at once.

use anyhow::Result;
use cairn_fleet::{Fleet, FleetError};
use cairn_formats::StorePath;
use cairn_protocol::{Request, Response};
use cairn_recipe::Project;
use cairn_recipe::project::Host;
use cairn_store::Store;
use serde::Serialize;

use crate::context::Context;
use crate::display;

/// What one host answered, or why it did not.
#[derive(Debug, Serialize)]
pub struct Answer<T> {
    pub name: String,
    #[serde(flatten)]
    pub answer: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip)]
    locked: bool,
}

impl<T> Answer<T> {
    /// Of a host that did not answer.
    pub fn without<U>(self) -> Answer<U> {
        Answer { name: self.name, answer: None, error: self.error, locked: self.locked }
    }
}

/// Hosts in their order, each with the agent that is brought to it.
pub fn with_agents(
    context: &Context,
    project: &Project,
    store: &Store,
    names: &[String],
) -> Result<Vec<(Host, StorePath)>> {
    let hosts = context.hosts(project, names)?;
    hosts
        .into_iter()
        .map(|host| {
            let agent = context.agent(project, store, host.definition.platform)?;
            Ok((host, agent))
        })
        .collect()
}

/// Asks each host; `read` takes the answer that fits the question.
pub fn ask<T: Send>(
    fleet: &Fleet,
    hosts: &[(Host, StorePath)],
    request: impl Fn(&Host) -> Request + Sync,
    read: impl Fn(Response) -> Option<T> + Sync,
) -> Vec<Answer<T>> {
    each(hosts, |(host, agent)| {
        let response = fleet.ask_once(host, agent, &request(host), &|_| ())?;
        let unread = FleetError::answer(&host.name, &response);
        read(response).ok_or(unread)
    })
}

/// Works on all at once; results come in order.
pub fn each<T: Send>(
    hosts: &[(Host, StorePath)],
    work: impl Fn(&(Host, StorePath)) -> Result<T, FleetError> + Sync,
) -> Vec<Answer<T>> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = hosts.iter().map(|host| scope.spawn(move || work(host))).collect();
        let join =
            |thread: std::thread::ScopedJoinHandle<_>| thread.join().unwrap_or_else(|p| std::panic::resume_unwind(p));
        hosts.iter().zip(threads.into_iter().map(join)).map(|((host, _), result)| answer(host, result)).collect()
    })
}

fn answer<T>(host: &Host, result: Result<T, FleetError>) -> Answer<T> {
    let name = host.name.clone();
    match result {
        Ok(answer) => Answer { name, answer: Some(answer), error: None, locked: false },
        Err(error) => Answer { name, answer: None, error: Some(error.to_string()), locked: error.is_locked() },
    }
}

/// Says what went wrong, and gives the exit code: 0 when every host answered, of a single host 1 or
/// 5, else 4.
pub fn exit_code<T>(answers: &[Answer<T>]) -> u8 {
    let failed: Vec<&Answer<T>> = answers.iter().filter(|answer| answer.error.is_some()).collect();
    for error in failed.iter().filter_map(|answer| answer.error.as_ref()) {
        display::failure(error);
    }
    match (failed.as_slice(), answers.len()) {
        ([], _) => 0,
        ([one], 1) => {
            if one.locked {
                5
            } else {
                1
            }
        }
        _ => 4,
    }
}
