#![allow(clippy::unwrap_used)]
use std::process::Command;

use super::*;
use crate::HostPattern;

fn key() -> Recipient {
    Recipient::parse(&age::x25519::Identity::generate().to_public().to_string()).unwrap()
}

fn index(operators: &[(&str, &Recipient)], hosts: &[(&str, &Recipient)], secrets: &[(&str, &str)]) -> Index {
    let named =
        |list: &[(&str, &Recipient)]| list.iter().map(|(name, key)| ((*name).to_owned(), (*key).clone())).collect();
    let entry =
        |pattern: &str| crate::Entry { hosts: vec![HostPattern::parse(pattern).unwrap()], ..crate::Entry::default() };
    Index {
        vault: None,
        operators: named(operators),
        hosts: named(hosts),
        secrets: secrets.iter().map(|(name, hosts)| (SecretName::parse(name).unwrap(), entry(hosts))).collect(),
    }
}

fn sealings(index: &Index) -> Vec<Sealing<'_>> {
    index.secrets.iter().map(|(name, entry)| Sealing { name, readers: index.readers(entry) }).collect()
}

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("project")).unwrap();
        Self { dir }
    }

    fn open(&self) -> Accepted {
        Accepted::open(&self.dir.path().join("state"), &self.dir.path().join("project")).unwrap()
    }

    fn new_of(&self, index: &Index) -> Vec<String> {
        self.open().new_readers(&sealings(index), &[]).iter().map(ToString::to_string).collect()
    }
}

#[test]
fn the_first_use_takes_the_readers_as_they_are_and_later_ones_are_new() {
    let (bench, alice, eve, web, mail) = (Bench::new(), key(), key(), key(), key());
    let secrets = [("jwt", "web"), ("smtp", "mail")];
    let first = index(&[("alice", &alice)], &[("web", &web), ("mail", &mail)], &secrets);
    assert!(bench.open().is_first_use());
    assert_eq!(bench.new_of(&first), Vec::<String>::new());
    bench.open().accept(&first, &sealings(&first)[..1]).unwrap();
    assert!(!bench.open().is_first_use());
    // All of the index was taken, not only what was encrypted.
    assert_eq!(bench.new_of(&first), Vec::<String>::new());

    let more = index(&[("alice", &alice), ("eve", &eve)], &[("web", &web), ("mail", &mail)], &secrets);
    assert_eq!(bench.new_of(&more), [format!("eve (operator) {eve}")]);
    let own = bench.open().new_readers(&sealings(&more), std::slice::from_ref(&eve));
    assert_eq!(own, []);
    // Nothing was taken by asking, and a name is not a key.
    let renamed = index(&[("alice", &eve)], &[], &secrets);
    assert_eq!(bench.new_of(&renamed), [format!("alice (operator) {eve}")]);
    // A host's key among the operators reads everything.
    let raised = index(&[("alice", &alice), ("x", &mail)], &[("web", &web)], &secrets);
    assert_eq!(bench.new_of(&raised), [format!("x (operator) {mail}")]);

    bench.open().accept(&more, &sealings(&more)).unwrap();
    assert_eq!(bench.new_of(&more), Vec::<String>::new());
}

#[test]
fn a_hosts_other_key_and_a_hosts_other_secret_are_new() {
    let (bench, alice, web, mail, other) = (Bench::new(), key(), key(), key(), key());
    let of = |mail: &Recipient, pattern: &str| {
        index(&[("alice", &alice)], &[("web", &web), ("mail", mail)], &[("jwt", pattern), ("smtp", "mail")])
    };
    let first = of(&mail, "web");
    bench.open().accept(&first, &sealings(&first)).unwrap();
    let text = |key: &Recipient| key.to_string();
    assert_eq!(
        bench.new_of(&of(&other, "web")),
        [format!("mail (host) {}; before it was {}", text(&other), text(&mail))]
    );
    assert_eq!(bench.new_of(&of(&mail, "*")), [format!("mail (host) {}; it did not read jwt before", text(&mail))]);
    let with_more = index(&[("alice", &alice)], &[("web", &web), ("new", &other)], &[("jwt", "*")]);
    assert_eq!(bench.new_of(&with_more), [format!("new (host) {other}")]);
    // A secret that is new here asks for nothing, as long as its readers are known.
    let with_new = index(&[("alice", &alice)], &[("mail", &mail)], &[("fresh", "mail")]);
    assert_eq!(bench.new_of(&with_new), Vec::<String>::new());
}

#[test]
fn the_key_that_a_host_is_sealed_to_is_remembered_for_each_way() {
    let (bench, first, second, pull) = (Bench::new(), key(), key(), key());
    assert!(!bench.open().knows_host("web"));
    assert_eq!(bench.open().other_key("web", &first), None);
    bench.open().accept_host("web", Way::Switch, &first, &[], None).unwrap();
    assert_eq!(bench.open().other_key("web", &first), None);
    assert_eq!(bench.open().other_key("web", &second), Some(first.as_str()));
    assert_eq!(bench.open().other_key("mail", &second), None);
    // A recipient that a pull request adds is another key, though none was ever used for pulling.
    assert_eq!(bench.open().other_key("web", &pull), Some(first.as_str()));
    bench.open().accept_host("web", Way::Pull, &pull, &[], None).unwrap();
    bench.open().accept_host("web", Way::Switch, &second, &[], None).unwrap();
    assert_eq!((bench.open().other_key("web", &second), bench.open().other_key("web", &pull)), (None, None));
    assert!(bench.open().other_key("web", &first).is_some());
    // Sealing for a host is not yet a first use of the index, and that takes no other key for the host.
    assert!(bench.open().is_first_use());
    let index = index(&[("alice", &key())], &[("web", &first)], &[("a", "web"), ("b", "nothing")]);
    assert_eq!(bench.new_of(&index), [format!("web (host) {first}; before it was {second}")]);
    bench.open().accept(&index, &sealings(&index)[1..]).unwrap();
    assert_eq!(bench.new_of(&index), [format!("web (host) {first}; before it was {second}")]);
}

#[test]
fn a_secret_that_a_host_was_not_sent_before_is_new() {
    let (bench, web) = (Bench::new(), key());
    let [jwt, smtp, db] = ["jwt", "smtp", "db"].map(|name| SecretName::parse(name).unwrap());
    let all = [jwt.clone(), smtp.clone(), db.clone()];
    assert!(bench.open().unsent("web", &all).is_empty(), "the first ones are named with the key");
    bench.open().accept_host("web", Way::Switch, &web, std::slice::from_ref(&jwt), None).unwrap();
    assert_eq!(bench.open().unsent("web", &all), [&smtp, &db]);
    // An operator has encrypted one to the host, as a reader of the index.
    let index = index(&[("alice", &key())], &[("web", &web)], &[("smtp", "web"), ("db", "mail")]);
    bench.open().accept(&index, &sealings(&index)).unwrap();
    assert_eq!(bench.open().unsent("web", &all), [&db]);
    bench.open().accept_sent("web", std::slice::from_ref(&db)).unwrap();
    assert!(bench.open().unsent("web", &all).is_empty());
    assert!(bench.open().unsent("mail", &all).is_empty());
}

#[test]
fn an_index_that_belongs_to_another_project_than_before_is_refused() {
    let (bench, file) = (Bench::new(), Path::new("secrets/secrets.toml"));
    let of = |vault: Option<&str>| Index { vault: vault.map(str::to_owned), ..Index::default() };
    for vault in [None, Some("a")] {
        bench.open().check_vault(&of(vault), file).unwrap();
        bench.open().accept_host("web", Way::Switch, &key(), &[], vault).unwrap();
    }
    bench.open().check_vault(&of(Some("a")), file).unwrap();
    for (other, said) in [(Some("b"), "`vault` is b, and was a"), (None, "`vault` is missing, and was a")] {
        let error = bench.open().check_vault(&of(other), file).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("secrets/secrets.toml"), "{error}");
    }
}

#[test]
fn the_record_is_private_and_a_damaged_one_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new();
    bench.open().accept_host("web", Way::Switch, &key(), &[], None).unwrap();
    let file = bench.open().file().to_owned();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    for (text, said) in [("version = 2\nproject = \"x\"\n", "it has version 2"), ("<<<", "")] {
        fs::write(&file, text).unwrap();
        let error = Accepted::open(&bench.dir.path().join("state"), &bench.dir.path().join("project"));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(file.to_str().unwrap()) && error.contains(said) && error.contains("help:"), "{error}");
    }
}

#[test]
fn worktrees_of_a_repository_are_one_project_and_copies_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(dir.path()).args(["-c", "user.name=t", "-c", "user.email=t@t"]).args(arguments);
        let output = git.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    git(&["init", "-q", "one"]);
    fs::create_dir(dir.path().join("one/infra")).unwrap();
    fs::write(dir.path().join("one/infra/deploy.toml"), "").unwrap();
    git(&["-C", "one", "add", "."]);
    git(&["-C", "one", "commit", "-q", "-m", "x"]);
    git(&["-C", "one", "worktree", "add", "-q", "../review"]);
    git(&["clone", "-q", "one", "copy"]);
    let of = |name: &str| identity(&dir.path().join(name)).unwrap();
    assert_eq!(of("one/infra"), of("review/infra"));
    assert_ne!(of("one/infra"), of("one"));
    assert_ne!(of("one/infra"), of("copy/infra"));
    fs::create_dir(dir.path().join("plain")).unwrap();
    assert_eq!(of("plain"), fs::canonicalize(dir.path().join("plain")).unwrap());
}
