//! The promise of an activation, on a model of a host: whatever fails, dies or reboots between
//! any two operations, the host ends with exactly one whole generation, and traffic never goes
//! to an instance that is not running.

#![allow(clippy::unwrap_used)]

mod closures;
mod host;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use cairn_protocol::{ActivationId, ActivationRequest, Goal};
use proptest::prelude::*;

use self::closures::closures;
use self::host::ModelHost;
use self::world::{Accident, Death, World};
use super::drive::{Drive, end, pick_up, wind_up_anew};
use super::machine::Phase;
use super::plan::Plan;
use super::record::{Before, Record};
use super::{reserve, root_name};
use crate::paths::Paths;

fn is_committed(world: &World, record: &Record) -> bool {
    let current = world.current_generation.map(|number| {
        let closure = &world.closures[world.generations[&number]].0;
        (number, closure)
    });
    record.is_committed_by(current)
}

/// One activation, with the accidents that the world has in store, and whoever picks it up, until
/// it has ended well or was taken back.
fn activate(world: &mut World, paths: &Paths, number: u32, closure: usize, goal: Goal) -> Record {
    let before = world
        .current_generation
        .map(|generation| Before { generation, closure: world.closures[world.generations[&generation]].0.clone() });
    let old = world.manifest(world.current_generation).cloned();
    let (path, new) = world.closures[closure].clone();
    let plan = match goal {
        Goal::Switch => Plan::between(old, new),
        Goal::Rollback { .. } => Plan::between(old, new).without_tasks(),
    };
    let id = ActivationId::parse(&format!("{number:05}")).unwrap();
    std::fs::create_dir_all(paths.activation(&id)).unwrap();
    let mut record = Record {
        version: Record::VERSION,
        id: id.clone(),
        request: ActivationRequest {
            closure: path,
            goal,
            operator: "test".to_owned(),
            reason: None,
            confirm_within: 1,
            source: None,
            expected: None,
            retention: None,
        },
        last_number: world.generations.keys().last().copied().unwrap_or(0),
        before,
        phase: Phase::Queued,
        boot_id: world.boots.to_string(),
        began: 0,
        changes: None,
        problem: None,
        outcome: None,
    };
    record.save(paths).unwrap();
    loop {
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let current = world.current_generation;
            let mut host = ModelHost { record: record.clone(), world };
            let record = record.clone();
            let drive = Drive { paths, record, plan: &plan, host: &mut host, generation: &|| current, watch: None };
            drive.to_the_end().unwrap();
        }));
        if let Err(payload) = attempt
            && payload.downcast_ref::<Death>().is_none()
        {
            resume_unwind(payload);
        }
        record = Record::load(paths, &id).unwrap();
        if record.phase.has_ended() && record.phase != Phase::Broken {
            return record;
        }
        let same_boot = record.boot_id == world.boots.to_string();
        record = pick_up(record.clone(), same_boot, is_committed(world, &record));
        if record.phase.has_ended() {
            world.forget_above(record.last_number);
            end(paths, &mut record, world.current_generation).unwrap();
            return record;
        }
        record.save(paths).unwrap();
    }
}

/// In memory where there is such a place: every phase syncs its record.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn accident() -> impl Strategy<Value = Accident> {
    prop_oneof![
        Just(Accident::Fails),
        Just(Accident::FailsAfter),
        Just(Accident::Dies),
        Just(Accident::DiesAfter),
        Just(Accident::Reboots),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn every_course_ends_with_one_whole_generation(
        courses in prop::collection::vec(
            (0..5_usize, any::<bool>(), prop::collection::vec((0..80_u32, accident()), 0..4)),
            1..6,
        ),
        adopted in 0..5_u32,
    ) {
        let root = scratch();
        let paths = Paths::new(root.path());
        let mut world = World { closures: closures(), ..World::default() };
        for (number, (closure, back, accidents)) in (1..).zip(courses) {
            let before = world.current_generation;
            let earlier = world.generations.keys().rfind(|n| Some(**n) < before).copied();
            let (closure, goal) = match earlier {
                Some(to) if back => (world.generations[&to], Goal::Rollback { to }),
                _ => (closure, Goal::Switch),
            };
            world.accidents = accidents;
            world.neighbour.adopted = number > adopted;
            let record = activate(&mut world, &paths, number, closure, goal);
            world.accidents.clear();
            match record.phase {
                Phase::Committed => prop_assert!(is_committed(&world, &record)),
                _ => prop_assert_eq!(world.current_generation, before),
            }
            let kept = world.generations.keys().last().copied().unwrap_or(0);
            prop_assert!(kept <= record.last_number || Some(kept) == world.current_generation);
            if record.phase == Phase::Committed && record.problem.is_some() {
                // Live, but something of the old generation was left over: the next activation
                // takes it away.
                let record = activate(&mut world, &paths, 1000 + number, (closure + 1) % 5, Goal::Switch);
                prop_assert_eq!(record.phase, Phase::Committed);
            }
            world.expect_whole();
        }
    }
}

#[test]
fn a_first_activation_that_fails_leaves_nothing() {
    let root = scratch();
    let paths = Paths::new(root.path());
    for at in 0..90 {
        let mut world = World { closures: closures(), accidents: vec![(at, Accident::Fails)], ..World::default() };
        let record = activate(&mut world, &paths, at, 1, Goal::Switch);
        if record.phase == Phase::Reverted {
            assert_eq!(world.generations, BTreeMap::new(), "at {at}");
            assert_eq!(world.running, BTreeSet::new(), "at {at}");
            assert!(world.etc.is_empty() && world.people.is_empty() && world.plain.is_empty(), "at {at}");
            world.expect_whole();
        }
    }
}

#[test]
fn an_end_that_was_cut_off_is_wound_up_once() {
    let root = scratch();
    let paths = Paths::new(root.path());
    let mut world = World { closures: closures(), ..World::default() };
    let record = activate(&mut world, &paths, 1, 1, Goal::Switch);
    let events = paths.activation(&record.id).join("events.jsonl");
    let whole = fs::read_to_string(&events).unwrap();
    let rooted = paths.named_root(&root_name(&record.id));
    fs::create_dir_all(rooted.parent().unwrap()).unwrap();
    // In the order of what is done; the disk may have been full.
    for (told, root_is_there, reserved) in
        [(false, true, true), (false, true, false), (true, true, true), (true, false, true)]
    {
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        fs::write(&events, lines[..lines.len() - usize::from(!told)].concat()).unwrap();
        if root_is_there {
            symlink("/nix/store/x", &rooted).unwrap();
        }
        if reserved {
            reserve::hold(&paths, &record.id).unwrap();
        }
        wind_up_anew(&paths, &record).unwrap();
        let after = fs::read_to_string(&events).unwrap();
        assert_eq!(after.lines().count(), lines.len(), "{after}");
        assert!(after.lines().next_back().unwrap().contains("\"ended\""), "{after}");
        assert!(!rooted.is_symlink() && !reserve::is_held(&paths, &record.id));
    }
}
