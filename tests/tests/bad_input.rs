//! Bad input: an error with place, value and remedy; nothing changed.

use std::collections::BTreeSet;
use std::fs;

use cairn_tests::Project;

#[test]
fn mistakes_in_definitions_are_named_with_their_place() {
    let project = Project::with_shared_store();
    let api = "images/api/image.toml";
    for (from, to, said) in [
        (
            "interpreter =",
            "interpretor =",
            &["image.toml:", "unknown field `interpretor`", "did you mean `interpreter`?"][..],
        ),
        ("user = \"app\"", "user = \"apq\"", &["image.user", "`apq`", "did you mean `app`?"]),
        (
            "platforms = [\"linux/amd64\"",
            "platforms = [\"linux/x86\"",
            &["image.toml:2:", "`linux/x86` is not a platform"],
        ),
    ] {
        let text = fs::read_to_string(project.path(api)).expect("a definition");
        project.edit(api, from, to);
        project.deploy(&["build", "images.api"]).fails(1, said);
        fs::write(project.path(api), text).expect("a writable project");
    }
    project.edit("services/api.toml", "replicas = 3", "replica = 3");
    project
        .deploy(&["switch", "local", "--yes"])
        .fails(1, &["services/api.toml:", "unknown field `replica`", "did you mean `replicas`?"]);
}

#[test]
fn unknown_names_are_refused_with_the_nearest_known_one() {
    let project = Project::with_shared_store();
    project.deploy(&["build", "images.apj"]).fails(1, &["no image `apj`", "did you mean `api`?"]);
    project.deploy(&["switch", "locol"]).fails(1, &["no host `locol`", "did you mean `local`?"]);
    project.deploy(&["build", "api"]).fails(1, &["`api` is not a target", "images.NAME"]);
    project.deploy(&["bild"]).fails(2, &["bild"]);
    project.deploy(&["status", "--project", "/nonexistent"]).fails(1, &["no `deploy.toml`", "--project DIR"]);
    project.edit("services/proxy.toml", "image = \"proxy\"", "image = \"prox\"");
    project.deploy(&["build", "hosts.local"]).fails(1, &["no image `prox`", "did you mean `proxy`?"]);
}

#[test]
fn a_certificate_is_for_names_that_the_fleet_serves() {
    let project = Project::with_shared_store();
    let part = "services/certificates.toml";
    project.edit("hosts/local.toml", "    \"../services/smoke.toml\",", "    \"../services/certificates.toml\",");
    project.edit(part, "www.spirittours.com", "wwv.spirittours.com");
    let said =
        ["services/certificates.toml:", "`wwv.spirittours.com` is served", "did you mean `www.spirittours.com`?"];
    project.deploy(&["build", "hosts.local"]).fails(1, &said);
    project.edit(part, "wwv.spirittours.com", "www spirittours.com");
    project
        .deploy(&["build", "hosts.local"])
        .fails(1, &["services/certificates.toml:", "names[1]", "www spirittours.com"]);
}

#[test]
fn a_lock_must_match_and_must_not_be_tampered_with() {
    let project = Project::with_shared_store();
    project.edit("images/proxy/image.toml", "\"busybox\"", "\"busybox\", \"curl\"");
    project.deploy(&["build", "images.proxy"]).fails(1, &["image.lock", "deploy lock images.proxy"]);
    project.edit("images/proxy/image.toml", ", \"curl\"", "");

    let lock = project.path("images/proxy/image.lock");
    let text = fs::read_to_string(&lock).expect("a lock");
    fs::write(&lock, text.replacen("pool = \"pool/", "pool = \"../pool/", 1)).expect("a writable project");
    project.deploy(&["build", "images.proxy"]).fails(1, &["image.lock", "not a plain path"]);
    fs::remove_file(&lock).expect("a lock to remove");
    project.deploy(&["build", "images.proxy"]).fails(1, &["has no lock", "deploy lock images.proxy"]);
}

/// Closures of this host in the store.
fn closures(project: &Project, host: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(project.store().join("nix/store")).expect("a store");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(&format!("-{host}-host"))).collect()
}

/// Each server tells in its own words what it would not start with, when the host is built.
#[test]
fn a_configuration_that_the_real_server_refuses_makes_no_closure() {
    let project = Project::with_shared_store();
    // A host of its own: other tests build theirs in the same store.
    let _machine = project.machine("refused");
    let good = project.deploy(&["build", "hosts.refused", "--json"]).ok().json();
    let before = closures(&project, "refused");
    for (service, settings, said) in [
        ("proxy", "clients]\nheader_timeout = \"abc\"", &["[emerg]", "\"client_header_timeout\"", "nginx.conf:"][..]),
        ("postgres", "memory]\nwork_mem = \"8XB\"", &["invalid value for parameter \"work_mem\": \"8XB\"", "FATAL"]),
        ("postgres", "extensions]\npreload = [\"nothing\"]", &["could not access file \"nothing\""]),
        (
            "postgres",
            "access]\nclients = [{ database = \"a\", role = \"b\", address = \"10.0.0.0/99\" }]",
            &["invalid CIDR mask in address \"10.0.0.0/99\"", "pg_hba.conf"],
        ),
        ("postgres", "connections]\nlimit = 2", &["must be less than max_connections"]),
        ("redis", "memory]\npolicy = \"sometimes\"", &["maxmemory-policy sometimes", "FATAL CONFIG FILE ERROR"]),
    ] {
        let definition = project.path("hosts/refused.toml");
        let text = fs::read_to_string(&definition).expect("a definition");
        // Over what the definition says of the same table.
        let table = settings.split_once(']').expect("a table").0;
        let header = format!("[services.{service}.settings.{table}]\n");
        let key = settings.split_once("]\n").expect("a key").1;
        let changed = match text.contains(&header) {
            true => text.replacen(&header, &format!("{header}{key}\n"), 1),
            false => format!("{text}\n{header}{key}\n"),
        };
        fs::write(&definition, changed).expect("a writable project");
        let named = [format!("service `{service}`"), "host `refused`".to_owned(), "hosts/refused.toml".to_owned()];
        let wanted: Vec<&str> = named.iter().map(String::as_str).chain(said.iter().copied()).collect();
        project.deploy(&["build", "hosts.refused"]).fails(1, &wanted);
        fs::write(&definition, text).expect("a writable project");
    }
    assert_eq!(closures(&project, "refused"), before, "a refused configuration made a closure");

    // What the test itself is leaves no trace in a closure.
    project.edit("images/redis/image.toml", "timeout = \"20s\"", "timeout = \"19s\"");
    let again = project.deploy(&["build", "hosts.refused", "--json"]).ok().json();
    assert_eq!(again["targets"][0]["store_path"], good["targets"][0]["store_path"]);
}

#[test]
fn a_service_that_is_too_exposed_is_neither_built_nor_switched() {
    let project = Project::with_shared_store();
    let built = project.deploy(&["build", "hosts.local", "--json"]).ok().json();
    let services = built["targets"][0]["services"].as_array().expect("services").clone();
    let api = services.iter().find(|service| service["name"] == "api").expect("the API");
    assert_eq!(api["limit"], 1.5);
    assert_eq!(api["loosened"][0]["directive"], "SystemCallFilter");
    assert_eq!(api["loosened"][0]["value"], "+@chown");
    assert!(api["loosened"][0]["reason"].as_str().is_some_and(|reason| reason.contains("Gunicorn")));
    let shown = project.deploy(&["build", "hosts.local"]).ok().stdout;
    for said in
        ["hosts.local: exposure of its services", ", at most 1.5", "    SystemCallFilter=+@chown: Gunicorn gives"]
    {
        assert!(shown.contains(said), "not said: {said}\n{shown}");
    }

    let hardening = "[services.api.hardening]\nProtectSystem = { value = \"no\", reason = \"a test\" }\n\
        NoNewPrivileges = { value = \"no\", reason = \"a test\" }\nPrivateUsers = { value = \"no\", reason = \"a test\" }\n\
        RestrictNamespaces = { value = \"no\", reason = \"a test\" }\nPrivateDevices = { value = \"no\", reason = \"a test\" }\n\
        CapabilityBoundingSet = { value = \"CAP_SYS_ADMIN CAP_SYS_PTRACE\", reason = \"a test\" }";
    project.edit("services/api.toml", "[services.api.hardening]", hardening);
    let wanted = ["service `api` has an exposure of ", "its limit is 1.5", "CAP_SYS_ADMIN", "help: loosen less"];
    project.deploy(&["build", "hosts.local"]).fails(1, &wanted);
    project.deploy(&["switch", "local", "--yes"]).fails(1, &wanted);
    project.edit("services/api.toml", "exposure = 1.5", "exposure = 10");
    project.deploy(&["build", "hosts.local"]).ok();
}

/// A store of its own and a mirror in a folder: what a package mirror can do wrong.
#[test]
fn a_package_that_is_gone_or_has_other_bytes_is_refused() {
    let project = Project::with_fresh_store();
    let mirror = project.path("mirror");
    fs::create_dir_all(&mirror).expect("a folder");
    let url = format!("file://{}", mirror.display());
    let settings = format!("[mirrors]\ndebian = [\"{url}\"]\ndebian-security = [\"{url}\"]\n");
    fs::write(project.path("deploy.toml"), settings).expect("a writable project");

    let gone = project.deploy(&["build", "images.proxy"]).fails(1, &["package", "gone", "deploy lock"]);
    assert!(!gone.stderr.contains("panicked"));

    let lock = fs::read_to_string(project.path("images/proxy/image.lock")).expect("a lock");
    let sizes = lock.lines().filter_map(|l| l.strip_prefix("size = ")).map(|n| n.parse::<usize>().expect("a size"));
    let pools = lock.lines().filter_map(|l| l.strip_prefix("pool = \"")).map(|l| l.trim_end_matches('"'));
    for (pool, size) in pools.zip(sizes) {
        let file = mirror.join(pool);
        fs::create_dir_all(file.parent().expect("a folder above")).expect("a folder");
        fs::write(file, vec![b'x'; size]).expect("a file");
    }
    project.deploy(&["build", "images.proxy"]).fails(1, &["other content than expected", "sha256"]);
    let valid = project.deploy(&["store", "verify"]).ok();
    assert!(valid.stdout.contains("whole"), "{valid:?}");
}

/// A disk that fills up in the middle of a build: an error, and nothing half-made.
#[test]
fn a_full_disk_ends_a_build_with_an_error_and_a_whole_store() {
    let project = Project::with_shared_store();
    let dir = tempfile::tempdir().expect("a folder");
    let mount = Mount::tmpfs(dir.path(), "size=24m");
    let root = dir.path().join("store");
    let root = root.to_str().expect("a plain path");
    project.deploy(&["build", "images.api", "--store", root]).fails(1, &["space"]);
    project.deploy(&["store", "verify", "--check-contents", "--store", root]);
    drop(mount);
}

/// A mount that goes away with this value.
struct Mount<'a>(&'a std::path::Path);

impl<'a> Mount<'a> {
    fn tmpfs(at: &'a std::path::Path, options: &str) -> Self {
        nix::mount::mount(Some("tmpfs"), at, Some("tmpfs"), nix::mount::MsFlags::empty(), Some(options))
            .expect("a mount");
        Self(at)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}
