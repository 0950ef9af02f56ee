//! A schema's TOML into [`Schema`]. The shape is serde's work and its first fault ends it; what the
//! keys mean together is checked here, and all of that is reported at once.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;
use std::path::Path;

use cairn_formats::report::{self, meant};
use regex_lite::Regex;
use serde::Deserialize;
use toml::Spanned;

use crate::schema::{Absent, Schema, Variable};
use crate::{Fault, Faults, Kind, Limits, Place, Problem, shape};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table that describes a variable")]
struct Raw {
    category: Spanned<String>,
    #[serde(rename = "type")]
    word: Word,
    help: Spanned<String>,
    #[serde(default)]
    secret: bool,
    required: Option<Spanned<bool>>,
    default: Option<Spanned<String>>,
    example: Option<Spanned<String>>,
    pattern: Option<Spanned<String>>,
    min: Option<Spanned<toml::Value>>,
    max: Option<Spanned<toml::Value>>,
    min_length: Option<Spanned<usize>>,
    choices: Option<Spanned<Vec<String>>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Word {
    String,
    Integer,
    Number,
    Boolean,
    Url,
    Email,
    Host,
    Port,
    Duration,
    List,
    Choice,
}

pub fn schema(file: &Path, text: &str) -> Result<Schema, Faults> {
    let mut raw: Vec<_> = tables(file, text)?.into_iter().collect();
    raw.sort_by_key(|(_, table)| table.span().start);
    let mut faults = Vec::new();
    let mut variables = Vec::new();
    for (name, table) in raw {
        let reader = Reader { file, text, name: &name, table: table.span(), faults: &mut faults };
        variables.push(reader.variable(table.into_inner()));
    }
    faults.sort_by(|a, b| a.place.cmp(&b.place));
    Faults::none(faults)?;
    Ok(Schema { file: file.to_owned(), variables })
}

fn tables(file: &Path, text: &str) -> Result<BTreeMap<String, Spanned<Raw>>, Faults> {
    let fault = |error: &toml::de::Error, key: Option<String>| {
        let message = error.message().trim_end();
        let near = meant(message).map(str::to_owned);
        let message = key.map_or_else(|| message.to_owned(), |key| format!("{key}: {message}"));
        let offset = error.span().map_or(0, |span| span.start);
        let problem = Problem::Syntax { message, near };
        Faults::one(Fault { place: Place::at(file, text, offset), subject: String::new(), value: None, problem })
    };
    let document = toml::Deserializer::parse(text).map_err(|error| fault(&error, None))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let key = report::key(&error.path().to_string());
        fault(&error.into_inner(), key)
    })
}

/// Reads one table and notes what is wrong with it. A variable with faults is made all the same;
/// nobody sees it.
struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
    name: &'a str,
    table: Range<usize>,
    faults: &'a mut Vec<Fault>,
}

impl Reader<'_> {
    fn variable(mut self, raw: Raw) -> Variable {
        if !shape::is_variable(self.name) {
            let table = self.table.clone();
            self.fault(table, None, None, Problem::Name);
        }
        for (key, text) in [("category", &raw.category), ("help", &raw.help)] {
            if text.get_ref().trim().is_empty() || text.get_ref().contains(char::is_control) {
                self.fault(text.span(), Some(key), None, Problem::Blank);
            }
        }
        self.misplaced(&raw);
        let before = self.faults.len();
        let kind = self.kind(&raw);
        let sound = self.faults.len() == before;
        let variable = Variable {
            name: self.name.to_owned(),
            category: raw.category.get_ref().clone(),
            help: raw.help.get_ref().clone(),
            kind,
            pattern: self.pattern(&raw),
            example: raw.example.as_ref().map(|example| example.get_ref().clone()),
            secret: raw.secret,
            absent: self.absent(&raw),
            place: self.place(&self.table),
        };
        // Against choices or limits that are wrong themselves, a sample says nothing.
        if sound {
            self.samples(&variable, &raw);
        }
        variable
    }

    fn place(&self, span: &Range<usize>) -> Place {
        Place::at(self.file, self.text, span.start)
    }

    fn fault(&mut self, span: Range<usize>, key: Option<&str>, value: Option<String>, problem: Problem) {
        let subject = key.map_or_else(|| self.name.to_owned(), |key| format!("{}.{key}", self.name));
        self.faults.push(Fault { place: self.place(&span), subject, value, problem });
    }

    /// Keys that mean nothing for the type.
    fn misplaced(&mut self, raw: &Raw) {
        use Word::{Choice, Duration, Email, Host, Integer, List, Number, Port, String, Url};
        let keys: [(_, Option<Range<usize>>, &[Word], _); 5] = [
            ("min", span(&raw.min), &[Integer, Number, Port, Duration], "integer, number, port and duration"),
            ("max", span(&raw.max), &[Integer, Number, Port, Duration], "integer, number, port and duration"),
            ("min_length", span(&raw.min_length), &[String], "string"),
            ("choices", span(&raw.choices), &[Choice], "choice"),
            ("pattern", span(&raw.pattern), &[String, Url, Email, Host, List], "string, url, email, host and list"),
        ];
        let kind = Kind::of(raw.word).word();
        for (key, span, words, takes) in keys {
            if let Some(span) = span.filter(|_| !words.contains(&raw.word)) {
                self.fault(span, Some(key), None, Problem::Misplaced { kind, takes });
            }
        }
    }

    fn kind(&mut self, raw: &Raw) -> Kind {
        match Kind::of(raw.word) {
            Kind::String { .. } => Kind::String { min_length: raw.min_length.as_ref().map(|least| *least.get_ref()) },
            Kind::Integer(_) => Kind::Integer(self.limits(raw)),
            Kind::Port(_) => Kind::Port(self.limits(raw)),
            Kind::Duration(_) => Kind::Duration(self.limits(raw)),
            Kind::Number(_) => Kind::Number(self.limits(raw)),
            Kind::Choice(_) => {
                let choices = raw.choices.as_ref().map(|choices| choices.get_ref().clone()).unwrap_or_default();
                if choices.is_empty() {
                    let span = span(&raw.choices).unwrap_or(self.table.clone());
                    self.fault(span, None, None, Problem::NoChoices);
                }
                Kind::Choice(choices)
            }
            plain => plain,
        }
    }

    fn limits<T: Bound>(&mut self, raw: &Raw) -> Limits<T> {
        let limits: Limits<T> = Limits { min: self.bound("min", &raw.min), max: self.bound("max", &raw.max) };
        if let (Some(min), Some(max), Some(span)) = (limits.min, limits.max, span(&raw.min))
            && min > max
        {
            self.fault(span, Some("min"), Some(min.to_string()), Problem::Reversed { max: max.to_string() });
        }
        limits
    }

    fn bound<T: Bound>(&mut self, key: &str, value: &Option<Spanned<toml::Value>>) -> Option<T> {
        let value = value.as_ref()?;
        let bound = T::from_toml(value.get_ref());
        if bound.is_none() {
            self.fault(value.span(), Some(key), None, Problem::Bound { wanted: T::WANTED });
        }
        bound
    }

    fn pattern(&mut self, raw: &Raw) -> Option<Regex> {
        let pattern = raw.pattern.as_ref()?;
        let read = Regex::new(pattern.get_ref());
        if let Err(error) = &read {
            let value = Some(pattern.get_ref().clone());
            self.fault(pattern.span(), Some("pattern"), value, Problem::BadPattern { message: error.to_string() });
        }
        read.ok()
    }

    fn absent(&mut self, raw: &Raw) -> Absent {
        let required = raw.required.as_ref().filter(|required| *required.get_ref());
        match (&raw.default, required) {
            (Some(default), _) if raw.secret => {
                self.fault(default.span(), Some("default"), None, Problem::SecretDefault);
                Absent::Unset
            }
            (Some(_), Some(required)) => {
                self.fault(required.span(), Some("required"), None, Problem::RequiredDefault);
                Absent::Unset
            }
            (Some(default), None) => Absent::Default(default.get_ref().clone()),
            (None, Some(_)) => Absent::Refused,
            (None, None) => Absent::Unset,
        }
    }

    /// The default and the example must be what they say that values are. An example of a secret
    /// shows its form, so it may stand in clear.
    fn samples(&mut self, variable: &Variable, raw: &Raw) {
        for (key, sample) in [("default", &raw.default), ("example", &raw.example)] {
            let Some(sample) = sample else { continue };
            let text = sample.get_ref();
            let checked = match (variable.secret, key) {
                (true, "default") => continue,
                (true, _) => variable.check(text),
                (false, _) => variable.check_in_clear(text),
            };
            if let Err(problem) = checked {
                let shown = !variable.secret && !problem.is_of_secrecy();
                self.fault(sample.span(), Some(key), shown.then(|| text.clone()), problem);
            }
        }
    }
}

fn span<T>(value: &Option<Spanned<T>>) -> Option<Range<usize>> {
    value.as_ref().map(Spanned::span)
}

impl Kind {
    /// The type as its word alone says it.
    fn of(word: Word) -> Self {
        const fn open<T>() -> Limits<T> {
            Limits { min: None, max: None }
        }
        match word {
            Word::String => Self::String { min_length: None },
            Word::Integer => Self::Integer(open()),
            Word::Number => Self::Number(open()),
            Word::Boolean => Self::Boolean,
            Word::Url => Self::Url,
            Word::Email => Self::Email,
            Word::Host => Self::Host,
            Word::Port => Self::Port(open()),
            Word::Duration => Self::Duration(open()),
            Word::List => Self::List,
            Word::Choice => Self::Choice(Vec::new()),
        }
    }
}

/// A number that `min` and `max` can be.
trait Bound: Copy + PartialOrd + Display {
    const WANTED: &str;
    fn from_toml(value: &toml::Value) -> Option<Self>;
}

impl Bound for i64 {
    const WANTED: &str = "a whole number";
    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_integer()
    }
}

impl Bound for f64 {
    const WANTED: &str = "a number";
    fn from_toml(value: &toml::Value) -> Option<Self> {
        let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
        number.filter(|number| number.is_finite())
    }
}
