//! The contents of an archived root file system. The archive is decompressed once into a temporary file, from
//! which files are read in the order of the image. Only paths are held in memory.

use crate::failure::Failure;
use std::{
    fs::File,
    io::{BufReader, Read, Seek},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};
use swarm_formats::{
    archive::tar_reader::{EntryKind, TarReader},
    image::{ContentSource, ImageContents, ImageError, MAX_BYTES, devices_note, is_in_dev, special},
};

/// Decompression programs by file name suffix.
const PROGRAMS: [(&str, &str); 8] = [
    (".xz", "xz"),
    (".txz", "xz"),
    (".zst", "zstd"),
    (".tzst", "zstd"),
    (".gz", "gzip"),
    (".tgz", "gzip"),
    (".bz2", "bzip2"),
    (".tbz2", "bzip2"),
];

/// Adds the contents of an archive to an image. Returns notes for the user.
pub(super) fn add(contents: &mut ImageContents, from: &Path) -> Result<Vec<String>, Failure> {
    let failed = |what: &str| {
        let from = from.display().to_string();
        let what = what.to_owned();
        move |error| Failure::Failed(format!("{from} {what}: {error}"))
    };
    let plain = decompressed(from)?;
    let mut tar = TarReader::new(Counted { from: BufReader::with_capacity(256 * 1024, &plain), at: 0 });
    let shared = Arc::new(plain.try_clone().map_err(failed("cannot be read"))?);
    let mut devices = Vec::new();
    loop {
        let read = tar.next_entry().map_err(ImageError::from).and_then(|entry| {
            let Some(entry) = entry else { return Ok(None) };
            let attributes = tar.attributes()?;
            let at = tar.inner_mut().at;
            Ok(Some((entry, attributes, at)))
        });
        let Some((entry, attributes, at)) = read.map_err(|error| refused(from, &error))? else {
            return Ok(devices_note(&mut devices).into_iter().collect());
        };
        let path = clean(&entry.path);
        let added = match entry.kind {
            // This is the root directory itself.
            EntryKind::Directory if path.is_empty() => Ok(()),
            EntryKind::Directory => contents.add_dir(path, attributes),
            EntryKind::File => contents.add_file(
                path,
                ContentSource::Within(Arc::clone(&shared), at),
                entry.size,
                attributes,
            ),
            EntryKind::Symlink => contents.add_symlink(path, &entry.link, attributes),
            EntryKind::Hardlink => contents.add_hardlink(path, clean(&entry.link)),
            EntryKind::Special(_) if is_in_dev(path) => {
                devices.push(String::from_utf8_lossy(path).into_owned());
                Ok(())
            }
            EntryKind::Special(_) => Err(special(path, "device, pipe or something else")),
        };
        added.map_err(|error| refused(from, &error))?;
    }
}

fn refused(from: &Path, error: &ImageError) -> Failure {
    Failure::Failed(format!("cannot create a base from {}: {error}", from.display()))
}

/// Removes a leading `./` and a trailing slash from a path.
fn clean(path: &[u8]) -> &[u8] {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    if path == b"." { &[] } else { path }
}

/// Decompresses `from` into an unnamed temporary file.
fn decompressed(from: &Path) -> Result<File, Failure> {
    let failed = |error| Failure::Failed(format!("cannot read {}: {error}", from.display()));
    let name = from.to_string_lossy();
    let mut input = File::open(from).map_err(failed)?;
    let Some((_, program)) = PROGRAMS.iter().find(|(end, _)| name.ends_with(end)) else {
        return match name.ends_with(".tar") {
            true => Ok(input),
            false => Err(Failure::Usage(format!(
                "{name} is neither a directory nor a supported archive (.tar, .tar.xz, .tar.zst, .tar.gz \
                 or .tar.bz2)"
            ))),
        };
    };
    let no_space = |error| Failure::Failed(format!("cannot decompress {name}: {error}"));
    let mut plain = tempfile::tempfile().map_err(no_space)?;
    input.rewind().map_err(failed)?;
    let mut child = Command::new(program)
        .args(["-d", "-c"])
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::Failed(format!("cannot run {program} to unpack {name}: {error}")))?;
    let copied = child.stdout.take().map(|out| std::io::copy(&mut out.take(MAX_BYTES + 1), &mut plain));
    let ended = child.wait_with_output().map_err(no_space)?;
    let bytes = copied.transpose().map_err(no_space)?.unwrap_or(0);
    if bytes > MAX_BYTES {
        return Err(Failure::Failed(format!("{name} unpacks to more than {MAX_BYTES} bytes")));
    }
    if !ended.status.success() {
        let stderr = String::from_utf8_lossy(&ended.stderr);
        return Err(Failure::Failed(format!("cannot decompress {name}: {}", stderr.trim())));
    }
    plain.rewind().map_err(no_space)?;
    Ok(plain)
}

/// Counts the bytes read.
struct Counted<R> {
    from: R,
    at: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.at += n as u64;
        Ok(n)
    }
}
