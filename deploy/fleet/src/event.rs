//! What happens while hosts are worked on, for whoever shows it.

use std::time::Duration;

use cairn_protocol::Stamped;

use crate::HostReport;

#[derive(Debug)]
pub enum Event<'a> {
    /// A machine of this computer is being brought up.
    Machine {
        host: &'a str,
        text: String,
    },
    Connected {
        host: &'a str,
        bootstrapped: bool,
    },
    Copying {
        host: &'a str,
        bytes: u64,
    },
    Copied {
        host: &'a str,
        bytes: u64,
        files: u64,
    },
    /// Sealed secrets that the host lacks are sent.
    Secrets {
        host: &'a str,
        count: usize,
    },
    Activation {
        host: &'a str,
        line: &'a Stamped,
    },
    /// Its health is asked for so long before the next hosts begin.
    Watching {
        host: &'a str,
        wait: Duration,
    },
    /// Its health is asked for no longer.
    Watched {
        host: &'a str,
    },
    /// It goes back to the generation before, because another one failed.
    TakingBack {
        host: &'a str,
        because: &'a str,
    },
    /// Nothing more is done on it for now.
    Ended {
        host: &'a str,
        report: &'a HostReport,
    },
}

pub type Listener<'a> = dyn Fn(Event<'_>) + Sync + 'a;
