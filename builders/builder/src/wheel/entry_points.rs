//! entry_points.txt: the commands that a wheel declares instead of shipping scripts.
//!
//! Read as `importlib.metadata` reads it: lines are stripped, `#` begins a comment line, and only
//! the sections `console_scripts` and `gui_scripts` make commands.

use std::collections::BTreeMap;

/// `name = module:object.attribute [extra]`
#[derive(Debug, PartialEq, Eq)]
pub struct EntryPoint {
    pub name: String,
    module: String,
    attribute: String,
}

pub fn parse(bytes: &[u8]) -> Result<Vec<EntryPoint>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    let mut points: BTreeMap<String, EntryPoint> = BTreeMap::new();
    let mut makes_commands = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            makes_commands = matches!(section, "console_scripts" | "gui_scripts");
        } else if makes_commands && !line.is_empty() && !line.starts_with(['#', ';']) {
            let point = EntryPoint::parse(line)
                .ok_or_else(|| format!("has on line {} no command of the form `name = module:object`", number + 1))?;
            if let Some(twice) = points.insert(point.name.clone(), point) {
                return Err(format!("declares the command `{}` twice", twice.name));
            }
        }
    }
    Ok(points.into_values().collect())
}

impl EntryPoint {
    fn parse(line: &str) -> Option<Self> {
        let (name, value) = line.split_once('=')?;
        let value = value.split_once('[').map_or(value, |(value, _extras)| value);
        let (module, attribute) = value.split_once(':')?;
        let (name, module, attribute) = (name.trim(), module.trim(), attribute.trim());
        let name_is_a_file = !name.is_empty() && !name.starts_with(['.', '-']) && !name.contains(['/', '\0']);
        (name_is_a_file && is_dotted_name(module) && is_dotted_name(attribute)).then(|| Self {
            name: name.to_owned(),
            module: module.to_owned(),
            attribute: attribute.to_owned(),
        })
    }

    /// The program that calls it. Its parts were checked to be names, so nothing is smuggled in.
    pub fn script(&self, interpreter: &str) -> String {
        let Self { module, attribute, .. } = self;
        let imported = attribute.split('.').next().unwrap_or(attribute);
        format!(
            "#!{interpreter}\nimport sys\nfrom {module} import {imported}\n\n\
             if __name__ == \"__main__\":\n    sys.exit({attribute}())\n"
        )
    }

    /// Old tools packed their own launchers into the wheel as well; pip leaves them out, too.
    pub fn makes_superfluous(&self, script: &[u8]) -> bool {
        let rest = script.strip_prefix(self.name.as_bytes());
        rest.is_some_and(|rest| matches!(rest, b"" | b".exe" | b"-script.py" | b"-script.pyw"))
    }
}

fn is_dotted_name(text: &str) -> bool {
    text.split('.').all(|part| {
        part.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn commands_are_read_and_sorted() {
        let text = b"\n  [console_scripts]\n  # a comment\n  run = a.b:main.go [extra]\n  alt=a:_x\n[other]\nz = y\n[gui_scripts]\ng = g:g\n";
        let points = parse(text).unwrap();
        let seen: Vec<_> = points.iter().map(|p| (&*p.name, &*p.module, &*p.attribute)).collect();
        assert_eq!(seen, [("alt", "a", "_x"), ("g", "g", "g"), ("run", "a.b", "main.go")]);
        let script = points[2].script("/usr/bin/python3.11");
        assert!(script.starts_with("#!/usr/bin/python3.11\n") && script.contains("from a.b import main\n"));
        assert!(script.ends_with("sys.exit(main.go())\n"));
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for line in ["run", "run = a", "run = a:", "run = a:b; import os", "../run = a:b", "run = a b:c", "= a:b"] {
            let error = parse(format!("[console_scripts]\n{line}\n").as_bytes()).unwrap_err();
            assert!(error.contains("line 2"), "{line}: {error}");
        }
        assert!(parse(b"[console_scripts]\na = b:c\na = b:d\n").unwrap_err().contains("`a` twice"));
    }

    #[test]
    fn launchers_of_old_tools() {
        let point = EntryPoint::parse("run = a:b").unwrap();
        for (script, expected) in [("run", true), ("run.exe", true), ("run-script.py", true), ("runner", false)] {
            assert_eq!(point.makes_superfluous(script.as_bytes()), expected, "{script}");
        }
    }
}
