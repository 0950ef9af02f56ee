//! The configuration of an image: which environment variables it reads, and what they are here.
//!
//! `images/NAME/config.toml` is the [`Schema`], one table a variable. Definitions give values in
//! [`Layer`]s: fleet, host, service; later ones win. [`resolve`] puts them together and reports
//! *every* fault at once, before anything is built or copied. What comes out ([`Resolved`]) is the
//! environment in clear and, apart from it, which variable takes which secret: the value of a
//! secret never passes through here. [`template`] and [`documentation`] say the schema to people.
//!
//! Everything is pure but for [`Schema::read`].
//!
//! ```
//! use std::path::Path;
//! use cairn_config::{Schema, Settings, resolve};
//!
//! let schema = Schema::parse(Path::new("images/api/config.toml"), r#"
//!     [DATABASE_POOL_SIZE]
//!     category = "database"
//!     type = "integer"
//!     default = "20"
//!     min = 1
//!     help = "Connections that each worker keeps to the database"
//!
//!     [JWT_SECRET]
//!     category = "security"
//!     type = "string"
//!     secret = true
//!     required = true
//!     help = "Signs the tokens of users"
//! "#)?;
//! let text = r#"
//!     DATABASE_POOL_SIZE = 5
//!     JWT_SECRET = { secret = "jwt-secret" }
//! "#;
//! let settings: Settings = toml::from_str(text)?;
//! let resolved = resolve(&schema, &[settings.layer(Path::new("hosts/local.toml"), text)])?;
//! assert_eq!(resolved.environment()["DATABASE_POOL_SIZE"], "5");
//! assert_eq!(resolved.secrets()["JWT_SECRET"], "jwt-secret");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod check;
mod documentation;
mod fault;
mod kind;
mod layer;
mod problem;
mod read;
mod resolve;
mod schema;
mod shape;
mod template;

pub use documentation::documentation;
pub use fault::{ConfigError, Fault, Faults, Place};
pub use kind::{Kind, Limits};
pub use layer::{Given, Layer, Settings};
pub use problem::Problem;
pub use resolve::{Entry, Resolved, State, resolve};
pub use schema::{Absent, Schema, Variable};
pub use template::template;
