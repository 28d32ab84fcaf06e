//! The programs under test, built once, and the scripts and examples beside them.
//!
//! Cargo tells a test only where the programs of its own package are. So those of the others are looked for
//! beside the test itself, after Cargo was asked to build them, or where `SWARM_PROGRAMS` says that they are.

use anyhow::{Context, Result, ensure};
use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The project's folder.
#[must_use]
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// A file of the project, such as `examples/desktop`.
#[must_use]
pub fn part(path: &str) -> PathBuf {
    repository().join(path)
}

/// Where `scripts/portage` has Portage, which it installs if necessary: the value of a drone's
/// `portage_prefix`.
///
/// # Errors
/// It cannot be installed.
pub fn portage() -> Result<PathBuf> {
    let portage = Command::new(part("scripts/portage")).stdin(Stdio::null()).output()?;
    ensure!(portage.status.success(), "{}", String::from_utf8_lossy(&portage.stderr));
    Ok(String::from_utf8(portage.stdout)?.trim().into())
}

/// The path of one of the programs.
///
/// # Errors
/// They do not compile.
pub fn program(name: &str) -> Result<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match FOLDER.get_or_init(|| build().map_err(|e| format!("{e:#}"))) {
        Ok(folder) => Ok(folder.join(name)),
        Err(why) => anyhow::bail!("the programs could not be built: {why}"),
    }
}

/// Builds the programs and says where they are.
fn build() -> Result<PathBuf> {
    // They have been built together with this test.
    if let Some(folder) = env::var_os("SWARM_PROGRAMS") {
        return Ok(folder.into());
    }
    // A test is target/debug/deps/NAME-HASH, a program of this package target/debug/NAME.
    let own = env::current_exe()?;
    let folder = own.parent().context("a program outside a target folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The whole workspace, as tests are built: with fewer packages the dependencies would have other
    // features, and everything would be compiled a second time.
    cargo.current_dir(repository()).args(["build", "--quiet", "--workspace", "--bins", "--locked"]);
    cargo.arg("--target-dir").arg(folder.parent().context("a test outside a target folder")?);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.output()?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Ok(folder.to_owned())
}
