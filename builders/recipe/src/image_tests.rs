#![allow(clippy::unwrap_used)]
use super::*;

const GOOD: &str = r#"
[debian]
suites = ["bookworm", "bookworm-security"]
packages = ["python3.11", "ca-certificates"]
[python]
interpreter = "python3.11"
requirements = ["fastapi==0.109.0"]
[[files]]
source = "app"
target = "/app"
compile = true
[users.app]
uid = 10001
[image]
user = "app"
[image.health]
command = ["/bin/true"]
interval = "10s"
"#;

fn parse(text: &str) -> Result<ImageDefinition, DefinitionError> {
    ImageDefinition::parse(Path::new("images/x/image.toml"), text)
}

#[test]
fn defaults_are_filled_in() {
    let image = parse(GOOD).unwrap();
    assert_eq!(image.platforms, Platform::ALL);
    assert_eq!(image.user("app"), Some((10001, 10001)));
    assert_eq!(image.python.as_ref().unwrap().program(), "/usr/bin/python3.11");
    let health = image.image.health.unwrap();
    assert_eq!((health.interval.as_secs(), health.timeout.as_secs(), health.retries), (10, 3, 3));
}

#[test]
fn the_lock_hash_follows_content_not_order() {
    let hash = |text: &str| parse(text).unwrap().lock_hash();
    let swapped = GOOD.replace(r#""python3.11", "ca-certificates""#, r#""ca-certificates", "python3.11""#);
    assert_eq!(hash(GOOD), hash(&swapped));
    assert_eq!(hash(GOOD), hash(&GOOD.replace("10001", "10002")));
    assert_ne!(hash(GOOD), hash(&GOOD.replace("0.109.0", "0.110.0")));
    assert_ne!(hash(GOOD), hash(&GOOD.replace("bookworm-security", "bookworm-updates")));
}

#[test]
fn a_test_of_the_configuration_is_an_absolute_command_with_a_time_limit() {
    let verify = |keys: &str| parse(&format!("{GOOD}\n[image.verify]\n{keys}\n"));
    let image = verify("command = [\"/usr/sbin/nginx\", \"-t\"]").unwrap().image;
    assert_eq!(image.verify.unwrap().timeout.as_secs(), 60);
    for (keys, wanted) in [
        ("command = [\"nginx\"]", "image.verify.command: `nginx` is not an absolute path"),
        ("command = []", "image.verify.command: `` is not an absolute path"),
        ("command = [\"/x\"]\ntimeout = \"0s\"", "image.verify.timeout: 0ns is not a time limit"),
        ("command = [\"/x\"]\ntimeout = \"1h\"", "image.verify.timeout: 3600s is not a time limit"),
        ("command = [\"/x\"]\ntime = \"1m\"", "unknown field `time`"),
    ] {
        let error = verify(keys).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}\nwanted: {wanted}");
    }
}

#[test]
fn each_fault_is_named_with_its_remedy() {
    for (from, to, wanted) in [
        ("user = \"app\"", "user = \"ap\"", "image.user: there is no user `ap`\n  help: did you mean `app`?"),
        ("\"/app\"", "\"app\"", "files[0].target: `app` is not an absolute path"),
        ("\"/app\"", "\"/a/../b\"", "files[0].target: `/a/../b` is not an absolute path"),
        ("source = \"app\"", "source = \"../x\"", "files[0].source: `../x` leads out"),
        ("uid = 10001", "uid = 0", "users.app.uid: 0 is the id of user `root`"),
        ("interpreter = \"python3.11\"", "interpreter = \"python3\"", "not a versioned interpreter"),
        ("interpreter = \"python3.11\"", "interpreter = \"python3.12\"", "is not among debian.packages"),
        ("[users.app]", "[users.APP]", "`APP` cannot be declared"),
        ("uid = 10001", "uidd = 10001", "unknown field `uidd`"),
        ("interval = \"10s\"", "interval = \"10\"", "`10` is not a duration"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let error = parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}\nwanted: {wanted}");
        assert!(error.starts_with("images/x/image.toml:"), "{error}");
    }
}
