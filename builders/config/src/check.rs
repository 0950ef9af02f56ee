//! Whether a text may be the value of a variable.

use cairn_formats::report::nearest;

use crate::schema::{Absent, Variable};
use crate::{Kind, Limits, Problem, shape};

impl Variable {
    /// Checks a value, of a secret too: neither the problem nor its text holds it.
    pub fn check(&self, text: &str) -> Result<(), Problem> {
        if self.absent == Absent::Refused && text.is_empty() {
            return Err(Problem::Empty);
        }
        // A secret is placed as a file, and a key in PEM has many lines.
        if !self.secret && text.contains(char::is_control) {
            return Err(Problem::Control);
        }
        self.kind.check(text)?;
        match &self.pattern {
            Some(pattern) if !self.parts(text).all(|part| pattern.is_match(part)) => {
                Err(Problem::Pattern { pattern: pattern.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// Checks a value that stands in a file.
    pub(crate) fn check_in_clear(&self, text: &str) -> Result<(), Problem> {
        let (variable, secret) = (self.name.clone(), self.secret_name());
        if self.secret {
            return Err(Problem::Clear { variable, secret });
        }
        if shape::has_password(text) {
            return Err(Problem::Password { variable, secret });
        }
        self.check(text)
    }

    /// Checks a list that stands in a file, item by item: a comma in one would make it two.
    pub(crate) fn check_items(&self, items: &[String]) -> Result<(), Problem> {
        let joined = items.join(",");
        let whole = self.check_in_clear(&joined);
        match self.kind {
            _ if whole.as_ref().is_err_and(Problem::is_of_secrecy) => whole,
            Kind::List if !items.iter().all(|item| shape::is_item(item)) => Err(Problem::Item),
            Kind::List => whole,
            _ => Err(Problem::List { kind: self.kind.word() }),
        }
    }

    /// What the pattern is about: the items of a list, else the whole.
    fn parts<'a>(&self, text: &'a str) -> Box<dyn Iterator<Item = &'a str> + 'a> {
        match self.kind {
            Kind::List => Box::new(text.split(',').filter(|_| !text.is_empty())),
            _ => Box::new(std::iter::once(text)),
        }
    }
}

impl Kind {
    fn check(&self, text: &str) -> Result<(), Problem> {
        let (right, wanted, remedy) = match self {
            Self::String { min_length } => {
                return match min_length {
                    Some(least) if text.chars().count() < *least => Err(Problem::Short { least: *least }),
                    _ => Ok(()),
                };
            }
            Self::Integer(limits) => {
                return within(shape::integer(text), limits, "", "a whole number", "write digits, as in 20");
            }
            Self::Number(limits) => {
                return within(shape::number(text), limits, "", "a number", "write digits, as in 20 or 0.5");
            }
            Self::Port(limits) => {
                return within(shape::port(text), limits, "", "a port", "write a number from 1 to 65535");
            }
            Self::Duration(limits) => {
                let remedy = "write a whole number and s, m, h or d, as in 30s, or plain seconds";
                return within(shape::seconds(text), limits, " seconds", "a duration", remedy);
            }
            Self::Choice(choices) => return choice(text, choices),
            Self::Boolean => (matches!(text, "true" | "false"), "a boolean", "write true or false"),
            Self::Url => {
                (shape::is_url(text), "a URL", "write it with scheme and host, as in https://spirittours.com/tours")
            }
            Self::Email => (shape::is_email(text), "an e-mail address", "write name@domain, and nothing around it"),
            Self::Host => (
                shape::is_host(text),
                "a host",
                "write a name, an IP address, or the absolute path of a folder with a UNIX socket",
            ),
            Self::List => {
                (shape::is_list(text), "a list", "write items separated by commas alone, without blanks around them")
            }
        };
        if right { Ok(()) } else { Err(Problem::Shape { wanted, remedy }) }
    }
}

fn within<T: PartialOrd + Copy + std::fmt::Display>(
    number: Option<T>,
    limits: &Limits<T>,
    unit: &str,
    wanted: &'static str,
    remedy: &'static str,
) -> Result<(), Problem> {
    let number = number.ok_or(Problem::Shape { wanted, remedy })?;
    match limits.say(unit) {
        Some(allowed) if !limits.hold(number) => Err(Problem::Range { allowed }),
        _ => Ok(()),
    }
}

fn choice(text: &str, choices: &[String]) -> Result<(), Problem> {
    if choices.iter().any(|choice| choice == text) {
        return Ok(());
    }
    let near = nearest(text, choices.iter().map(String::as_str)).map(str::to_owned);
    Err(Problem::Choice { choices: choices.to_vec(), near })
}
