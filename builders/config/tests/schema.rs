//! A schema is checked when it is read: all that is wrong with it, where, and what to do.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use cairn_config::{Absent, ConfigError, Kind, Limits, Schema};

fn faults(text: &str) -> String {
    Schema::parse(Path::new("config.toml"), text).unwrap_err().to_string()
}

/// The message for one variable `V` with these keys.
fn fault(keys: &str) -> String {
    faults(&format!("[V]\ncategory = \"c\"\nhelp = \"h\"\n{keys}\n"))
}

#[test]
fn a_schema_says_types_limits_and_what_holds_without_a_value() {
    let schema = Schema::parse(
        Path::new("images/api/config.toml"),
        r#"
[WORKERS]
category = "application"
type = "integer"
default = "4"
min = 1
max = 64
help = "Worker processes"

[DATABASE_URL]
category = "database"
type = "url"
secret = true
required = true
pattern = '^postgresql'
help = "Where the database is"

[SESSION_TTL]
category = "application"
type = "duration"
min = 60
help = "How long a session lives"
"#,
    )
    .unwrap();
    let names: Vec<&str> = schema.variables().iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["WORKERS", "DATABASE_URL", "SESSION_TTL"], "in the order of the file");
    let workers = schema.get("WORKERS").unwrap();
    assert_eq!(workers.kind, Kind::Integer(Limits { min: Some(1), max: Some(64) }));
    assert_eq!(workers.absent, Absent::Default("4".into()));
    assert_eq!(workers.place.to_string(), "images/api/config.toml:2:1");
    let database = schema.get("DATABASE_URL").unwrap();
    assert!(database.secret);
    assert_eq!(database.absent, Absent::Refused);
    assert_eq!(database.secret_name(), "database-url");
    assert_eq!(database.describe(), "url matching ^postgresql");
    assert_eq!(schema.get("SESSION_TTL").unwrap().absent, Absent::Unset);
    let categories: Vec<_> = schema.categories().into_iter().map(|(name, of)| (name, of.len())).collect();
    assert_eq!(categories, [("application", 2), ("database", 1)]);
}

#[test]
fn each_fault_of_a_schema_has_its_place_and_remedy() {
    for (keys, wanted) in [
        (
            "type = \"integer\"\ndefault = \"many\"",
            "config.toml:5:11: V.default = \"many\" is not a whole number\n  help: write digits, as in 20",
        ),
        (
            "type = \"integer\"\nmin = 2\ndefault = \"1\"",
            "config.toml:6:11: V.default = \"1\" is out of range\n  help: write a value of at least 2",
        ),
        (
            "type = \"url\"\nexample = \"spirittours.com\"",
            "config.toml:5:11: V.example = \"spirittours.com\" is not a URL\n  help: write it with scheme and host, as in https://spirittours.com/tours",
        ),
        (
            "type = \"string\"\nchoices = [\"a\"]",
            "config.toml:5:11: V.choices means nothing for type string\n  help: it goes with choice; remove it",
        ),
        (
            "type = \"url\"\nmin = 1",
            "config.toml:5:7: V.min means nothing for type url\n  help: it goes with integer, number, port and duration; remove it",
        ),
        (
            "type = \"integer\"\npattern = '^1'",
            "config.toml:5:11: V.pattern means nothing for type integer\n  help: it goes with string, url, email, host and list; remove it",
        ),
        (
            "type = \"choice\"\ndefault = \"a\"",
            "config.toml:1:1: V is of type choice and has no choices\n  help: add `choices = [\"…\", \"…\"]`",
        ),
        (
            "type = \"port\"\nmin = 9\nmax = 5",
            "config.toml:5:7: V.min = \"9\" is above the maximum, 5\n  help: exchange the two",
        ),
        (
            "type = \"duration\"\nmax = \"1h\"",
            "config.toml:5:7: V.max is not a whole number\n  help: write the number without quotation marks",
        ),
        (
            "type = \"string\"\nsecret = true\ndefault = \"hunter2\"",
            "config.toml:6:11: V.default stands with `secret = true`\n  help: remove it: a value in a file is no secret; `deploy secrets set` keeps secrets",
        ),
        (
            "type = \"string\"\nrequired = true\ndefault = \"a\"",
            "config.toml:5:12: V.required stands with a default, which makes the variable optional\n  help: remove one of the two",
        ),
        (
            "type = \"url\"\ndefault = \"redis://:hunter2@cache\"",
            "config.toml:5:11: V.default carries a password in clear\n  help: the value is known now, so make a new one; then run `deploy secrets set v` and write `V = { secret = \"v\" }`",
        ),
        (
            "type = \"integre\"",
            "config.toml:4:8: V.type: unknown variant `integre`, expected one of `string`, `integer`, `number`, `boolean`, `url`, `email`, `host`, `port`, `duration`, `list`, `choice`\n  help: did you mean `integer`?",
        ),
        (
            "type = \"integer\"\ndefault = 20",
            "config.toml:5:11: V.default: invalid type: integer `20`, expected a string",
        ),
    ] {
        assert_eq!(fault(keys), wanted, "{keys}");
    }
    let pattern = fault("type = \"string\"\npattern = '('");
    assert!(pattern.starts_with("config.toml:5:11: V.pattern = \"(\" is not a pattern: "), "{pattern}");
    let key = fault("type = \"string\"\ndefualt = \"a\"");
    assert!(key.starts_with("config.toml:5:1: V.defualt: unknown field `defualt`, expected one of"), "{key}");
    assert!(key.ends_with("did you mean `default`?"), "{key}");
}

#[test]
fn names_tables_and_mandatory_keys() {
    let rest = "category = \"c\"\ntype = \"string\"\nhelp = \"h\"";
    assert_eq!(
        faults(&format!("[log_level]\n{rest}")),
        "config.toml:1:1: log_level is not a variable's name\n  help: use upper-case letters, digits and `_`, beginning with a letter"
    );
    assert_eq!(
        faults("V = 1"),
        "config.toml:1:5: V: invalid type: integer `1`, expected a table that describes a variable"
    );
    let missing = faults("[V]\ncategory = \"c\"\ntype = \"string\"");
    assert_eq!(missing, "config.toml:1:1: V: missing field `help`");
    assert!(faults("[V\n").starts_with("config.toml:1:"));
}

#[test]
fn all_faults_are_reported_at_once_in_the_order_of_the_file() {
    let text = "\
[A]
category = \" \"
type = \"integer\"
default = \"x\"
help = \"h\"
[B]
category = \"c\"
type = \"choice\"
choices = [\"on\", \"off\"]
default = \"of\"
help = \"\"\"
two
lines\"\"\"
";
    assert_eq!(
        faults(text),
        "\
config.toml:2:12: A.category is blank, or more than one line
  help: write a few words on one line
config.toml:4:11: A.default = \"x\" is not a whole number
  help: write digits, as in 20
config.toml:10:11: B.default = \"of\" is not one of on, off
  help: did you mean `off`?
config.toml:11:8: B.help is blank, or more than one line
  help: write a few words on one line"
    );
}

#[test]
fn a_schema_is_read_from_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    assert!(matches!(Schema::read(&file), Err(ConfigError::Read { .. })));
    std::fs::write(&file, "[V]\ncategory = \"c\"\ntype = \"string\"\nhelp = \"h\"\n").unwrap();
    assert_eq!(Schema::read(&file).unwrap().variables().len(), 1);
    std::fs::write(&file, "[V]\n").unwrap();
    let error = Schema::read(&file).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}:1:1: V: missing field", file.display())), "{error}");
}
