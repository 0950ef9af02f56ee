//! Everything that must hold before a change lands.

use anyhow::{Result, bail};

use crate::process::{cargo, is_installed, program};
use crate::{build, dependencies, nix, setup, target};

/// All tests, or the Rust tests whose names match `filter`.
pub fn all(filter: &[&str]) -> Result<()> {
    setup::all()?;
    if filter.is_empty() {
        cargo().args(["fmt", "--all", "--check"]).run()?;
        dependencies::audit()?;
        cargo().args(["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]).run()?;
    }
    let programs = build::programs()?;
    prove_static(&programs)?;
    rust(filter)?;
    if filter.is_empty() {
        api()?;
        images(&programs)?;
        for image in ["api", "proxy"] {
            nix::build(image)?;
        }
        prove_static(&build::arm()?)?;
    }
    Ok(())
}

/// Variables that say how long a test of faults goes on.
const LONGER: [&str; 3] = ["CAIRN_TEST_ROUNDS", "CAIRN_TEST_MOMENTS", "CAIRN_TEST_PAGES"];

fn rust(filter: &[&str]) -> Result<()> {
    let profile = if LONGER.iter().any(|name| std::env::var_os(name).is_some()) { "long" } else { "default" };
    let cargo = cargo()
        .env("NEXTEST_PROFILE", profile)
        .env("CAIRN_PROGRAMS", target().join(build::TARGET).join("debug"))
        .env("DEPLOY_UV", setup::uv()?)
        .env("CAIRN_MOTO", setup::moto()?)
        .env("CAIRN_TEST_STATE", target().join("test-state"));
    // nextest shows each test's time and runs each in a process of its own.
    if is_installed("cargo-nextest") {
        cargo.args(["nextest", "run", "--locked", "--workspace", "--no-fail-fast"]).args(filter).run()
    } else {
        cargo.args(["test", "--locked", "--workspace", "--no-fail-fast"]).args(filter).run()
    }
}

/// The application's own tests.
fn api() -> Result<()> {
    let python = setup::python_tests("api")?.join("bin/python");
    program(python).args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]).dir(&crate::root().join("images/api")).run()
}

/// The programs of the other images, each run as a host would run it.
fn images(programs: &std::path::Path) -> Result<()> {
    let python = setup::image_tests()?.join("bin/python");
    for image in ["redis", "postgres", "proxy", "certbot"] {
        program(&python)
            .args(["-B", "-m", "pytest", "-q"])
            .env("DEPLOY", programs.join("deploy"))
            // What the end-to-end tests have built is there.
            .env("DEPLOY_STORE", target().join("test-state/store"))
            .dir(&crate::root().join("images").join(image))
            .run()?;
    }
    Ok(())
}

/// A program that needs a dynamic loader would not start on another distribution.
fn prove_static(dir: &std::path::Path) -> Result<()> {
    for name in ["deploy", "cairn-agent", "cairn-builder"] {
        let file = dir.join(name);
        if !file.exists() {
            continue;
        }
        let described = program("readelf").args(["--program-headers", "--wide"]).args([&file]).output()?;
        if described.contains("INTERP") {
            bail!("{} is not static: it names a dynamic loader", file.display());
        }
        println!("static: {}", file.display());
    }
    Ok(())
}
