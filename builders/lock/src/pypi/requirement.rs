//! What may stand in `requirements`: a name, extras, versions, a marker. No more.
//!
//! uv reads requirement *files*, which also know options (`-r`, `--index-url`), paths, addresses
//! and variables. None of them can be locked, and some read files that are nobody's business.

use super::PypiError;

/// PEP 503: lower case, runs of `-`, `_`, `.` as one `-`.
pub fn normalise(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '-' | '_' | '.') {
            if !out.ends_with('-') {
                out.push('-');
            }
        } else {
            out.push(c.to_ascii_lowercase());
        }
    }
    out
}

pub fn check(requirement: &str) -> Result<(), PypiError> {
    let refuse = |rule, help| Err(PypiError::Requirement { requirement: requirement.to_owned(), rule, help });
    const FORM: &str = "write it as in \"uvicorn[standard]==0.25.0\"";
    if requirement.chars().any(|c| c.is_control() || matches!(c, '$' | '\\' | '#')) {
        return refuse("it has a character that has another meaning in a requirements file", FORM);
    }
    let text = requirement.trim();
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c))).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let plain =
        name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    if !plain {
        return refuse("it does not start with the name of a package", FORM);
    }
    let mut rest = rest.trim_start();
    if let Some(inside) = rest.strip_prefix('[') {
        let Some((_, after)) = inside.split_once(']') else {
            return refuse("the list of extras has no end", FORM);
        };
        rest = after.trim_start();
    }
    if rest.starts_with('@') {
        return refuse("it names an address, and a lock holds only files of the index", "name a version instead");
    }
    if !(rest.is_empty() || rest.starts_with(['=', '<', '>', '~', '!', '(', ';'])) {
        return refuse("after the name there is neither a version nor a marker", FORM);
    }
    // Options can follow a requirement as well: `x==1 --hash=…`. Nor may its extras look like one.
    if text.contains(" --") {
        return refuse("it has an option", FORM);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        for (name, expected) in
            [("Jinja2", "jinja2"), ("typing_extensions", "typing-extensions"), ("a.-_b", "a-b"), ("PyYAML", "pyyaml")]
        {
            assert_eq!(normalise(name), expected);
        }
    }

    #[test]
    fn requirements_are_told_from_what_only_a_file_may_hold() {
        for (text, good) in [
            ("fastapi", true),
            ("fastapi==0.109.0", true),
            ("uvicorn[standard]==0.25.0", true),
            ("uvicorn [standard, x] >= 0.25, < 1", true),
            ("redis (>=4)", true),
            ("tomli; python_version < '3.11'", true),
            ("", false),
            ("-r other.txt", false),
            ("--index-url http://mirror.example/", false),
            ("-e .", false),
            ("./wheel.whl", false),
            ("a/b", false),
            ("x @ https://mirror.example/x.whl", false),
            ("x[y] @ file:///etc/passwd", false),
            ("x[y", false),
            ("x==1\n-r other", false),
            ("x==${HOME}", false),
            ("x==1 --hash=sha256:00", false),
            ("x[y --hash=sha256:00]==1", false),
            ("x y", false),
            ("x-", false),
            ("é", false),
        ] {
            assert_eq!(check(text).is_ok(), good, "{text:?}");
        }
    }
}
