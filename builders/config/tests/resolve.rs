//! Values from layers: the last wins, secrets stay names, and every fault is told at once.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use cairn_config::{Given, Layer, Place, Problem, Schema, Settings, resolve};
use common::{layer, resolve_texts, schema};
use proptest::prelude::*;

const ENOUGH: &str = "PUBLIC_URL = \"https://a.b\"\nJWT_SECRET = { secret = \"jwt\" }\n";

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// All that is wrong with these values, the required ones being given.
fn faults(text: &str) -> String {
    resolve_texts(&[("fleet.toml", ENOUGH), ("host.toml", text)]).unwrap_err().to_string()
}

#[test]
fn later_layers_win_and_every_value_knows_its_place() {
    let resolved = resolve_texts(&[
        ("deploy.toml", "LOG_LEVEL = \"warning\"\nDATABASE_POOL_SIZE = 5\nFEATURE_REVIEWS = false\n"),
        ("hosts/local.toml", "PUBLIC_URL = \"https://a.b\"\nLOG_LEVEL = \"debug\"\n"),
        (
            "hosts/local.toml",
            "CORS_ORIGINS = [\"https://a.b\", \"https://c.d\"]\n  JWT_SECRET = { secret = \"jwt-2026\" }\n",
        ),
    ])
    .unwrap();
    let environment = map(&[
        ("CORS_ORIGINS", "https://a.b,https://c.d"),
        ("DATABASE_POOL_SIZE", "5"),
        ("FEATURE_REVIEWS", "false"),
        ("LOG_LEVEL", "debug"),
        ("PUBLIC_URL", "https://a.b"),
        ("SESSION_TTL", "12h"),
        ("SITE_NAME", "Spirit Tours"),
    ]);
    assert_eq!(resolved.environment(), environment);
    assert_eq!(resolved.secrets(), map(&[("JWT_SECRET", "jwt-2026")]));
    let shown: Vec<String> = resolved
        .entries()
        .iter()
        .map(|e| format!("{} {} {} {}", e.category, e.name, e.state, e.state.origin().unwrap_or_default()))
        .collect();
    assert_eq!(
        shown,
        [
            "application LOG_LEVEL debug hosts/local.toml:2:13",
            "application PUBLIC_URL https://a.b hosts/local.toml:1:14",
            "database DATABASE_POOL_SIZE 5 deploy.toml:2:22",
            "security JWT_SECRET secret:jwt-2026 hosts/local.toml:2:16",
            "payments STRIPE_KEY  ",
            "application CORS_ORIGINS https://a.b,https://c.d hosts/local.toml:1:16",
            "application SITE_NAME Spirit Tours default",
            "features FEATURE_REVIEWS false deploy.toml:3:19",
            "security SESSION_TTL 12h default",
        ]
    );
}

#[test]
fn every_fault_is_told_at_once() {
    let faults = resolve_texts(&[
        ("deploy.toml", "LOG_LEVEL = \"warn\"\nDATABASE_POOL_SIZE = 500\n"),
        (
            "hosts/local.toml",
            "\
LOG_LEVLE = \"hunter2\"
DATABASE_POOL_SIZE = 5.0
STRIPE_KEY = \"hunter2\"
CORS_ORIGINS = [\"https://a.b\", \"http://c.d\"]
SITE_NAME = [\"a\"]
FEATURE_REVIEWS = \"yes\"
SESSION_TTL = 5
",
        ),
    ])
    .unwrap_err();
    assert_eq!(
        faults.to_string(),
        "\
deploy.toml:1:13: LOG_LEVEL = \"warn\" is not one of debug, info, warning, error
deploy.toml:2:22: DATABASE_POOL_SIZE = \"500\" is out of range
  help: write a value from 1 to 100
hosts/local.toml:1:13: LOG_LEVLE is not a variable of this image
  help: did you mean `LOG_LEVEL`?
hosts/local.toml:2:22: DATABASE_POOL_SIZE = \"5.0\" is not a whole number
  help: write digits, as in 20
hosts/local.toml:3:14: STRIPE_KEY is a secret, and its value stands here in clear
  help: the value is known now, so make a new one; then run `deploy secrets set stripe-key` and write `STRIPE_KEY = { secret = \"stripe-key\" }`
hosts/local.toml:4:16: CORS_ORIGINS = \"https://a.b,http://c.d\" does not match its pattern
  help: it must match `^https://`
hosts/local.toml:5:13: SITE_NAME = \"a\" is a list, and the variable is of type string
  help: write one value as a string
hosts/local.toml:6:19: FEATURE_REVIEWS = \"yes\" is not a boolean
  help: write true or false
hosts/local.toml:7:15: SESSION_TTL = \"5\" is out of range
  help: write a value of at least 60 seconds
images/api/config.toml:9:1: PUBLIC_URL is required and has no value
  help: set it for the fleet, the host or the service, as in `PUBLIC_URL = \"https://api.spirittours.com\"`
images/api/config.toml:24:1: JWT_SECRET is required and has no value
  help: run `deploy secrets set jwt-secret` and write `JWT_SECRET = { secret = \"jwt-secret\" }`"
    );
}

#[test]
fn a_fault_in_a_covered_value_is_told() {
    let told = resolve_texts(&[("a.toml", "LOG_LEVEL = \"all\""), ("b.toml", "LOG_LEVEL = \"info\""), ("c", ENOUGH)])
        .unwrap_err();
    assert_eq!(told.iter().map(|fault| fault.place.to_string()).collect::<Vec<_>>(), ["a.toml:1:13"]);
}

#[test]
fn values_are_refused_with_what_would_do() {
    for (text, wanted) in [
        ("PUBLIC_URL = \"\"", "host.toml:1:14: PUBLIC_URL = \"\" is required and empty\n  help: give it a value"),
        (
            "PUBLIC_URL = \"https://me:hunter2@a.b\"",
            "host.toml:1:14: PUBLIC_URL carries a password in clear\n  help: the value is known now, so make a new one; then run `deploy secrets set public-url` and write `PUBLIC_URL = { secret = \"public-url\" }`",
        ),
        (
            "JWT_SECRET = { secret = \"Hunter2!\" }",
            "host.toml:1:14: JWT_SECRET refers to a secret by a name that no secret can have\n  help: use lower-case letters, digits, `-`, `_` and `.`, beginning with a letter or digit",
        ),
        (
            "SITE_NAME = \"two\\nlines\"",
            "host.toml:1:13: SITE_NAME = \"two\\nlines\" holds a control character, which an environment does not take\n  help: write it on one line; what needs more, like a key, is a secret",
        ),
        (
            "CORS_ORIGINS = [\"https://a.b,https://c.d\"]",
            "host.toml:1:16: CORS_ORIGINS = \"https://a.b,https://c.d\" has an item that is empty, holds a comma or has blanks around it\n  help: an environment separates items by commas alone; write each as an item of its own",
        ),
        (
            "COLOUR = \"red\"",
            "host.toml:1:10: COLOUR is not a variable of this image\n  help: describe it in images/api/config.toml, or remove it here",
        ),
    ] {
        assert_eq!(faults(text), wanted, "{text}");
    }
}

#[test]
fn what_could_be_a_secret_is_in_no_message() {
    for text in [
        "JWT_SECRET = \"hunter2\"",
        "JWT_SECRET = [\"hunter2\"]",
        "JWT_SECRTE = \"hunter2\"",
        "JWT_SECRET = { secret = \"hunter2/\" }",
        "SITE_NAME = [\"redis://:hunter2@cache\"]",
        "CORS_ORIGINS = [\"\", \"https://me:hunter2@a.b\"]",
        "DATABASE_POOL_SIZE = \"redis://:hunter2@cache\"",
    ] {
        let told = resolve_texts(&[("fleet.toml", ENOUGH), ("host.toml", text)]).unwrap_err();
        assert!(!format!("{told} {told:?}").contains("hunter2"), "{text}: {told}");
    }
}

#[test]
fn any_variable_may_be_given_as_a_secret() {
    let resolved = resolve_texts(&[("fleet.toml", ENOUGH), ("h", "PUBLIC_URL = { secret = \"url\" }")]).unwrap();
    assert_eq!(resolved.secrets(), map(&[("JWT_SECRET", "jwt"), ("PUBLIC_URL", "url")]));
    assert!(!resolved.environment().contains_key("PUBLIC_URL"));
}

#[test]
fn the_value_of_a_secret_is_checked_without_being_told() {
    let schema = schema();
    let jwt = schema.get("JWT_SECRET").unwrap();
    assert_eq!(jwt.check("hunter2"), Err(Problem::Short { least: 32 }));
    assert_eq!(jwt.check(&"k".repeat(32)), Ok(()));
    assert_eq!(jwt.check(&"line\n".repeat(10)), Ok(()), "a key has many lines");
    let stripe = schema.get("STRIPE_KEY").unwrap();
    assert!(matches!(stripe.check("pk_live_1"), Err(Problem::Pattern { .. })));
    assert_eq!(stripe.check("sk_live_1"), Ok(()));
}

#[test]
fn a_program_may_add_values_without_a_position() {
    let mut added = Layer::default();
    let place = Place { file: "hosts/local.toml".into(), position: None };
    added.set("SITE_NAME", Given::Text("Tours".into()), place);
    let resolved = resolve(&schema(), &[layer("fleet.toml", ENOUGH), added]).unwrap();
    let site = resolved.entries().iter().find(|entry| entry.name == "SITE_NAME").unwrap();
    assert_eq!(site.state.to_string(), "Tours");
    assert_eq!(site.state.origin().unwrap(), "hosts/local.toml");
}

#[test]
fn settings_within_a_definition_know_their_places() {
    #[derive(serde::Deserialize)]
    struct Host {
        services: BTreeMap<String, Service>,
    }
    #[derive(serde::Deserialize)]
    struct Service {
        #[serde(default)]
        config: Settings,
    }
    let text = "[services.proxy]\n\n[services.api.config]\n# é\nSITE_NAME = 'Tours'\nLOG_LEVEL = 3\n";
    let document = toml::Deserializer::parse(text).unwrap();
    let host: Host = serde_path_to_error::deserialize(document).unwrap();
    assert!(host.services["proxy"].config.is_empty());
    let api = host.services["api"].config.layer(Path::new("hosts/local.toml"), text);
    let told = resolve(&schema(), &[layer("fleet.toml", ENOUGH), api]).unwrap_err().to_string();
    let wanted = "hosts/local.toml:6:13: LOG_LEVEL = \"3\" is not one of debug, info, warning, error";
    assert_eq!(told, wanted);
}

#[test]
fn values_of_other_toml_types_are_not_taken() {
    for text in ["V = { secert = \"a\" }", "V = { secret = \"a\", more = 1 }", "V = {}", "V = [1]", "V = 2026-11-25"] {
        assert!(toml::from_str::<Settings>(text).is_err(), "{text}");
    }
}

/// `V` of a type, given as TOML, as the environment has it.
fn through(kind: &str, value: &str) -> Option<String> {
    let schema = format!("[V]\ncategory = \"c\"\nhelp = \"h\"\ntype = \"{kind}\"\n");
    let schema = Schema::parse(Path::new("config.toml"), &schema).unwrap();
    let resolved = resolve(&schema, &[layer("host.toml", &format!("V = {value}"))]).ok()?;
    resolved.environment().remove("V")
}

fn accepted(kind: &str, text: &str) -> bool {
    through(kind, &toml::Value::from(text).to_string()).is_some()
}

proptest! {
    #[test]
    fn numbers_and_booleans_come_through_as_they_were(integer: i64, port in 1u16.., boolean: bool) {
        prop_assert_eq!(through("integer", &integer.to_string()), Some(integer.to_string()));
        prop_assert_eq!(through("port", &port.to_string()), Some(port.to_string()));
        prop_assert_eq!(through("boolean", &boolean.to_string()), Some(boolean.to_string()));
    }

    #[test]
    fn items_of_a_list_are_found_by_splitting_at_commas(items in prop::collection::vec("[a-z ,é]{0,3}", 1..4)) {
        let value = toml::Value::from(items.clone()).to_string();
        if let Some(text) = through("list", &value) {
            prop_assert_eq!(text.split(',').collect::<Vec<_>>(), items);
        } else {
            prop_assert!(items.iter().any(|item| item.is_empty() || item.contains(',') || item.trim() != item));
        }
    }

    #[test]
    fn accepted_text_is_what_a_program_would_print(text in "[+-]?[0-9]{1,6}|true|false|True|\\PC{0,4}") {
        if accepted("integer", &text) {
            prop_assert_eq!(text.parse::<i64>().unwrap().to_string(), &*text);
        }
        if accepted("port", &text) {
            prop_assert_eq!(text.parse::<u16>().unwrap().to_string(), &*text);
        }
        if accepted("boolean", &text) {
            prop_assert_eq!(text.parse::<bool>().unwrap().to_string(), &*text);
        }
    }
}
