//! `cairn-agent pull`: fetches what this host is to run and makes it live, with no operator present.
//!
//! 1. The pointer is asked for, unless the server says that it has not changed; its signature, host,
//!    sequence number and time are checked. From here on no earlier one is taken.
//! 2. If its closure is live, that was all.
//! 3. What the store lacks is fetched, checked and taken in, then sealed secrets.
//! 4. The activation is the one of `deploy switch`, in a unit of its own, without the confirmation
//!    over a fresh connection, which there is nobody to give: health and checks decide.
//!
//! What failed there and was reverted is not tried again until the pointer moves. What was refused
//! before anything changed is, after a pause. Two pulls at once, or one beside an operator's switch,
//! are kept apart by locks; who comes second tries again with the timer.

mod activate;
mod state;

use std::path::Path;
use std::time::Duration;

use cairn_cache::{Answer, Cache, CacheError, MAX_POINTER, Pointer, Progress, PublicKey, Revision, Terms};
use cairn_closure::layout::PROFILE;
use cairn_formats::Sha256;
use cairn_protocol::{PullConfig, PullStatus, SealedSecret, span};
use cairn_store::Store;

use self::state::State;
use crate::activation::{Holder, Lock, record};
use crate::error::{AgentError, Fault, Result};
use crate::paths::Paths;
use crate::{files, generations, manifests, output, receive, secrets};

/// For all that is fetched at one time. What has arrived by then stays.
const FETCH: Duration = Duration::from_secs(3600);
/// Services, logs and state want room beside what is fetched.
const SPARE_BYTES: u64 = 256 << 20;

impl From<CacheError> for AgentError {
    fn from(error: CacheError) -> Self {
        Fault::new(error.to_string()).into()
    }
}

/// Looks once. An error if this host does not run what the pointer says.
///
/// A host begins with the agent that its first script has installed; then the live generation's does
/// the looking, and each closure is made live by the agent that came with it, as by `deploy switch`:
/// an earlier one may not understand it. So this process becomes another one, at most twice, unless
/// `here` says that it is that other one.
pub fn run(here: bool) -> Result<()> {
    if !here {
        bring_up_to_date(&Paths::host())?;
        become_agent(&Path::new(PROFILE).join("agent"), "pull");
    }
    look_once(here)
}

/// Rewrites what an agent of an earlier version has remembered. Before the live generation's agent
/// looks, as that may be the earlier one: it would refuse every pointer below a number that a stolen
/// key has pushed up, and so never get to a closure with another agent.
fn bring_up_to_date(paths: &Paths) -> Result<()> {
    if !paths.pull_state().exists() {
        return Ok(());
    }
    let config = config(paths)?;
    let _alone = Lock::take_pull(paths, &Holder::now("the timer", "a pull"))?;
    let mut state = State::load(paths, &config)?;
    match state.migrate(&trusted(paths, &config)?, record::seconds()) {
        true => state.save(paths),
        false => Ok(()),
    }
}

/// Goes on as the program, if that is another one than this.
fn become_agent(program: &Path, call: &str) {
    use std::os::unix::process::CommandExt as _;
    let (Ok(other), Ok(own)) = (program.canonicalize(), std::env::current_exe().and_then(|own| own.canonicalize()))
    else {
        return;
    };
    if other != own {
        let error = std::process::Command::new(&other).arg(call).exec();
        output::warn(&format!("cairn-agent: {}: {error}; going on as {}", other.display(), own.display()));
    }
}

fn look_once(here: bool) -> Result<()> {
    let paths = Paths::host();
    let config = config(&paths)?;
    let store = Store::open(paths.root())?;
    let _alone = Lock::take_pull(&paths, &Holder::now("the timer", "a pull"))?;
    let mut state = State::load(&paths, &config)?;
    let outcome = pull(&paths, &store, &config, &mut state, here);
    state.checked = Some(record::seconds());
    state.problem = outcome.as_ref().err().map(in_a_line);
    state.save(&paths)?;
    outcome
}

/// What is wrong and what helps: a status has one line for both.
fn in_a_line(error: &AgentError) -> String {
    let text = error.to_string();
    let mut lines = text.lines();
    let wrong = lines.next().unwrap_or_default();
    match error.advice().or_else(|| lines.find_map(|line| line.trim_start().strip_prefix("help: "))) {
        Some(help) => format!("{wrong}; {help}"),
        None => wrong.to_owned(),
    }
}

fn config(paths: &Paths) -> Result<PullConfig> {
    let path = paths.pull_config();
    files::read_json(&path)?.ok_or_else(|| {
        Fault::new(format!("{} is missing: nothing says where to pull from", path.display()))
            .advice("run the script that `deploy user-data HOST` prints on this host")
            .into()
    })
}

fn pull(paths: &Paths, store: &Store, config: &PullConfig, state: &mut State, here: bool) -> Result<()> {
    let cache = Cache::open(&config.cache)?;
    let trusted = trusted(paths, config)?;
    state.migrate(&trusted, record::seconds());
    let pointer = look(&cache, config, &trusted, state)?;
    // Remembered before anything else can fail.
    state.save(paths)?;
    let live = generations::current(store)?;
    if let Some(live) = live.filter(|live| live.closure == pointer.closure) {
        state.attempt = None;
        let age = u64::try_from(record::seconds().saturating_sub(pointer.published)).unwrap_or(0);
        crate::output::note(&format!(
            "generation {} is what pointer {} names, which was published {} ago",
            live.number,
            pointer.sequence,
            span(age)
        ));
        return Ok(());
    }
    let attempt = state.attempt(&pointer);
    attempt.settle(paths);
    if let Some(why) = attempt.waits(record::seconds()) {
        return Err(Fault::new(format!("pointer {} ({}): {why}", pointer.sequence, pointer.closure)).into());
    }
    fetch_closure(store, &cache, &pointer, &trusted)?;
    if !here {
        become_agent(&paths.store_path(&pointer.closure).join("agent"), "pull-here");
    }
    fetch_secrets(paths, &cache, &pointer)?;
    activate::make_live(paths, store, &cache, &pointer, state)
}

fn trusted(paths: &Paths, config: &PullConfig) -> Result<Vec<PublicKey>> {
    let keys: Vec<PublicKey> = config
        .trusted_public_keys
        .iter()
        .map(|key| PublicKey::parse(key))
        .collect::<std::result::Result<_, CacheError>>()?;
    if keys.is_empty() {
        let path = paths.pull_config();
        return Err(Fault::new(format!("{}: no key is trusted, so nothing can be", path.display())).into());
    }
    Ok(keys)
}

/// The newest pointer, checked.
fn look(cache: &Cache, config: &PullConfig, trusted: &[PublicKey], state: &mut State) -> Result<Pointer> {
    let name = cairn_cache::key_of(&config.host);
    let url = cache.url(&name);
    let (file, tag) = match cache.get_unless(&name, MAX_POINTER, &state.revision())? {
        Answer::Content { bytes, revision } => {
            let tag = match revision {
                Revision::Tag(tag) => Some(tag),
                Revision::Absent | Revision::Unknown => None,
            };
            (String::from_utf8_lossy(&bytes).into_owned(), tag)
        }
        Answer::Unchanged => (state.pointer.clone().unwrap_or_default(), state.tag.clone()),
        Answer::Absent => {
            return Err(Fault::new(format!("{url} is not there"))
                .advice(format!("publish the host first: `deploy publish {}`", config.host))
                .into());
        }
    };
    let opened = Pointer::open(file.as_bytes(), &config.host, trusted, &url)?;
    let before = state.seen.as_ref().map(|seen| seen.pointer.sequence);
    state.accept(&opened, trusted, record::seconds(), &url)?;
    let pointer = opened.pointer;
    if before != Some(pointer.sequence) {
        crate::output::note(&format!("pointer {} by {} names {}", pointer.sequence, pointer.operator, pointer.closure));
    }
    (state.pointer, state.tag) = (Some(file), tag);
    Ok(pointer)
}

/// As far as it is missing.
fn fetch_closure(store: &Store, cache: &Cache, pointer: &Pointer, trusted: &[PublicKey]) -> Result<()> {
    let terms = Terms {
        within: FETCH,
        room: receive::free_bytes(&store.links_dir()).saturating_sub(SPARE_BYTES),
        progress: &|progress| match progress {
            Progress::Missing { paths: 0, .. } => {}
            Progress::Missing { paths, bytes } => {
                output::note(&format!("fetching {paths} store paths, {} KiB", bytes.div_ceil(1024)));
            }
            Progress::Arrived { path } => output::note(&format!("fetched {path}")),
        },
    };
    // Until the activation has begun, the store's handle keeps it from being collected.
    cairn_cache::substitute(store, cache, &pointer.closure, trusted, &terms)?;
    Ok(())
}

/// Those that the host does not keep.
fn fetch_secrets(paths: &Paths, cache: &Cache, pointer: &Pointer) -> Result<()> {
    let manifest = manifests::of(paths, &pointer.closure)?;
    if manifest.name.as_str() != pointer.host {
        let message = format!("the pointer is of `{}`, and its closure of `{}`", pointer.host, manifest.name);
        return Err(Fault::new(message).advice("publish again").into());
    }
    let kept = secrets::kept(paths);
    let mut arrived = Vec::new();
    for secret in &pointer.secrets {
        if kept.contains(&format!("{}.v{}", secret.name, secret.version)) {
            continue;
        }
        let url = cache.url(&secret.key());
        let sealed = cache
            .get(&secret.key(), cairn_secrets::MAX_FILE as u64)?
            .ok_or_else(|| AgentError::from(CacheError::Absent { url: url.clone() }))?;
        if Sha256::of(&sealed) != secret.sha256 {
            let message = format!("{url} is not what the pointer says: nothing of it was taken");
            return Err(Fault::new(message).advice("publish again").into());
        }
        arrived.push(SealedSecret {
            name: secret.name.clone(),
            version: secret.version,
            ciphertext: String::from_utf8_lossy(&sealed).into_owned(),
        });
    }
    secrets::keep(paths, &arrived)
}

/// For the host's status; `None` on a host that does not pull.
pub fn status(paths: &Paths) -> Option<PullStatus> {
    let config = config(paths).ok()?;
    let state = State::load(paths, &config).unwrap_or_default();
    Some(PullStatus {
        cache: config.cache,
        host: config.host,
        sequence: state.seen.as_ref().map(|seen| seen.pointer.sequence),
        published: state.seen.as_ref().and_then(|seen| seen.published),
        expires: state.seen.as_ref().and_then(|seen| seen.expires),
        closure: state.seen.map(|seen| seen.pointer.closure),
        warn_after: None,
        checked: state.checked,
        problem: state.problem,
    })
}
