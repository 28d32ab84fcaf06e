//! Sets `SWARM_VERSION` and, if it is known, `SWARM_BUILT_FROM`: the commit that a program is built from.
//!
//! `SWARM_COMMIT` names it where there is no repository, as in a package's build. Otherwise git does, in
//! release builds only: a debug build would have to be compiled anew after each commit.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SWARM_COMMIT");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let given = env::var("SWARM_COMMIT").ok().filter(|commit| !commit.trim().is_empty());
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    match given.or_else(|| is_release.then(from_git).flatten()) {
        Some(commit) => {
            let commit: String = commit.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
            println!("cargo::rustc-env=SWARM_VERSION={version}+{commit}");
            println!("cargo::rustc-env=SWARM_BUILT_FROM={commit}");
        }
        None => println!("cargo::rustc-env=SWARM_VERSION={version}"),
    }
}

/// The checked-out commit, if the workspace is a repository and not a folder in another one.
fn from_git() -> Option<String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.canonicalize().ok()?;
    let is_ours = PathBuf::from(git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()? == top;
    let commit = is_ours.then(|| git(&["rev-parse", "HEAD"])).flatten()?;
    // It gets a line with each commit and checkout. Cargo would always build anew for a missing file.
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join(git(&["rev-parse", "--git-path", "logs/HEAD"])?);
    if log.exists() {
        println!("cargo::rerun-if-changed={}", log.display());
    }
    Some(commit)
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = output.status.success().then(|| String::from_utf8(output.stdout).ok()).flatten()?;
    Some(text.trim().to_owned())
}
