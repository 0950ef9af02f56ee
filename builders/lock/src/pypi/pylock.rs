//! Reads `pylock.toml` (PEP 751), as far as uv writes it for one platform.

use cairn_formats::time::parse_rfc3339;
use cairn_formats::{Platform, Sha256};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::requirement::normalise;
use super::wheel_name::WheelName;
use super::{Hashes, PypiError};

/// A resolved package with every wheel that the resolver found to fit.
#[derive(Debug, PartialEq, Eq)]
pub struct Package {
    /// Normalised.
    pub name: String,
    pub version: String,
    pub wheels: Vec<Wheel>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wheel {
    pub file: String,
    pub url: String,
    pub sha256: Sha256,
    /// Bytes; not every index tells.
    pub size: Option<u64>,
    /// Seconds since 1970; not every index tells.
    pub uploaded: Option<i64>,
}

const FORMAT: &str = "pylock.toml";

pub fn parse(text: &str, platform: Platform) -> Result<Vec<Package>, PypiError> {
    let output = |message: String| PypiError::Output { format: FORMAT, platform, message };
    let raw: Raw = toml::from_str(text).map_err(|error| output(error.message().to_owned()))?;
    if !raw.lock_version.starts_with("1.") {
        return Err(output(format!("lock-version is `{}`, only 1.x is known", raw.lock_version)));
    }
    let mut packages =
        raw.packages.into_iter().map(|package| read(package, platform)).collect::<Result<Vec<_>, _>>()?;
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(twice) = packages.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(output(format!("{} is in it twice", twice[0].name)));
    }
    Ok(packages)
}

fn read(raw: RawPackage, platform: Platform) -> Result<Package, PypiError> {
    let (Some(version), Some(wheels)) = (raw.version, raw.wheels) else {
        let version = String::new();
        return Err(PypiError::NotAWheel { package: raw.name, version, platform });
    };
    let name = normalise(&raw.name);
    let wheels = wheels.into_iter().map(|wheel| read_wheel(wheel, &name)).collect::<Result<_, _>>()?;
    Ok(Package { name, version, wheels })
}

fn read_wheel(raw: RawWheel, package: &str) -> Result<Wheel, PypiError> {
    let url = raw.url.or(raw.path).unwrap_or_default();
    let file = raw.name.unwrap_or_else(|| file_of(&url));
    // The name becomes a path of ours: it has to be a wheel's, and of this package.
    if WheelName::parse(&file).is_none_or(|parsed| normalise(parsed.name) != package) {
        return Err(PypiError::FileName { package: package.to_owned(), file });
    }
    let sha256 = raw.hashes.sha256.as_deref().and_then(|hex| Sha256::from_hex(hex).ok());
    match sha256 {
        Some(sha256) => {
            let uploaded = raw.upload_time.and_then(|time| whole_seconds(&time.to_string()));
            Ok(Wheel { file, url, sha256, size: raw.size, uploaded })
        }
        None => Err(PypiError::NoHash { file }),
    }
}

/// Reads a time, without the fraction of its second.
fn whole_seconds(time: &str) -> Option<i64> {
    let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
    parse_rfc3339(&format!("{whole}{}", fraction.trim_start_matches(|c: char| c.is_ascii_digit())))
}

/// The last part of an address's path, with `%2B` and the like decoded.
pub fn file_of(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    percent_decode_str(last).decode_utf8_lossy().into_owned()
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Raw {
    lock_version: String,
    #[serde(default)]
    packages: Vec<RawPackage>,
}

#[derive(Deserialize)]
struct RawPackage {
    name: String,
    version: Option<String>,
    wheels: Option<Vec<RawWheel>>,
}

#[derive(Deserialize)]
struct RawWheel {
    name: Option<String>,
    url: Option<String>,
    path: Option<String>,
    size: Option<u64>,
    #[serde(rename = "upload-time")]
    upload_time: Option<toml::value::Datetime>,
    #[serde(default)]
    hashes: Hashes,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = r#"lock-version = "1.0"
created-by = "uv"
requires-python = ">=3.11.2"

[[packages]]
name = "Typing_Extensions"
version = "4.12.2"
wheels = [{ url = "https://mirror.example/ab/typing_extensions-4.12.2-py3-none-any.whl", upload-time = 2024-06-07T18:52:13Z, size = 37438, hashes = { sha256 = "04e5ca0351e0f3f85c6853954072df659d0d13fac324d0072316b67d7794700d" } }]

[[packages]]
name = "local"
version = "1.0+cpu"
wheels = [{ url = "https://mirror.example/local-1.0%2Bcpu-py3-none-any.whl#frag", hashes = { sha256 = "04e5ca0351e0f3f85c6853954072df659d0d13fac324d0072316b67d7794700d" } }]
"#;

    #[test]
    fn packages_are_read_and_sorted() {
        let packages = parse(GOOD, Platform::LinuxAmd64).unwrap();
        let names: Vec<_> = packages.iter().map(|p| (p.name.as_str(), p.version.as_str())).collect();
        assert_eq!(names, [("local", "1.0+cpu"), ("typing-extensions", "4.12.2")]);
        assert_eq!(packages[0].wheels[0].file, "local-1.0+cpu-py3-none-any.whl");
        assert_eq!(packages[0].wheels[0].size, None);
        assert_eq!(packages[1].wheels[0].size, Some(37438));
        assert_eq!((packages[0].wheels[0].uploaded, packages[1].wheels[0].uploaded), (None, Some(1_717_786_333)));
        assert!(packages[1].wheels[0].sha256.hex().starts_with("04e5ca03"));
    }

    #[test]
    fn times_lose_the_fraction_of_their_second() {
        for (text, expected) in [
            ("2024-06-07T18:52:13Z", Some(1_717_786_333)),
            ("2024-06-07T18:52:13.987654Z", Some(1_717_786_333)),
            ("2024-06-07T20:52:13.5+02:00", Some(1_717_786_333)),
            ("2024-06-07", None),
        ] {
            assert_eq!(whole_seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn each_fault_is_named() {
        for (from, to, wanted) in [
            ("lock-version = \"1.0\"", "", "lock-version"),
            ("lock-version = \"1.0\"", "lock-version = \"2.0\"", "only 1.x is known"),
            ("version = \"4.12.2\"\nwheels", "version = \"4.12.2\"\nother", "something other than a wheel"),
            ("\"local\"\nversion = \"1.0+cpu\"", "\"local\"", "something other than a wheel"),
            ("sha256 = \"04e5", "md5 = \"04e5", "no SHA-256 hash for typing_extensions-4.12.2-py3-none-any.whl"),
            ("sha256 = \"04e5", "sha256 = \"4e5", "no SHA-256 hash"),
            ("typing_extensions-4.12.2-py3", "..%2Ftyping_extensions-4.12.2-py3", "not the file name of a wheel"),
            ("typing_extensions-4.12.2-py3", "other-4.12.2-py3", "not the file name of a wheel of typing-extensions"),
            ("\"local\"", "\"typing.extensions\"", "not the file name of a wheel of typing-extensions"),
            ("[[packages]]", "[packages", "cannot be used"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let error = parse(&GOOD.replacen(from, to, 1), Platform::LinuxAmd64).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}\nwanted: {wanted}");
        }
    }
}
