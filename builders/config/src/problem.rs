//! The kinds of faults, as the end of a sentence that begins with the variable, and their remedies.
//! None of them holds a value: it may be a secret, and a fault knows whether to show it.

use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Problem {
    // Of a value.
    #[error("is not {wanted}")]
    Shape { wanted: &'static str, remedy: &'static str },
    #[error("is not one of {}", choices.join(", "))]
    Choice { choices: Vec<String>, near: Option<String> },
    #[error("is out of range")]
    Range { allowed: String },
    #[error("is too short")]
    Short { least: usize },
    #[error("does not match its pattern")]
    Pattern { pattern: String },
    #[error("is required and empty")]
    Empty,
    #[error("holds a control character, which an environment does not take")]
    Control,
    #[error("is a list, and the variable is of type {kind}")]
    List { kind: &'static str },
    #[error("has an item that is empty, holds a comma or has blanks around it")]
    Item,
    // Of where a value stands.
    #[error("is not a variable of this image")]
    Unknown { schema: PathBuf, near: Option<String> },
    #[error("is required and has no value")]
    Missing { variable: String, example: Option<String> },
    #[error("is required and has no value")]
    MissingSecret { variable: String, secret: String },
    #[error("is a secret, and its value stands here in clear")]
    Clear { variable: String, secret: String },
    #[error("carries a password in clear")]
    Password { variable: String, secret: String },
    // The name is not shown: it may be the secret itself, put in the wrong place.
    #[error("refers to a secret by a name that no secret can have")]
    SecretName,
    // Of a schema.
    #[error("{message}")]
    Syntax { message: String, near: Option<String> },
    #[error("is not a variable's name")]
    Name,
    #[error("is blank, or more than one line")]
    Blank,
    #[error("means nothing for type {kind}")]
    Misplaced { kind: &'static str, takes: &'static str },
    #[error("is of type choice and has no choices")]
    NoChoices,
    #[error("is not {wanted}")]
    Bound { wanted: &'static str },
    #[error("is above the maximum, {max}")]
    Reversed { max: String },
    #[error("is not a pattern: {message}")]
    BadPattern { message: String },
    #[error("stands with `secret = true`")]
    SecretDefault,
    #[error("stands with a default, which makes the variable optional")]
    RequiredDefault,
}

impl Problem {
    /// Whether the value is one that no message may show.
    pub fn is_of_secrecy(&self) -> bool {
        matches!(self, Self::Clear { .. } | Self::Password { .. })
    }

    /// What to do about it.
    pub fn remedy(&self) -> Option<String> {
        let meant = |near: &Option<String>| near.as_ref().map(|near| format!("did you mean `{near}`?"));
        let refer = |variable: &str, secret: &str| {
            format!("run `deploy secrets set {secret}` and write `{variable} = {{ secret = \"{secret}\" }}`")
        };
        Some(match self {
            Self::Shape { remedy, .. } => (*remedy).to_owned(),
            Self::Choice { near, .. } | Self::Syntax { near, .. } => return meant(near),
            Self::Range { allowed } => format!("write a value {allowed}"),
            Self::Short { least } => format!("it takes at least {least} characters"),
            Self::Pattern { pattern } => format!("it must match `{pattern}`"),
            Self::Empty => "give it a value".into(),
            Self::Control => "write it on one line; what needs more, like a key, is a secret".into(),
            Self::List { .. } => "write one value as a string".into(),
            Self::Item => "an environment separates items by commas alone; write each as an item of its own".into(),
            Self::Unknown { schema, near } => {
                return meant(near).or_else(|| Some(format!("describe it in {}, or remove it here", schema.display())));
            }
            Self::Missing { variable, example } => {
                let example = example.as_ref().map(|example| format!(", as in `{variable} = {example:?}`"));
                format!("set it for the fleet, the host or the service{}", example.unwrap_or_default())
            }
            Self::MissingSecret { variable, secret } => refer(variable, secret),
            Self::Clear { variable, secret } | Self::Password { variable, secret } => {
                format!("the value is known now, so make a new one; then {}", refer(variable, secret))
            }
            Self::SecretName => {
                "use lower-case letters, digits, `-`, `_` and `.`, beginning with a letter or digit".into()
            }
            Self::Name => "use upper-case letters, digits and `_`, beginning with a letter".into(),
            Self::Blank => "write a few words on one line".into(),
            Self::Misplaced { takes, .. } => format!("it goes with {takes}; remove it"),
            Self::NoChoices => "add `choices = [\"…\", \"…\"]`".into(),
            Self::Bound { .. } => "write the number without quotation marks".into(),
            Self::Reversed { .. } => "exchange the two".into(),
            Self::BadPattern { .. } => "write a regular expression in single quotes, as in '^sk_[a-z]+$'".into(),
            Self::SecretDefault => {
                "remove it: a value in a file is no secret; `deploy secrets set` keeps secrets".into()
            }
            Self::RequiredDefault => "remove one of the two".into(),
        })
    }
}
