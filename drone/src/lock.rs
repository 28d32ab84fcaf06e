//! One drone for one state directory.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
};

/// Held as long as it lives; the system lets go of it however the process ends.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "it is held, not read")] File);

impl Lock {
    /// Takes the lock of a state directory, which is made if need be.
    ///
    /// # Errors
    /// Who holds it, or what the system said, in one line.
    pub fn take(dir: &Path) -> Result<Self, String> {
        let failed = |e: std::io::Error| format!("the state directory {} cannot be used: {e}", dir.display());
        fs::create_dir_all(dir).map_err(failed)?;
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(dir.join("lock")).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(failed)?;
                let (dir, holder) = (dir.display(), holder.trim());
                return Err(format!("another drone (process {holder}) works in {dir}: stop it first"));
            }
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self(file))
    }
}
