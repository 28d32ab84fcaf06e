//! The difference between two snapshots: what a drone that has the older one lacks of the newer.
//!
//! A difference is an archive like a snapshot. It has the entries that are new or changed in the newer
//! snapshot, byte for byte, and a removal entry (type `R`) for each path that is gone, all sorted by path.
//! Merging an older snapshot with its differences by path yields the tar of the newer one. The digest
//! verifies the result, whoever made the difference.

#[cfg(test)]
mod tests;

use super::{
    MANIFEST, MAX_ENTRIES, MAX_PATH_BYTES, SnapshotError,
    entries::{BLOCK, Entries, Head, REMOVED, key, wrong},
    pack::plain_header,
};
use crate::archive::digesting::DigestWriter;
use std::{
    collections::HashSet,
    io::{self, BufReader, Read, Write},
};
use swarm_common::digest::Digest;
use tar::EntryType;

/// Number of bytes that are read from a tar at a time.
const READ_BYTES: usize = 256 << 10;

/// Writes the difference from the compressed snapshot `old` to the compressed snapshot `new`, which
/// is passed twice because it is read twice.
///
/// # Errors
/// A snapshot cannot be read or is not sorted, or `out` cannot be written.
pub fn difference<R: Read>(old: R, new: [R; 2], out: impl Write) -> Result<(), SnapshotError> {
    let [new, again] = new;
    let (old, new) = (outline(old)?, outline(new)?);
    let (mut changed, mut removed) = (HashSet::new(), Vec::new());
    let mut older = old.iter().peekable();
    for (path, digest) in &new {
        while let Some((gone, _)) = older.next_if(|(other, _)| key(other) < key(path)) {
            removed.push(gone.as_str());
        }
        let known = older.next_if(|(other, _)| other == path);
        if known.is_none_or(|(_, known)| known != digest) {
            changed.insert(path.as_str());
        }
    }
    removed.extend(older.map(|(gone, _)| gone.as_str()));

    let writing = || SnapshotError::io("writing the difference");
    let mut out = tar::Builder::new(zstd::Encoder::new(out, 6).map_err(writing())?);
    let mut removed = removed.into_iter().peekable();
    let mut entries = open(again)?;
    while let Some(head) = entries.next_entry().map_err(reading())? {
        while let Some(gone) = removed.next_if(|gone| key(gone) < key(&head.path)) {
            mark(&mut out, gone).map_err(writing())?;
        }
        if changed.contains(head.path.as_str()) {
            out.get_mut().write_all(&head.blocks).map_err(writing())?;
            io::copy(&mut entries, out.get_mut()).map_err(writing())?;
        }
    }
    removed.try_for_each(|gone| mark(&mut out, gone)).map_err(writing())?;
    out.into_inner().and_then(zstd::Encoder::finish).and_then(|mut out| out.flush()).map_err(writing())
}

fn mark(out: &mut tar::Builder<impl Write>, gone: &str) -> io::Result<()> {
    out.append_data(&mut plain_header(EntryType::new(REMOVED), 0), gone, io::empty())
}

/// The paths of a compressed snapshot in order, each with the digest of its whole entry.
fn outline(archive: impl Read) -> Result<Vec<(String, Digest)>, SnapshotError> {
    let mut entries = open(archive)?;
    let (mut found, mut path_bytes) = (Vec::new(), 0);
    while let Some(head) = entries.next_entry().map_err(reading())? {
        if head.is_removal || found.len() as u64 > MAX_ENTRIES {
            return Err(SnapshotError::entry(&head.path, "is not of a snapshot"));
        }
        path_bytes += head.path.len() as u64;
        if path_bytes > MAX_PATH_BYTES {
            return Err(SnapshotError::TooLarge { what: "bytes of paths", limit: MAX_PATH_BYTES });
        }
        let mut hash = DigestWriter::new(io::sink());
        hash.write_all(&head.blocks).map_err(reading())?;
        io::copy(&mut entries, &mut hash).map_err(reading())?;
        found.push((head.path, hash.finish().1));
    }
    Ok(found)
}

fn open<R: Read>(archive: R) -> Result<Entries<impl Read + use<R>>, SnapshotError> {
    let zstd = zstd::Decoder::new(archive).map_err(reading())?;
    Ok(Entries::new(BufReader::with_capacity(READ_BYTES, zstd)))
}

fn reading() -> impl FnOnce(io::Error) -> SnapshotError {
    SnapshotError::io("reading the snapshot")
}

/// The tar of a snapshot, merged from an older one and the differences since then.
pub(super) struct Merged<R> {
    /// The tars to merge, the oldest first.
    layers: Vec<Entries<R>>,
    /// The next entry of each layer. `None` at the end of a layer.
    heads: Vec<Option<Head>>,
    /// The layer whose content is being read.
    current: Option<usize>,
    /// Headers to output. The first `given` bytes of them have been read.
    blocks: Vec<u8>,
    given: usize,
    ended: bool,
}

impl<R: Read> Merged<R> {
    /// Merges these tars, the oldest first.
    pub fn new(layers: Vec<R>) -> io::Result<Self> {
        let mut layers: Vec<_> = layers.into_iter().map(Entries::new).collect();
        let heads = layers.iter_mut().map(Entries::next_entry).collect::<io::Result<_>>()?;
        Ok(Self { layers, heads, current: None, blocks: Vec::new(), given: 0, ended: false })
    }

    /// Moves to the next entry that is not removed. Of several entries with the same path, that of the newest
    /// layer wins.
    fn advance(&mut self) -> io::Result<()> {
        if let Some(last) = self.current.take() {
            self.heads[last] = self.layers[last].next_entry()?;
        }
        self.given = 0;
        loop {
            let there = self.heads.iter().enumerate().filter_map(|(at, head)| Some((at, head.as_ref()?)));
            let Some((newest, head)) = there.rev().min_by(|(_, a), (_, b)| key(&a.path).cmp(&key(&b.path)))
            else {
                self.ended = true;
                // This is tar's end-of-archive marker.
                self.blocks = vec![0; 2 * BLOCK];
                return Ok(());
            };
            if head.path == MANIFEST && head.is_removal {
                return Err(wrong("the manifest is gone"));
            }
            let path = head.path.clone();
            for (at, (layer, head)) in self.layers.iter_mut().zip(&mut self.heads).enumerate() {
                if at != newest && head.as_ref().is_some_and(|head| head.path == path) {
                    *head = layer.next_entry()?;
                }
            }
            match self.heads[newest].take() {
                Some(head) if !head.is_removal => {
                    (self.blocks, self.current) = (head.blocks, Some(newest));
                    return Ok(());
                }
                _ => self.heads[newest] = self.layers[newest].next_entry()?,
            }
        }
    }
}

impl<R: Read> Read for Merged<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let blocks = &self.blocks[self.given..];
            if !blocks.is_empty() {
                let read = blocks.len().min(buffer.len());
                buffer[..read].copy_from_slice(&blocks[..read]);
                self.given += read;
                return Ok(read);
            }
            if let Some(current) = self.current {
                let read = self.layers[current].read(buffer)?;
                if read > 0 {
                    return Ok(read);
                }
            }
            if self.ended {
                return Ok(0);
            }
            self.advance()?;
        }
    }
}
