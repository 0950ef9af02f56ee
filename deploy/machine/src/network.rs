//! One bridge for all machines of a state directory; a network namespace and a veth pair for each.
//!
//! ```text
//! this computer          cairn0 10.213.0.1/24 ── cairn0p2 ══ host0 10.213.0.2  (netns cairn0-local)
//!                                             └─ cairn0p3 ══ host0 10.213.0.3  (netns cairn0-web-1)
//! ```
//! Machines reach one another, by name too, and this computer, and nothing else. The bridge `cairnN` always has
//! the network 10.BLOCK.N.0/24, so two state directories never choose the same one; BLOCK is the
//! first from 213 whose network nobody here routes. The bridge's alias names its state directory, so
//! that another one's is never taken for ours.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::at;
use crate::files::absent_is_fine;
use crate::name::MachineName;
use crate::process::{Tool, run};
use crate::record::{NetworkRecord, StateDir};
use crate::{MachineError, Result};

/// The network of a state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network(NetworkRecord);

impl Network {
    /// Our bridge as recorded, whether or not it exists now. Since it went, another state directory may
    /// have taken its place: then what is called so is not ours.
    pub fn recorded(state: &StateDir) -> Result<Option<Self>> {
        let Some(recorded) = state.network()?.map(Self) else { return Ok(None) };
        let is_ours = link(&recorded.bridge())?.is_none_or(|found| found.ifalias.as_deref() == Some(&alias(state)));
        Ok(is_ours.then_some(recorded))
    }

    /// Makes the bridge if it is not there: the recorded one if nobody has taken its place.
    pub fn ensure(state: &StateDir) -> Result<Self> {
        let alias = alias(state);
        if let Some(recorded) = Self::recorded(state)? {
            if link(&recorded.bridge())?.is_some() {
                recorded.configure(&alias)?;
                return Ok(recorded);
            }
            if free(recorded.0, &routes()?) && recorded.create(&alias)? {
                return Ok(recorded);
            }
        }
        for number in 0..=u8::MAX {
            let routes = routes()?;
            let candidates = (213..=254).map(|block| NetworkRecord::new(number, block));
            let Some(record) = candidates.into_iter().find(|record| free(*record, &routes)) else { continue };
            let network = Self(record);
            if link(&network.bridge())?.is_none() && network.create(&alias)? {
                state.save_network(&record)?;
                return Ok(network);
            }
        }
        Err(MachineError::NoFreeNetwork)
    }

    /// False if somebody else made a bridge of that name at this moment.
    fn create(self, alias: &str) -> Result<bool> {
        match run(Tool::Ip, &["link", "add", &self.bridge(), "type", "bridge"]) {
            Ok(_) => {}
            Err(MachineError::Tool { stderr, .. }) if stderr.contains("File exists") => return Ok(false),
            Err(error) => return Err(error),
        }
        self.configure(alias).map(|()| true)
    }

    /// Every step may have been done already, by a run that was interrupted.
    fn configure(self, alias: &str) -> Result<()> {
        let bridge = self.bridge();
        run(Tool::Ip, &["link", "set", "dev", &bridge, "alias", alias])?;
        run(Tool::Ip, &["address", "replace", &format!("{}/24", self.address(1)), "dev", &bridge])?;
        run(Tool::Ip, &["link", "set", "dev", &bridge, "up"])?;
        Ok(())
    }

    /// Takes the bridge away, if it is ours.
    pub fn remove(self, state: &StateDir) -> Result<()> {
        match link(&self.bridge())? {
            Some(found) if found.ifalias.as_deref() == Some(&alias(state)) => {
                run(Tool::Ip, &["link", "delete", "dev", &self.bridge()]).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// What the machine's namespace, cgroup and registration are called: unique on this computer.
    pub fn label(self, name: &MachineName) -> String {
        format!("{}-{name}", self.bridge())
    }

    pub fn namespace(label: &str) -> PathBuf {
        Path::new("/run/netns").join(label)
    }

    pub const fn address(self, index: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.0.block, self.0.number, index)
    }

    /// Gives the machine its namespace and plugs it in; what is left of an earlier time goes first.
    pub fn attach(self, name: &MachineName, index: u8) -> Result<()> {
        self.detach(name, index)?;
        let (label, port) = (self.label(name), self.port(index));
        run(Tool::Ip, &["netns", "add", &label])?;
        let hardware = self.hardware_address(index);
        let peer = ["peer", "name", "host0", "address", &hardware, "netns", &label];
        run(Tool::Ip, &[&["link", "add", &port, "type", "veth"][..], &peer].concat())?;
        run(Tool::Ip, &["link", "set", "dev", &port, "master", &self.bridge(), "up"])?;
        let address = format!("{}/24", self.address(index));
        run(Tool::Ip, &["-n", &label, "address", "add", &address, "dev", "host0"])?;
        run(Tool::Ip, &["-n", &label, "link", "set", "dev", "lo", "up"])?;
        run(Tool::Ip, &["-n", &label, "link", "set", "dev", "host0", "up"])?;
        let gateway = self.address(1).to_string();
        run(Tool::Ip, &["-n", &label, "route", "add", "default", "via", &gateway])?;
        Ok(())
    }

    /// The pair goes first and by name: the kernel takes away a namespace and what is in it later.
    pub fn detach(self, name: &MachineName, index: u8) -> Result<()> {
        let port = self.port(index);
        if link(&port)?.is_some() {
            run(Tool::Ip, &["link", "delete", "dev", &port])?;
        }
        let label = self.label(name);
        let file = Self::namespace(&label);
        if file.exists() {
            // Where /run lies on the disk, a restart of this computer leaves an empty file, which
            // `ip` complains about and removes.
            let deleted = run(Tool::Ip, &["netns", "delete", &label]);
            if file.exists() {
                deleted?;
                absent_is_fine(std::fs::remove_file(&file)).map_err(at("remove", &file))?;
            }
        }
        Ok(())
    }

    /// The same at each start. With a random one a machine that starts again within a minute is not
    /// found: its neighbours still know the address of before.
    fn hardware_address(self, index: u8) -> String {
        // The second bit of the first byte marks addresses that no maker gave out.
        let [a, b, c, d] = self.address(index).octets();
        format!("02:ca:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    }

    fn bridge(self) -> String {
        format!("cairn{}", self.0.number)
    }

    fn port(self, index: u8) -> String {
        format!("cairn{}p{index}", self.0.number)
    }
}

/// The lowest number that no machine has; 1 is this computer.
pub(crate) fn free_index(used: &[u8]) -> Option<u8> {
    (2..=254).find(|index| !used.contains(index))
}

/// At most 255 bytes, so long paths keep their end, which tells them apart.
fn alias(state: &StateDir) -> String {
    let path = state.path().to_string_lossy();
    let skip = path.char_indices().map(|(at, _)| at).find(|at| path.len() - at <= 240).unwrap_or(0);
    format!("cairn {}", &path[skip..])
}

#[derive(Debug, Deserialize)]
struct Link {
    #[serde(default)]
    ifalias: Option<String>,
}

fn link(name: &str) -> Result<Option<Link>> {
    if !Path::new("/sys/class/net").join(name).exists() {
        return Ok(None);
    }
    let text = run(Tool::Ip, &["-json", "link", "show", "dev", name])?;
    Ok(parse::<Link>(&text)?.into_iter().next())
}

#[derive(Debug, Deserialize)]
struct Route {
    dst: String,
}

fn routes() -> Result<Vec<Route>> {
    parse(&run(Tool::Ip, &["-json", "-4", "route", "show", "table", "all"])?)
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<Vec<T>> {
    // `ip` prints nothing at all where there is nothing to show.
    let text = if text.trim().is_empty() { "[]" } else { text };
    serde_json::from_str(text).map_err(|error| MachineError::Tool {
        command: "ip -json".to_owned(),
        status: "unreadable output".to_owned(),
        stderr: error.to_string(),
    })
}

/// For the fuzz target: [`free`] of our first network beside these routes.
pub(crate) fn is_free_beside(routes: &str) -> Result<bool> {
    Ok(free(NetworkRecord::new(4, 213), &parse(routes)?))
}

/// Whether no route but the default one overlaps the network.
fn free(record: NetworkRecord, routes: &[Route]) -> bool {
    let ours = u32::from(Ipv4Addr::new(10, record.block, record.number, 0));
    routes.iter().all(|route| {
        let (address, bits) = route.dst.split_once('/').unwrap_or((&route.dst, "32"));
        let (Ok(address), Ok(bits)) = (address.parse::<Ipv4Addr>(), bits.parse::<u32>()) else { return true };
        let common = bits.min(24);
        let mask = u32::MAX.checked_shl(32 - common).unwrap_or(0);
        bits == 0 || (u32::from(address) ^ ours) & mask != 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_is_routed_here_is_not_free() {
        let cases = [
            ("default", true),
            ("0.0.0.0/0", true),
            ("192.0.2.0/24", true),
            ("10.213.5.0/24", true),
            ("10.213.4.0/24", false),
            ("10.213.4.128/25", false),
            ("10.213.4.7", false),
            ("10.0.0.0/8", false),
            ("10.213.0.0/16", false),
            ("10.212.0.0/16", true),
        ];
        for (dst, expected) in cases {
            assert_eq!(free(NetworkRecord::new(4, 213), &[Route { dst: dst.to_owned() }]), expected, "{dst}");
        }
    }

    #[test]
    fn indices_are_reused_and_end() {
        assert_eq!(free_index(&[]), Some(2));
        assert_eq!(free_index(&[2, 4]), Some(3));
        assert_eq!(free_index(&(2..=254).collect::<Vec<_>>()), None);
    }
}
