//! Writes the next pointer of a host, last of all that is published.
//!
//! It continues from the pointer in the cache: that must be signed by one of the keys that hosts
//! trust (the publisher's own, or the one that is being rotated out), and its number must not be ahead
//! of the clock. `replace` accepts one that cannot be followed: bytes that are not a pointer, another
//! host's, one that no trusted key has signed, one that is ahead. The new number then is the clock's;
//! nothing that an unverified file says is used. It never lowers the number of a pointer that can be
//! followed, nor replaces one of a later version of the format, whose number this program cannot tell.

use crate::cache::{Answer, Cache, Revision};
use crate::error::{CacheError, Result};
use crate::key::{PublicKey, SecretKey};
use crate::pointer::{MAX_POINTER, Pointer, key_of};

/// How the next pointer is written.
pub struct PointerWriter<'a> {
    pub key: &'a SecretKey,
    /// All keys that hosts trust.
    pub trusted: &'a [PublicKey],
    /// Writes over a pointer that cannot be followed.
    pub replace: bool,
    /// Seconds since 1970, by this computer's clock.
    pub now: i64,
}

/// Reads the host's pointer, if there is one, lets `make` make the next one of it, and writes that
/// last of all. A pointer that another process wrote meanwhile to the same folder or bucket stays.
pub fn write_pointer<E: From<CacheError>>(
    cache: &Cache,
    host: &str,
    writer: &PointerWriter<'_>,
    make: impl FnOnce(Option<Pointer>) -> Result<Pointer, E>,
) -> Result<Pointer, E> {
    let _held = cache.hold()?;
    let name = key_of(host);
    let (before, revision) = writer.before(cache, host)?;
    let last = before.as_ref().map(|pointer| pointer.sequence);
    let mut pointer = make(before)?;
    // By the clock, so that it rises even if the pointer before was lost.
    let next = last.map_or(0, |last| last.saturating_add(1));
    pointer.sequence = u64::try_from(pointer.published).unwrap_or(0).max(next);
    pointer.check_ahead(writer.now, &cache.url(&name))?;
    cache.put_over(&name, &pointer.seal(writer.key)?, &revision)?;
    Ok(pointer)
}

impl PointerWriter<'_> {
    /// The pointer to continue from, and what must still lie there when the next one is written.
    fn before(&self, cache: &Cache, host: &str) -> Result<(Option<Pointer>, Revision)> {
        let name = key_of(host);
        let (opened, revision) = match cache.get_unless(&name, MAX_POINTER, &Revision::Unknown) {
            Ok(Answer::Absent | Answer::Unchanged) => return Ok((None, Revision::Absent)),
            Ok(Answer::Content { bytes, revision }) => (self.followed(&bytes, host, &cache.url(&name)), revision),
            // The answer was not read to its end, so there is no version of it to compare with later.
            Err(error @ CacheError::TooLong { .. }) => (Err(error), Revision::Unknown),
            Err(error) => return Err(error),
        };
        match opened {
            Ok(pointer) => Ok((Some(pointer), revision)),
            Err(error @ CacheError::PointerVersion { .. }) => Err(error),
            Err(_) if self.replace => Ok((None, revision)),
            Err(error @ CacheError::Ahead { .. }) => Err(error),
            Err(error) => {
                let text = error.to_string();
                let reason = text.lines().next().unwrap_or_default().to_owned();
                Err(CacheError::CannotFollow { host: host.to_owned(), reason })
            }
        }
    }

    fn followed(&self, bytes: &[u8], host: &str, url: &str) -> Result<Pointer> {
        let pointer = Pointer::open(bytes, host, self.trusted, url)?.pointer;
        pointer.check_ahead(self.now, url)?;
        Ok(pointer)
    }
}
