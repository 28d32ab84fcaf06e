//! A forger, who signs packages correctly, but with an untrusted key.

use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::DirBuilderExt,
    path::Path,
    process::Command,
};

use super::{
    programs, tamper,
    workstation::{Workstation, text},
};

/// Signs a package file with a new key, using Portage's own `gpkg-sign`.
///
/// # Errors
/// gpg or Portage fails.
pub fn sign_anew(package: &Path) -> Result<()> {
    tamper::strip_signatures(package)?;
    let forger = Workstation::new(&programs::part("examples/repository"))?;
    let home = forger.folder().join("key");
    fs::DirBuilder::new().mode(0o700).create(&home)?;

    let user = "Forger <forger@build-swarm.invalid>";
    gpg(&home, &["--passphrase", "", "--quick-gen-key", user, "ed25519", "sign", "never"])?;
    let listing = gpg(&home, &["--with-colons", "--list-keys"])?;
    let fingerprint = listing
        .lines()
        .find_map(|line| line.strip_prefix("fpr:")?.trim_matches(':').split(':').next())
        .context("gpg made no key")?
        .to_owned();
    // gpkg-sign verifies its own signatures, so the forger trusts the key.
    forger.trust(&gpg(&home, &["--armor", "--export", &fingerprint])?, &fingerprint)?;

    for part in ["root", "host"] {
        let settings = forger.folder().join(part).join("etc/portage/make.conf");
        let mut settings = File::options().append(true).open(settings)?;
        writeln!(settings, "BINPKG_GPG_SIGNING_GPG_HOME=\"{}\"", home.display())?;
        writeln!(settings, "BINPKG_GPG_SIGNING_KEY=\"0x{fingerprint}\"")?;
    }
    let signed = forger.command("gpkg-sign").arg(package).output()?;
    ensure!(signed.status.success(), "{}", text(&signed));
    let stopped = Command::new("gpgconf").arg("--homedir").arg(&home).args(["--kill", "all"]).status()?;
    ensure!(stopped.success(), "gpg-agent does not stop");
    Ok(())
}

fn gpg(home: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("gpg");
    command.arg("--homedir").arg(home).args(["--batch", "--quiet"]).args(arguments);
    let done = command.output()?;
    ensure!(done.status.success(), "{}", text(&done));
    Ok(String::from_utf8(done.stdout)?)
}
