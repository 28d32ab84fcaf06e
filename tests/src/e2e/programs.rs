//! The programs under test, built once, and the scripts and examples of the repository.
//!
//! Cargo tells a test only the paths of programs in its own package. The other programs are found next to the
//! test executable, after asking Cargo to build them, or in the folder `SWARM_PROGRAMS`.

use anyhow::{Context, Result, ensure};
use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// The path of a file in the repository, such as `examples/desktop`.
#[must_use]
pub fn part(path: &str) -> PathBuf {
    repository().join(path)
}

/// The Portage that `scripts/portage` installs if necessary, as a value for a drone's `portage_prefix`.
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

/// Builds the programs and returns their folder.
fn build() -> Result<PathBuf> {
    // They were built together with this test.
    if let Some(folder) = env::var_os("SWARM_PROGRAMS") {
        return Ok(folder.into());
    }
    // A test is target/debug/deps/NAME-HASH; a program of this package is target/debug/NAME.
    let own = env::current_exe()?;
    let folder = own.parent().context("a program outside a target folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Build the whole workspace, as for tests: with fewer packages, the dependencies would have other
    // features, and everything would be compiled again.
    cargo.current_dir(repository()).args(["build", "--quiet", "--workspace", "--bins", "--locked"]);
    cargo.arg("--target-dir").arg(folder.parent().context("a test outside a target folder")?);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.output()?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Ok(folder.to_owned())
}
