#![allow(clippy::unwrap_used)]
use super::*;

const ALICE: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
const HOST: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJiICLLLLn4FVWrAmDdtKJt84DzIAFZLMRGNmrPIrATt";

fn good() -> String {
    format!(
        "# Who reads what.\n[operators]\nalice = \"{ALICE}\"   # since spring\n\n[hosts]\nweb-1 = \"{HOST} root@web-1\"\n\n\
         # The API's role.\n[secrets.database-password]\nhosts = [\"web-*\"] # all of them\ngenerate = \"password:32\"\n\n\
         [secrets.smtp]\nhosts = [\"mail\"]\nhelp = \"from the provider\"\n"
    )
}

fn parse(text: &str) -> Result<Index> {
    Index::parse(Path::new("secrets/secrets.toml"), text)
}

fn name(text: &str) -> SecretName {
    SecretName::parse(text).unwrap()
}

#[test]
fn readers_are_operators_and_the_matching_hosts() {
    let index = parse(&good()).unwrap();
    let readers = |secret: &str| -> Vec<(&str, bool)> {
        index.readers(&index.secrets[&name(secret)]).iter().map(|r| (r.name, r.is_host)).collect()
    };
    assert_eq!(readers("database-password"), [("alice", false), ("web-1", true)]);
    assert_eq!(readers("smtp"), [("alice", false)]);
    let entry = &index.secrets[&name("database-password")];
    assert_eq!((entry.version, entry.generate), (0, Some(Generator::Password(32))));
}

#[test]
fn mistakes_are_named_with_their_line_and_all_at_once() {
    let text = good()
        .replace("age1ql3z", "age1xxxx")
        .replace("web-*", "../*")
        .replace("password:32", "password:3")
        .replace("secrets.smtp", "secrets.SMTP");
    let said = parse(&text).unwrap_err().to_string();
    for line in [
        "secrets.toml:3: operators.alice: ",
        "secrets.toml:10: secrets.database-password.hosts: \"../*\"",
        "secrets.toml:11: secrets.database-password.generate: `password:3`",
        "secrets.toml:14: secrets: \"SMTP\" cannot be a secret's name",
    ] {
        assert!(said.contains(line), "not said: {line}\n{said}");
    }
    for (from, to, wanted) in [
        ("hosts = [\"mail\"]", "host = [\"mail\"]", "secrets.toml:14: secrets.smtp.host: unknown field `host`"),
        ("hosts = [\"mail\"]\n", "", "missing field `hosts`"),
        ("[operators]", "[operators", "secrets.toml:2: "),
        ("[hosts]\n", &format!("bob = \"{ALICE}\"\n[hosts]\n"), "operators.bob: the same key as operators.alice"),
        ("help =", "sealed-to = [\"x\"]\nhelp =", "secrets.smtp.sealed-to: \"x\" was not written by deploy"),
    ] {
        assert!(good().contains(from), "{from}");
        let said = parse(&good().replacen(from, to, 1)).unwrap_err().to_string();
        assert!(said.contains(wanted), "{said}\nwanted: {wanted}");
    }
}

#[test]
fn edits_keep_comments_order_and_spacing() {
    let file = Path::new("secrets.toml");
    let mut editor = Editor::new(file, &good()).unwrap();
    let key = Recipient::parse(HOST).unwrap();
    editor.set_key("hosts", "web-1", &key);
    editor.set_key("hosts", "web-2", &Recipient::parse(ALICE).unwrap());
    let entry = Entry {
        version: 4,
        sealed_to: vec![SealedTo { name: "alice".into(), fingerprint: "0123456789abcdef".into() }],
        ..Entry::default()
    };
    editor.set_sealed(&name("database-password"), &entry);
    editor.declare(&name("token"), &[HostPattern::parse("web-1").unwrap()]);
    editor.set_generator(&name("token"), Generator::Hex(16));
    let (text, index) = editor.finish(file).unwrap();

    let expected = good()
        .replace(" root@web-1\"\n", &format!("\"\nweb-2 = \"{ALICE}\"\n"))
        .replace("password:32\"\n", "password:32\"\nversion = 4\nsealed-to = [\"alice 0123456789abcdef\"]\n")
        + "\n[secrets.token]\nhosts = [\"web-1\"]\ngenerate = \"hex:16\"\n";
    assert_eq!(text, expected);
    assert_eq!(index.secrets[&name("database-password")].version, 4);
    assert_eq!(index.secrets[&name("token")].generate, Some(Generator::Hex(16)));

    // The same again changes nothing.
    let mut again = Editor::new(file, &text).unwrap();
    again.set_sealed(&name("database-password"), &entry);
    again.set_key("hosts", "web-1", &key);
    assert_eq!(again.finish(file).unwrap().0, text);
}

#[test]
fn an_empty_index_takes_its_first_entries() {
    let file = Path::new("secrets.toml");
    let mut editor = Editor::new(file, "# nothing yet\n").unwrap();
    editor.set_key("operators", "alice", &Recipient::parse(ALICE).unwrap());
    editor.declare(&name("token"), &[]);
    let (text, index) = editor.finish(file).unwrap();
    assert!(text.contains("# nothing yet") && text.contains("[operators]") && !text.contains("[secrets]"), "{text}");
    assert_eq!(index.operators.len(), 1);
}

#[test]
fn up_to_date_is_about_keys_and_not_about_names() {
    let mut index = parse(&good()).unwrap();
    let mut entry = index.secrets[&name("database-password")].clone();
    assert!(!index.is_up_to_date(&entry));
    entry.sealed_to = index.readers(&entry).iter().map(SealedTo::from).collect();
    assert!(index.is_up_to_date(&entry));
    let key = index.operators.remove("alice").unwrap();
    assert!(!index.is_up_to_date(&entry));
    index.operators.insert("alice.smith".into(), key);
    assert!(index.is_up_to_date(&entry));
}
