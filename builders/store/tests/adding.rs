//! What adding promises: the form on disk, sharing, crash safety, concurrency, clear refusals.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;

use cairn_formats::{ContentAddress, Sha256, StorePath};
use cairn_store::{Fault, PathInfo, Store, StoreError, tree};
use common::{add, chain, motley, name, open};

fn nodes(at: &Path, visit: &mut dyn FnMut(&Path, &std::fs::Metadata)) {
    let meta = at.symlink_metadata().unwrap();
    visit(at, &meta);
    if meta.is_dir() {
        for entry in std::fs::read_dir(at).unwrap() {
            nodes(&entry.unwrap().path(), visit);
        }
    }
}

#[test]
fn everything_is_read_only_dated_and_shared() {
    let (_root, store) = open();
    let build = store.build_dir().unwrap();
    let at = build.path().join("tree");
    motley(&at);
    let attribute = rustix::fs::setxattr(at.join("secret"), "user.note", b"x", rustix::fs::XattrFlags::empty());
    assert!(matches!(attribute, Ok(()) | Err(rustix::io::Errno::NOTSUP)), "an old tmpfs has none; {attribute:?}");
    let info = store.add_output(&at, &name("motley"), &BTreeSet::new()).unwrap();
    assert!(!at.exists());

    let place = store.physical(&info.path);
    nodes(&place, &mut |path, meta| {
        let executable = path.ends_with("bin/run") || meta.is_dir();
        if !meta.is_symlink() {
            assert_eq!(meta.mode() & 0o7777, if executable { 0o555 } else { 0o444 }, "{}", path.display());
        }
        assert_eq!(meta.mtime(), 1, "{}", path.display());
        let mut room = [0u8; 256];
        assert_eq!(rustix::fs::llistxattr(path, &mut room), Ok(0), "{}", path.display());
        if meta.is_file() {
            let executable = meta.mode() & 0o100 != 0;
            let mut file = std::fs::File::open(path).unwrap();
            let hash = cairn_formats::nar::file_hash(executable, meta.len(), &mut file).unwrap();
            assert_eq!(store.link_file(&hash).metadata().unwrap().ino(), meta.ino(), "{}", path.display());
        }
    });
    // The two empty files are one.
    let ino = |name: &str| place.join(name).metadata().unwrap().ino();
    assert_eq!(ino("nothing"), ino("also nothing"));
    assert_eq!(tree::hash(&place).unwrap(), (info.nar_hash, info.nar_size));
    assert_eq!(store.verify(true).unwrap(), []);
}

#[test]
fn a_file_and_a_link_can_be_outputs_themselves() {
    let (_root, store) = open();
    let build = store.build_dir().unwrap();
    std::fs::write(build.path().join("file"), "x").unwrap();
    std::os::unix::fs::symlink("target", build.path().join("link")).unwrap();
    for (node, wanted) in [("file", "x"), ("link", "target")] {
        let info = store.add_output(&build.path().join(node), &name(node), &BTreeSet::new()).unwrap();
        let place = store.physical(&info.path);
        let found = std::fs::read_link(&place).map(|p| p.to_str().unwrap().to_owned());
        assert_eq!(found.unwrap_or_else(|_| std::fs::read_to_string(&place).unwrap()), wanted);
    }
    assert_eq!(store.verify(true).unwrap(), []);
}

#[test]
fn the_same_content_twice_is_one_path_and_the_second_tree_is_discarded() {
    let (_root, store) = open();
    let first = add(&store, "x", "content", &[]);
    let build = store.build_dir().unwrap();
    let at = build.path().join("out");
    std::fs::create_dir(&at).unwrap();
    std::fs::write(at.join("content"), "content").unwrap();
    assert_eq!(store.add_output(&at, &name("x"), &BTreeSet::new()).unwrap(), first);
    assert!(!at.exists());
    assert_eq!(store.valid_paths().unwrap(), [first.path]);
}

#[test]
fn references_are_found_in_contents_names_and_link_targets() {
    let (_root, store) = open();
    let targets: Vec<PathInfo> = ["a", "b", "c", "unused"].map(|n| add(&store, n, n, &[])).into();
    let build = store.build_dir().unwrap();
    let at = build.path().join("out");
    std::fs::create_dir(&at).unwrap();
    // Across the seam of two buffers.
    let mut content = vec![b'\n'; (128 << 10) - 20];
    content.extend_from_slice(targets[0].path.absolute().as_bytes());
    std::fs::write(at.join("file"), content).unwrap();
    std::os::unix::fs::symlink(targets[1].path.absolute(), at.join("link")).unwrap();
    std::fs::write(at.join(format!("{}.conf", targets[2].path.hash_part())), "").unwrap();
    let candidates: BTreeSet<StorePath> = targets.iter().map(|info| info.path.clone()).collect();
    let info = store.add_output(&at, &name("out"), &candidates).unwrap();
    let wanted: BTreeSet<StorePath> = targets[..3].iter().map(|info| info.path.clone()).collect();
    assert_eq!(info.references, wanted);
    assert_eq!(store.query(&info.path).unwrap(), Some(info));
}

#[test]
fn a_source_is_copied_and_left_alone() {
    let (_root, store) = open();
    let source = tempfile::tempdir().unwrap();
    motley(&source.path().join("app"));
    let before = tree::hash(&source.path().join("app")).unwrap();
    let info = store.add_source(&source.path().join("app"), &name("app")).unwrap();
    assert_eq!((info.nar_hash, info.nar_size), before);
    assert_eq!(source.path().join("app/secret").metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(store.add_source(&source.path().join("app"), &name("app")).unwrap(), info);
    std::os::unix::net::UnixListener::bind(source.path().join("app/socket")).unwrap();
    let error = store.add_source(&source.path().join("app"), &name("app")).unwrap_err();
    assert!(matches!(&error, StoreError::UnsupportedFile { kind: "socket", .. }), "{error}");
}

#[test]
fn what_a_crash_left_is_replaced_and_build_directories_do_not_matter() {
    let (root, store) = open();
    let wanted = add(&store, "x", "content", &[]);
    drop(store);
    let place = |store: &Store| store.physical(&wanted.path);
    // As if the machine died before the row was written, with half of the tree there.
    let store = Store::open(root.path()).unwrap();
    store.collect_garbage(false).unwrap();
    std::fs::create_dir(place(&store)).unwrap();
    std::fs::write(place(&store).join("half"), "torn").unwrap();
    std::fs::set_permissions(place(&store), PermissionsExt::from_mode(0o555)).unwrap();
    std::fs::create_dir_all(root.path().join("nix/var/cairn/build/1-0/out")).unwrap();
    std::fs::write(place(&store).with_extension("lock"), "").unwrap();

    assert!(!store.is_valid(&wanted.path).unwrap());
    assert_eq!(store.verify(false).unwrap(), [Fault::Unregistered { path: place(&store) }]);
    let info = add(&store, "x", "content", &[]);
    assert_eq!(info.path, wanted.path);
    assert_eq!(store.verify(true).unwrap(), []);
    let report = store.collect_garbage(false).unwrap();
    assert_eq!((report.build_dirs, report.deleted), (1, vec![]));
}

#[test]
fn a_valid_path_that_was_removed_by_hand_is_added_again() {
    let (_root, store) = open();
    let info = add(&store, "x", "content", &[]);
    std::fs::set_permissions(store.physical(&info.path), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::remove_dir_all(store.physical(&info.path)).unwrap();
    assert_eq!(store.verify(false).unwrap(), [Fault::Missing { path: info.path.clone() }]);
    assert_eq!(add(&store, "x", "content", &[]), info);
    assert_eq!(store.verify(true).unwrap(), []);
}

#[test]
fn a_torn_link_is_not_shared() {
    let (_root, store) = open();
    let hash = cairn_formats::nar::file_hash(false, 7, &mut &b"content"[..]).unwrap();
    std::fs::write(store.link_file(&hash), "").unwrap();
    add(&store, "x", "content", &[]);
    assert_eq!(store.verify(true).unwrap(), []);
}

#[test]
fn threads_and_stores_that_add_the_same_tree_agree() {
    let (root, store) = open();
    let infos: Vec<PathInfo> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let store = if n % 2 == 0 { store.clone() } else { Store::open(root.path()).unwrap() };
                scope.spawn(move || (0..5).map(|n| add(&store, "same", &format!("{n}"), &[])).collect::<Vec<_>>())
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let paths: BTreeSet<_> = infos.iter().map(|info| &info.path).collect();
    assert_eq!(paths.len(), 5);
    assert_eq!(store.valid_paths().unwrap().len(), 5);
    assert_eq!(store.verify(true).unwrap(), []);
    let locks = std::fs::read_dir(root.path().join("nix/store")).unwrap();
    assert_eq!(locks.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "lock")).count(), 0);
}

#[test]
fn what_refers_to_an_invalid_path_or_to_itself_is_refused() {
    let (_root, store) = open();
    let (bottom, middle, _) = chain(&store);
    let ghost = StorePath::parse(&format!("{}-ghost", "0".repeat(32))).unwrap();
    let info = PathInfo { references: BTreeSet::from([ghost.clone()]), path: ghost.clone(), ..bottom.clone() };
    assert!(matches!(store.register(&info), Err(StoreError::MissingTree { .. })));
    std::fs::write(store.physical(&ghost), "").unwrap();
    assert!(matches!(store.register(&info), Err(StoreError::SelfReference { path }) if path == ghost));
    let other = StorePath::parse(&format!("{}-other", "1".repeat(32))).unwrap();
    let info = PathInfo { references: BTreeSet::from([other.clone()]), ..info };
    let error = store.register_all(&[middle, info]).unwrap_err();
    assert!(matches!(&error, StoreError::InvalidReference { reference, .. } if *reference == other), "{error}");
    assert!(!store.is_valid(&ghost).unwrap());
}

#[test]
fn an_import_believes_nothing_and_is_whole() {
    let (_root, store) = open();
    let (bottom, middle, top) = chain(&store);
    let (_other_root, other) = open();
    let build = other.build_dir().unwrap();
    let receive = |info: &PathInfo| {
        let at = build.path().join(info.path.name());
        let mut nar = Vec::new();
        tree::dump(&store.physical(&info.path), &mut nar).unwrap();
        tree::restore(&nar[..], &at).unwrap();
        (at, info.clone())
    };
    // Tampered content, then a path that does not follow from its content.
    let (at, info) = receive(&bottom);
    std::fs::write(at.join("content"), "tampered").unwrap();
    let error = other.import(vec![(at.clone(), info)]).unwrap_err();
    assert!(matches!(error, StoreError::HashMismatch { .. }), "{error}");
    std::fs::remove_dir_all(at).unwrap();
    let (at, info) = receive(&bottom);
    let error = other.import(vec![(at.clone(), PathInfo { path: top.path.clone(), ..info })]).unwrap_err();
    assert!(matches!(error, StoreError::AddressMismatch { .. }), "{error}");
    std::fs::remove_dir_all(at).unwrap();
    assert_eq!(other.valid_paths().unwrap(), []);

    // Files that came first are in `.links`, whatever becomes of the rest.
    let file = build.path().join("file");
    std::fs::write(&file, "the last one\n").unwrap();
    let hash = cairn_formats::nar::file_hash(false, 13, &mut &b"the last one\n"[..]).unwrap();
    other.add_links(&[(file.clone(), hash)]).unwrap();
    assert!(matches!(other.add_links(&[(file, Sha256::of(b""))]), Err(StoreError::FileMismatch { .. })));

    other.import([&bottom, &middle, &top].map(receive).into()).unwrap();
    other.import([&bottom, &top].map(receive).into()).unwrap();
    for info in [bottom, middle, top] {
        let found = other.query(&info.path).unwrap().unwrap();
        assert_eq!((found.references, found.ca, found.nar_hash), (info.references, info.ca, info.nar_hash));
    }
    assert_eq!(other.link_file(&hash).metadata().unwrap().nlink(), 3);
    assert_eq!(other.verify(true).unwrap(), []);
}

#[test]
fn a_download_is_moved_and_addressed_by_its_plain_hash() {
    let (_root, store) = open();
    let build = store.build_dir().unwrap();
    let file = build.path().join("x.deb");
    std::fs::write(&file, "!<arch>\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    let info = store.add_flat(&file, &name("x.deb")).unwrap();
    assert!(!file.exists());
    assert_eq!(info.ca, Some(ContentAddress::Flat(Sha256::of(b"!<arch>\n"))));
    assert_eq!(store.physical(&info.path).metadata().unwrap().mode() & 0o777, 0o444);
    assert_eq!(store.verify(true).unwrap(), []);
    // From another file system, where there is one.
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let file = elsewhere.path().join("y.deb");
    std::fs::write(&file, "other").unwrap();
    store.add_flat(&file, &name("y.deb")).unwrap();
    assert!(!file.exists());
    assert!(matches!(store.add_flat(elsewhere.path(), &name("z")), Err(StoreError::NotAFile { .. })));
    let at = elsewhere.path().join("tree");
    std::fs::create_dir(&at).unwrap();
    let error = store.add_output(&at, &name("tree"), &BTreeSet::new()).unwrap_err();
    assert!(matches!(error, StoreError::OtherFileSystem { .. }), "{error}");
}

#[test]
fn a_tree_that_is_too_deep_is_refused_with_a_remedy() {
    let (_root, store) = open();
    let chain = |name: &str, levels: usize| (0..levels).fold(std::path::PathBuf::new(), |path, _| path.join(name));
    // As many levels as a NAR may have are fine.
    let build = store.build_dir().unwrap();
    std::fs::create_dir_all(build.path().join("out").join(chain("d", 512))).unwrap();
    let info = store.add_output(&build.path().join("out"), &name("deep"), &BTreeSet::new()).unwrap();
    let mut nar = Vec::new();
    cairn_store::tree::dump(&store.physical(&info.path), &mut nar).unwrap();
    let copy = build.path().join("copy");
    cairn_store::tree::restore(&nar[..], &copy).unwrap();
    cairn_store::tree::canonicalise(&copy).unwrap();
    assert_eq!(cairn_store::tree::hash(&copy).unwrap().0, info.nar_hash);
    assert_eq!(store.add_source(&copy, &name("deep")).unwrap().path, info.path);

    let build = store.build_dir().unwrap();
    std::fs::create_dir_all(build.path().join("out").join(chain("d", 513))).unwrap();
    let error = store.add_output(&build.path().join("out"), &name("deep"), &BTreeSet::new()).unwrap_err().to_string();
    assert!(error.contains("more than 512 directories deep; nest fewer"), "{error}");

    let build = store.build_dir().unwrap();
    let out = build.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
    let mut dir = rustix::fs::open(&out, flags, rustix::fs::Mode::empty()).unwrap();
    for _ in 0..30 {
        let name = "n".repeat(200);
        rustix::fs::mkdirat(&dir, &name, rustix::fs::Mode::RWXU).unwrap();
        dir = rustix::fs::openat(&dir, &name, flags, rustix::fs::Mode::empty()).unwrap();
    }
    let error = store.add_output(&out, &name("long"), &BTreeSet::new()).unwrap_err().to_string();
    assert!(error.contains("use shorter names") && error.len() < 500, "{error}");
}
