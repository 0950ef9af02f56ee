//! Replays every seed and every input that once failed, and a few mutations of each.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cairn_fuzz::{TARGETS, Target};

/// Mutations of each file, as far as the target's time reaches.
const MUTATIONS: u32 = 300;
/// For all mutations of one target. A real parser is done long before; those that write trees are not.
const TIME: Duration = Duration::from_millis(60);
/// An ordinary input takes less than a millisecond.
const SLOW: Duration = Duration::from_secs(5);

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target)
}

/// The files of a folder in the order of their names; none if there is no such folder.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Runs one input; what went wrong.
fn run(target: &Target, input: &[u8], name: &str) -> Result<(), String> {
    let begun = Instant::now();
    let fault = match catch_unwind(|| (target.run)(input)) {
        Ok(()) if begun.elapsed() < SLOW => return Ok(()),
        Ok(()) => format!("took {:?}", begun.elapsed()),
        Err(_) => "panicked".to_owned(),
    };
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", target.name));
    fs::write(&kept, input).unwrap();
    Err(format!("{}: {name} {fault}; the input is in {}", target.name, kept.display()))
}

/// Calls `each` with every target, on all processors; fails with all that it finds.
fn for_all(each: impl Fn(&Target) -> Result<(), String> + Sync) {
    let (next, faults) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(target) = TARGETS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(fault) = each(target) {
                        faults.lock().unwrap().push(fault);
                    }
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn seeds_and_earlier_crashes_pass() {
    for_all(|target| {
        let seeds = files(&folder("corpus", target.name));
        if seeds.is_empty() {
            return Err(format!("{} has no seed in fuzz/corpus", target.name));
        }
        for (path, input) in seeds.into_iter().chain(files(&folder("crashes", target.name))) {
            run(target, &input, &path.file_name().unwrap().to_string_lossy())?;
        }
        Ok(())
    });
}

#[test]
fn mutated_seeds_pass() {
    for_all(|target| {
        let end = Instant::now() + TIME;
        let seeds = [files(&folder("corpus", target.name)), files(&folder("crashes", target.name))].concat();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for number in 0..MUTATIONS {
            for (path, input) in &seeds {
                if Instant::now() > end {
                    return Ok(());
                }
                let other = &seeds[random.below(seeds.len())].1;
                let name = format!("{}-{number}", path.file_name().unwrap().to_string_lossy());
                run(target, &random.mutate(input, other), &name)?;
            }
        }
        Ok(())
    });
}

#[test]
fn every_folder_belongs_to_a_target_and_seeds_are_small_and_neutral() {
    let mut total = 0;
    for kind in ["corpus", "crashes"] {
        for entry in fs::read_dir(folder(kind, "")).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name == ".gitkeep" {
                continue;
            }
            assert!(cairn_fuzz::find(&name).is_some(), "{} is not a target", path.display());
            for (file, content) in files(&path) {
                total += content.len();
                // Seeds do not name the folder in which they were made.
                for private in ["/home/", "/root/", "/tmp/"] {
                    let found = content.windows(private.len()).any(|part| part == private.as_bytes());
                    assert!(!found || kind == "crashes", "{} names {private}", file.display());
                }
            }
        }
    }
    assert!(total < 1 << 20, "the corpora have {total} bytes; keep them below 1 MiB");
}

/// A xorshift generator: the same mutations on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// One to four changes of the kinds that break parsers.
    fn mutate(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let length = self.below(bytes.len() - at.min(bytes.len())).min(64);
            match self.below(8) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..at + length)),
                2 => drop(bytes.splice(at..at, bytes.clone().drain(at..at + length))),
                3 => drop(bytes.splice(at..at, other.iter().copied().skip(self.below(other.len())).take(64))),
                4 => drop(bytes.splice(at..at, [self.next() as u8])),
                5 => bytes.iter_mut().skip(at).take(8).for_each(|byte| *byte = [0, 0xff, 0x7f, b'9'][length % 4]),
                6 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (length % 8)),
                _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = self.next() as u8),
            }
        }
        bytes
    }
}
