//! How far the contents of a copy have come, for whoever builds on them meanwhile.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::ReceiveError;

/// Contents arrive in the order of their numbers.
#[derive(Default)]
pub struct Arrived {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Those with lower numbers are there.
    next: u64,
    /// No more will come.
    ended: bool,
}

impl Arrived {
    pub fn all_up_to(&self, number: u64) {
        self.state().next = number + 1;
        self.changed.notify_all();
    }

    /// Held by whoever receives: without it no more will come, however it went.
    pub fn until_dropped(&self) -> Arriving<'_> {
        Arriving(self)
    }

    /// Fails if it does not come; whoever received knows why.
    pub fn wait_for(&self, number: u64) -> Result<(), ReceiveError> {
        let waiting = |state: &mut State| state.next <= number && !state.ended;
        let state = self.changed.wait_while(self.state(), waiting).unwrap_or_else(PoisonError::into_inner);
        if state.next > number { Ok(()) } else { Err(ReceiveError::Connection(io::ErrorKind::BrokenPipe.into())) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Arriving<'a>(&'a Arrived);

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.changed.notify_all();
    }
}
