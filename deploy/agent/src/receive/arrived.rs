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

    pub fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
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
