//! The schema as a page of Markdown.

use crate::schema::{Absent, Schema, Variable};

/// A table for each category; the same schema gives the same bytes.
pub fn documentation(schema: &Schema) -> String {
    let category = |(category, variables): (&str, Vec<&Variable>)| {
        let rows: String = variables.into_iter().map(row).collect();
        format!("## {category}\n\n| Variable | Type | Default | Meaning |\n|---|---|---|---|\n{rows}")
    };
    schema.categories().into_iter().map(category).collect::<Vec<_>>().join("\n")
}

fn row(variable: &Variable) -> String {
    let default = match (&variable.absent, variable.secret) {
        (Absent::Refused, true) => "required secret".to_owned(),
        (Absent::Refused, false) => "required".to_owned(),
        (_, true) => "secret".to_owned(),
        (Absent::Default(text), false) => code(text),
        (Absent::Unset, false) => "none".to_owned(),
    };
    let example = variable.example.as_ref().map(|example| format!(" (for example {})", code(example)));
    let meaning = cell(&variable.help) + &example.unwrap_or_default();
    format!("| `{}` | {} | {default} | {meaning} |\n", variable.name, kind(variable))
}

fn kind(variable: &Variable) -> String {
    let pattern = variable.pattern.as_ref().map(|pattern| format!(" matching {}", code(&pattern.to_string())));
    cell(&variable.kind.describe()) + &pattern.unwrap_or_default()
}

/// A bar ends a cell, in code too.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Code between more backticks than stand together within it.
fn code(text: &str) -> String {
    if text.is_empty() {
        return "empty".to_owned();
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let blank = if longest > 0 { " " } else { "" };
    format!("{fence}{blank}{}{blank}{fence}", cell(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_keeps_bars_and_backticks_in_the_cell() {
        for (text, wanted) in [("20", "`20`"), ("", "empty"), ("a|b", r"`a\|b`"), ("a``b", "``` a``b ```")] {
            assert_eq!(code(text), wanted, "{text}");
        }
    }
}
