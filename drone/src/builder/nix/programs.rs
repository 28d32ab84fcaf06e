//! The installed Nix: where its programs are, and its version.

use crate::config::{Enabled, NixConfig};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The oldest version supported, which is in Debian 12.
const OLDEST: (u32, u32) = (2, 8);

/// Where NixOS and the Nix installer put the programs.
const USUAL: [&str; 3] =
    ["/run/current-system/sw/bin", "/nix/var/nix/profiles/default/bin", "/root/.nix-profile/bin"];

/// Directories with the programs that Nix and the drone's scripts call.
const SYSTEM: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    pub dir: PathBuf,
    /// For example `2.34.8`.
    pub version: String,
}

impl Programs {
    /// Whether this Nix has at least this version.
    #[must_use]
    pub fn is_at_least(&self, version: (u32, u32)) -> bool {
        number(&self.version) >= Some(version)
    }

    /// The path of one of its programs.
    #[must_use]
    pub fn path(&self, program: &str) -> PathBuf {
        self.dir.join(program)
    }

    #[must_use]
    pub fn search_path(&self) -> OsString {
        let mut path = self.dir.clone().into_os_string();
        path.push(":");
        path.push(SYSTEM);
        path
    }
}

/// Finds the Nix to use. `None` if there is none and it is not required, or if it is disabled.
///
/// # Errors
/// Nix is required but missing, or it cannot be used; the message says why.
pub fn find(config: &NixConfig) -> Result<Option<Programs>, String> {
    if config.enabled == Enabled::Always(false) {
        return Ok(None);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = match &config.programs {
        Some(dir) => vec![dir.clone()],
        None => std::env::split_paths(&path).chain(USUAL.map(PathBuf::from)).collect(),
    };
    let found = dirs.iter().find(|dir| dir.is_absolute() && dir.join("nix").exists());
    let examined = found.map(|dir| examine(dir));
    match examined {
        Some(Ok(programs)) => Ok(Some(programs)),
        Some(Err(why)) if config.enabled == Enabled::Always(true) => Err(why),
        Some(Err(why)) => {
            tracing::debug!("this drone does not build with Nix: {why}");
            Ok(None)
        }
        None if config.enabled == Enabled::Always(true) => Err("cannot find the program nix".into()),
        None => Ok(None),
    }
}

fn examine(dir: &Path) -> Result<Programs, String> {
    let program = dir.join("nix");
    // Even this command looks into the home directory.
    let output = Command::new(&program)
        .arg("--version")
        .env_clear()
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    // `nix (Nix) 2.8.0`
    let version = stdout.trim().rsplit(' ').next().unwrap_or_default().to_owned();
    let Some(number) = number(&version) else {
        return Err(format!("{} --version says `{}`", program.display(), stdout.trim().escape_debug()));
    };
    if number < OLDEST {
        return Err(format!("Nix is {version}; {}.{} or newer is needed", OLDEST.0, OLDEST.1));
    }
    Ok(Programs { dir: dir.to_owned(), version })
}

/// The first two parts of a version such as `2.34.8` or `2.36pre20260101`.
fn number(version: &str) -> Option<(u32, u32)> {
    let (major, rest) = version.split_once('.')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((major.parse().ok()?, rest[..digits].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_old_nix_or_none_is_an_error_only_if_nix_is_required() {
        let dir = tempfile::tempdir().unwrap();
        let with =
            |enabled| find(&NixConfig { enabled, programs: Some(dir.path().into()), ..NixConfig::default() });
        let auto = NixConfig::default().enabled;
        assert_eq!(with(auto), Ok(None));
        assert!(with(Enabled::Always(true)).unwrap_err().contains("cannot find"));
        let program = dir.path().join("nix");
        for (version, usable) in [("2.3.16", false), ("2.8.0", true), ("2.36pre20260101_abc", true)] {
            std::fs::write(&program, format!("#!/bin/sh\necho 'nix (Nix) {version}'\n")).unwrap();
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
            assert_eq!(with(auto).unwrap().map(|found| found.version).as_deref(), usable.then_some(version));
            assert_eq!(with(Enabled::Always(true)).is_ok(), usable);
        }
        assert_eq!(with(Enabled::Always(false)), Ok(None));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(number("2.34.8") > number("2.8.0") && number("2.26pre1") > number("2.9"));
        assert_eq!(number("unknown"), None);
    }
}
