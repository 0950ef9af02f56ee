//! Entry points for the fuzz targets in `fuzz/`: private parsers of foreign bytes. Not an API.

use std::io::{self, Read, Write};

use cairn_protocol::LogLine;

use crate::{condition, drain, health, logs, ports, services, systemd, tcp};

/// A service's answer to a health check, which ends where `bytes` end.
pub fn http_answer(bytes: &[u8]) -> io::Result<health::http::Answer> {
    health::http::read_answer(Canned(bytes))
}

/// A stream that sends these bytes and swallows what is written to it.
struct Canned<'b>(&'b [u8]);

impl Read for Canned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Canned<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line of `journalctl --output=json`.
pub fn journal_line(line: &str) -> Option<LogLine> {
    logs::parse(line)
}

/// The numbers of units and instances in what `systemctl` prints.
pub fn systemctl(text: &str) -> (usize, usize, usize) {
    let (states, instances) = (systemd::parse_states(text), systemd::parse_instances(text));
    (states.len(), instances.len(), condition::drift::parse(text).len())
}

/// The numbers of listeners and of half-open connections in a table like `/proc/net/tcp`.
pub fn tcp_table(table: &str) -> (usize, usize) {
    (tcp::parse_listeners(table).len(), tcp::parse_half_open(table).len())
}

/// The number of listening sockets in a netlink datagram of sock_diag(7).
pub fn socket_diagnosis(datagram: &[u8]) -> io::Result<usize> {
    let mut found = Vec::new();
    drain::parse(datagram, &mut found)?;
    Ok(found.len())
}

/// Id and name in a line of `/etc/passwd` or `/etc/group`.
pub fn account(line: &str) -> Option<(u32, String)> {
    services::users::entry(line)
}

/// The unit in `/proc/PID/cgroup`.
pub fn unit_of_cgroup(text: &str) -> Option<String> {
    ports::unit(text)
}

/// The newest kernel that is newer than the running one.
pub fn newer_kernel(running: &str, installed: &[String]) -> Option<String> {
    condition::kernel::newer(running, installed)
}
