//! Looks into JSON of ours: names and numbers that hold neither quotes nor escapes.

/// The first value of a key.
pub fn text<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    Some(after(json, key)?.strip_prefix('"')?.split_once('"')?.0)
}

pub fn number(json: &str, key: &str) -> Option<u64> {
    after(json, key)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn after<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    Some(json.split_once(&format!("\"{key}\":"))?.1.trim_start())
}
