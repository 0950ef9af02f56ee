//! Entry points for the fuzz targets in `fuzz/`: private parsers of foreign bytes. Not an API.

use crate::s3;

/// Whether a file of AWS credentials has keys for a profile.
pub fn aws_credentials(text: &str, profile: &str) -> bool {
    s3::credentials::of_text(text, profile).is_some()
}

/// Whether an answer of the EC2 metadata service holds keys.
pub fn instance_role(answer: &str) -> bool {
    s3::instance::parse(answer).is_some()
}
