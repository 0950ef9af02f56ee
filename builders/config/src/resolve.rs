//! From layers of values to one environment, or to everything that is wrong with them.

use std::collections::BTreeMap;
use std::fmt;

use cairn_formats::report::nearest;

use crate::schema::{Absent, Schema, Variable};
use crate::{Fault, Faults, Given, Layer, Place, Problem, shape};

/// Every variable of a schema and what it is here, in the order of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    entries: Vec<Entry>,
}

/// One variable and what it is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub category: String,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Neither set nor required: the environment is without it.
    Unset,
    Default(String),
    Set {
        text: String,
        place: Place,
    },
    /// Set to the secret of that name.
    Secret {
        name: String,
        place: Place,
    },
}

/// Puts the layers over the schema's defaults, the last one on top.
///
/// Each value is checked, one that a later layer covers too: it would come to light at the worst
/// time. A variable that is not declared secret may be given as one; it is then kept as a secret is.
pub fn resolve(schema: &Schema, layers: &[Layer]) -> Result<Resolved, Faults> {
    let mut faults = Vec::new();
    let mut set: BTreeMap<&str, State> = BTreeMap::new();
    for (name, given, place) in layers.iter().flat_map(|layer| &layer.0) {
        let state = accept(schema, name, given, place).unwrap_or_else(|Refused { value, problem }| {
            faults.push(Fault { place: place.clone(), subject: name.clone(), value, problem });
            State::Unset
        });
        set.insert(name, state);
    }
    let mut entries = Vec::new();
    for variable in &schema.variables {
        let state = match (set.remove(variable.name.as_str()), &variable.absent) {
            (Some(state), _) => state,
            (None, Absent::Default(text)) => State::Default(text.clone()),
            (None, Absent::Unset) => State::Unset,
            (None, Absent::Refused) => {
                faults.push(missing(variable));
                State::Unset
            }
        };
        entries.push(Entry { name: variable.name.clone(), category: variable.category.clone(), state });
    }
    Faults::none(faults)?;
    Ok(Resolved { entries })
}

/// Why a value is not taken, and the value where it may be shown.
struct Refused {
    value: Option<String>,
    problem: Problem,
}

fn accept(schema: &Schema, name: &str, given: &Given, place: &Place) -> Result<State, Refused> {
    let hidden = |problem| Err(Refused { value: None, problem });
    let Some(variable) = schema.get(name) else {
        // The value is not shown: the variable may be a secret whose name is mistyped.
        let near = nearest(name, schema.variables.iter().map(|v| v.name.as_str())).map(str::to_owned);
        return hidden(Problem::Unknown { schema: schema.file.clone(), near });
    };
    let place = place.clone();
    let (text, checked) = match given {
        Given::Secret(secret) if shape::is_secret_name(secret) => {
            return Ok(State::Secret { name: secret.clone(), place });
        }
        Given::Secret(_) => return hidden(Problem::SecretName),
        Given::Text(text) => (text.clone(), variable.check_in_clear(text)),
        Given::List(items) => (items.join(","), variable.check_items(items)),
    };
    match checked {
        Ok(()) => Ok(State::Set { text, place }),
        Err(problem) if problem.is_of_secrecy() => hidden(problem),
        Err(problem) => Err(Refused { value: Some(text), problem }),
    }
}

fn missing(variable: &Variable) -> Fault {
    let name = variable.name.clone();
    let problem = if variable.secret {
        Problem::MissingSecret { variable: name, secret: variable.secret_name() }
    } else {
        Problem::Missing { variable: name, example: variable.example.clone() }
    };
    Fault { place: variable.place.clone(), subject: variable.name.clone(), value: None, problem }
}

impl Resolved {
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The environment in clear: variable to text.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let text = |entry: &Entry| match &entry.state {
            State::Default(text) | State::Set { text, .. } => Some((entry.name.clone(), text.clone())),
            State::Unset | State::Secret { .. } => None,
        };
        self.entries.iter().filter_map(text).collect()
    }

    /// What is placed as secrets: variable to the secret's name.
    pub fn secrets(&self) -> BTreeMap<String, String> {
        let secret = |entry: &Entry| match &entry.state {
            State::Secret { name, .. } => Some((entry.name.clone(), name.clone())),
            State::Unset | State::Default(_) | State::Set { .. } => None,
        };
        self.entries.iter().filter_map(secret).collect()
    }
}

impl State {
    /// Whether a definition says it, rather than the schema or nobody.
    pub fn is_set(&self) -> bool {
        !matches!(self, Self::Unset | Self::Default(_))
    }

    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Secret { .. })
    }

    /// Where it comes from: `hosts/local.toml:12:5`, `default`; nothing for what is not set.
    pub fn origin(&self) -> Option<String> {
        match self {
            Self::Unset => None,
            Self::Default(_) => Some("default".to_owned()),
            Self::Set { place, .. } | Self::Secret { place, .. } => Some(place.to_string()),
        }
    }
}

/// The text, `secret:NAME`, or nothing.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => Ok(()),
            Self::Default(text) | Self::Set { text, .. } => f.write_str(text),
            Self::Secret { name, .. } => write!(f, "secret:{name}"),
        }
    }
}
