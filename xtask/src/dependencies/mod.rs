//! The crates of others that our programs are made of: what they may be, and what they ask for.
//!
//! `graph` reads which crates there are, from cargo; `rules` reads `deny.toml`; `audit` compares the
//! two; `notices` writes the licence texts that each program carries.

mod audit;
mod graph;
mod notices;
mod rules;

pub use audit::run as audit;
pub use notices::run as notices;
