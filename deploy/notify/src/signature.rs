//! HMAC-SHA256 (RFC 2104): who has the key can tell that a body is ours and whole.

use cairn_formats::Sha256;

/// SHA-256 works on blocks of so many bytes.
const BLOCK: usize = 64;

/// As the header `X-Cairn-Signature-256` has it: `sha256=` and 64 hexadecimal digits.
pub fn signature(key: &[u8], body: &[u8]) -> String {
    let mut block = [0; BLOCK];
    match key.len() {
        0..=BLOCK => block[..key.len()].copy_from_slice(key),
        _ => block[..32].copy_from_slice(Sha256::of(key).as_bytes()),
    }
    let round = |pad: u8, text: &[u8]| Sha256::of(&[&block.map(|byte| byte ^ pad), text].concat());
    let inner = round(0x36, body);
    format!("sha256={}", round(0x5c, inner.as_bytes()).hex())
}

#[cfg(test)]
mod tests {
    use super::signature;

    #[test]
    fn it_is_what_rfc_4231_says() {
        let long = [0xaa; 131];
        for (key, body, wanted) in [
            (&[0x0b; 20][..], &b"Hi There"[..], "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &long,
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(signature(key, body), format!("sha256={wanted}"));
        }
    }
}
