//! A file with an exclusive lock that is released when the value is dropped.
//!
//! Closing the file is not enough: a process that another thread is starting has a copy of every descriptor
//! until it executes its program, and the lock lasts as long as any copy is open.

use std::{
    fs::{File, TryLockError},
    ops::{Deref, DerefMut},
};

#[derive(Debug)]
pub struct LockedFile(File);

impl LockedFile {
    /// Locks a file. The kernel releases the lock if the process ends without dropping the value.
    ///
    /// # Errors
    /// The file is already locked, or its file system does not support locks.
    pub fn try_lock(file: File) -> Result<Self, TryLockError> {
        file.try_lock()?;
        Ok(Self(file))
    }
}

impl Deref for LockedFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl DerefMut for LockedFile {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.0
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // If this fails, closing the file releases the lock.
        let _closed = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_released_although_a_process_that_is_being_started_has_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let open = || File::create(folder.path().join("lock")).unwrap();
        let first = LockedFile::try_lock(open()).unwrap();
        let _copy = first.try_clone().unwrap();
        assert!(matches!(LockedFile::try_lock(open()), Err(TryLockError::WouldBlock)));
        drop(first);
        LockedFile::try_lock(open()).unwrap();
    }
}
