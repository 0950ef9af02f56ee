//! Clocks, medians, and the memory that a process took at most.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::process::program;

pub fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

pub fn median(runs: usize, mut work: impl FnMut() -> Result<()>) -> Result<Duration> {
    Ok(middle((0..runs).map(|_| timed(&mut work)).collect::<Result<Vec<_>>>()?))
}

/// Medians of `works`, which are done in turn; `before` is done ahead of each and not counted.
pub fn in_turn<const N: usize>(
    runs: usize,
    before: impl Fn() -> Result<()>,
    works: [&dyn Fn() -> Result<()>; N],
) -> Result<[Duration; N]> {
    let mut times = [const { Vec::new() }; N];
    for _ in 0..runs {
        for (work, times) in works.iter().zip(&mut times) {
            before()?;
            times.push(timed(work)?);
        }
    }
    Ok(times.map(middle))
}

/// The median.
pub fn middle<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}

pub fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

/// How many times `small` goes into `large`.
pub fn ratio(large: Duration, small: Duration) -> String {
    format!("{:.2}×", large.as_secs_f64() / small.as_secs_f64())
}

pub fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

pub fn remove(dir: &Path) -> Result<()> {
    let attempt = || {
        program("chmod").args(["-R", "u+w"]).args([dir]).output()?;
        program("rm").args(["-rf"]).args([dir]).output()
    };
    // What a server that is just ending still removes by itself is missed by either of them.
    let mut last = Ok(String::new());
    for _ in 0..20 {
        if !dir.exists() {
            return Ok(());
        }
        last = attempt();
        if last.is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    last.map(drop)
}

/// Does `work`, and gives the largest resident set, in bytes, that each of the named programs
/// reached meanwhile, as the kernel kept count of it (`VmHWM`).
pub fn peaks<const N: usize>(programs: [&str; N], work: impl FnOnce() -> Result<()>) -> Result<[u64; N]> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut peaks = [0; N];
            while !done.load(Ordering::Relaxed) {
                for (name, peak) in programs.iter().zip(&mut peaks) {
                    *peak = processes(name).fold(*peak, u64::max);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            peaks
        });
        let worked = work();
        done.store(true, Ordering::Relaxed);
        let peaks = watcher.join().map_err(|_| anyhow::anyhow!("the watcher ended"))?;
        worked.map(|()| peaks)
    })
}

/// The largest resident set so far of every process of this name.
fn processes(name: &str) -> impl Iterator<Item = u64> {
    let listed = fs::read_dir("/proc").into_iter().flatten().flatten();
    listed.filter_map(move |entry| {
        // A process may end between any two of these lines.
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        (field("Name:")? == name).then_some(())?;
        let kibibytes: u64 = field("VmHWM:")?.trim_end_matches(" kB").parse().ok()?;
        Some(kibibytes << 10)
    })
}
