//! Runs uv, the resolver. The only place of this module that starts a process.
//!
//! What uv finds must depend on the request alone: it gets a cache in the scratch folder, no
//! configuration files, and of the environment just what a connection needs. The index's address
//! goes through the environment, as it may hold a password and arguments are for all to see.
//!
//! Nothing of the project may run: uv would take an interpreter out of a `.venv` in its folder or any
//! folder above, so it runs in the root folder and is told to use the system's (`--system`), and
//! programs are looked for in the absolute entries of `PATH` alone.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cairn_fetch::search_path;
use cairn_formats::Platform;

use super::version::Glibc;
use super::{PypiError, PypiRequest};
use crate::exclude_newer;

/// The file of requirements in the scratch folder.
pub const INPUT: &str = "requirements.in";

/// What uv takes from us of the environment, besides `PATH`: certificates, proxies, where to put
/// temporary files.
const KEPT: [&str; 14] = [
    "HOME",
    "TMPDIR",
    "NETRC",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSL_CLIENT_CERT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// The glibc versions that uv 0.13 knows as `--python-platform …-manylinux_2_N`.
const KNOWN_GLIBC: [u32; 12] = [17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40];

/// Which of uv's formats to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Files, sizes and hashes.
    Pylock,
    /// Pins, each with who asked for it.
    Annotated,
}

/// The program.
pub struct Uv {
    program: PathBuf,
    /// An interpreter for uv to run on: the one it was installed with, or any CPython.
    python: OsString,
}

impl Uv {
    /// From `DEPLOY_UV`, else from `PATH`.
    pub fn find() -> Result<Self, PypiError> {
        if let Some(program) = std::env::var_os("DEPLOY_UV").filter(|value| !value.is_empty()) {
            let program = PathBuf::from(program);
            // uv runs in another folder than we do.
            if let Ok(absolute) = std::path::absolute(&program)
                && absolute.is_file()
            {
                return Ok(Self::at(absolute));
            }
            return Err(PypiError::NoUv { tried: format!("DEPLOY_UV, which is {}", program.display()) });
        }
        let path = search_path();
        let mut candidates = std::env::split_paths(&path).map(|folder| folder.join("uv"));
        match candidates.find(|program| program.is_file()) {
            Some(program) => Ok(Self::at(program)),
            None => Err(PypiError::NoUv { tried: "DEPLOY_UV, which is not set; PATH, where there is none".to_owned() }),
        }
    }

    fn at(program: PathBuf) -> Self {
        // In a virtual environment the interpreter lies beside it, and may be on no PATH.
        let beside = program.with_file_name("python");
        let python = if beside.is_file() { beside.into_os_string() } else { "cpython".into() };
        Self { program, python }
    }

    /// The same program where no interpreter lies beside it.
    #[cfg(test)]
    pub fn on_any_python(self) -> Self {
        Self { python: "cpython".into(), ..self }
    }

    /// Resolves for one platform; gives what uv wrote.
    pub fn compile(&self, request: &PypiRequest, platform: Platform, format: Format) -> Result<String, PypiError> {
        let arguments = self.arguments(request, platform, format);
        let output = self.run(&arguments, request)?;
        if output.status.success() {
            return String::from_utf8(output.stdout).map_err(|_| PypiError::Output {
                format: "list of packages",
                platform,
                message: "it is not text".to_owned(),
            });
        }
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if message.contains("No solution found") {
            return Err(PypiError::NoSolution { platform, python: request.python.to_string(), message });
        }
        Err(PypiError::Uv {
            platform,
            status: output.status.to_string(),
            command: shown(&self.program, &arguments),
            help: advice(&message),
            message,
        })
    }

    fn arguments(&self, request: &PypiRequest, platform: Platform, format: Format) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
        add(&["pip", "compile"]);
        add(&["--no-config", "--no-header", "--no-progress", "--color", "never"]);
        // Trust what the machine trusts, as our own downloads do.
        add(&["--system-certs"]);
        add(&["--no-build", "--no-sources", "--no-python-downloads", "--system"]);
        add(&["--python-version", &request.python.to_string()]);
        add(&["--python-platform", &platform_name(request.glibc, platform)]);
        if let Some(end) = request.exclude_newer {
            add(&["--exclude-newer", &exclude_newer::shown(end)]);
        }
        match format {
            Format::Pylock => add(&["--format", "pylock.toml"]),
            Format::Annotated => add(&["--format", "requirements.txt", "--annotation-style", "line"]),
        }
        arguments.extend(["--python".into(), self.python.clone()]);
        arguments.extend(["--cache-dir".into(), request.scratch.join("uv-cache").into_os_string()]);
        arguments.push(request.scratch.join(INPUT).into_os_string());
        arguments
    }

    fn run(&self, arguments: &[OsString], request: &PypiRequest) -> Result<Output, PypiError> {
        let kept = KEPT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .envs(kept)
            .env("PATH", search_path())
            .env("UV_DEFAULT_INDEX", request.index_url)
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .map_err(|source| PypiError::Run { program: self.program.clone(), source })
    }
}

/// uv's name of the platform. A glibc that it does not know counts as the next older one that it
/// does: wheels for an older glibc run on a newer one.
fn platform_name(glibc: Glibc, platform: Platform) -> String {
    let known = KNOWN_GLIBC.into_iter().rfind(|known| *known <= glibc.minor).unwrap_or(KNOWN_GLIBC[0]);
    format!("{}-manylinux_2_{known}", platform.machine())
}

fn shown(program: &Path, arguments: &[OsString]) -> String {
    let words = std::iter::once(program.as_os_str()).chain(arguments.iter().map(OsString::as_os_str));
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// What is known to help.
fn advice(message: &str) -> &'static str {
    const KNOWN: [(&str, &str); 5] = [
        (
            "No interpreter found",
            "uv runs on a Python of any version and found none: install python3, or uv in a virtual environment",
        ),
        ("UnknownIssuer", "if your network uses its own certificate authority, set SSL_CERT_FILE to its bundle"),
        ("unexpected argument", "this uv is too old: `pip install --upgrade uv`"),
        ("parse requirement", "correct `requirements` in image.toml"),
        ("Failed to fetch", "check the network and the address of the Python index, then run again"),
    ];
    let known = KNOWN.iter().find(|(sign, _)| message.contains(sign));
    known.map_or("run the command by hand to find out more", |(_, advice)| advice)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use cairn_fetch::Fetcher;

    use super::*;
    use crate::memory::Accept;

    #[test]
    fn uv_is_told_everything_by_arguments() {
        let folder = tempfile::tempdir().unwrap();
        let fetcher = Fetcher::new(folder.path()).unwrap();
        let request = PypiRequest {
            python: "3.11.2".parse().unwrap(),
            glibc: "2.36".parse().unwrap(),
            platforms: &Platform::ALL,
            requirements: &[],
            index_url: "https://me:secret@mirror.example/simple",
            scratch: Path::new("/scratch"),
            fetcher: &fetcher,
            locked: &[],
            accept: &Accept::default(),
            exclude_newer: Some(1_793_491_200),
        };
        let uv = Uv { program: "/opt/uv".into(), python: "cpython".into() };
        let words = |platform, format| shown(&uv.program, &uv.arguments(&request, platform, format));
        assert_eq!(
            words(Platform::LinuxAmd64, Format::Pylock),
            "/opt/uv pip compile --no-config --no-header --no-progress --color never --system-certs \
             --no-build --no-sources --no-python-downloads --system --python-version 3.11.2 \
             --python-platform x86_64-manylinux_2_36 --exclude-newer 2026-11-01T00:00:00Z --format pylock.toml \
             --python cpython --cache-dir /scratch/uv-cache /scratch/requirements.in"
        );
        assert_eq!(
            words(Platform::LinuxArm64, Format::Annotated),
            "/opt/uv pip compile --no-config --no-header --no-progress --color never --system-certs \
             --no-build --no-sources --no-python-downloads --system --python-version 3.11.2 \
             --python-platform aarch64-manylinux_2_36 --exclude-newer 2026-11-01T00:00:00Z \
             --format requirements.txt --annotation-style line \
             --python cpython --cache-dir /scratch/uv-cache /scratch/requirements.in"
        );
    }

    #[test]
    fn a_glibc_that_uv_does_not_know_counts_as_an_older_one() {
        for (glibc, expected) in [("2.36", 36), ("2.41", 40), ("2.30", 28), ("2.17", 17), ("2.12", 17)] {
            let name = platform_name(glibc.parse().unwrap(), Platform::LinuxAmd64);
            assert_eq!(name, format!("x86_64-manylinux_2_{expected}"));
        }
    }
}
