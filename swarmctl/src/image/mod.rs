//! Makes the image of a base from a root file system: a directory, or an archive such as Gentoo's
//! stage3. The format is defined in `swarm_formats::image`.

mod archive;
mod signature;
#[cfg(test)]
mod tests;

pub use signature::signer;

use crate::failure::Failure;
use std::{
    fs::File,
    io::{BufReader, BufWriter, Write},
    path::Path,
};
use swarm_common::digest::Digest;
use swarm_formats::image::{self, ImageContents, ImageError, ImageSummary};
use tempfile::NamedTempFile;

#[derive(Debug)]
pub struct Made {
    /// Digest of the image, which serves as its name.
    pub digest: Digest,
    pub summary: ImageSummary,
    /// The compressed archive. The file is removed when dropped.
    pub archive: NamedTempFile,
    pub notes: Vec<String>,
}

/// Makes an image. `progress` is called with the total number of entries and the number done.
///
/// # Errors
/// The source cannot be read, or is not a root file system.
pub fn make(from: &Path, progress: impl Fn(u64, u64)) -> Result<Made, Failure> {
    let image_failure =
        |error: ImageError| Failure::Failed(format!("cannot create a base from {}: {error}", from.display()));
    let mut contents = ImageContents::default();
    let mut notes = match from.is_dir() {
        true => contents.add_root(from).map_err(image_failure)?,
        false => archive::add(&mut contents, from)?,
    };
    contents.check().map_err(image_failure)?;
    if contents.dropped_xattrs() > 0 {
        notes.push(format!(
            "skipping {} extended attributes: an image keeps only capabilities and user attributes",
            contents.dropped_xattrs()
        ));
    }
    let writing = |error| Failure::Failed(format!("cannot write the image: {error}"));
    let archive = tempfile::Builder::new()
        .prefix("swarm-image-")
        .tempfile()
        .map_err(|error| Failure::Failed(format!("cannot create a temporary file: {error}")))?;
    let (total, mut done) = (contents.len() as u64, 0);
    let mut out = BufWriter::new(archive.as_file());
    let digest = contents
        .write(&mut out, || {
            done += 1;
            progress(total, done);
        })
        .map_err(image_failure)?;
    out.flush().map_err(writing)?;
    drop(out);
    let reopened = File::open(archive.path()).map_err(writing)?;
    let summary = image::verify(BufReader::new(reopened), digest).map_err(image_failure)?;
    if !summary.has_portage {
        return Err(Failure::Failed(format!(
            "cannot create a base from {}: it has no /usr/bin/emerge, and a base needs its own Portage; \
             use a stage3, or install Portage in it",
            from.display()
        )));
    }
    Ok(Made { digest, summary, archive, notes })
}
