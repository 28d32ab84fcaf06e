//! Writes archives, and refuses whatever the reader would refuse.

use super::{MAGIC, NarError, NarLimits, NarSum, PIECE, check_name, check_target, padding};
use sha2::{Digest as _, Sha256};
use std::io::{Read, Write};
use swarm_common::digest::Digest;

/// Writes an archive node by node.
pub struct NarWriter<W> {
    out: W,
    /// Bytes that have not yet been written to `out`.
    pending: Vec<u8>,
    hash: Sha256,
    /// Number of bytes written to `out`.
    written: u64,
    /// The name of the previous entry in each open directory.
    open: Vec<Vec<u8>>,
    /// Whether the root has been started.
    begun: bool,
}

impl<W: Write> NarWriter<W> {
    pub fn new(out: W) -> Self {
        let pending = Vec::with_capacity(2 * PIECE);
        let mut writer =
            Self { out, pending, hash: Sha256::new(), written: 0, open: Vec::new(), begun: false };
        writer.string(MAGIC);
        writer
    }

    /// Starts a directory. The name of the root is empty.
    ///
    /// # Errors
    /// The name is invalid here, or writing fails.
    pub fn directory(&mut self, name: &[u8]) -> Result<(), NarError> {
        self.begin(name, "directory")?;
        let limit = NarLimits::default().depth;
        if self.open.len() == limit {
            return Err(NarError::TooLarge { what: "the depth of its directories", limit: limit as u64 });
        }
        self.open.push(Vec::new());
        Ok(())
    }

    /// Ends the innermost directory.
    ///
    /// # Errors
    /// No directory is open, or writing fails.
    pub fn leave(&mut self) -> Result<(), NarError> {
        if self.open.pop().is_none() {
            return Err(self.malformed("no directory is open"));
        }
        self.end()
    }

    /// Writes a symbolic link.
    ///
    /// # Errors
    /// The name or the target is invalid here, or writing fails.
    pub fn symlink(&mut self, name: &[u8], target: &[u8]) -> Result<(), NarError> {
        check_target(target).map_err(|reason| self.malformed(reason))?;
        self.begin(name, "symlink")?;
        self.string("target");
        self.string(target);
        self.end()
    }

    /// Writes a regular file of exactly `size` bytes.
    ///
    /// # Errors
    /// The name is invalid here, the contents have another size, or reading or writing fails.
    pub fn file(
        &mut self,
        name: &[u8],
        executable: bool,
        size: u64,
        mut contents: impl Read,
    ) -> Result<(), NarError> {
        self.begin(name, "regular")?;
        if executable {
            self.string("executable");
            self.string("");
        }
        self.string("contents");
        self.pending.extend(size.to_le_bytes());
        let mut copied = 0;
        loop {
            let n = contents.by_ref().take(PIECE as u64).read_to_end(&mut self.pending)?;
            copied += n as u64;
            self.flush_if_large()?;
            if n == 0 || copied > size {
                break;
            }
        }
        if copied != size {
            return Err(self.malformed("the contents of a file do not have the announced size"));
        }
        self.pad(size);
        self.end()
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// A directory is open or there is no root, or writing fails.
    pub fn finish(mut self) -> Result<(W, NarSum), NarError> {
        if !self.begun || !self.open.is_empty() {
            return Err(self.malformed("the archive ends inside a directory or without a root"));
        }
        self.flush()?;
        self.out.flush()?;
        Ok((self.out, NarSum { hash: Digest(self.hash.finalize().into()), size: self.written }))
    }

    fn begin(&mut self, name: &[u8], kind: &str) -> Result<(), NarError> {
        match self.open.last_mut() {
            Some(previous) => {
                let checked = check_name(name, previous);
                name.clone_into(previous);
                checked.map_err(|reason| self.malformed(reason))?;
                for word in ["entry", "(", "name"] {
                    self.string(word);
                }
                self.string(name);
                self.string("node");
            }
            None if self.begun || !name.is_empty() => {
                return Err(self.malformed("there must be exactly one root, without a name"));
            }
            None => self.begun = true,
        }
        for word in ["(", "type", kind] {
            self.string(word);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), NarError> {
        self.string(")");
        if !self.open.is_empty() {
            self.string(")");
        }
        self.flush_if_large()
    }

    fn string(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.pending.extend((bytes.len() as u64).to_le_bytes());
        self.pending.extend_from_slice(bytes);
        self.pad(bytes.len() as u64);
    }

    fn pad(&mut self, size: u64) {
        self.pending.resize(self.pending.len() + padding(size), 0);
    }

    fn flush_if_large(&mut self) -> Result<(), NarError> {
        if self.pending.len() < PIECE { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), NarError> {
        self.out.write_all(&self.pending)?;
        self.hash.update(&self.pending);
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn malformed(&self, reason: &'static str) -> NarError {
        NarError::Malformed { at: self.written + self.pending.len() as u64, reason }
    }
}
