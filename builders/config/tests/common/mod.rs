//! The schema that the tests share.

use std::path::Path;

use cairn_config::{Faults, Layer, Resolved, Schema, Settings, resolve};

pub const SCHEMA: &str = r#"
[LOG_LEVEL]
category = "application"
type = "choice"
choices = ["debug", "info", "warning", "error"]
default = "info"
help = "How much is logged"

[PUBLIC_URL]
category = "application"
type = "url"
required = true
example = "https://api.spirittours.com"
help = "Where clients reach the API"

[DATABASE_POOL_SIZE]
category = "database"
type = "integer"
default = "20"
min = 1
max = 100
help = "Connections that each worker keeps to the database"

[JWT_SECRET]
category = "security"
type = "string"
secret = true
required = true
min_length = 32
help = "Signs the tokens of users"

[STRIPE_KEY]
category = "payments"
type = "string"
secret = true
pattern = '^sk_(test|live)_'
example = "sk_test_example"
help = "Without it nobody can pay"

[CORS_ORIGINS]
category = "application"
type = "list"
pattern = '^https://'
help = "Sites whose pages may call the API"

[SITE_NAME]
category = "application"
type = "string"
default = "Spirit Tours"
help = "What the site is called"

[FEATURE_REVIEWS]
category = "features"
type = "boolean"
default = "true"
help = "Whether guests may write reviews"

[SESSION_TTL]
category = "security"
type = "duration"
default = "12h"
min = 60
help = "How long a session lives"
"#;

pub fn schema() -> Schema {
    Schema::parse(Path::new("images/api/config.toml"), SCHEMA).unwrap()
}

/// A layer as a definition gives it.
pub fn layer(file: &str, text: &str) -> Layer {
    let settings: Settings = toml::from_str(text).unwrap();
    settings.layer(Path::new(file), text)
}

pub fn resolve_texts(layers: &[(&str, &str)]) -> Result<Resolved, Faults> {
    let layers: Vec<Layer> = layers.iter().map(|(file, text)| layer(file, text)).collect();
    resolve(&schema(), &layers)
}
