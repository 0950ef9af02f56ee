//! The schema as a file of environment variables to fill in.

use std::fmt::Write;

use crate::schema::{Absent, Schema, Variable};

const HEAD: &str = "\
# Every variable of this image, by category. A line without `#` needs a value; what stands behind
# `#` holds as it is. Secrets are kept apart: a definition names one as NAME = { secret = \"name\" }.
";

/// An environment file with a comment on every variable; the same schema gives the same bytes.
///
/// Defaults are commented out, variables that need a value are not, and a secret says how it is
/// set instead: its value goes into no file.
pub fn template(schema: &Schema) -> String {
    let mut out = HEAD.to_owned();
    for (category, variables) in schema.categories() {
        line(&mut out, format_args!("\n# ---- {category} ----"));
        for variable in variables {
            one(&mut out, variable);
        }
    }
    out
}

fn one(out: &mut String, variable: &Variable) {
    line(out, format_args!("\n# {}", variable.help));
    let need = if variable.absent == Absent::Refused { "required" } else { "optional" };
    let secret = if variable.secret { ", secret" } else { "" };
    line(out, format_args!("# {}; {need}{secret}", variable.describe()));
    if let Some(example) = &variable.example {
        line(out, format_args!("# example: {example}"));
    }
    let name = &variable.name;
    match &variable.absent {
        _ if variable.secret => {
            line(out, format_args!("# set with: deploy secrets set {}", variable.secret_name()));
            line(out, format_args!("# {name}="));
        }
        Absent::Default(text) => line(out, format_args!("# {name}={}", quoted(text))),
        Absent::Unset => line(out, format_args!("# {name}=")),
        Absent::Refused => line(out, format_args!("{name}=")),
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a String takes all that is written to it");
}

/// The value as systemd's `EnvironmentFile=` and a shell both read it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,=".contains(c);
    if text.chars().all(plain) {
        return text.to_owned();
    }
    if !text.contains('\'') {
        return format!("'{text}'");
    }
    let mut out = String::from('"');
    for c in text.chars() {
        if "\\\"$`".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_a_shell_would_change_is_quoted() {
        for (text, wanted) in [
            ("", ""),
            ("redis://cache:6379/0", "redis://cache:6379/0"),
            ("Spirit Tours", "'Spirit Tours'"),
            ("a#b", "'a#b'"),
            (r"\d+$", r"'\d+$'"),
            (r#"it's "$5""#, r#""it's \"\$5\"""#),
        ] {
            assert_eq!(quoted(text), wanted, "{text}");
            let script = format!("V={}\nprintf %s \"$V\"", quoted(text));
            let shell = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(shell.stdout).unwrap(), text, "as a shell reads it");
        }
    }
}
