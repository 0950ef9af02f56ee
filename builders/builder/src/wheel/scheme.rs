//! Where the parts of a wheel go: the scheme of Debian's Python for what is not Debian's own.
//!
//! | in the wheel | in the image |
//! |---|---|
//! | anything else, `.data/purelib`, `.data/platlib` | the directory of packages |
//! | `.data/scripts` | `PREFIX/bin` |
//! | `.data/headers` | `PREFIX/include/pythonX.Y/PROJECT` |
//! | `.data/data` | `PREFIX` |

use cairn_formats::RelPath;

use crate::error::{Error, Problem, Result};
use crate::layout;

pub struct Scheme {
    interpreter: String,
    site: RelPath,
    prefix: RelPath,
    /// `python3.11`
    python: String,
}

/// Where one file of a wheel goes, and whether its first line may name the interpreter.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    File(RelPath),
    Script(RelPath),
}

impl Scheme {
    /// `site`: `/usr/local/lib/python3.11/dist-packages`. `interpreter`: `/usr/bin/python3.11`.
    pub fn new(site: &str, interpreter: &str) -> Result<Self> {
        let fault = || {
            let reason = "it must be an absolute path that ends in `lib/pythonX.Y/dist-packages` or `site-packages`";
            Error::parameter("site", site, reason)
        };
        let path = layout::absolute(site).ok_or_else(fault)?;
        let parts: Vec<&str> = site.trim_matches('/').split('/').collect();
        let [prefix @ .., "lib", python, "dist-packages" | "site-packages"] = &parts[..] else { return Err(fault()) };
        if !python.starts_with("python") {
            return Err(fault());
        }
        if layout::absolute(interpreter).is_none() || interpreter.contains(char::is_whitespace) {
            return Err(Error::parameter("interpreter", interpreter, "it must be an absolute path without blanks"));
        }
        let prefix = RelPath::parse(prefix.join("/").as_bytes()).map_err(|_| fault())?;
        Ok(Self { interpreter: interpreter.to_owned(), site: path, prefix, python: (*python).to_owned() })
    }

    pub fn site(&self) -> &RelPath {
        &self.site
    }

    pub fn interpreter(&self) -> &str {
        &self.interpreter
    }

    pub fn in_site(&self, name: &str) -> Result<RelPath, Problem> {
        below(&self.site, name)
    }

    pub fn script(&self, name: &str) -> Result<RelPath, Problem> {
        below(&below(&self.prefix, "bin")?, name)
    }

    /// The place of a file by its name in the wheel of `project`.
    pub fn place(&self, name: &str, project: &str) -> Result<Place, Problem> {
        let Some((data, rest)) = name.split_once('/').filter(|(first, _)| first.ends_with(".data")) else {
            return self.in_site(name).map(Place::File);
        };
        let (key, rest) = rest.split_once('/').unwrap_or((rest, ""));
        match key {
            "purelib" | "platlib" => self.in_site(rest).map(Place::File),
            "scripts" => self.script(rest).map(Place::Script),
            "headers" => {
                let directory = below(&self.prefix, &format!("include/{}/{project}", self.python))?;
                below(&directory, rest).map(Place::File)
            }
            "data" => below(&self.prefix, rest).map(Place::File),
            _ => Err(Problem::Other(format!(
                "lies in `{data}/{key}`; known are purelib, platlib, scripts, headers and data"
            ))),
        }
    }

    /// A script whose first line is `#!python…` gets the image's interpreter instead.
    pub fn with_shebang(&self, script: Vec<u8>) -> Vec<u8> {
        if !script.starts_with(b"#!python") {
            return script;
        }
        let end = script.iter().position(|b| *b == b'\n').unwrap_or(script.len());
        let mut rewritten = format!("#!{}", self.interpreter).into_bytes();
        rewritten.extend(&script[end..]);
        rewritten
    }
}

fn below(directory: &RelPath, name: &str) -> Result<RelPath, Problem> {
    if name.is_empty() {
        return Err(Problem::Escapes);
    }
    name.split('/').try_fold(directory.clone(), |path, part| path.join(part.as_bytes())).map_err(|_| Problem::Escapes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn scheme() -> Scheme {
        Scheme::new("/usr/local/lib/python3.11/dist-packages", "/usr/bin/python3.11").unwrap()
    }

    #[test]
    fn places() {
        let site = "usr/local/lib/python3.11/dist-packages";
        for (name, expected) in [
            ("a/b.py", format!("{site}/a/b.py")),
            ("a-1.data/purelib/b.py", format!("{site}/b.py")),
            ("a-1.data/platlib/b.so", format!("{site}/b.so")),
            ("a-1.data/headers/x/y.h", "usr/local/include/python3.11/a/x/y.h".into()),
            ("a-1.data/data/share/z", "usr/local/share/z".into()),
            ("x.database/y", format!("{site}/x.database/y")),
        ] {
            let expected = Place::File(RelPath::parse(expected.as_bytes()).unwrap());
            assert_eq!(scheme().place(name, "a").unwrap(), expected, "{name}");
        }
        let script = Place::Script(RelPath::parse(b"usr/local/bin/run").unwrap());
        assert_eq!(scheme().place("a-1.data/scripts/run", "a").unwrap(), script);
        for bad in ["a-1.data/x", "a-1.data/other/x", "a-1.data/data", "a-1.data/data/../x"] {
            assert!(scheme().place(bad, "a").is_err(), "{bad}");
        }
    }

    #[test]
    fn shebangs() {
        for (script, expected) in [
            ("#!python\nx", "#!/usr/bin/python3.11\nx"),
            ("#!pythonw -E\r\nx", "#!/usr/bin/python3.11\nx"),
            ("#!python", "#!/usr/bin/python3.11"),
            ("#!/bin/sh\nx", "#!/bin/sh\nx"),
            ("\x7fELF", "\x7fELF"),
        ] {
            assert_eq!(scheme().with_shebang(script.into()), expected.as_bytes(), "{script:?}");
        }
    }

    #[test]
    fn odd_parameters_are_refused() {
        for (site, interpreter) in [
            ("usr/lib/python3.11/dist-packages", "/usr/bin/python3.11"),
            ("/usr/lib/python3.11", "/usr/bin/python3.11"),
            ("/usr/../lib/python3.11/dist-packages", "/usr/bin/python3.11"),
            ("/usr/lib/python3.11/dist-packages", "python3.11"),
            ("/usr/lib/python3.11/dist-packages", "/usr/bin/env python3"),
        ] {
            assert!(Scheme::new(site, interpreter).is_err(), "{site} {interpreter}");
        }
    }
}
