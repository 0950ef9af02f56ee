//! Keys and signatures made by the real gpg, weak ones among them, and Debian's own keys.
#![allow(clippy::unwrap_used)]
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use super::clearsign::ClearSigned;
use super::keyring::Keyring;

/// A folder of gpg's with one key.
struct Gpg(tempfile::TempDir);

impl Gpg {
    fn with_key(kind: &str, cert_digest: &str) -> Self {
        let gpg = Self(tempfile::tempdir().unwrap());
        let options = ["--allow-weak-digest-algos", "--cert-digest-algo", cert_digest, "--passphrase", ""];
        gpg.run(
            &[&options[..], &["--quick-generate-key", "Archive <archive@example.org>", kind, "sign", "never"]].concat(),
        );
        gpg
    }

    fn add_subkey(&self, kind: &str, cert_digest: &str) {
        let list = self.run(&["--with-colons", "--list-keys"]);
        let fingerprint = list.lines().find_map(|line| line.strip_prefix("fpr:::::::::")).unwrap();
        let fingerprint = fingerprint.trim_end_matches(':');
        let options = ["--allow-weak-digest-algos", "--cert-digest-algo", cert_digest, "--passphrase", ""];
        self.run(&[&options[..], &["--quick-add-key", fingerprint, kind, "sign", "never"]].concat());
    }

    fn run(&self, arguments: &[&str]) -> String {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(self.0.path()).args(["--batch", "--yes", "--quiet", "--pinentry-mode", "loopback"]);
        let output = gpg.args(arguments).output().expect("gpg, of the package gpg");
        assert!(output.status.success(), "gpg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Signs a text with the newest key, and verifies it as an archive's file is.
    fn verdict(&self, digest: &str) -> Result<Vec<String>, String> {
        let (text, signed, keys) = (self.path("text"), self.path("signed"), self.path("keys.gpg"));
        fs::write(&text, "Suite: stable\n").unwrap();
        self.run(&["--allow-weak-digest-algos", "--digest-algo", digest, "--output", &signed, "--clearsign", &text]);
        self.run(&["--output", &keys, "--export"]);
        let signed = fs::read_to_string(signed).unwrap();
        let keyring = Keyring::parse(&fs::read(keys).unwrap())?;
        let verified = keyring.verify(&ClearSigned::parse(&signed).unwrap(), SystemTime::now());
        verified.map_err(|faults| faults.join("; "))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        // gpg leaves an agent behind for each of its folders.
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.0.path()).args(["--kill", "all"]).status();
    }
}

fn assert_verdict(what: &str, verdict: Result<Vec<String>, String>, wanted: Option<&str>) {
    match (verdict, wanted) {
        (Ok(signers), None) => assert_eq!(signers.len(), 1, "{what}"),
        (Err(fault), Some(wanted)) => assert!(fault.contains(wanted), "{what}: {fault}"),
        (verdict, _) => panic!("{what}: {verdict:?}"),
    }
}

#[test]
fn weak_keys_and_hashes_do_not_count() {
    const VOUCHES: &str = "vouches for itself only with a hash function that is not trusted";
    for (kind, vouched_with, signed_with, wanted) in [
        ("ed25519", "SHA512", "SHA512", None),
        ("nistp256", "SHA256", "SHA256", None),
        ("rsa2048", "SHA256", "SHA384", None),
        ("rsa1024", "SHA256", "SHA256", Some("its RSA key has 1024 bits, fewer than 2048")),
        ("dsa1024", "SHA1", "SHA256", Some("DSA key")),
        ("dsa2048", "SHA256", "SHA256", Some("DSA key")),
        // Too short for Ed25519, so it is not even verified.
        ("ed25519", "SHA1", "SHA512", Some("does not vouch for itself")),
        ("rsa2048", "SHA1", "SHA512", Some(VOUCHES)),
        ("rsa2048", "MD5", "SHA512", Some(VOUCHES)),
        ("ed25519", "SHA512", "SHA1", Some("its hash function is not trusted")),
        ("rsa2048", "SHA512", "MD5", Some("its hash function is not trusted")),
    ] {
        let gpg = Gpg::with_key(kind, vouched_with);
        let what = format!("{kind}, vouched with {vouched_with}, signed with {signed_with}");
        assert_verdict(&what, gpg.verdict(signed_with), wanted);
    }
}

#[test]
fn weak_subkeys_and_bindings_do_not_count() {
    for (owner, kind, bound_with, wanted) in [
        ("ed25519", "ed25519", "SHA256", None),
        ("ed25519", "rsa1024", "SHA256", Some("its RSA key has 1024 bits")),
        // Ed25519 keys of gpg bind with no hash that is so short.
        ("rsa2048", "rsa2048", "MD5", Some("the subkey is not bound to its key")),
    ] {
        let gpg = Gpg::with_key(owner, "SHA512");
        gpg.add_subkey(kind, bound_with);
        assert_verdict(&format!("{kind} bound with {bound_with}"), gpg.verdict("SHA256"), wanted);
    }
    let gpg = Gpg::with_key("rsa1024", "SHA512");
    gpg.add_subkey("ed25519", "SHA512");
    assert_verdict("a weak owner", gpg.verdict("SHA256"), Some("its RSA key has 1024 bits"));
}

/// The keys of the releases that are in use sign with what counts.
#[test]
fn debians_own_keys_count() {
    let folder = Path::new("/usr/share/keyrings");
    let mut checked = 0;
    for release in ["bullseye", "bookworm", "trixie"] {
        for role in ["automatic", "stable", "security-automatic"] {
            let file = folder.join(format!("debian-archive-{release}-{role}.gpg"));
            let Ok(bytes) = fs::read(&file) else { continue };
            let faults = Keyring::parse(&bytes).unwrap().weaknesses(SystemTime::now());
            assert!(faults.is_empty(), "{}: {faults:?}", file.display());
            checked += 1;
        }
    }
    // A machine of another distribution has none of them.
    assert!(checked >= 6 || !folder.join("debian-archive-keyring.gpg").exists(), "only {checked} keys");
}
