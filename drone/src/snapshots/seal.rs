//! Detects changes in an unpacked snapshot by comparing file system metadata with that recorded when
//! it was made.
//!
//! It records mode, size and change time (`ctime`) of each path. The kernel updates `ctime` on every
//! change, and programs cannot reset it. A check takes one directory walk, while reading 200,000
//! files would take minutes on a slow disk. Bit rot is not detected.

use crate::buildroot::layer::walk;
use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::Path,
};

/// File with the compressed metadata.
pub(super) const SEAL: &str = "seal";

/// Records the metadata of everything in `dir`.
pub(super) fn write(dir: &Path) -> io::Result<()> {
    fs::write(dir.join(SEAL), zstd::encode_all(facts(dir)?.as_slice(), 3)?)
}

/// Describes the first difference to the recorded metadata; `None` if there is none.
pub(super) fn damage(dir: &Path) -> Option<String> {
    let sealed = match fs::read(dir.join(SEAL)).and_then(|bytes| zstd::decode_all(bytes.as_slice())) {
        Ok(sealed) => sealed,
        Err(error) => return Some(format!("cannot read the list of its files: {error}")),
    };
    let found = match facts(dir) {
        Ok(found) => found,
        Err(error) => return Some(error.to_string()),
    };
    (sealed != found).then(|| compare(&by_path(&sealed), &by_path(&found)))
}

/// Path and metadata of each entry, each terminated by NUL.
fn facts(dir: &Path) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    walk(dir, &mut |path, found| {
        let name = path.strip_prefix(dir).unwrap_or(path);
        if name == Path::new(SEAL) {
            return Ok(());
        }
        all.extend_from_slice(name.as_os_str().as_bytes());
        // Times and sizes of directories are omitted, because each entry is recorded itself.
        match found.is_dir() {
            true => write!(all, "\0{:o}\0", found.mode()),
            false => {
                let (mode, size) = (found.mode(), found.size());
                write!(all, "\0{mode:o} {size} {}.{}\0", found.ctime(), found.ctime_nsec())
            }
        }
    })?;
    Ok(all)
}

type Facts<'a> = BTreeMap<&'a [u8], &'a [u8]>;

fn by_path(facts: &[u8]) -> Facts<'_> {
    let parts: Vec<&[u8]> = facts.split(|&byte| byte == 0).collect();
    parts.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
}

/// Describes the first difference and the number of further ones.
fn compare(sealed: &Facts<'_>, found: &Facts<'_>) -> String {
    let missing = sealed.keys().filter(|path| !found.contains_key(*path)).map(|path| (path, "is missing"));
    let others = found.iter().filter_map(|(path, facts)| match sealed.get(path) {
        None => Some((path, "was added")),
        Some(was) if was != facts => Some((path, "was changed")),
        Some(_) => None,
    });
    let all: BTreeMap<_, _> = missing.chain(others).collect();
    let Some((path, what)) = all.first_key_value() else { return "its list was changed".into() };
    let path = String::from_utf8_lossy(path).escape_debug().to_string();
    match all.len() - 1 {
        0 => format!("`{path}` {what}"),
        more => format!("`{path}` {what}, and {more} more"),
    }
}
