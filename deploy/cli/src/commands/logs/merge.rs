//! Lines of several hosts by time, while they arrive.
//!
//! Each host hands its lines over one by one and waits when it is ahead, so that memory holds a few
//! lines of each host, however many there are: a host that never stops fills nothing.

use std::sync::mpsc::Receiver;

use anyhow::Result;
use cairn_protocol::LogLine;

/// Lines of one host that wait for those of the others. The largest line takes 4 MiB.
pub const AHEAD: usize = 16;

/// Calls `print` with each line and its host's place, the earliest first; of one moment in the order of
/// the hosts. The lines of one host stay in their order. Ends early when `print` gives false; true if
/// it did not.
pub fn by_time(hosts: &[Receiver<LogLine>], mut print: impl FnMut(usize, &LogLine) -> Result<bool>) -> Result<bool> {
    // A host that has ended has none.
    let mut heads: Vec<Option<LogLine>> = hosts.iter().map(|lines| lines.recv().ok()).collect();
    loop {
        let earliest = heads.iter().enumerate().filter_map(|(host, head)| Some((head.as_ref()?.at, host))).min();
        let Some((_, host)) = earliest else { return Ok(true) };
        let next = hosts[host].recv().ok();
        if let Some(line) = std::mem::replace(&mut heads[host], next)
            && !print(host, &line)?
        {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc::{SyncSender, sync_channel};
    use std::thread;

    use super::*;

    fn line(at: u64) -> LogLine {
        LogLine { at, unit: String::new(), priority: None, message: String::new() }
    }

    /// A host that has written lines at these times.
    fn host(times: impl IntoIterator<Item = u64> + Send + 'static) -> Receiver<LogLine> {
        let (lines, received): (SyncSender<LogLine>, _) = sync_channel(AHEAD);
        thread::spawn(move || times.into_iter().all(|at| lines.send(line(at)).is_ok()));
        received
    }

    fn merged(hosts: &[Receiver<LogLine>], most: usize) -> Vec<(usize, u64)> {
        let mut printed = Vec::new();
        let all = by_time(hosts, |host, line| {
            printed.push((host, line.at));
            Ok(printed.len() < most)
        });
        assert_eq!(all.unwrap(), printed.len() < most);
        printed
    }

    #[test]
    fn lines_come_by_time_and_those_of_a_host_in_their_order() {
        let hosts = [host([1, 4, 4, 9]), host([]), host([2, 4, 3])];
        assert_eq!(merged(&hosts, 100), [(0, 1), (2, 2), (0, 4), (0, 4), (2, 4), (2, 3), (0, 9)]);
        assert!(merged(&[], 1).is_empty());
    }

    #[test]
    fn hosts_that_never_end_are_printed_while_they_send() {
        // Gathered first, these would fill the memory.
        let printed = merged(&[host(0..), host(0..)], 10_001);
        assert_eq!(printed[9_999..], [(1, 4_999), (0, 5_000)]);
    }
}
