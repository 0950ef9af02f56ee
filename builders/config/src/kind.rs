//! The types of variables, and how each is said to people.

use std::fmt::Display;

/// The type of a variable. Whatever it is, an environment holds text.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    String {
        /// In characters.
        min_length: Option<usize>,
    },
    /// Whole, of 64 bits, without leading zeros (which some programs read as octal).
    Integer(Limits<i64>),
    Number(Limits<f64>),
    /// `true` or `false`.
    Boolean,
    /// With a scheme and a host.
    Url,
    Email,
    /// A host's name, an IP address, or the absolute path of a folder with a UNIX socket.
    Host,
    Port(Limits<i64>),
    /// `30s`, `5m`, `1h`, `2d` or plain seconds; the limits are in seconds.
    Duration(Limits<i64>),
    /// Separated by commas alone.
    List,
    Choice(Vec<String>),
}

/// The least and the most that a number may be, both included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits<T> {
    pub min: Option<T>,
    pub max: Option<T>,
}

impl<T: PartialOrd + Copy + Display> Limits<T> {
    pub fn hold(&self, number: T) -> bool {
        self.min.is_none_or(|min| number >= min) && self.max.is_none_or(|max| number <= max)
    }

    /// `from 1 to 20`, `of at least 1`, `of at most 20`; nothing without limits.
    pub(crate) fn say(&self, unit: &str) -> Option<String> {
        Some(match (self.min, self.max) {
            (Some(min), Some(max)) => format!("from {min} to {max}{unit}"),
            (Some(min), None) => format!("of at least {min}{unit}"),
            (None, Some(max)) => format!("of at most {max}{unit}"),
            (None, None) => return None,
        })
    }
}

impl Kind {
    /// The word for it in a schema.
    pub fn word(&self) -> &'static str {
        match self {
            Self::String { .. } => "string",
            Self::Integer(_) => "integer",
            Self::Number(_) => "number",
            Self::Boolean => "boolean",
            Self::Url => "url",
            Self::Email => "email",
            Self::Host => "host",
            Self::Port(_) => "port",
            Self::Duration(_) => "duration",
            Self::List => "list",
            Self::Choice(_) => "choice",
        }
    }

    /// `integer from 1 to 20`, `string of at least 32 characters`, `choice of debug, info`.
    pub fn describe(&self) -> String {
        let more = match self {
            Self::String { min_length } => min_length.map(|least| format!("of at least {least} characters")),
            Self::Integer(limits) | Self::Port(limits) => limits.say(""),
            Self::Number(limits) => limits.say(""),
            Self::Duration(limits) => limits.say(" seconds"),
            Self::Choice(choices) => Some(format!("of {}", choices.join(", "))),
            Self::Boolean | Self::Url | Self::Email | Self::Host | Self::List => None,
        };
        more.map_or_else(|| self.word().to_owned(), |more| format!("{} {more}", self.word()))
    }
}
