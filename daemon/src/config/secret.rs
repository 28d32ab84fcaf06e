//! Secrets in files: an admin token, a drone's credential. A file that others can read is refused, because an
//! exposed secret has to be replaced, which only a person can do.
//!
//! The file can also be a credential that systemd passes to the service (`LoadCredential=`), written as
//! `credential:NAME` in place of a path.

use super::ConfigError;
use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use swarm_common::secret::Secret;

/// The environment variable with the directory of the service's systemd credentials.
const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// The prefix of a path that names a systemd credential.
const SCHEME: &str = "credential:";

/// Permission bits of group and others, except read access for the group.
const TOO_OPEN: u32 = 0o037;

/// The path of the systemd credential `name`. `None` if the service has no such credential.
#[must_use]
pub fn credential(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os(DIRECTORY)?).join(name);
    path.exists().then_some(path)
}

/// Resolves a path, which may name a systemd credential in `directory`.
fn place(path: &Path, directory: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    let Some(name) = path.to_str().and_then(|path| path.strip_prefix(SCHEME)) else {
        return Ok(path.to_owned());
    };
    let refuse = |what: String| ConfigError::Secret { path: path.to_owned(), what };
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        return Err(refuse("is not a credential; expected `credential:` and a name".into()));
    }
    let found = directory.map(|directory| directory.join(name)).filter(|path| path.exists());
    found.ok_or_else(|| {
        let add = format!("`LoadCredential={name}:/path/of/the/file` below `[Service]`");
        refuse(format!("is not passed to this service; add {add} with `systemctl edit`, or set a file"))
    })
}

/// Reads a one-line secret from a file. Only its owner and group may have read access, which permits
/// systemd's `LoadCredential=` and a service group.
///
/// # Errors
/// The file cannot be read, is accessible to others, or contains no usable secret.
pub fn read_secret(path: &Path) -> Result<Secret, ConfigError> {
    let text = read_private(path)?;
    let refuse = |what: &str| ConfigError::Secret { path: path.to_owned(), what: what.to_owned() };
    let secret = Secret::new(&text);
    if secret.is_empty() {
        return Err(refuse("is empty; expected the secret in one line"));
    }
    if !secret.is_well_formed() {
        return Err(refuse("must contain one line of visible ASCII characters"));
    }
    Ok(secret)
}

/// Reads a file that contains a secret among other text, with the same permission check. At most 64
/// KiB are read.
///
/// # Errors
/// The file cannot be read or is accessible to others.
pub fn read_private(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let refuse = |what: String| ConfigError::Secret { path: path.to_owned(), what };
    let place = place(path, std::env::var_os(DIRECTORY).map(PathBuf::from))?;
    let file = File::open(place).map_err(unreadable)?;
    // Check the mode of the opened file, so that the file cannot be exchanged in between.
    let meta = file.metadata().map_err(unreadable)?;
    let mode = meta.mode() & 0o7777;
    if meta.is_file() && mode & TOO_OPEN != 0 {
        return Err(refuse(format!(
            "contains a secret but is accessible to others (mode {mode:04o}); run `chmod 600 {}`, and \
             replace the secret if others use this machine",
            path.display()
        )));
    }
    let mut text = String::new();
    (&file).take(64 * 1024).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// Atomically writes `contents` to a file that only its owner can read, replacing an existing file.
///
/// # Errors
/// The directory cannot be created or the file cannot be written.
pub fn write_private(path: &Path, contents: &str) -> Result<(), ConfigError> {
    let unwritable = |source| ConfigError::Unwritable { path: path.to_owned(), source };
    let write = || -> std::io::Result<()> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let beside = path.with_extension(format!("new.{}", std::process::id()));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(contents.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(unwritable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn a_private_file_is_read_and_an_open_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/token");
        write_private(&path, "abc123\n").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_secret(&path).unwrap().expose(), "abc123");

        for mode in [0o604, 0o644, 0o660, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read_secret(&path).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
            assert!(!error.contains("abc123"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(read_secret(&path).is_ok(), "a service group may read");
    }

    #[test]
    fn a_credential_is_found_by_its_name_and_a_missing_one_says_how_to_give_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mail"), "abc").unwrap();
        let at = |path: &str, dir: Option<&Path>| place(Path::new(path), dir.map(Path::to_owned));
        assert_eq!(at("credential:mail", Some(dir.path())).unwrap(), dir.path().join("mail"));
        assert_eq!(at("/etc/mail", None).unwrap(), Path::new("/etc/mail"));
        for (path, given) in [("credential:other", Some(dir.path())), ("credential:mail", None)] {
            let error = at(path, given).unwrap_err().to_string();
            assert!(error.contains("LoadCredential="), "{error}");
        }
        for path in ["credential:", "credential:../mail", "credential:/etc/shadow", "credential:.."] {
            assert!(at(path, Some(dir.path())).is_err(), "{path}");
        }
    }

    #[test]
    fn a_file_without_one_usable_line_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for bad in ["", "\n", "two\nlines\n", "sp ace"] {
            write_private(&path, bad).unwrap();
            assert!(read_secret(&path).is_err(), "{bad:?}");
        }
    }
}
