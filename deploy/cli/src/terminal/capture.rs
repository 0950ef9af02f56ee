//! What would be printed, for tests: the same bytes that would reach the terminal.

use std::cell::RefCell;

use super::Stream;

thread_local! {
    static TAKEN: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Takes what this thread prints, on either stream.
pub fn of(print: impl FnOnce()) -> String {
    TAKEN.set(Some(Vec::new()));
    print();
    String::from_utf8_lossy(&TAKEN.take().unwrap_or_default()).into_owned()
}

pub fn took(_: Stream, bytes: &[u8]) -> bool {
    TAKEN.with_borrow_mut(|taken| taken.as_mut().map(|taken| taken.extend_from_slice(bytes)).is_some())
}
