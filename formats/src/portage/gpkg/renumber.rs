//! Gives a package another build id. The package is then always rewritten, because its directory changes.

use super::{Gpkg, compression::Compression, stamp::Stamp};
use std::io;

impl Gpkg {
    /// Gives this build id to a package that was verified for a BUILD_TIME. Its members and digests describe
    /// the result only after the package has been copied.
    ///
    /// # Errors
    /// The new metadata cannot be compressed.
    pub fn renumber(&mut self, build_id: u32) -> io::Result<()> {
        let Some(old) = &self.stamp else { return Ok(()) };
        let suffix = old.member.strip_prefix("metadata.tar").and_then(Compression::of_suffix);
        let how = suffix.ok_or_else(|| io::Error::other("the metadata has no known compression"))?;
        let build_time = self.metadata.line("BUILD_TIME").parse().map_err(io::Error::other)?;
        let directory = format!("{}-{build_id}", self.metadata.line("PF"));
        self.metadata.0.insert("BUILD_ID".to_owned(), format!("{build_id}\n").into_bytes());
        let path = format!("{directory}/{}", old.member);
        let stamp = Stamp::new(&mut self.metadata, build_time, &path, how, old.data.len() as u64)?;
        self.stamp = Some(Stamp { directory: Some(directory.clone()), ..stamp });
        (self.directory, self.body) = (directory, None);
        Ok(())
    }
}
