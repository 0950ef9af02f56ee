//! Nix's own base 32: digits and lower-case letters without `e o t u`, least significant bits last.

const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

/// Characters that `bytes` bytes take in this encoding.
pub const fn encoded_len(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

pub fn encode(bytes: &[u8]) -> String {
    (0..encoded_len(bytes.len()))
        .rev()
        .map(|n| {
            let bit = n * 5;
            let (byte, shift) = (bit / 8, bit % 8);
            let low = u16::from(bytes[byte]);
            let high = u16::from(bytes.get(byte + 1).copied().unwrap_or(0));
            let digit = ((low | (high << 8)) >> shift) & 0x1f;
            char::from(ALPHABET[usize::from(digit)])
        })
        .collect()
}

/// The inverse of [`encode`]; `None` for a wrong length, a foreign character or set spare bits.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != encoded_len(N) {
        return None;
    }
    let mut out = [0u8; N];
    for (n, c) in text.bytes().rev().enumerate() {
        let digit = ALPHABET.iter().position(|a| *a == c)? as u16;
        let bit = n * 5;
        let (byte, shift) = (bit / 8, bit % 8);
        let spread = digit << shift;
        out[byte] |= spread.to_le_bytes()[0];
        let carry = spread.to_le_bytes()[1];
        match out.get_mut(byte + 1) {
            Some(next) => *next |= carry,
            None if carry != 0 => return None,
            None => {}
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values_of_nix() {
        // nix-hash --type sha256 --base32 of an empty file
        let empty = hex::decode("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855").unwrap_or_default();
        assert_eq!(encode(&empty), "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73");
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(bytes: [u8; 20]) {
            prop_assert_eq!(decode::<20>(&encode(&bytes)), Some(bytes));
        }
        #[test]
        fn decode_never_panics(text in "\\PC{0,60}") {
            let _ = decode::<32>(&text);
            let _ = decode::<20>(&text);
        }
    }
}
