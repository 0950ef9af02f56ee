//! On folders that stand for a host.
#![allow(clippy::unwrap_used)]
use std::fs;

use serde_json::json;

use super::*;

fn manifest(command: &str) -> Manifest {
    let service = |image: &str, uid: u32| {
        json!({
            "rootfs": "/nix/store/1mdqa9w1p6cmli6976v4wi0sw9r4p5pr-x", "image": image, "command": ["/bin/x", command],
            "user": {"name": "x", "uid": uid, "gid": uid}, "listen": {"unix": true}
        })
    };
    let mut services = json!({ "proxy": service("proxy", 10002), "api": service("api", 10001) });
    services["proxy"]["maintenance"] = json!("maintenance");
    let spec = json!({
        "version": 1, "name": "h", "platform": "linux/amd64", "services": services,
        "agent": "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-cairn-agent"
    });
    cairn_closure::render(&serde_json::from_value(spec).unwrap()).unwrap().manifest
}

/// A host with this manifest as its generation.
fn commit(root: &Path, manifest: &Manifest, number: u32) -> Paths {
    let closure = format!("/nix/store/{number}mdqa9w1p6cmli6976v4wi0sw9r4p5pr-host");
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    fs::create_dir_all(below(&closure)).unwrap();
    fs::write(below(&closure).join("closure.json"), serde_json::to_vec(manifest).unwrap()).unwrap();
    fs::create_dir_all(below("/nix/var/nix/profiles")).unwrap();
    let profile = below(cairn_closure::layout::PROFILE);
    files::point(&profile.with_file_name(format!("cairn-{number}-link")), Path::new(&closure)).unwrap();
    files::point(&profile, Path::new(&format!("cairn-{number}-link"))).unwrap();
    Paths::new(root)
}

fn request(service: Option<&str>, set: Option<bool>) -> MaintenanceRequest {
    MaintenanceRequest {
        service: service.map(str::to_owned),
        set,
        operator: "alice@desk".to_owned(),
        reason: Some("a move".to_owned()),
        until: None,
    }
}

#[test]
fn it_stays_on_for_the_instance_that_comes_next() {
    let root = tempfile::tempdir().unwrap();
    let (old, new) = (manifest("one"), manifest("two"));
    let paths = commit(root.path(), &old, 1);
    let proxy = ServiceName::parse("proxy").unwrap();
    let folder = |manifest: &Manifest| {
        let folder = paths.instance_dir(&proxy, &manifest.services[&proxy].instance);
        fs::create_dir_all(&folder).unwrap();
        folder
    };
    let (before, after) = (folder(&old).join("maintenance"), folder(&new).join("maintenance"));
    assert!(!answer(&paths, &request(None, None)).unwrap()[0].on);
    place(&paths, &new, &proxy).unwrap();
    assert!(!after.exists());

    let on = answer(&paths, &request(Some("proxy"), Some(true))).unwrap();
    assert_eq!((on.len(), on[0].on, on[0].operator.as_deref()), (1, true, Some("alice@desk")));
    assert!(before.exists() && after.exists(), "one that is on trial has it as well");
    fs::remove_file(&after).unwrap();
    place(&paths, &new, &proxy).unwrap();
    assert!(after.exists());

    commit(root.path(), &new, 2);
    assert!(answer(&paths, &request(None, None)).unwrap()[0].on);
    assert!(!answer(&paths, &request(None, Some(false))).unwrap()[0].on);
    assert!(!before.exists() && !after.exists());
    place(&paths, &new, &proxy).unwrap();
    assert!(!after.exists());

    // By hand, as long as that instance has the traffic.
    services::set_current(&paths, &proxy, Some(&old.services[&proxy].instance)).unwrap();
    fs::write(&before, "").unwrap();
    place(&paths, &new, &proxy).unwrap();
    assert!(after.exists());
}

#[test]
fn an_end_is_a_name_that_nginx_can_read_and_what_is_over_goes() {
    let root = tempfile::tempdir().unwrap();
    let own = manifest("one");
    let paths = commit(root.path(), &own, 1);
    let proxy = ServiceName::parse("proxy").unwrap();
    let folder = paths.instance_dir(&proxy, &own.services[&proxy].instance);
    fs::create_dir_all(&folder).unwrap();
    let flag = folder.join("maintenance");
    let names = || {
        let mut names: Vec<String> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let mark_with = |until: Option<i64>| {
        let mark = Mark { operator: "alice@desk".to_owned(), since: 1, reason: None, until };
        fs::create_dir_all(paths.maintenance()).unwrap();
        files::replace_json(&mark_path(&paths, &proxy), &mark).unwrap();
    };
    let far = 4_102_444_800;
    mark_with(Some(far));
    place(&paths, &own, &proxy).unwrap();
    let name = "maintenance until Fri, 01 Jan 2100 00:00:00 GMT";
    assert_eq!(names(), ["maintenance", name]);
    assert_eq!(fs::canonicalize(&flag).unwrap(), fs::canonicalize(&folder).unwrap().join(name));
    expire(&paths).unwrap();
    let told = answer(&paths, &request(None, None)).unwrap();
    assert_eq!((told[0].on, told[0].until), (true, Some(far)));

    // Another end, none, and one again.
    show(&Folder::trusted(&folder).unwrap(), "maintenance", Some(far + 1)).unwrap();
    assert_eq!(names(), ["maintenance", "maintenance until Fri, 01 Jan 2100 00:00:01 GMT"]);
    show(&Folder::trusted(&folder).unwrap(), "maintenance", None).unwrap();
    assert_eq!((names(), files::target(&flag)), (vec!["maintenance".to_owned()], None));
    show(&Folder::trusted(&folder).unwrap(), "maintenance", Some(far)).unwrap();
    assert_eq!(names(), ["maintenance", name]);

    // Over: by the timer, and for an instance that is to start.
    for end in [|paths: &Paths, _: &Manifest| expire(paths), |paths: &Paths, own: &Manifest| resume(paths, own)] {
        mark_with(Some(1));
        show(&Folder::trusted(&folder).unwrap(), "maintenance", Some(1)).unwrap();
        end(&paths, &own).unwrap();
        assert_eq!(names(), [""; 0]);
        assert!(!mark_path(&paths, &proxy).exists());
    }
    mark_with(Some(1));
    place(&paths, &own, &proxy).unwrap();
    assert_eq!(names(), [""; 0]);
}

#[test]
fn an_end_lies_ahead() {
    assert_eq!(end(Until::Within(60), 100).unwrap(), 160);
    assert_eq!(end(Until::At(160), 100).unwrap(), 160);
    let past = end(Until::At(0), 100).unwrap_err();
    assert!(past.to_string().contains("1970-01-01T00:00:00Z"), "{past}");
    assert!(past.advice().is_some_and(|advice| advice.contains("1970-01-01T00:01:40Z")));
    for never in [Until::Within(0), Until::Within(u64::MAX), Until::At(i64::MAX)] {
        assert!(end(never, 100).is_err(), "{never:?}");
    }
}

#[test]
fn checks_are_let_through_as_long_as_they_run() {
    let root = tempfile::tempdir().unwrap();
    let own = manifest("one");
    let paths = commit(root.path(), &own, 1);
    let proxy = ServiceName::parse("proxy").unwrap();
    let folder = paths.instance_dir(&proxy, &own.services[&proxy].instance);
    fs::create_dir_all(&folder).unwrap();
    assert_eq!(let_checks_through(&paths, &own, true).unwrap(), []);
    assert!(folder.join("maintenance.checks").exists());
    answer(&paths, &request(None, Some(true))).unwrap();
    assert_eq!(let_checks_through(&paths, &own, false).unwrap(), [proxy]);
    assert!(!folder.join("maintenance.checks").exists());
}

#[test]
fn a_service_that_would_not_notice_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let paths = commit(root.path(), &manifest("one"), 1);
    for (service, said) in [("api", "does not say"), ("proxi", "no service `proxi`")] {
        let error = answer(&paths, &request(Some(service), Some(true))).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.advice().is_some_and(|advice| advice.contains("proxy")), "{error:?}");
    }
}

/// What a service may plant in its folder: the agent follows no link, waits at no FIFO, and the
/// sign is there afterwards all the same.
#[test]
fn what_a_service_plants_in_place_of_a_sign_is_replaced_and_never_followed() {
    let root = tempfile::tempdir().unwrap();
    let own = manifest("one");
    let paths = commit(root.path(), &own, 1);
    let proxy = ServiceName::parse("proxy").unwrap();
    let folder = paths.instance_dir(&proxy, &own.services[&proxy].instance);
    fs::create_dir_all(&folder).unwrap();
    let (missing, victim) = (root.path().join("nologin"), root.path().join("victim"));
    fs::write(&victim, "root's own").unwrap();
    let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, folder.join(name)).unwrap();
    let fifo = |name: &str| nix::unistd::mkfifo(&folder.join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let deep = |name: &str| fs::create_dir_all(folder.join(name).join("a/b")).unwrap();
    let plants: [&dyn Fn(&str); 4] = [&|n| link(&missing, n), &|n| link(&victim, n), &fifo, &deep];
    for plant in plants {
        plant("maintenance.checks");
        let_checks_through(&paths, &own, true).unwrap();
        assert!(folder.join("maintenance.checks").symlink_metadata().unwrap().is_file());
        let_checks_through(&paths, &own, false).unwrap();
        assert!(!folder.join("maintenance.checks").exists());
        for until in [None, Some(4_102_444_800)] {
            plant("maintenance");
            let temporary = format!(".maintenance.new-{}", std::process::id());
            Folder::trusted(&folder).unwrap().remove(&temporary).unwrap();
            plant(&temporary);
            show(&Folder::trusted(&folder).unwrap(), "maintenance", until).unwrap();
            // A link that the service made counts as shown: it says so of itself alone.
            assert!(folder.join("maintenance").symlink_metadata().is_ok());
            lift(&paths, &proxy, "maintenance").unwrap();
            assert!(folder.join("maintenance").symlink_metadata().is_err());
        }
    }
    assert!(!missing.exists());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "root's own");
}
