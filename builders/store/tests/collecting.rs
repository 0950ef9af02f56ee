//! What keeps paths alive, and what the collector takes.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use cairn_formats::{Sha256, StorePath};
use cairn_store::{Store, StoreError};
use common::{add, chain, open};
use rustix::fs::{Mode, OFlags};

fn valid(store: &Store) -> BTreeSet<StorePath> {
    store.valid_paths().unwrap().into_iter().collect()
}

#[test]
fn roots_keep_their_closure_and_nothing_else() {
    let (root, store) = open();
    let (bottom, middle, top) = chain(&store);
    let dead = add(&store, "dead", "only here", &[]);
    store.set_root("images/api", &middle.path).unwrap();
    assert_eq!(store.roots().unwrap().iter().map(|r| &r.path).collect::<Vec<_>>(), [&middle.path]);
    drop(store);

    let store = Store::open(root.path()).unwrap();
    let plan = store.collect_garbage(true).unwrap();
    assert_eq!(valid(&store).len(), 4);
    let report = store.collect_garbage(false).unwrap();
    assert_eq!(report.deleted, plan.deleted);
    assert_eq!(report.deleted.iter().collect::<BTreeSet<_>>(), BTreeSet::from([&top.path, &dead.path]));
    assert_eq!((report.kept, report.links), (2, 2));
    assert!(report.bytes > 0);
    assert_eq!(valid(&store), BTreeSet::from([bottom.path, middle.path.clone()]));
    assert_eq!(store.verify(true).unwrap(), []);

    store.remove_root("images/api").unwrap();
    store.remove_root("images/api").unwrap();
    let report = store.collect_garbage(false).unwrap();
    assert_eq!(report.deleted.first(), Some(&middle.path));
    assert_eq!(valid(&store), BTreeSet::new());
    assert_eq!(std::fs::read_dir(store.links_dir()).unwrap().count(), 0);
}

#[test]
fn a_dry_run_tells_what_would_go_without_some_roots() {
    let (root, store) = open();
    let (_, middle, top) = chain(&store);
    let profile = store.profile("cairn").unwrap();
    for path in [&top.path, &middle.path] {
        let generation = profile.add(path).unwrap();
        profile.switch_to(generation.number).unwrap();
    }
    let link = profile.generation_link(1);
    drop((store, profile));

    let store = Store::open(root.path()).unwrap();
    assert_eq!(store.would_collect(&[]).unwrap().deleted, []);
    let would = store.would_collect(&[link]).unwrap();
    assert_eq!(would.deleted, [top.path]);
    assert!(would.bytes > 0);
    assert_eq!(valid(&store).len(), 3);
}

#[test]
fn what_a_living_store_added_stays_until_it_is_dropped() {
    let (root, store) = open();
    let (_, _, top) = chain(&store);
    let collector = Store::open(root.path()).unwrap();
    assert_eq!(collector.collect_garbage(false).unwrap().deleted, []);
    let clone = store.clone();
    drop(store);
    assert_eq!(collector.collect_garbage(false).unwrap().deleted, []);
    drop(clone);
    assert_eq!(collector.collect_garbage(false).unwrap().deleted.first(), Some(&top.path));
}

#[test]
fn the_temporary_roots_of_a_dead_process_are_removed() {
    let (root, store) = open();
    let info = add(&store, "x", "x", &[]);
    drop(store);
    let stale = root.path().join("nix/var/nix/temproots/4194305");
    std::fs::write(&stale, format!("{}\0", info.path.absolute())).unwrap();
    let store = Store::open(root.path()).unwrap();
    assert_eq!(store.collect_garbage(false).unwrap().deleted, [info.path]);
    assert!(!stale.exists());
}

#[test]
fn a_profile_goes_forth_and_back_and_keeps_its_generations() {
    let (root, store) = open();
    let (_, middle, top) = chain(&store);
    let profile = store.profile("cairn").unwrap();
    assert_eq!(profile.current().unwrap(), None);
    assert_eq!(profile.generations().unwrap(), []);
    let first = profile.add(&middle.path).unwrap();
    assert_eq!((first.number, profile.current().unwrap()), (1, None));
    profile.switch_to(1).unwrap();
    let second = profile.add(&top.path).unwrap();
    profile.switch_to(2).unwrap();
    assert_eq!(profile.current().unwrap(), Some(second.clone()));
    profile.switch_to(1).unwrap();
    assert_eq!(profile.current().unwrap(), Some(first.clone()));
    assert_eq!(profile.generations().unwrap(), [first, second]);

    let target = |name: &str| std::fs::read_link(root.path().join("nix/var/nix/profiles").join(name)).unwrap();
    assert_eq!(target("cairn").to_str(), Some("cairn-1-link"));
    assert_eq!(target("cairn-2-link").to_str(), Some(&*top.path.absolute()));

    assert!(matches!(profile.delete(1), Err(StoreError::GenerationInUse { number: 1, .. })));
    let error = profile.switch_to(7).unwrap_err();
    assert_eq!(error.to_string(), "profile cairn has no generation 7; it has 1, 2");
    drop((profile, store));

    let store = Store::open(root.path()).unwrap();
    assert_eq!(store.collect_garbage(false).unwrap().deleted, []);
    let profile = store.profile("cairn").unwrap();
    profile.delete(2).unwrap();
    assert_eq!(store.collect_garbage(false).unwrap().deleted, [top.path]);
    assert_eq!(profile.add(&middle.path).unwrap().number, 2);
}

#[test]
fn a_profile_takes_only_valid_paths_and_plain_names() {
    let (_root, store) = open();
    let ghost = StorePath::parse(&format!("{}-ghost", "0".repeat(32))).unwrap();
    assert!(matches!(store.profile("x").unwrap().add(&ghost), Err(StoreError::NotValid { .. })));
    assert!(matches!(store.set_root("x", &ghost), Err(StoreError::NotValid { .. })));
    for bad in ["", "..", "a/b", ".x", "a b"] {
        assert!(matches!(store.profile(bad), Err(StoreError::BadName { .. })), "{bad:?}");
    }
    for bad in ["", "../x", "/x", "a//b", "a/.."] {
        assert!(matches!(store.remove_root(bad), Err(StoreError::BadName { .. })), "{bad:?}");
    }
}

#[test]
fn generations_of_profiles_with_alike_names_are_kept_apart() {
    let (_root, store) = open();
    let (bottom, middle, _) = chain(&store);
    store.profile("a").unwrap().add(&bottom.path).unwrap();
    store.profile("a-1").unwrap().add(&middle.path).unwrap();
    assert_eq!(store.profile("a").unwrap().generations().unwrap().len(), 1);
    assert_eq!(store.profile("a-1").unwrap().generations().unwrap()[0].path, middle.path);
}

#[test]
fn a_realisation_keeps_nothing_alive_and_never_names_a_dead_path() {
    let (root, store) = open();
    let info = add(&store, "x", "x", &[]);
    let (known, unknown) = (Sha256::of(b"recipe"), Sha256::of(b"other"));
    store.set_realisation(&known, &info.path).unwrap();
    assert_eq!(store.realisation(&known).unwrap(), Some(info.path.clone()));
    assert_eq!(store.realisation(&unknown).unwrap(), None);
    let file = root.path().join("nix/var/cairn/realisations").join(known.hex());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{}\n", info.path.base()));
    drop(store);

    let store = Store::open(root.path()).unwrap();
    let torn = root.path().join("nix/var/cairn/realisations").join(unknown.hex());
    std::fs::write(&torn, "0mdqa9w1p6").unwrap();
    assert_eq!(store.realisation(&unknown).unwrap(), None);
    assert_eq!(store.collect_garbage(true).unwrap().realisations, 2);
    assert_eq!(store.collect_garbage(false).unwrap().realisations, 2);
    assert!(!file.exists() && !torn.exists());
    store.set_realisation(&known, &info.path).unwrap();
    assert_eq!(store.realisation(&known).unwrap(), None);
}

#[test]
fn a_build_directory_lives_as_long_as_its_handle() {
    let (root, store) = open();
    let build = store.build_dir().unwrap();
    let path = build.path().to_owned();
    common::motley(&path.join("tree"));
    let collector = Store::open(root.path()).unwrap();
    assert_eq!(collector.collect_garbage(false).unwrap().build_dirs, 0);
    assert!(path.join("tree/bin/run").exists());
    drop(build);
    assert!(!path.exists());
}

#[test]
fn leftovers_in_the_store_go_and_a_path_being_made_stays() {
    let (root, store) = open();
    let dir = root.path().join("nix/store");
    std::fs::write(dir.join("rubbish"), "x").unwrap();
    let making = StorePath::parse(&format!("{}-making", "1".repeat(32))).unwrap();
    let promised = StorePath::parse(&format!("{}-promised", "2".repeat(32))).unwrap();
    let stale = StorePath::parse(&format!("{}-stale", "3".repeat(32))).unwrap();
    for path in [&making, &promised, &stale] {
        std::fs::write(store.physical(path), "half").unwrap();
    }
    std::fs::write(dir.join(format!("{stale}.lock")), "").unwrap();
    let lock = store.lock_path(&making).unwrap();
    store.add_temp_root(&promised).unwrap();
    let report = store.collect_garbage(false).unwrap();
    assert_eq!(report.leftovers, [store.physical(&stale), dir.join("rubbish")]);
    assert!(store.physical(&making).exists() && store.physical(&promised).exists());
    assert!(!dir.join(format!("{stale}.lock")).exists());
    drop(lock);
}

#[test]
fn a_lock_is_held_by_one() {
    let (_root, store) = open();
    let path = StorePath::parse(&format!("{}-x", "1".repeat(32))).unwrap();
    let busy = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let lock = store.lock_path(&path).unwrap();
                    assert!(!busy.swap(true, std::sync::atomic::Ordering::SeqCst));
                    busy.store(false, std::sync::atomic::Ordering::SeqCst);
                    drop(lock);
                }
            });
        }
    });
    assert!(!store.physical(&path).with_extension("lock").exists());
}

#[test]
fn adding_goes_on_while_others_collect() {
    let (root, store) = open();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let store = Store::open(root.path()).unwrap();
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                store.collect_garbage(false).unwrap();
            }
        });
        let adders: Vec<_> = (0..3)
            .map(|thread| {
                let root = root.path();
                scope.spawn(move || {
                    for round in 0..15 {
                        // A new store each time, so that the last round's paths are garbage.
                        let store = Store::open(root).unwrap();
                        let (bottom, _, top) = chain(&store);
                        let own = add(&store, "own", &format!("{thread} {round} {}", top.path), &[&top]);
                        assert_eq!(store.closure(std::slice::from_ref(&own.path)).unwrap().len(), 4);
                        assert!(store.physical(&bottom.path).join("content").exists());
                    }
                })
            })
            .collect();
        // The collector must be told to stop even when an adder failed.
        let results: Vec<_> = adders.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        results.into_iter().for_each(Result::unwrap);
        collector.join().unwrap();
    });
    store.collect_garbage(false).unwrap();
    assert_eq!(store.valid_paths().unwrap(), []);
    assert_eq!(store.verify(true).unwrap(), []);
}

/// Folders by descriptor, deeper than any path, as a step makes them by `chdir`.
fn nest(at: &std::path::Path, levels: usize) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let name = "n".repeat(200);
    let mut dir = rustix::fs::open(at, flags, Mode::empty()).unwrap();
    for _ in 0..levels {
        rustix::fs::mkdirat(&dir, &name, Mode::RWXU).unwrap();
        dir = rustix::fs::openat(&dir, &name, flags, Mode::empty()).unwrap();
    }
}

#[test]
fn what_a_hostile_step_left_stops_no_collection() {
    let (root, store) = open();
    // The step failed and its builder was killed: nothing holds these.
    let builds = root.path().join("nix/var/cairn/build");
    for name in ["1-0", "2-0"] {
        std::fs::create_dir(builds.join(name)).unwrap();
        nest(&builds.join(name), 600);
    }
    // Cannot be opened, whoever tries.
    std::os::unix::fs::symlink("loop", builds.join("loop")).unwrap();
    let dead = add(&store, "dead", "only here", &[]);
    drop(store);

    let store = Store::open(root.path()).unwrap();
    let report = store.collect_garbage(false).unwrap();
    assert_eq!((report.build_dirs, report.deleted), (2, vec![dead.path]));
    assert_eq!(report.problems.len(), 1);
    assert!(report.problems[0].contains("build/loop"), "{:?}", report.problems);
    let again = store.collect_garbage(false).unwrap();
    assert_eq!((again.build_dirs, again.problems.len()), (0, 1));
    // A handle that is dropped takes such a tree along as well.
    let build = store.build_dir().unwrap();
    nest(build.path(), 600);
    drop(build);
    assert_eq!(std::fs::read_dir(&builds).unwrap().count(), 1);
}
