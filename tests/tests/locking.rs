//! `deploy lock` as its user sees it: against the real mirrors, and against an archive made here
//! with Debian's own tools, whose signature, index and packages can then be spoiled.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_tests::{Project, run, tool};
use tempfile::TempDir;

/// What the mirrors have today may be newer than what is committed, never less whole.
#[test]
fn the_real_mirrors_give_a_lock_for_both_platforms_that_names_no_host() {
    let project = Project::with_shared_store();
    let locked = project.deploy(&["lock", "images.redis", "--json"]).ok().json();
    assert!(locked["images"][0]["packages"].as_u64().is_some_and(|n| n > 5), "{locked}");
    let lock = fs::read_to_string(project.path("images/redis/image.lock")).expect("a lock");
    for expected in ["\"linux/amd64\"", "\"linux/arm64\"", "name = \"redis-server\"", "bookworm-security", "signed_by"]
    {
        assert!(lock.contains(expected), "{expected} is not in the lock");
    }
    assert!(!lock.contains("://"), "the lock names a host");
    // Locking again changes nothing, and what is locked builds.
    project.deploy(&["lock", "images.redis"]).ok();
    assert_eq!(fs::read_to_string(project.path("images/redis/image.lock")).expect("a lock"), lock);
    project.deploy(&["build", "images.redis"]).ok();
}

#[test]
fn an_unknown_script_is_shown_until_it_is_acknowledged() {
    let archive = Archive::new();
    let project = archive.project();
    let refused = project.deploy(&["lock", "images.greeter"]);
    let refused = refused.fails(1, &["the postinst script of package greeter 1.0", "| touch /etc/greeted"]);
    assert!(!project.path("images/greeter/image.lock").exists(), "half a lock");

    // The error is the remedy: its lines go into the definition as they stand there.
    let start = refused.stderr.find("[[debian.acknowledge]]").expect("how to acknowledge it");
    let remedy: String = refused.stderr[start..]
        .lines()
        .map(str::trim)
        .take_while(|line| line.starts_with('[') || line.contains(" = "))
        .map(|line| match line.split_once(" = ") {
            Some(("reason", _)) => "reason = \"a greeting is of no use in an image\"\n".to_owned(),
            _ => format!("{line}\n"),
        })
        .collect();
    archive.define(&project, &remedy);
    project.deploy(&["lock", "images.greeter"]).ok();
    project.deploy(&["build", "images.greeter"]).ok();
}

#[test]
fn a_spoiled_archive_is_refused_and_the_lock_stays() {
    let archive = Archive::new();
    let project = archive.project();
    archive.define(&project, "[debian.exclude]\n");
    let definition = project.path("images/greeter/image.toml");
    let text = fs::read_to_string(&definition).expect("a definition");
    fs::write(&definition, text.replace("\"greeter\"", "\"quiet\"")).expect("a writable project");
    project.deploy(&["lock", "images.greeter"]).ok();
    let lock = project.path("images/greeter/image.lock");
    let good = fs::read_to_string(&lock).expect("a lock");

    for (file, from, to, said) in [
        // One letter of the signed text.
        ("dists/stable/InRelease", "Codename: stable", "Codename: stablf", &["InRelease", "no good signature"][..]),
        // The index is not what the release says.
        ("dists/stable/main/binary-amd64/Packages.xz", "", "x", &["index of suite stable for amd64"]),
    ] {
        let path = archive.mirror().join(file);
        let whole = fs::read(&path).expect("a file of the archive");
        let at = whole.windows(from.len().max(1)).position(|part| part.starts_with(from.as_bytes())).expect("the text");
        let spoiled = [&whole[..at], to.as_bytes(), &whole[at + from.len()..]].concat();
        fs::write(&path, spoiled).expect("a writable archive");
        // Over another store: this one keeps indexes by their hash, and would not even ask again.
        let other = project.path("other-store");
        project.deploy(&["lock", "images.greeter", "--store", other.to_str().expect("a plain path")]).fails(1, said);
        assert_eq!(fs::read_to_string(&lock).expect("a lock"), good, "the lock was touched");
        fs::write(&path, whole).expect("a writable archive");
    }

    // Another package under the locked name, as a build finds it.
    let pool = archive.mirror().join("pool/quiet_1.0_all.deb");
    let mut bytes = fs::read(&pool).expect("a package");
    bytes[100] ^= 1;
    fs::write(&pool, bytes).expect("a writable archive");
    let fresh = project.path("fresh-store");
    let build = project.deploy(&["build", "images.greeter", "--store", fresh.to_str().expect("a plain path")]);
    build.fails(1, &["quiet", "other content than expected"]);

    // Signed by somebody else.
    archive.sign_with(&Key::new());
    project.deploy(&["lock", "images.greeter"]).fails(1, &["InRelease", "keyring"]);
    assert_eq!(fs::read_to_string(&lock).expect("a lock"), good, "the lock was touched");
}

/// Against the lock before, a step back, another signer or another file of the same version is an
/// error that leaves the lock alone, until the flag that it names accepts it.
#[test]
fn a_lock_remembers_until_the_operator_accepts_the_difference() {
    let archive = Archive::new();
    let project = archive.project();
    project.edit("images/greeter/image.toml", "\"greeter\"", "\"quiet\"");
    let first = project.deploy(&["lock", "images.greeter"]).ok();
    assert!(first.stderr.contains("`debian.keyring` is new"), "{}", first.stderr);
    let read = || fs::read_to_string(project.path("images/greeter/image.lock")).expect("a lock");
    let refused_then_accepted = |flag: &str, value: &str, said: &[&str]| {
        let before = read();
        let help = format!("{flag} {value}");
        let mut said = said.to_vec();
        said.push(&help);
        project.deploy(&["lock", "images.greeter"]).fails(1, &said);
        assert_eq!(read(), before, "the lock was touched");
        project.deploy(&["lock", "images.greeter", flag, value]).ok();
        let accepted = read();
        assert!(accepted.contains("[[accepted]]"), "{accepted}");
        // The record and the lock stay as they are, without the flag.
        project.deploy(&["lock", "images.greeter"]).ok();
        assert_eq!(read(), accepted);
    };

    archive.sign_at(&archive.key, "2 days ago");
    refused_then_accepted("--accept-older-release", "stable", &["suite stable went back in time"]);

    // The same version, built again with another content.
    fs::write(archive.dir.path().join("quiet/usr/share/quiet/hello"), "Good night.\n").expect("a file");
    archive.index(&archive.build("quiet"));
    archive.sign_at(&archive.key, "1 hour ago");
    refused_then_accepted("--accept-changed-hash", "quiet", &["quiet 1.0", "quiet_1.0_all.deb"]);

    // Another key of the definition's keyring.
    let other = Key::new();
    let keys = project.path("images/greeter/keys.gpg");
    let both = [&archive.key, &other].map(|key| key.export(&archive.dir.path().join("key.gpg"))).concat();
    fs::write(&keys, both).expect("a writable project");
    archive.sign_at(&other, "1 hour ago");
    refused_then_accepted("--accept-signer", &other.fingerprint(), &["signed by other keys"]);
}

/// A key of gpg's, in a folder of its own.
struct Key(TempDir);

impl Key {
    fn new() -> Self {
        let key = Self(TempDir::new().expect("a folder"));
        key.gpg(&["--passphrase", "", "--quick-generate-key", "Archive <archive@example.org>", "ed25519", "sign"]);
        key
    }

    fn gpg(&self, arguments: &[&str]) -> String {
        run(Command::new("gpg")
            .arg("--homedir")
            .arg(self.0.path())
            .args(["--batch", "--yes", "--quiet"])
            .args(arguments))
        .ok()
        .stdout
    }

    fn export(&self, file: &Path) -> Vec<u8> {
        self.gpg(&["--output", file.to_str().expect("a plain path"), "--export"]);
        fs::read(file).expect("a key")
    }

    fn fingerprint(&self) -> String {
        let list = self.gpg(&["--with-colons", "--list-keys"]);
        let line = list.lines().find_map(|line| line.strip_prefix("fpr:")).expect("a fingerprint");
        line.trim_matches(':').to_owned()
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // gpg leaves an agent behind for each of its folders.
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.0.path()).args(["--kill", "all"]).status();
    }
}

/// A signed archive of two packages, one of which has a script that nobody knows.
struct Archive {
    dir: TempDir,
    key: Key,
}

impl Archive {
    fn new() -> Self {
        let archive = Self { dir: TempDir::new().expect("a folder"), key: Key::new() };
        fs::create_dir_all(archive.mirror().join("pool")).expect("a folder");
        let mut index = String::new();
        for (name, script) in [("greeter", Some("#!/bin/sh\nset -e\ntouch /etc/greeted\n")), ("quiet", None)] {
            index += &archive.package(name, script);
        }
        archive.index(&index);
        archive.sign_with(&archive.key);
        archive
    }

    fn index(&self, paragraphs: &str) {
        for architecture in ["amd64", "arm64"] {
            let folder = self.mirror().join(format!("dists/stable/main/binary-{architecture}"));
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(folder.join("Packages"), paragraphs).expect("an index");
            tool("xz", [Path::new("--keep"), Path::new("--force"), &folder.join("Packages")]);
        }
    }

    fn mirror(&self) -> PathBuf {
        self.dir.path().join("mirror")
    }

    /// Builds a package; gives its paragraph of the index.
    fn package(&self, name: &str, postinst: Option<&str>) -> String {
        let tree = self.dir.path().join(name);
        fs::create_dir_all(tree.join("DEBIAN")).expect("a folder");
        fs::create_dir_all(tree.join("usr/share").join(name)).expect("a folder");
        fs::write(tree.join("usr/share").join(name).join("hello"), "Good day.\n").expect("a file");
        let rest = "Maintainer: Nobody <nobody@example.org>\nDescription: a package of the tests\n";
        fs::write(tree.join("DEBIAN/control"), format!("{}{rest}", fields(name))).expect("a file");
        if let Some(script) = postinst {
            let path = tree.join("DEBIAN/postinst");
            fs::write(&path, script).expect("a file");
            tool("chmod", [Path::new("755"), &path]);
        }
        self.build(name)
    }

    /// Builds a package of the tree that is there.
    fn build(&self, name: &str) -> String {
        let (tree, fields) = (self.dir.path().join(name), fields(name));
        let pool = format!("pool/{name}_1.0_all.deb");
        let file = self.mirror().join(&pool);
        tool("dpkg-deb", [Path::new("--root-owner-group"), Path::new("--build"), &tree, &file]);
        let size = fs::metadata(&file).expect("a package").len();
        format!("{fields}Filename: {pool}\nSize: {size}\nSHA256: {}\n\n", sha256(&file))
    }

    /// Writes the release over the indexes that are there, signed.
    fn sign_with(&self, key: &Key) {
        self.sign_at(key, "1 hour ago");
    }

    /// The same, with another date.
    fn sign_at(&self, key: &Key, when: &str) {
        let stable = self.mirror().join("dists/stable");
        let date = tool("date", ["-u", "-R", format!("--date={when}").as_str()]).replace("+0000", "UTC");
        let mut release = format!("Suite: stable\nCodename: stable\nDate: {}\nSHA256:\n", date.trim());
        let indexes =
            ["amd64", "arm64"].map(|arch| ["Packages", "Packages.xz"].map(|f| format!("main/binary-{arch}/{f}")));
        for name in indexes.into_iter().flatten() {
            let file = stable.join(&name);
            let size = fs::metadata(&file).expect("an index").len();
            release += &format!(" {} {size} {name}\n", sha256(&file));
        }
        let (plain, signed) = (self.dir.path().join("Release"), stable.join("InRelease"));
        fs::write(&plain, release).expect("a file");
        let [plain, signed] = [&plain, &signed].map(|path| path.to_str().expect("a plain path"));
        key.gpg(&["--output", signed, "--clearsign", plain]);
    }

    /// A project with one image of this archive.
    fn project(&self) -> Project {
        let project = Project::with_fresh_store();
        let mirror = format!("[\"file://{}\"]", self.mirror().display());
        let settings = format!("[mirrors]\ndebian = {mirror}\ndebian-security = {mirror}\n");
        fs::write(project.path("deploy.toml"), settings).expect("a writable project");
        fs::create_dir_all(project.path("images/greeter")).expect("a folder");
        let keys = project.path("images/greeter/keys.gpg");
        self.key.gpg(&["--output", keys.to_str().expect("a plain path"), "--export"]);
        self.define(&project, "");
        project
    }

    fn define(&self, project: &Project, more: &str) {
        let text =
            format!("[debian]\nsuites = [\"stable\"]\npackages = [\"greeter\"]\nkeyring = \"keys.gpg\"\n\n{more}");
        fs::write(project.path("images/greeter/image.toml"), text).expect("a writable project");
    }
}

fn sha256(file: &Path) -> String {
    tool("sha256sum", [file])[..64].to_owned()
}

/// What a package's control file and its paragraph of the index begin with.
fn fields(name: &str) -> String {
    format!("Package: {name}\nVersion: 1.0\nArchitecture: all\n")
}
