//! `verify`: a command of the image looks at a service's rendered configuration, as that service
//! would start with it. It leaves nothing but its consent: the output is always the same.

use std::collections::VecDeque;
use std::fs;
use std::io::{PipeReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cairn_closure::layout::{CONFIG_DIR, LIVE_DIR, SELF_DIR};
use cairn_recipe::step::Verify;
use cairn_sandbox::Input;
use cairn_sandbox::image::ImageCommand;

use crate::error::{Error, Result};
use crate::inputs::Inputs;

/// What systemd gives a service that says nothing else.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin";
/// So much of what the command writes is kept, and so many lines of it are shown.
const KEPT_BYTES: usize = 16 << 10;
const SHOWN_LINES: usize = 20;
/// How long a process that the command left behind may keep its output open.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub fn run(step: &Verify, inputs: &Inputs, out: &Path) -> Result<()> {
    let at = out.with_file_name("verify-root");
    fs::create_dir(&at).map_err(Error::io("create", &at))?;
    let mut environment = step.environment.clone();
    environment.entry("PATH".to_owned()).or_insert_with(|| PATH.to_owned());
    let place = |from: &PathBuf, to: &str| Input { from: from.clone(), to: PathBuf::from(to) };
    let mut places = vec![place(inputs.one("config")?, CONFIG_DIR)];
    places.extend(inputs.all("live").iter().map(|live| place(live, LIVE_DIR)));
    let command = ImageCommand {
        at: at.clone(),
        root: inputs.one("rootfs")?.clone(),
        inputs: places,
        folders: vec![PathBuf::from(SELF_DIR)],
        volumes: step.volumes.iter().map(PathBuf::from).collect(),
        uid: step.uid,
        gid: step.gid,
        command: step.command.clone(),
        environment,
        directory: PathBuf::from(step.workdir.as_deref().unwrap_or("/")),
    };
    let named = step.command.join(" ");
    let failed = |source| Error::Command { command: named.clone(), source };
    let (mut child, pipe) = command.spawn().map_err(failed)?;
    let output = Output::collect(pipe);
    let limit = Duration::from_millis(step.timeout);
    let status = wait(&mut child, limit).map_err(failed)?;
    let outcome = match status {
        Some(status) if status.success() => None,
        Some(status) => Some(format!("ended with {status}")),
        None => Some(format!("did not end within {limit:?} and was stopped")),
    };
    if let Some(outcome) = outcome {
        return Err(Error::Refused { command: named, outcome, said: output.last_lines() });
    }
    fs::remove_dir(&at).map_err(Error::io("remove", &at))?;
    fs::write(out, "The image takes this configuration.\n").map_err(Error::io("write", out))
}

/// The end of the process, or none if that does not come in time; then it is killed.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            // With it goes process 1 of the command's namespace, and with that everything in it.
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// The end of what the command writes, while it writes it.
struct Output {
    kept: Arc<Mutex<VecDeque<u8>>>,
    reader: JoinHandle<()>,
}

impl Output {
    fn collect(mut pipe: PipeReader) -> Self {
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let into = Arc::clone(&kept);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            // An error is the end, too: there is nobody left to hear more of.
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(&buffer[..count]);
                let surplus = kept.len().saturating_sub(KEPT_BYTES);
                kept.drain(..surplus);
            }
        });
        Self { kept, reader }
    }

    fn last_lines(self) -> String {
        let end = Instant::now() + LAST_WORDS;
        while !self.reader.is_finished() && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.trim_end().lines().collect();
        let shown = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
        // It goes to somebody's terminal.
        shown.chars().filter(|c| !c.is_control() || *c == '\n' || *c == '\t').collect()
    }
}
