//! Reads a log from the beginning, compressed or not.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

/// A position in a log. A plain log that grows can be read further.
pub struct LogReader(Form);

enum Form {
    Plain(File),
    Packed(Box<zstd::Decoder<'static, BufReader<File>>>),
}

impl LogReader {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self(if path.extension().is_some_and(|form| form == "zst") {
            Form::Packed(Box::new(zstd::Decoder::new(file)?))
        } else {
            Form::Plain(file)
        }))
    }

    /// Up to `most` further bytes; empty at the current end.
    ///
    /// # Errors
    /// The disk fails, or the file is damaged.
    pub fn read(&mut self, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match &mut self.0 {
            Form::Plain(file) => file.take(most).read_to_end(&mut bytes)?,
            Form::Packed(file) => file.take(most).read_to_end(&mut bytes)?,
        };
        Ok(bytes)
    }
}

/// The uncompressed size of a compressed log.
pub(super) fn length(path: &Path) -> io::Result<u64> {
    io::copy(&mut zstd::Decoder::new(File::open(path)?)?, &mut io::sink())
}
