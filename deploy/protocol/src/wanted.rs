//! The agent's answer to a manifest: which file contents it lacks.
//!
//! Contents are numbered from zero in the order in which a manifest first names them
//! ([`crate::manifest`]), so that one bit each says it all: bit `n % 8` of byte `n / 8`, least
//! significant first. 8,000 files take 1,000 bytes, whichever of them are wanted.

use std::io::{self, Read, Write};

/// A set of content numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    bits: Vec<u8>,
    len: u64,
}

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
        to.write_all(&self.bits)
    }

    /// Reads the answer about `len` contents; refuses one of another length.
    pub fn read(from: impl Read, len: u64) -> io::Result<Self> {
        let expected = len.div_ceil(8);
        let mut bits = Vec::new();
        from.take(expected + 1).read_to_end(&mut bits)?;
        let spare = bits.last().map_or(0, |last| if len.is_multiple_of(8) { 0 } else { last >> (len % 8) });
        if bits.len() as u64 != expected || spare != 0 {
            let reason = format!("an answer about {} or more contents where {len} were named", bits.len() * 8);
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(Self { bits, len })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_answer_reads_back(bits in proptest::collection::vec(any::<bool>(), 0..100)) {
            let mut wanted = Wanted::default();
            bits.iter().for_each(|bit| wanted.push(*bit));
            prop_assert_eq!(wanted.count(), bits.iter().filter(|b| **b).count() as u64);
            for (n, bit) in bits.iter().enumerate() {
                prop_assert_eq!(wanted.contains(n as u64), *bit);
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
    }
}
