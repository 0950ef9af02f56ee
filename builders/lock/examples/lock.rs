//! Locks an `image.toml` and prints the lock: `cargo run -p cairn-lock --example lock -- FILE CACHE`.

use std::path::PathBuf;
use std::time::SystemTime;

use cairn_fetch::{Fetcher, Mirrors, MirrorsConfig};
use cairn_lock::{Accept, ExcludeNewer, LockRequest, lock_image};
use cairn_recipe::ImageDefinition;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(file), Some(cache)) = (arguments.next(), arguments.next()) else {
        return Err("usage: lock FILE CACHE".into());
    };
    let definition = ImageDefinition::parse(&file, &std::fs::read_to_string(&file)?)?;
    let request = LockRequest {
        definition: &definition,
        folder: file.parent().unwrap_or(".".as_ref()),
        mirrors: &Mirrors::discover(&MirrorsConfig::default()),
        fetcher: &Fetcher::new(&cache.join("downloads"))?,
        previous: None,
        accept: &Accept::default(),
        exclude_newer: ExcludeNewer::AsLocked,
        cache_dir: &cache,
        scratch: &cache.join("scratch"),
        now: SystemTime::now(),
    };
    let locked = lock_image(&request, &()).inspect_err(|error| eprintln!("error: {error}"))?;
    print!("{}", locked.lock.to_toml());
    Ok(())
}
