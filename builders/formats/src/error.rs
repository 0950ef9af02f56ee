//! What can be wrong with text that claims to be one of our formats.

/// A value that does not have the form it must have. Each variant repeats the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error(
        "`{value}` is not a SHA-256 hash: expected 64 hexadecimal digits, 52 nix32 characters or base64 with a `sha256` prefix"
    )]
    Hash { value: String },
    #[error("`{value}` is not a store path: expected `/nix/store/<32 characters>-<name>`")]
    StorePath { value: String },
    #[error(
        "`{value}` is not a store path name: 1 to 211 of the characters A-Z a-z 0-9 + - . _ ? =, not starting with a dot"
    )]
    Name { value: String },
    #[error("`{value}` is not a content address: expected `fixed:r:sha256:<hash>` or `fixed:sha256:<hash>`")]
    ContentAddress { value: String },
    #[error("`{value}` is not a platform: expected `linux/amd64` or `linux/arm64`")]
    Platform { value: String },
    #[error("`{value}` is not a path below a root: no `..`, no empty part, no leading slash, no NUL")]
    RelPath { value: String },
}
