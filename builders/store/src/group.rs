//! Group commit: who asks for something while it is being done for others waits, and then it is done
//! once for all who have asked meanwhile. Bringing data to disk costs about the same for one path as for
//! many.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Items that wait for the next round.
pub(crate) struct Group<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    waiting: Vec<T>,
    /// The number of the round that takes those who wait.
    next: u64,
    busy: bool,
    /// Rounds that have ended, and those of them that have failed.
    ended: u64,
    failed: Vec<u64>,
}

impl<T: Clone> Group<T> {
    pub fn new() -> Self {
        let state = State { waiting: Vec::new(), next: 1, busy: false, ended: 0, failed: Vec::new() };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Has `act` done for the item, alone or with others. One who was in a round that failed does it for
    /// himself, so that each is told what is wrong with his own.
    pub fn join<E>(&self, item: T, act: impl Fn(&[T]) -> Result<(), E>) -> Result<(), E> {
        let mut state = self.lock();
        state.waiting.push(item.clone());
        let round = state.next;
        while state.ended < round {
            if state.busy {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.busy = true;
            state.next += 1;
            let items = std::mem::take(&mut state.waiting);
            drop(state);
            let outcome = act(&items);
            state = self.lock();
            state.busy = false;
            state.ended = round;
            if outcome.is_err() && items.len() > 1 {
                state.failed.push(round);
            }
            self.changed.notify_all();
            if items.len() == 1 {
                return outcome;
            }
        }
        let failed = state.failed.contains(&round);
        drop(state);
        if failed { act(&[item]) } else { Ok(()) }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Barrier;
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn eight_at_once(ask: impl Fn(u32) + Sync) {
        let begun = Barrier::new(8);
        thread::scope(|scope| {
            for number in 0..8 {
                let (ask, begun) = (&ask, &begun);
                scope.spawn(move || {
                    begun.wait();
                    ask(number);
                });
            }
        });
    }

    #[test]
    fn all_who_ask_meanwhile_are_served_at_once() {
        let group = Group::new();
        let rounds = Mutex::new(Vec::new());
        let act = |items: &[u32]| {
            rounds.lock().unwrap().push(items.to_vec());
            thread::sleep(Duration::from_millis(100));
            Ok::<(), ()>(())
        };
        eight_at_once(|number| group.join(number, act).unwrap());
        let rounds = rounds.into_inner().unwrap();
        let mut served: Vec<u32> = rounds.iter().flatten().copied().collect();
        served.sort_unstable();
        assert_eq!(served, (0..8).collect::<Vec<_>>());
        assert!(rounds.len() < 8, "{rounds:?}");
    }

    #[test]
    fn what_is_wrong_with_one_is_told_to_him_alone() {
        let group = Group::new();
        let act = |items: &[u32]| {
            thread::sleep(Duration::from_millis(50));
            if items.contains(&3) { Err(items.to_vec()) } else { Ok(()) }
        };
        eight_at_once(|number| {
            let expected = if number == 3 { Err(vec![3]) } else { Ok(()) };
            assert_eq!(group.join(number, act), expected);
        });
        assert_eq!(group.join(1, act), Ok(()));
    }
}
