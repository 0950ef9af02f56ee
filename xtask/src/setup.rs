//! Installs what is missing, through the machine's own package clients.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{is_installed, program};
use crate::{root, target};

/// A program that must be there, and the Debian package that has it.
type Need = (&'static str, &'static str);

/// To compile: C code against musl.
const COMPILERS: &[Need] = &[("cc", "gcc"), ("musl-gcc", "musl-tools")];

/// For libFuzzer, which is C++.
const FUZZING: &[Need] = &[("g++", "g++")];

/// For `deploy lock` and the local machine.
const RUNTIME: &[Need] = &[
    ("python3", "python3"),
    ("systemd-nspawn", "systemd-container"),
    ("mmdebstrap", "mmdebstrap"),
    ("ssh", "openssh-client"),
    ("ip", "iproute2"),
    ("ssh-keygen", "openssh-client"),
];

/// The real tools that tests compare with.
const ORACLES: &[Need] = &[
    ("age", "age"),
    ("nix", "nix-bin"),
    ("podman", "podman"),
    ("runc", "runc"),
    ("skopeo", "skopeo"),
    ("umoci", "umoci"),
    ("sshd", "openssh-server"),
    ("sqlite3", "sqlite3"),
    ("zstd", "zstd"),
    ("dpkg-deb", "dpkg"),
    ("busybox", "busybox-static"),
    ("gpgv", "gpgv"),
    ("gpg", "gpg"),
    ("xz", "xz-utils"),
    ("gpg-agent", "gpg-agent"),
    ("gpgconf", "gpgconf"),
    ("git", "git"),
    ("script", "bsdutils"),
    ("curl", "curl"),
    ("systemd-analyze", "systemd"),
    ("openssl", "openssl"),
    ("update-ca-certificates", "ca-certificates"),
    ("readelf", "binutils"),
    ("pip", "python3-pip"),
    ("pebble", "pebble"),
    ("redis-server", "redis-server"),
    ("h2load", "nghttp2-client"),
    ("/usr/lib/postgresql/15/bin/initdb", "postgresql-15"),
];

/// Python programs, pinned: the resolver behind `deploy lock`, a C compiler for other processors, and
/// a server of buckets.
const UV: &str = "uv==0.13.9";
const ZIG: &str = "ziglang==0.17.1";
const MOTO: &str = "moto[s3]==5.1.22 flask==3.1.3 flask-cors==6.0.5";

pub fn all() -> Result<()> {
    compilers()?;
    runtime()?;
    debian(ORACLES)
}

pub fn compilers() -> Result<()> {
    debian(COMPILERS)?;
    // Those that rust-toolchain.toml names, if rustup has not installed them by itself.
    rust_targets(&["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"])
}

/// For `cargo xtask fuzz` alone.
pub fn fuzzing() -> Result<()> {
    compilers()?;
    debian(FUZZING)?;
    rust_targets(&[crate::fuzz::TARGET])
}

pub fn runtime() -> Result<()> {
    debian(RUNTIME)?;
    python_tool("uv", UV).map(|_| ())
}

/// Path of the resolver that `deploy lock` starts.
pub fn uv() -> Result<PathBuf> {
    Ok(python_tool("uv", UV)?.join("bin/uv"))
}

/// Path of a server that speaks S3.
pub fn moto() -> Result<PathBuf> {
    Ok(python_tool("moto", MOTO)?.join("bin/moto_server"))
}

/// A C compiler for 64-bit ARM against musl, as a program that cargo's build scripts can start.
pub fn arm_compiler() -> Result<PathBuf> {
    let python = python_tool("ziglang", ZIG)?.join("bin/python");
    let dir = target().join("tools");
    // Build scripts pass clang's spelling of the target, which zig does not know. Without optimisation
    // zig would call for a sanitizer's run-time library, which a Rust link does not bring.
    let script = format!(
        "#!/bin/sh\nfor a; do shift; case \"$a\" in --target=*) ;; *) set -- \"$@\" \"$a\" ;; esac; done\nexec {} -m ziglang cc -target aarch64-linux-musl -fno-sanitize=undefined \"$@\"\n",
        python.display()
    );
    write_program(dir.join("aarch64-linux-musl-cc"), &script)
}

/// An archiver to go with [`arm_compiler`].
pub fn arm_archiver() -> Result<PathBuf> {
    let python = python_tool("ziglang", ZIG)?.join("bin/python");
    let script = format!("#!/bin/sh\nexec {} -m ziglang ar \"$@\"\n", python.display());
    write_program(target().join("tools/aarch64-linux-musl-ar"), &script)
}

fn write_program(path: PathBuf, text: &str) -> Result<PathBuf> {
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

fn debian(needs: &[Need]) -> Result<()> {
    let missing: Vec<&str> =
        needs.iter().filter(|(tool, _)| !is_installed(tool)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_installed("apt-get") {
        bail!("these are missing and this is no Debian system to install them on: {}", missing.join(", "));
    }
    if !program("id").args(["-u"]).output()?.starts_with('0') {
        bail!("install these first, as root: apt-get install {}", missing.join(" "));
    }
    // Somebody else may be installing: waited for, two minutes at most.
    let patience = "DPkg::Lock::Timeout=120";
    program("apt-get").args(["-o", patience, "update", "-qq"]).run_aside()?;
    program("apt-get")
        .args(["-o", patience, "install", "-qq", "-y", "--no-install-recommends"])
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Servers are wanted as programs: none is to be started on this computer.
        .env("RUNLEVEL", "1")
        .run_aside()
}

/// Installs the standard libraries of these targets.
fn rust_targets(wanted: &[&str]) -> Result<()> {
    if !is_installed("rustup") {
        return Ok(());
    }
    let installed = program("rustup").args(["target", "list", "--installed"]).output()?;
    let missing: Vec<&str> = wanted.iter().copied().filter(|t| !installed.lines().any(|l| l == *t)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    program("rustup").args(["target", "add"]).args(missing).run_aside()
}

/// A virtual environment below `target/` with what is named of PyPI, with spaces between; gives its
/// folder.
fn python_tool(name: &str, requirements: &str) -> Result<PathBuf> {
    let dir = target().join("tools").join(name);
    let stamp = dir.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|text| text == requirements) {
        return Ok(dir);
    }
    debian(&[("python3", "python3")])?;
    fs::create_dir_all(target().join("tools"))?;
    if program("python3").args(["-m", "venv", "--clear"]).args([&dir]).succeeds() {
        program(dir.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet"])
            .args(requirements.split(' '))
            .run_aside()?;
    } else {
        // Debian splits the module off.
        debian(&[("pyvenv-module", "python3-venv")])?;
        program("python3").args(["-m", "venv", "--clear"]).args([&dir]).run()?;
        program(dir.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet"])
            .args(requirements.split(' '))
            .run_aside()?;
    }
    fs::write(&stamp, requirements).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(dir)
}

/// A virtual environment with what an image's own tests need; gives its folder.
pub fn python_tests(image: &str) -> Result<PathBuf> {
    let requirements = root().join("images").join(image).join("requirements-dev.txt");
    python_environment(&format!("{image}-tests"), &requirements)
}

/// The same for the tests that run the programs of built images.
pub fn image_tests() -> Result<PathBuf> {
    python_environment("image-tests", &root().join("tests/images/requirements-dev.txt"))
}

fn python_environment(name: &str, requirements: &Path) -> Result<PathBuf> {
    let text = fs::read_to_string(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let dir = target().join("tools").join(name);
    let stamp = dir.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|was| was == text) {
        return Ok(dir);
    }
    program("python3").args(["-m", "venv", "--clear"]).args([&dir]).run()?;
    program(dir.join("bin/python")).args(["-m", "pip", "install", "--quiet", "-r"]).args([requirements]).run()?;
    fs::write(&stamp, text)?;
    Ok(dir)
}
