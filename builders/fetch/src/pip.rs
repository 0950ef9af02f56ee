//! What the machine's own pip downloads from.

use std::process::{Command, Stdio};

/// `pip`'s index: what its environment or configuration says, else what is built into it.
/// `None` when there is no pip.
pub(crate) fn index() -> Option<String> {
    if let Some(index) = std::env::var("PIP_INDEX_URL").ok().filter(|v| is_address(v)) {
        return Some(index);
    }
    let configured = ["global.index-url", "install.index-url", ":env:.index-url"].into_iter().find_map(|key| {
        run("python3", &["-m", "pip", "config", "get", key]).or_else(|| run("pip", &["config", "get", key]))
    });
    configured.or_else(|| {
        let ask = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)";
        run("python3", &["-c", ask])
    })
}

/// The program's first line of output, if it ran well and printed an address.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (output.status.success() && is_address(line)).then(|| line.to_owned())
}

fn is_address(text: &str) -> bool {
    ["http://", "https://", "file://"].iter().any(|scheme| text.starts_with(scheme))
}
