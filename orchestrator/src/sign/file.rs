//! Files with secret keys. They have no passphrase, because the orchestrator signs unattended. They are
//! protected by their file mode, which is enforced.

use super::error::KeyError;
use crate::store::disk::{self, DiskError};
use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

/// Reads a key file. Fails if other users can read it.
pub(super) fn read(path: &Path) -> Result<String, KeyError> {
    let meta = fs::metadata(path).map_err(DiskError::at("open", path))?;
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    Ok(fs::read_to_string(path).map_err(DiskError::at("read", path))?)
}

/// Writes a new file that only its owner can read. Never replaces an existing file.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), KeyError> {
    let temp = path.with_extension("new");
    disk::remove_file(&temp)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temp)
        .map_err(DiskError::at("make", &temp))?;
    file.write_all(text.as_bytes()).map_err(DiskError::at("write", &temp))?;
    file.sync_all().map_err(DiskError::at("sync", &temp))?;
    // Unlike a rename, a hard link never replaces an existing key.
    fs::hard_link(&temp, path).map_err(DiskError::at("make", path))?;
    disk::remove_file(&temp)?;
    path.parent().map_or(Ok(()), disk::sync_dir)?;
    Ok(())
}
