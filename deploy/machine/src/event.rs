//! What happens while a machine is started; how it is shown is the caller's.

use std::fmt;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Takes about half a minute, once.
    BuildingBase {
        suite: String,
    },
    BaseBuilt {
        elapsed: Duration,
    },
    Creating {
        name: String,
    },
    Booting {
        name: String,
    },
    /// Which boundary is missing; once for each start.
    SharesRoot {
        name: String,
    },
    /// The machine goes on with the names that it knew.
    NotIntroduced {
        name: String,
        reason: String,
    },
    Ready {
        name: String,
        elapsed: Duration,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuildingBase { suite } => write!(f, "installing Debian {suite} for machines (once)"),
            Self::BaseBuilt { elapsed } => write!(f, "installed Debian in {:.1} s", elapsed.as_secs_f64()),
            Self::Creating { name } => write!(f, "creating the machine {name}"),
            Self::Booting { name } => write!(f, "booting the machine {name}"),
            Self::SharesRoot { name } => write!(
                f,
                "root in the machine {name} is root on this computer (no user namespace, which would switch off \
                 IPAddressDeny= in it): run only definitions that you trust"
            ),
            Self::NotIntroduced { name, reason } => {
                write!(f, "the machine {name} does not learn the names of the others: {reason}")
            }
            Self::Ready { name, elapsed } => write!(f, "{name} answers after {:.1} s", elapsed.as_secs_f64()),
        }
    }
}
