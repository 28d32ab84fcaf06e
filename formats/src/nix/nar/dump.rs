//! Archives a file, link or directory tree, like `nix-store --dump`.

use super::{NarError, NarSum, NarWriter};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::PermissionsExt as _,
    },
    path::Path,
};

/// Writes the archive of `path`, without following links.
///
/// # Errors
/// Reading or writing fails, a file changes in the meantime, or there is something other than files, links
/// and directories.
pub fn dump<W: Write>(path: &Path, out: W) -> Result<(W, NarSum), NarError> {
    let mut writer = NarWriter::new(out);
    pack(&mut writer, path, b"")?;
    writer.finish()
}

/// Recursive. The writer's limit on depth bounds the recursion.
fn pack<W: Write>(writer: &mut NarWriter<W>, path: &Path, name: &[u8]) -> Result<(), NarError> {
    let failed = |error| NarError::File { path: path.to_owned(), error };
    let kind = fs::symlink_metadata(path).map_err(failed)?.file_type();
    if kind.is_symlink() {
        return writer.symlink(name, fs::read_link(path).map_err(failed)?.as_os_str().as_bytes());
    }
    if kind.is_file() {
        let file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        return writer.file(name, about.permissions().mode() & 0o100 != 0, about.len(), file);
    }
    if !kind.is_dir() {
        return Err(failed(io::Error::other("not a file, link or directory")));
    }
    let entries = fs::read_dir(path).map_err(failed)?;
    let names = entries.map(|entry| Ok(entry?.file_name().into_vec()));
    let mut names = names.collect::<io::Result<Vec<_>>>().map_err(failed)?;
    names.sort_unstable();
    writer.directory(name)?;
    for name in names {
        pack(writer, &path.join(std::ffi::OsStr::from_bytes(&name)), &name)?;
    }
    writer.leave()
}
