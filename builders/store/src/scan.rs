//! Finding references: which candidates' hash parts occur in a stream of bytes.
//!
//! A hash part is 32 characters of nix32, a rare run in any file. As in Nix, a window of 32 bytes
//! is checked from its end: a byte outside the alphabet rules out every window that holds it, so
//! in binaries and prose most bytes are never looked at.

use std::collections::{BTreeSet, HashMap};

use cairn_formats::StorePath;

const LEN: usize = 32;

/// Fed with a stream in pieces of any size; a hash part that spans pieces is found.
pub(crate) struct Scanner<'c> {
    // Two paths with one hash part would be a collision of 160 bits of SHA-256.
    candidates: HashMap<[u8; LEN], &'c StorePath>,
    found: BTreeSet<StorePath>,
    /// The last bytes fed, fewer than a hash part.
    tail: Vec<u8>,
}

impl<'c> Scanner<'c> {
    pub fn new(candidates: &'c BTreeSet<StorePath>) -> Self {
        let keyed = |path: &'c StorePath| Some((path.hash_part().as_bytes().try_into().ok()?, path));
        Self {
            candidates: candidates.iter().filter_map(keyed).collect(),
            found: BTreeSet::new(),
            tail: Vec::with_capacity(2 * LEN),
        }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        if self.candidates.is_empty() {
            return;
        }
        let mut seam = std::mem::take(&mut self.tail);
        seam.extend_from_slice(&bytes[..bytes.len().min(LEN - 1)]);
        self.scan(&seam);
        self.scan(bytes);
        let last = if bytes.len() < LEN { &seam[..] } else { bytes };
        self.tail.extend_from_slice(&last[last.len().saturating_sub(LEN - 1)..]);
    }

    pub fn finish(self) -> BTreeSet<StorePath> {
        self.found
    }

    fn scan(&mut self, bytes: &[u8]) {
        let mut start = 0;
        while let Some(window) = bytes.get(start..start + LEN) {
            if let Some(foreign) = window.iter().rposition(|b| !IN_ALPHABET[usize::from(*b)]) {
                start += foreign + 1;
                continue;
            }
            if let Some(path) = self.candidates.get(window) {
                self.found.insert((*path).clone());
            }
            start += 1;
        }
    }
}

const IN_ALPHABET: [bool; 256] = {
    let mut table = [false; 256];
    let alphabet = b"0123456789abcdfghijklmnpqrsvwxyz";
    let mut n = 0;
    while n < alphabet.len() {
        table[alphabet[n] as usize] = true;
        n += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const A: &str = "0mdqa9w1p6cmli6976v4wi0sw9r4p5pr";
    const B: &str = "zlfq1l1lxjd2xgvz6vzsi9xlvqg1pc5w";

    fn candidates() -> BTreeSet<StorePath> {
        [A, B].iter().map(|hash| StorePath::parse(&format!("{hash}-x")).unwrap()).collect()
    }

    fn found(pieces: &[&[u8]]) -> Vec<String> {
        let candidates = candidates();
        let mut scanner = Scanner::new(&candidates);
        pieces.iter().for_each(|piece| scanner.feed(piece));
        scanner.finish().iter().map(|path| path.hash_part().to_owned()).collect()
    }

    #[test]
    fn only_whole_hash_parts_of_candidates_count() {
        let table: &[(String, &[&str])] = &[
            (String::new(), &[]),
            (format!("/nix/store/{A}-x/bin"), &[A]),
            (format!("{A}{B}"), &[A, B]),
            (format!("zz{A}zz"), &[A]),
            (A[1..].to_owned(), &[]),
            (A.to_uppercase(), &[]),
            (format!("{}E{}", &A[..16], &A[16..]), &[]),
            (format!("1{}{A}", &A[..31]), &[A]),
            ("i9pmrzmpshapij2kin22pff6fc2adavx-other".to_owned(), &[]),
        ];
        for (text, wanted) in table {
            assert_eq!(found(&[text.as_bytes()]), *wanted, "{text}");
        }
    }

    #[test]
    fn every_cut_is_bridged() {
        let text = format!("..{A}/{B}..");
        for cut in 0..text.len() {
            let (left, right) = text.as_bytes().split_at(cut);
            assert_eq!(found(&[left, right]), [A, B], "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(found(&bytes), [A, B]);
    }

    proptest! {
        #[test]
        fn finds_what_a_plain_search_finds(
            parts in proptest::collection::vec(prop_oneof![
                Just(A.to_owned()), Just(B.to_owned()), "[0-9a-z]{0,40}", "[a-z/ ]{0,9}",
            ], 0..8),
            piece in 1usize..70,
        ) {
            let text = parts.concat();
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(piece).collect();
            let wanted: Vec<String> = [A, B].iter().filter(|h| text.contains(**h)).map(|h| (*h).to_owned()).collect();
            prop_assert_eq!(found(&pieces), wanted);
        }
    }
}
