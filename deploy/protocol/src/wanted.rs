//! The agent's answer to a manifest: which file contents it lacks.
//!
//! Contents are numbered from zero in the order in which a manifest first names them
//! ([`crate::manifest`]), so that one bit each says it all: bit `n % 8` of byte `n / 8`, least
//! significant first. 8,000 files take 1,000 bytes, whichever of them are wanted.
//!
//! Behind the bits stand those of the wanted contents whose first bytes the agent has, from a copy that
//! was interrupted: number and how many bytes, as big-endian `u64`, in the order of the numbers.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

/// A set of content numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    bits: Vec<u8>,
    len: u64,
    begun: BTreeMap<u64, u64>,
}

/// Contents that may be begun.
const MAX_BEGUN: u64 = 64;
/// Bytes of number and offset.
const ENTRY: usize = 16;

impl Wanted {
    /// Appends the next content's bit.
    pub fn push(&mut self, wanted: bool) {
        let bit = (self.len % 8) as u8;
        if bit == 0 {
            self.bits.push(0);
        }
        if let (true, Some(last)) = (wanted, self.bits.last_mut()) {
            *last |= 1 << bit;
        }
        self.len += 1;
    }

    /// Appends a content that is wanted from this byte on.
    pub fn push_begun(&mut self, bytes: u64) {
        self.begun.insert(self.len, bytes);
        self.push(true);
    }

    /// How many of a content's bytes are there already.
    pub fn begun(&self, number: u64) -> u64 {
        self.begun.get(&number).copied().unwrap_or(0)
    }

    pub fn contains(&self, number: u64) -> bool {
        usize::try_from(number / 8)
            .ok()
            .and_then(|byte| self.bits.get(byte))
            .is_some_and(|byte| byte & (1 << (number % 8)) != 0)
    }

    /// How many contents were numbered.
    pub const fn len(&self) -> u64 {
        self.len
    }

    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many of them are wanted.
    pub fn count(&self) -> u64 {
        self.bits.iter().map(|byte| u64::from(byte.count_ones())).sum()
    }

    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        to.write_all(&self.bits)?;
        for (number, bytes) in &self.begun {
            to.write_all(&number.to_be_bytes())?;
            to.write_all(&bytes.to_be_bytes())?;
        }
        Ok(())
    }

    /// Reads the answer about `len` contents; refuses one of another length.
    pub fn read(from: impl Read, len: u64) -> io::Result<Self> {
        let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let expected = usize::try_from(len.div_ceil(8)).map_err(|e| invalid(e.to_string()))?;
        let mut bits = Vec::new();
        from.take(len.div_ceil(8) + MAX_BEGUN * ENTRY as u64 + 1).read_to_end(&mut bits)?;
        let rest = bits.split_off(expected.min(bits.len()));
        let spare = bits.last().map_or(0, |last| if len.is_multiple_of(8) { 0 } else { last >> (len % 8) });
        if bits.len() != expected || spare != 0 || !rest.len().is_multiple_of(ENTRY) {
            let bytes = bits.len() + rest.len();
            return Err(invalid(format!("an answer of {bytes} bytes about {len} contents that were named")));
        }
        let mut wanted = Self { bits, len, begun: BTreeMap::new() };
        for entry in rest.chunks_exact(ENTRY) {
            let [number, bytes] =
                [&entry[..8], &entry[8..]].map(|part| part.iter().fold(0, |n, b| n << 8 | u64::from(*b)));
            let last = wanted.begun.last_key_value().map(|(last, _)| *last);
            if !wanted.contains(number) || last.is_some_and(|last| number <= last) {
                return Err(invalid(format!("content {number} is said to be begun out of its turn, or is not wanted")));
            }
            wanted.begun.insert(number, bytes);
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_answer_reads_back(
            bits in proptest::collection::vec(any::<bool>(), 0..100),
            begun in proptest::collection::btree_map(0usize..100, any::<u64>(), 0..5),
        ) {
            let mut wanted = Wanted::default();
            for (n, bit) in bits.iter().enumerate() {
                match begun.get(&n).filter(|_| *bit) {
                    Some(bytes) => wanted.push_begun(*bytes),
                    None => wanted.push(*bit),
                }
            }
            prop_assert_eq!(wanted.count(), bits.iter().filter(|b| **b).count() as u64);
            for (n, bit) in bits.iter().enumerate() {
                prop_assert_eq!(wanted.contains(n as u64), *bit);
                let there = begun.get(&n).filter(|_| *bit).copied().unwrap_or(0);
                prop_assert_eq!(wanted.begun(n as u64), there);
            }
            let mut wire = Vec::new();
            wanted.write(&mut wire).unwrap();
            prop_assert_eq!(Wanted::read(&wire[..], bits.len() as u64).unwrap(), wanted);
            prop_assert!(Wanted::read(&wire[..], bits.len() as u64 + 8).is_err());
        }
    }

    #[test]
    fn an_answer_about_other_contents_is_refused() {
        assert!(Wanted::read(&[0b100][..], 2).is_err(), "a bit beyond the last content");
        assert!(Wanted::read(&[0, 0][..], 8).is_err(), "a byte too many");
        assert!(!Wanted::read(&[1][..], 1).unwrap().contains(8));
        let begun = |bits: u8, numbers: &[u8]| {
            let mut wire = vec![bits];
            numbers.iter().for_each(|n| wire.extend([0, 0, 0, 0, 0, 0, 0, *n, 0, 0, 0, 0, 0, 0, 1, 0]));
            Wanted::read(&wire[..], 3)
                .map(|wanted| numbers.iter().map(|n| wanted.begun(u64::from(*n))).collect::<Vec<_>>())
        };
        assert_eq!(begun(0b101, &[0, 2]).unwrap(), vec![256, 256]);
        for (bits, numbers) in [(0b101, [0, 1]), (0b101, [2, 0]), (0b101, [2, 2]), (0b101, [2, 3])] {
            assert!(begun(bits, &numbers).is_err(), "{bits:b} {numbers:?}");
        }
    }
}
