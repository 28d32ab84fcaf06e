//! What the file system said of an unpacked snapshot when it was made, and whether it still does.
//!
//! Each path with its mode, its size and the time of its last change (`ctime`), which the kernel
//! sets whatever was changed and nobody sets back. That takes one walk, where reading 200,000
//! files would take a slow disk minutes. What a disk changes by itself is not found so.

use crate::buildroot::layer::walk;
use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::Path,
};

/// The file that says it, compressed.
pub(super) const SEAL: &str = "seal";

/// Seals what is in `dir`.
pub(super) fn write(dir: &Path) -> io::Result<()> {
    fs::write(dir.join(SEAL), zstd::encode_all(facts(dir)?.as_slice(), 3)?)
}

/// What is not as it was sealed, in words.
pub(super) fn damage(dir: &Path) -> Option<String> {
    let sealed = match fs::read(dir.join(SEAL)).and_then(|bytes| zstd::decode_all(bytes.as_slice())) {
        Ok(sealed) => sealed,
        Err(error) => return Some(format!("what it was like cannot be read: {error}")),
    };
    let found = match facts(dir) {
        Ok(found) => found,
        Err(error) => return Some(error.to_string()),
    };
    (sealed != found).then(|| compare(&by_path(&sealed), &by_path(&found)))
}

/// Path and facts of everything, each with a NUL behind it.
fn facts(dir: &Path) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    walk(dir, &mut |path, found| {
        let name = path.strip_prefix(dir).unwrap_or(path);
        if name == Path::new(SEAL) {
            return Ok(());
        }
        all.extend_from_slice(name.as_os_str().as_bytes());
        // What is in a directory is told by itself.
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

/// The first difference, and how many there are besides.
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
