//! The file name of a wheel: `name-version(-build)-python-abi-platform.whl` (PEP 427).

/// A wheel's file name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelName<'a> {
    pub name: &'a str,
    pub version: &'a str,
    /// Number and rest, so that they compare as pip compares them; absent is the smallest.
    pub build: Option<(u64, &'a str)>,
    pub pythons: Vec<&'a str>,
    pub abis: Vec<&'a str>,
    pub platforms: Vec<&'a str>,
}

impl<'a> WheelName<'a> {
    pub fn parse(file: &'a str) -> Option<Self> {
        let stem = file.strip_suffix(".whl")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '!');
        let parts: Vec<&str> = stem.split('-').collect();
        if parts.iter().any(|part| part.is_empty() || !part.chars().all(plain)) {
            return None;
        }
        let (name, version, build, [python, abi, platform]) = match parts[..] {
            [name, version, python, abi, platform] => (name, version, None, [python, abi, platform]),
            [name, version, build, python, abi, platform] => {
                let digits = build.find(|c: char| !c.is_ascii_digit()).unwrap_or(build.len());
                let (number, rest) = build.split_at(digits);
                (name, version, Some((number.parse().ok()?, rest)), [python, abi, platform])
            }
            _ => return None,
        };
        let set = |text: &'a str| text.split('.').collect();
        Some(Self { name, version, build, pythons: set(python), abis: set(abi), platforms: set(platform) })
    }

    /// Every tag that the compressed sets stand for.
    pub fn tags(&self) -> impl Iterator<Item = String> + '_ {
        self.pythons.iter().flat_map(move |python| {
            self.abis
                .iter()
                .flat_map(move |abi| self.platforms.iter().map(move |platform| format!("{python}-{abi}-{platform}")))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        for (file, name, version, build, tags) in [
            ("h11-0.14.0-py3-none-any.whl", "h11", "0.14.0", None, "py3-none-any"),
            ("six-1.16.0-py2.py3-none-any.whl", "six", "1.16.0", None, "py2-none-any py3-none-any"),
            (
                "uvloop-0.21.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
                "uvloop",
                "0.21.0",
                None,
                "cp311-cp311-manylinux_2_17_x86_64 cp311-cp311-manylinux2014_x86_64",
            ),
            ("x-1.0-2abc-py3-none-any.whl", "x", "1.0", Some((2, "abc")), "py3-none-any"),
            ("torch-2.0+cpu-cp311-cp311-linux_x86_64.whl", "torch", "2.0+cpu", None, "cp311-cp311-linux_x86_64"),
        ] {
            let parsed = WheelName::parse(file).unwrap();
            assert_eq!((parsed.name, parsed.version, parsed.build), (name, version, build), "{file}");
            assert_eq!(parsed.tags().collect::<Vec<_>>().join(" "), tags, "{file}");
        }
    }

    #[test]
    fn what_is_not_a_wheel_is_refused() {
        for file in [
            "",
            ".whl",
            "x.whl",
            "x-1.0.whl",
            "x-1.0-py3-none.whl",
            "x-1.0-py3-none-any.zip",
            "x-1.0-py3-none-any.whl.whl/",
            "../x-1.0-py3-none-any.whl",
            "x-1.0-b-py3-none-any.whl",
            "x-1.0-99999999999999999999-py3-none-any.whl",
            "x-1.0--py3-none-any.whl",
            "a-b-1.0-1-py3-none-any.whl",
            "x-1.0-py3-none-any\0.whl",
        ] {
            assert_eq!(WheelName::parse(file), None, "{file:?}");
        }
    }
}
