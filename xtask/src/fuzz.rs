//! Fuzzing with libFuzzer: `cargo xtask fuzz [TARGET…]`.
//!
//! One program holds all targets. It is compiled by the pinned stable compiler, whose LLVM inserts
//! the counters that libFuzzer reads (`sancov-module`), with overflow checks and debug assertions
//! in our crates. Address sanitizers are left out: they need a nightly compiler, and our code has
//! no `unsafe`. Inputs that reach new code stay in `target/fuzz/corpus` for the next run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, program};
use crate::{root, setup, target};

/// What libFuzzer compiles against: the GNU C library of this computer.
pub const TARGET: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };

/// Counters on every edge, a table of their places, and the operands of comparisons.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

/// A slow input and one that takes much memory are faults as well. Seconds, mebibytes, bytes.
const LIMITS: &[&str] = &["-timeout=10", "-rss_limit_mb=2048", "-max_len=32768"];

/// How libFuzzer names the inputs that it keeps because they failed.
const FAILED: [&str; 4] = ["crash-", "timeout-", "oom-", "leak-"];

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Order<'a> {
    names: Vec<&'a str>,
    minutes: u32,
    jobs: usize,
    list: bool,
}

pub fn run(words: &[&str]) -> Result<()> {
    let order = Order::parse(words)?;
    let all = targets()?;
    if order.list {
        all.iter().for_each(|name| println!("{name}"));
        return Ok(());
    }
    if let Some(unknown) = order.names.iter().find(|name| !all.iter().any(|known| known == *name)) {
        bail!("there is no fuzz target `{unknown}`; `cargo xtask fuzz --list` shows them");
    }
    let wanted: Vec<String> =
        all.into_iter().filter(|n| order.names.is_empty() || order.names.contains(&&**n)).collect();
    setup::fuzzing()?;
    let fuzzer = compile()?;
    let rows = fuzz_all(&fuzzer, &wanted, &order)?;
    print(&rows);
    match rows.iter().map(|row| row.failed.len()).sum::<usize>() {
        0 => Ok(()),
        failed => bail!(
            "{failed} inputs failed; keep each in fuzz/crashes/TARGET under a name that says what is wrong, and \
             `cargo nextest run -p cairn-fuzz` fails until it is fixed"
        ),
    }
}

impl<'a> Order<'a> {
    fn parse(words: &[&'a str]) -> Result<Self> {
        let mut order = Self { names: Vec::new(), minutes: 1, jobs: 1, list: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut number = || {
                let value = words.next().and_then(|value| value.parse::<u32>().ok()).filter(|number| *number > 0);
                value.with_context(|| format!("`{word}` needs a number from 1, as in `{word} 10`"))
            };
            match *word {
                "--list" => order.list = true,
                "--minutes" => order.minutes = number()?,
                "--jobs" => order.jobs = number()? as usize,
                option if option.starts_with('-') => bail!("unknown option `{option}`; `cargo xtask help` shows them"),
                name => order.names.push(name),
            }
        }
        Ok(order)
    }
}

/// Every target has a folder of seeds; a test of `cairn-fuzz` sees to it.
fn targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/corpus");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut names: Vec<String> =
        entries.flatten().filter(|e| e.path().is_dir()).map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// Compiles the program; gives its path.
fn compile() -> Result<PathBuf> {
    let folder = target().join("fuzz");
    cargo()
        .args(["build", "--locked", "-p", "cairn-fuzz", "--features", "libfuzzer", "--profile", "fuzz"])
        .args(["--target", TARGET, "--target-dir"])
        .args([&folder])
        .env("RUSTFLAGS", COVERAGE.join(" "))
        .run()?;
    Ok(folder.join(TARGET).join("fuzz/cairn-fuzz"))
}

/// What became of one target.
struct Row {
    name: String,
    log: String,
    failed: Vec<PathBuf>,
}

fn fuzz_all(fuzzer: &Path, wanted: &[String], order: &Order) -> Result<Vec<Row>> {
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..order.jobs {
            scope.spawn(|| {
                while let Some(name) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let row = fuzz(fuzzer, name, order.minutes);
                    rows.lock().unwrap_or_else(PoisonError::into_inner).push(row);
                }
            });
        }
    });
    let rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut rows = rows.into_iter().collect::<Result<Vec<Row>>>()?;
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(rows)
}

/// Runs one target for its time, or until an input fails.
fn fuzz(fuzzer: &Path, name: &str, minutes: u32) -> Result<Row> {
    let folder = target().join("fuzz");
    let [corpus, failed] = ["corpus", "failed"].map(|kind| folder.join(kind).join(name));
    let logs = folder.join("logs");
    for each in [&corpus, &failed, &logs] {
        fs::create_dir_all(each).with_context(|| format!("cannot create {}", each.display()))?;
    }
    let before = failures(&failed)?;
    let log = logs.join(format!("{name}.log"));
    eprintln!("{name}: {minutes} min; {} says how far it is", log.display());
    let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
    let scratch = scratch(name)?;
    // Its exit code says only that an input failed, which the folder of failures says as well.
    let status = program(fuzzer)
        .args(LIMITS)
        .args([format!("-max_total_time={}", minutes * 60), format!("-artifact_prefix={}/", failed.display())])
        .args(["-print_final_stats=1"])
        // Those of a former run first: libFuzzer writes into this folder.
        .args([&corpus, &root().join("fuzz/corpus").join(name)])
        .env("CAIRN_FUZZ_TARGET", name)
        .env("TMPDIR", &scratch)
        .run_logged(file);
    // libFuzzer ends without cleaning up.
    fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    let status = status?;
    let log_text = fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let failed: Vec<PathBuf> = failures(&failed)?.into_iter().filter(|path| !before.contains(path)).collect();
    if !status.success() && failed.is_empty() && executions(&log_text).is_none() {
        bail!("the target {name} did not run ({status}); see {}", log.display());
    }
    Ok(Row { name: name.to_owned(), log: log_text, failed })
}

/// A folder for the files that parsers read, in memory where that is possible.
fn scratch(name: &str) -> Result<PathBuf> {
    let memory = PathBuf::from("/dev/shm");
    let above = if memory.is_dir() { memory } else { target().join("fuzz") };
    let folder = above.join(format!("cairn-fuzz-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

fn failures(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let failed = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        FAILED.iter().any(|kind| name.starts_with(kind))
    };
    Ok(entries.flatten().map(|entry| entry.path()).filter(failed).collect())
}

/// A number of libFuzzer's last lines.
fn stat(log: &str, name: &str) -> Option<u64> {
    let line = log.lines().rev().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name))?;
    line.trim_start_matches(':').trim().parse().ok()
}

fn executions(log: &str) -> Option<u64> {
    stat(log, "number_of_executed_units")
}

/// Edges of the code that were reached: `cov: 1234`, in its last line of progress.
fn coverage(line: &str) -> Option<u64> {
    line.split_once("cov: ")?.1.split(' ').next()?.parse().ok()
}

fn print(rows: &[Row]) {
    println!("| target | executions | a second | edges with the seeds | and now | failures |");
    println!("|---|---:|---:|---:|---:|---:|");
    for Row { name, log, failed } in rows {
        let number = |value: Option<u64>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
        let first = log.lines().find(|line| line.contains("\tINITED")).and_then(coverage);
        let last = log.lines().rev().find_map(coverage);
        let speed = stat(log, "average_exec_per_sec");
        let [runs, speed, first, last] = [executions(log), speed, first, last].map(number);
        println!("| {name} | {runs} | {speed} | {first} | {last} | {} |", failed.len());
    }
    for path in rows.iter().flat_map(|row| &row.failed) {
        println!("{}", path.display());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn orders() {
        let order = Order::parse(&["nar", "--minutes", "10", "elf", "--jobs", "2"]).unwrap();
        assert_eq!(order, Order { names: vec!["nar", "elf"], minutes: 10, jobs: 2, list: false });
        for bad in [&["--minutes"][..], &["--minutes", "0"], &["--jobs", "x"], &["--fast"]] {
            assert!(Order::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_of_a_log() {
        let log = "#2\tINITED cov: 210 ft: 211 corp: 1/12b\n#9\tDONE   cov: 298 ft: 400 corp: 3/40b\n\
                   stat::number_of_executed_units: 1048576\nstat::average_exec_per_sec:     17189\n";
        assert_eq!((executions(log), stat(log, "average_exec_per_sec")), (Some(1_048_576), Some(17_189)));
        assert_eq!(log.lines().filter_map(coverage).collect::<Vec<_>>(), [210, 298]);
    }
}
