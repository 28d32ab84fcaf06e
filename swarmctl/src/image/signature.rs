//! Verifies the signature of a base's source. The orchestrator never sees the signed file, so it is verified
//! here, by GnuPG with only the given key and none of this machine's keys.

use crate::failure::Failure;
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

/// The fingerprint of the key in `key`, if it made the detached `signature` of `file`.
///
/// # Errors
/// The signature is not by that key, the signature or key has expired or was revoked, or GnuPG
/// cannot be run.
pub fn signer(file: &Path, signature: Option<&Path>, key: &Path) -> Result<String, Failure> {
    let signature = match signature {
        Some(path) => path.to_owned(),
        None => {
            let mut beside = file.as_os_str().to_owned();
            beside.push(".asc");
            PathBuf::from(beside)
        }
    };
    if !signature.is_file() {
        return Err(Failure::Failed(format!(
            "{} is not signed: {} does not exist; pass the signature with --signature",
            file.display(),
            signature.display()
        )));
    }
    let home = tempfile::Builder::new()
        .prefix("swarm-gpg-")
        .tempdir()
        .map_err(|error| Failure::Failed(format!("cannot create a temporary directory: {error}")))?;
    gpg(home.path(), &[OsStr::new("--import"), key.as_os_str()])
        .map_err(|message| Failure::Failed(format!("{} contains no key: {message}", key.display())))?;
    let args = [OsStr::new("--verify"), signature.as_os_str(), file.as_os_str()];
    let bad = |message: &str| {
        Failure::Failed(format!(
            "{} is not signed by the key in {}: {message}",
            file.display(),
            key.display()
        ))
    };
    let status = gpg(home.path(), &args).map_err(|message| bad(&message))?;
    let word =
        |name: &str| status.lines().find_map(|line| line.strip_prefix("[GNUPG:] ")?.strip_prefix(name));
    for (name, why) in [
        ("EXPKEYSIG ", "the key has expired"),
        ("REVKEYSIG ", "the key is revoked"),
        ("EXPSIG ", "the signature has expired"),
    ] {
        if word(name).is_some() {
            return Err(bad(why));
        }
    }
    match (word("GOODSIG "), word("VALIDSIG ").and_then(|rest| rest.split(' ').next_back())) {
        (Some(_), Some(primary)) => Ok(primary.to_owned()),
        _ => Err(bad("GnuPG did not confirm the signature")),
    }
}

/// Runs GnuPG with a home directory of its own. Returns its status lines, or its error messages.
fn gpg(home: &Path, args: &[&OsStr]) -> Result<String, String> {
    let run = Command::new("gpg")
        .arg("--homedir")
        .arg(home)
        .args(["--batch", "--no-tty", "--no-autostart", "--status-fd", "1", "--trust-model", "always"])
        .args(args)
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| format!("cannot run gpg: {error}"))?;
    match run.status.success() {
        true => Ok(String::from_utf8_lossy(&run.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&run.stderr).trim().replace('\n', "; ")),
    }
}
