//! Hosts on this computer: real systemd machines for `deploy switch local` and for tests.
//!
//! A machine is a plain Debian root that `mmdebstrap` makes, booted by `systemd-nspawn` in a network
//! namespace of its own, with its own SSH host key, which we make and therefore know. Above SSH it
//! is a host like any other. It boots in under a second and outlives the command that started it.
//!
//! ```text
//! STATE/lock                    one change at a time
//! STATE/network.json            our bridge
//! STATE/bases/KEY/              Debian roots, made once, never changed
//! STATE/machines/NAME/
//!   machine.json                what exists and what runs
//!   id_ed25519, host_ed25519    the key to log in with, the key that it answers with
//!   upper/ work/ root/          its files: an overlay over the base
//!   console.log                 what it said since it was started
//! ```
//!
//! What a machine leaves outside that folder (bridge, veth pair, network namespace, mount, cgroup)
//! is gone when it is stopped and comes back when it is started; its files stay until it is removed.
//! So a restart of this computer is only a power cut to it.
//!
//! ```no_run
//! use cairn_machine::{MachineSpec, Machines};
//!
//! let machines = Machines::new(Machines::default_state()?)?;
//! let local = machines.ensure_running("local", &MachineSpec::default(), &|event| eprintln!("{event}"))?;
//! println!("ssh -i {} root@{}", local.identity.display(), local.address);
//! machines.remove("local")?;
//! # Ok::<(), cairn_machine::MachineError>(())
//! ```

mod base;
mod boot;
mod cgroup;
mod error;
mod event;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod machines;
mod mounts;
mod name;
mod network;
mod process;
mod record;
mod root;
mod supervisor;
mod tree;

pub use base::MachineSpec;
pub use error::{MachineError, Result};
pub use event::Event;
pub use machines::{Machine, Machines, State};
