//! Writes an image. Entries are collected first and then written in sorted order in one pass. File contents
//! are read only while writing, so memory holds little more than the paths.

use super::{ImageError, MAX_BYTES, MAX_ENTRIES, check_path, keeps, outline::Outline, parent};
use crate::archive::{
    digesting::DigestWriter,
    tar_reader::{TarAttributes, XATTR},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::Arc,
};
use swarm_common::digest::Digest;
use tar::{EntryType, Header};

/// Size in bytes of the name field and of the link target field of a tar header.
const FIELD: usize = 100;

/// Where the content of a file is.
#[derive(Debug, Clone)]
pub enum ContentSource {
    /// A separate file.
    File(PathBuf),
    /// A part of a larger file, from this byte offset on.
    Within(Arc<File>, u64),
    Bytes(Vec<u8>),
}

#[derive(Debug)]
enum Kind {
    Directory,
    File {
        content: ContentSource,
        size: u64,
    },
    Symlink(Vec<u8>),
    /// A hard link to the file at this path.
    Hardlink(Vec<u8>),
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    attributes: TarAttributes,
}

/// The entries of an image that is being made.
#[derive(Debug, Default)]
pub struct ImageContents {
    nodes: BTreeMap<Vec<u8>, Node>,
    dropped_xattrs: u64,
}

impl ImageContents {
    /// Adds a directory, or sets the attributes of an existing one.
    ///
    /// # Errors
    /// The path is invalid or is not a directory.
    pub fn add_dir(&mut self, path: &[u8], attributes: TarAttributes) -> Result<(), ImageError> {
        if matches!(self.nodes.get(path), Some(Node { kind: Kind::Directory, .. })) {
            self.nodes.remove(path);
        }
        self.add(path, Kind::Directory, attributes)
    }

    /// Adds a file of `size` bytes.
    ///
    /// # Errors
    /// The path is invalid or taken.
    pub fn add_file(
        &mut self,
        path: &[u8],
        content: ContentSource,
        size: u64,
        attributes: TarAttributes,
    ) -> Result<(), ImageError> {
        self.add(path, Kind::File { content, size }, attributes)
    }

    /// Adds a symbolic link. Its target is resolved within the image.
    ///
    /// # Errors
    /// The path or the target is invalid, or the path is taken.
    pub fn add_symlink(
        &mut self,
        path: &[u8],
        target: &[u8],
        attributes: TarAttributes,
    ) -> Result<(), ImageError> {
        check_target(path, target)?;
        self.add(path, Kind::Symlink(target.to_vec()), attributes)
    }

    /// Adds a hard link to `file`, which was added before.
    ///
    /// # Errors
    /// The path is invalid or taken, or there is no such file.
    pub fn add_hardlink(&mut self, path: &[u8], file: &[u8]) -> Result<(), ImageError> {
        let file = match self.nodes.get(file).map(|node| &node.kind) {
            Some(Kind::File { .. }) => file.to_vec(),
            Some(Kind::Hardlink(file)) => file.clone(),
            _ => {
                return Err(ImageError::entry(
                    path,
                    "is a hard link to something that is not a file of the image",
                ));
            }
        };
        self.add(path, Kind::Hardlink(file), TarAttributes::default())
    }

    fn add(&mut self, path: &[u8], kind: Kind, mut attributes: TarAttributes) -> Result<(), ImageError> {
        check_path(path)?;
        let before = attributes.xattrs.len();
        attributes.xattrs.retain(|(name, _)| keeps(name));
        attributes.xattrs.sort();
        self.dropped_xattrs += (before - attributes.xattrs.len()) as u64;
        if self.nodes.insert(path.to_vec(), Node { kind, attributes }).is_some() {
            return Err(ImageError::entry(path, "occurs twice"));
        }
        // Archives may omit entries for parent directories.
        let mut above = parent(path);
        while !above.is_empty() && !self.nodes.contains_key(above) {
            let attributes = TarAttributes { mode: 0o755, ..TarAttributes::default() };
            self.nodes.insert(above.to_vec(), Node { kind: Kind::Directory, attributes });
            above = parent(above);
        }
        match self.nodes.len() as u64 > MAX_ENTRIES {
            true => Err(ImageError::TooLarge { what: "entries", limit: MAX_ENTRIES }),
            false => Ok(()),
        }
    }

    /// Number of files, directories and links.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Number of extended attributes that were left out because an image does not keep them.
    #[must_use]
    pub fn dropped_xattrs(&self) -> u64 {
        self.dropped_xattrs
    }

    /// Checks that this is a usable root file system, as far as that is possible without reading files.
    ///
    /// # Errors
    /// It is not a root file system, or an entry is below a path that is not a directory.
    pub fn check(&self) -> Result<(), ImageError> {
        let mut outline = Outline::default();
        for (path, node) in &self.nodes {
            let above = parent(path);
            if !above.is_empty() && !outline.dirs.contains(above) {
                return Err(ImageError::entry(path, "lies below what is no directory"));
            }
            match &node.kind {
                Kind::Directory => drop(outline.dirs.insert(path.clone())),
                Kind::Symlink(target) => drop(outline.links.insert(path.clone(), target.clone())),
                Kind::File { .. } | Kind::Hardlink(_) => drop(outline.files.insert(path.clone())),
            }
        }
        outline.shell().map(drop)
    }

    /// Writes the compressed image and returns its digest. `progress` is called for each entry.
    ///
    /// # Errors
    /// A file cannot be read or has changed, `out` cannot be written, or a size limit is exceeded.
    pub fn write(mut self, out: impl Write, mut progress: impl FnMut()) -> Result<Digest, ImageError> {
        let writing = || ImageError::io("writing the image");
        self.name_files_first();
        let zstd = zstd::Encoder::new(out, 3).map_err(writing())?;
        let mut tar = tar::Builder::new(DigestWriter::new(zstd));
        for (path, node) in &self.nodes {
            append(&mut tar, path, node)?;
            if tar.get_ref().bytes() > MAX_BYTES {
                return Err(ImageError::TooLarge { what: "bytes", limit: MAX_BYTES });
            }
            progress();
        }
        let (out, digest) = tar.into_inner().map_err(writing())?.finish();
        out.finish().and_then(|mut out| out.flush()).map_err(writing())?;
        Ok(digest)
    }

    /// Turns the first of several hard links, in sorted order, into the file itself.
    fn name_files_first(&mut self) {
        let mut first: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for (path, node) in &self.nodes {
            if let Kind::Hardlink(file) = &node.kind {
                first.entry(file.clone()).or_insert_with(|| file.min(path).clone());
            }
        }
        for (file, first) in first.iter().filter(|(file, first)| file != first) {
            let (Some(mut node), Some(mut link)) = (self.nodes.remove(file), self.nodes.remove(first)) else {
                continue;
            };
            std::mem::swap(&mut node.kind, &mut link.kind);
            std::mem::swap(&mut node.attributes, &mut link.attributes);
            self.nodes.insert(first.clone(), link);
            self.nodes.insert(file.clone(), node);
        }
        for node in self.nodes.values_mut() {
            if let Kind::Hardlink(file) = &mut node.kind
                && let Some(first) = first.get(file)
            {
                file.clone_from(first);
            }
        }
    }
}

pub(super) fn check_target(path: &[u8], target: &[u8]) -> Result<(), ImageError> {
    match target.is_empty() || target.len() > super::MAX_PATH || target.contains(&0) {
        true => Err(ImageError::entry(path, "is a link whose target is not usable")),
        false => Ok(()),
    }
}

fn append<W: Write>(tar: &mut tar::Builder<W>, path: &[u8], node: &Node) -> Result<(), ImageError> {
    let writing = || ImageError::io("writing the image");
    let (kind, target, size) = match &node.kind {
        Kind::Directory => (EntryType::Directory, &[][..], 0),
        Kind::File { size, .. } => (EntryType::Regular, &[][..], *size),
        Kind::Symlink(target) => (EntryType::Symlink, target.as_slice(), 0),
        Kind::Hardlink(file) => (EntryType::Link, file.as_slice(), 0),
    };
    let TarAttributes { mode, uid, gid, mtime, xattrs } = &node.attributes;
    let mut extended: Vec<(String, &[u8])> = Vec::new();
    if path.len() > FIELD {
        extended.push(("path".into(), path));
    }
    if target.len() > FIELD {
        extended.push(("linkpath".into(), target));
    }
    for (name, value) in xattrs {
        let Ok(name) = std::str::from_utf8(name) else {
            return Err(ImageError::entry(path, "has an extended attribute whose name is not UTF-8"));
        };
        extended.push((format!("{}{name}", String::from_utf8_lossy(XATTR)), value));
    }
    if !extended.is_empty() {
        tar.append_pax_extensions(extended.iter().map(|(name, value)| (name.as_str(), *value)))
            .map_err(writing())?;
    }
    let mut header = Header::new_ustar();
    let bytes = header.as_mut_bytes();
    for (field, text) in [(0, path), (157, target)] {
        let text = &text[..text.len().min(FIELD)];
        bytes[field..field + text.len()].copy_from_slice(text);
    }
    header.set_entry_type(kind);
    header.set_mode(*mode);
    header.set_uid(u64::from(*uid));
    header.set_gid(u64::from(*gid));
    header.set_mtime(*mtime);
    header.set_size(size);
    header.set_cksum();
    let changed = |got: u64| match got == size {
        true => Ok(()),
        false => Err(ImageError::entry(path, "changed while it was read; try again")),
    };
    match &node.kind {
        Kind::File { content: ContentSource::File(on_disk), .. } => {
            let reading = || ImageError::io(on_disk.display().to_string());
            let file = File::open(on_disk).map_err(reading())?;
            changed(file.metadata().map_err(reading())?.len())?;
            let mut content = file.take(size);
            tar.append(&header, &mut content).map_err(reading())?;
            changed(size - content.limit())
        }
        Kind::File { content: ContentSource::Within(file, offset), .. } => {
            let mut content = At { file, offset: *offset }.take(size);
            tar.append(&header, &mut content).map_err(writing())?;
            changed(size - content.limit())
        }
        Kind::File { content: ContentSource::Bytes(content), .. } => {
            changed(content.len() as u64)?;
            tar.append(&header, content.as_slice()).map_err(writing())
        }
        _ => tar.append(&header, io::empty()).map_err(writing()),
    }
}

/// Reads a file from an offset, with a position of its own.
struct At<'f> {
    file: &'f File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}
