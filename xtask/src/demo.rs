//! The way from a clone to a running host.

use anyhow::Result;

use crate::process::program;
use crate::{build, setup};

pub fn run() -> Result<()> {
    setup::compilers()?;
    setup::runtime()?;
    let deploy = build::programs()?.join("deploy");
    program(&deploy).args(["build", "images", "hosts.local"]).run()?;
    program(&deploy).args(["switch", "local", "--yes"]).run()?;
    program(&deploy).args(["status", "local"]).run()?;
    println!(
        "\nNext: change a line in images/api/app, then\n  {0} switch local\n  {0} rollback local",
        deploy.display()
    );
    println!("The machine goes with\n  {} machine remove local", deploy.display());
    Ok(())
}
