//! Hosts at once, and not too many of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How many hosts are worked on at once unless somebody says otherwise. A host 150 ms away is a second
/// of waiting and a twentieth of that in work, so that fewer would leave the processors idle. A jump
/// host that finds them too many is asked again ([`cairn_transport`]).
pub const AT_ONCE: usize = 32;

/// Works on each item, on at most `limit` at once, and gives the results in the items' order.
pub fn in_parallel<T: Sync, R: Send>(limit: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let workers = limit.min(items.len());
    if workers <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let (next, work) = (&next, &work);
    let worker = || {
        let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < items.len());
        std::iter::from_fn(take).map(|at| (at, work(&items[at]))).collect::<Vec<_>>()
    };
    let mut done: Vec<(usize, R)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::{Condvar, Mutex};

    #[test]
    fn results_are_in_order_and_no_more_than_the_limit_run_at_once() {
        for limit in [1, 3, 7, 100] {
            let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let results = in_parallel(limit, &[5, 4, 3, 2, 1, 0], |n| {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
                n * 10
            });
            assert_eq!(results, [50, 40, 30, 20, 10, 0]);
            assert!(most.into_inner() <= limit);
        }
        assert!(in_parallel(3, &[], |n: &u32| *n).is_empty());
    }

    #[test]
    fn as_many_as_the_limit_do_run_at_once() {
        // Each waits for all: with fewer at once this would never end.
        let (arrived, all) = (Mutex::new(0), Condvar::new());
        in_parallel(4, &[(); 4], |()| {
            let mut count = arrived.lock().unwrap();
            *count += 1;
            all.notify_all();
            drop(all.wait_while(count, |count| *count < 4).unwrap());
        });
    }
}
