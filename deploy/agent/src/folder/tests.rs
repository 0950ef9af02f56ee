#![allow(clippy::unwrap_used)]
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::*;

fn open() -> (tempfile::TempDir, Folder) {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("base/own")).unwrap();
    let folder = Folder::open(&root.path().join("base"), Path::new("own")).unwrap().unwrap();
    (root, folder)
}

#[test]
fn a_folder_is_opened_through_no_link() {
    let (root, _) = open();
    let base = root.path().join("base");
    assert!(Folder::open(&base, Path::new("none")).unwrap().is_none());
    assert!(Folder::open(&base, Path::new("")).unwrap().is_some());
    fs::create_dir_all(root.path().join("elsewhere/deep")).unwrap();
    symlink("../elsewhere", base.join("link")).unwrap();
    symlink("own", base.join("inside")).unwrap();
    fs::write(base.join("file"), "").unwrap();
    for (below, said) in [
        ("link", "a link"),
        ("link/deep", "a link"),
        ("inside", "a link"),
        ("../elsewhere", "a link"),
        ("file", "not a folder"),
    ] {
        let error = Folder::open(&base, Path::new(below)).unwrap_err().to_string();
        assert!(error.contains(said), "{below}: {error}");
    }
}

#[test]
fn only_plain_names_are_taken() {
    let (root, folder) = open();
    for name in ["", ".", "..", "a/b", "/etc/passwd", "../x"] {
        assert!(folder.create(name, 0o644).is_err(), "{name:?}");
        assert!(folder.remove(name).is_err(), "{name:?}");
        assert!(folder.has(name).is_err(), "{name:?}");
    }
    assert!(!root.path().join("base/x").exists());
}

#[test]
fn files_are_made_and_replaced_whatever_is_in_the_way() {
    let (root, folder) = open();
    let own = root.path().join("base/own");
    let victim = root.path().join("victim");
    fs::write(&victim, "kept").unwrap();
    let plants: [&dyn Fn(&Path); 4] = [
        &|place| symlink(&victim, place).unwrap(),
        &|place| symlink("/nowhere/at/all", place).unwrap(),
        &|place| nix::unistd::mkfifo(place, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        &|place| fs::create_dir_all(place.join("a/b/c")).unwrap(),
    ];
    for plant in plants {
        plant(&own.join("x"));
        folder.create("x", 0o640).unwrap();
        let meta = own.join("x").symlink_metadata().unwrap();
        assert!(meta.is_file() && meta.mode() & 0o7777 == 0o640, "{meta:?}");
        folder.remove("x").unwrap();
        plant(&own.join("x"));
        plant(&own.join(temporary("x")));
        folder.point("x", Path::new("target")).unwrap();
        assert_eq!(folder.target("x"), Some(PathBuf::from("target")));
        plant(&own.join("y"));
        folder.rename("x", "y").unwrap();
        assert_eq!((folder.target("x"), folder.target("y")), (None, Some(PathBuf::from("target"))));
        folder.remove("y").unwrap();
        plant(&own.join("z"));
        assert!(folder.read("z", 100).unwrap().is_none());
        folder.new_file("z", 0o600).unwrap();
        assert!(folder.read("z", 100).unwrap().is_some());
        folder.remove("z").unwrap();
        assert_eq!(folder.names().unwrap(), [""; 0]);
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
    fs::write(own.join("large"), "12345").unwrap();
    assert!(folder.read("large", 4).unwrap_err().to_string().contains("larger than 4 bytes"));
    assert_eq!(folder.read("large", 5).unwrap().unwrap().1, b"12345");
}

#[test]
fn a_folder_is_given_away_by_its_descriptor() {
    let (root, folder) = open();
    let (inner, made) = folder.make("inner", 0o700).unwrap();
    assert!(made && !folder.make("inner", 0o700).unwrap().1);
    // Its place is taken by a link meanwhile: the link's target keeps its mode.
    let victim = root.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o700)).unwrap();
    let place = root.path().join("base/own/inner");
    fs::rename(&place, root.path().join("moved")).unwrap();
    symlink(&victim, &place).unwrap();
    let owner = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    inner.give(0o777, Some(owner)).unwrap();
    assert_eq!(victim.metadata().unwrap().mode() & 0o7777, 0o700);
    assert_eq!(root.path().join("moved").metadata().unwrap().mode() & 0o7777, 0o777);
    assert!(folder.make("inner", 0o700).unwrap_err().to_string().contains("inner"));
}

#[test]
fn a_tree_deeper_than_any_path_is_removed() {
    let (_root, folder) = open();
    let (mut inner, _) = folder.make("deep", 0o700).unwrap();
    let name = "n".repeat(200);
    for _ in 0..3000 {
        inner.create("file", 0o600).unwrap();
        inner = inner.make(&name, 0o700).unwrap().0;
    }
    drop(inner);
    folder.remove("deep").unwrap();
    assert_eq!(folder.names().unwrap(), [""; 0]);
}

/// A removal renames what lies deeper to names of this kind.
#[test]
fn names_that_a_removal_uses_itself_may_be_there_already() {
    let plants: [&dyn Fn(&Path); 3] = [
        &|place| fs::write(place, "").unwrap(),
        &|place| fs::create_dir_all(place.join("full/er")).unwrap(),
        &|place| symlink("/etc", place).unwrap(),
    ];
    for plant in plants {
        let (root, folder) = open();
        let full = root.path().join("base/own/full");
        fs::create_dir_all(full.join("a/b/c")).unwrap();
        for number in [1, 2, 4] {
            plant(&full.join(format!(".removed-{number}")));
        }
        folder.remove("full").unwrap();
        assert_eq!(folder.names().unwrap(), [""; 0]);
    }
}

/// The owner makes files and folders as fast as it can, through a descriptor that it holds.
#[test]
fn an_owner_that_keeps_filling_a_folder_does_not_hold_its_removal_up() {
    const OWNER: u32 = 65534;
    if !nix::unistd::geteuid().is_root() {
        return; // Only root can be another user for a thread.
    }
    let (root, folder) = open();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder.make("full", 0o700).unwrap().0.give(0o700, Some((OWNER, OWNER))).unwrap();
    let (made, full) = (Arc::new(AtomicU32::new(0)), root.path().join("base/own/full"));
    let owner = thread::spawn({
        let made = Arc::clone(&made);
        move || {
            nix::unistd::setfsgid(OWNER.into());
            nix::unistd::setfsuid(OWNER.into());
            let full = at::open(&full, DIRECTORY, Mode::empty()).unwrap();
            loop {
                let number = made.fetch_add(1, Ordering::Relaxed);
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
                let file = at::openat(&full, format!("file-{number}"), flags, Mode::RWXU).map(drop);
                if let Err(errno) = file.and(at::mkdirat(&full, format!("folder-{number}"), Mode::RWXU)) {
                    return errno;
                }
            }
        }
    });
    while made.load(Ordering::Relaxed) < 500 && !owner.is_finished() {
        thread::yield_now();
    }
    folder.remove("full").unwrap();
    assert!(!folder.has("full").unwrap());
    // Taken away from it, or gone.
    let ended_by = owner.join().unwrap();
    assert!(matches!(ended_by, Errno::ACCESS | Errno::NOENT), "{ended_by}");
    assert!(made.load(Ordering::Relaxed) >= 500);
}

#[test]
fn only_a_link_that_was_just_made_is_given_away() {
    let (root, folder) = open();
    let own = root.path().join("base/own");
    let me = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    folder.point("link", Path::new("/nowhere")).unwrap();
    folder.give_link("link", me).unwrap();
    // In its place the owner of the folder puts a file of root's, or a second name of its link.
    fs::write(own.join("file"), "").unwrap();
    fs::hard_link(own.join("link"), own.join("second")).unwrap();
    for other in ["file", "second"] {
        assert!(folder.give_link(other, me).unwrap_err().to_string().contains("something else"), "{other}");
    }
    if nix::unistd::geteuid().is_root() {
        folder.point("given", Path::new("/nowhere")).unwrap();
        folder.give_link("given", (4321, 4322)).unwrap();
        let meta = own.join("given").symlink_metadata().unwrap();
        assert_eq!((meta.uid(), meta.gid()), (4321, 4322));
        assert!(folder.give_link("given", me).is_err(), "it is not ours any more");
    }
}

#[test]
fn a_folder_is_found_only_where_no_link_leads() {
    let (root, _) = open();
    let base = root.path().join("base");
    symlink("own", base.join("link")).unwrap();
    fs::write(base.join("file"), "").unwrap();
    assert!(Folder::find(&base, Path::new("own")).unwrap().is_some());
    for none in ["link", "link/x", "file", "file/x", "none", "../base"] {
        assert!(Folder::find(&base, Path::new(none)).unwrap().is_none(), "{none}");
    }
}

#[test]
fn a_connection_goes_to_a_socket_and_through_no_link() {
    let (root, folder) = open();
    let (own, other) = (root.path().join("base/own/1.sock"), root.path().join("other.sock"));
    let _other = UnixListener::bind(&other).unwrap();
    symlink(&other, &own).unwrap();
    assert_eq!(connect_to(&own).unwrap_err().to_string(), "it is not a socket");
    assert_eq!(folder.socket("1.sock").unwrap(), None);
    fs::remove_file(&own).unwrap();
    let listener = UnixListener::bind(&own).unwrap();
    connect_to(&own).unwrap();
    listener.accept().unwrap();
    let meta = own.metadata().unwrap();
    assert_eq!(folder.socket("1.sock").unwrap(), Some(FileId { device: meta.dev(), inode: meta.ino() }));
}

/// The rest of the agent gets a [`Folder`], and no path: a path-based call below a service's folder
/// could only be written with one of these functions.
#[test]
fn no_other_module_touches_a_services_folder_by_path() {
    const FORMS_PATHS: [(&str, &[&str]); 3] = [
        // In health, for an address that `connect_to` takes apart again.
        ("instance_dir(", &["health/mod.rs", "paths.rs"]),
        ("current_link(", &["health/mod.rs", "paths.rs", "services/mod.rs"]),
        ("state_of(", &["paths.rs", "services/state.rs"]),
    ];
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![src.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&src).unwrap().display().to_string();
            let text = fs::read_to_string(&path).unwrap();
            // Tests stand for the service, too.
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for (call, allowed) in FORMS_PATHS {
                if !name.ends_with("tests.rs") && text.contains(call) && !allowed.contains(&name.as_str()) {
                    found.push(format!("{name}: {call}"));
                }
            }
            let joins = text.lines().filter(|line| line.contains("service_dir(") && line.contains(".join("));
            // The folder itself is opened by one plain name.
            let allowed = ["folder/tests.rs", "paths.rs", "services/slots.rs"].contains(&name.as_str());
            found.extend(joins.filter(|_| !allowed).map(|line| format!("{name}: {line}")));
        }
    }
    assert_eq!(found, [""; 0], "use services::instance_folder and crate::folder instead");
}
