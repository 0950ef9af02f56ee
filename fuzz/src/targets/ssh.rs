//! What `ssh` and a host's login shell print before the agent speaks.

use cairn_transport::{HostKey, classify};

use crate::input::text;

pub fn ssh(input: &[u8]) {
    if let Ok((_, noise)) = cairn_transport::fuzzing::opening(&mut &*input) {
        assert!(noise.len() <= 3 * input.len());
    }
    let Some(text) = text(input) else { return };
    for code in [None, Some(1), Some(127), Some(255)] {
        for pinned in [None, Some("ssh-ed25519 AAAA")] {
            assert!(!classify(code, text, pinned).to_string().is_empty());
        }
    }
    if let Ok(key) = HostKey::parse(text) {
        assert_eq!(HostKey::parse(&key.to_string()).ok(), Some(key));
    }
}
