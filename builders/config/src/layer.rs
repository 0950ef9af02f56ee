//! Values as definitions give them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

use crate::Place;

/// A value: a TOML string, integer, float or boolean as the text that the environment will hold, a
/// list of strings, or `{ secret = "NAME" }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    Text(String),
    List(Vec<String>),
    /// The name of a secret.
    Secret(String),
}

/// A table of values in a definition: a field of a type that is read from TOML.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Settings(BTreeMap<String, Spanned<Given>>);

/// Values from one place: what the fleet, the host or the service says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer(pub(crate) Vec<(String, Given, Place)>);

impl Settings {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These values as a layer that knows their places; `text` is what they were read from, as a
    /// whole, and `file` where it lies.
    pub fn layer(&self, file: &Path, text: &str) -> Layer {
        let mut values: Vec<_> = self.0.iter().collect();
        values.sort_by_key(|(_, value)| value.span().start);
        let place = |value: &Spanned<Given>| Place::at(file, text, value.span().start);
        Layer(values.into_iter().map(|(name, value)| (name.clone(), value.get_ref().clone(), place(value))).collect())
    }
}

impl Layer {
    /// Adds a value; one of the same name that was there before loses.
    pub fn set(&mut self, name: impl Into<String>, value: Given, place: Place) {
        self.0.push((name.into(), value, place));
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GivenVisitor)
    }
}

struct GivenVisitor;

impl<'de> Visitor<'de> for GivenVisitor {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number, a boolean, a list of strings or { secret = \"NAME\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Given, E> {
        Ok(Given::Text(text.to_owned()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Given, E> {
        Ok(Given::Text(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Given, E> {
        // `{:?}` keeps the point of 1.0, so that it stays what was written.
        Ok(Given::Text(format!("{number:?}")))
    }

    fn visit_bool<E: de::Error>(self, boolean: bool) -> Result<Given, E> {
        Ok(Given::Text(boolean.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Given, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Given::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Given, A::Error> {
        let wrong = || de::Error::invalid_type(de::Unexpected::Map, &self);
        match table.next_key::<String>()?.as_deref() {
            Some("secret") => {}
            _ => return Err(wrong()),
        }
        let name = table.next_value()?;
        match table.next_key::<String>()? {
            Some(_) => Err(wrong()),
            None => Ok(Given::Secret(name)),
        }
    }
}
