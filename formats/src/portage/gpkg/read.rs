//! Verification of a GPKG in one pass.

use super::{
    ImageSummary, Limits, Metadata,
    compression::Compression,
    error::{GpkgError, printable},
    image,
    manifest::{self, Manifest, ManifestEntry},
    metadata_archive,
    stamp::Stamp,
    values,
};
use crate::archive::{
    background_hasher::Hashed,
    bounded::{Inflated, Source},
    digests::{FileDigests, FileHasher, MemberHasher, MemberReader},
    sha512::Sha512,
    tar_reader::{EntryKind, TarEntry, TarReader},
};
use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};
use swarm_common::digest::Digest;

/// A package whose container, Manifest and inner archives are valid.
#[derive(Debug, Clone)]
pub struct Gpkg {
    /// The only directory of the container, such as `icu-75.1-2`.
    pub directory: String,
    pub metadata: Metadata,
    /// A summary of the files that would be merged.
    pub image: ImageSummary,
    /// Every member except the Manifest, with its verified digests, in the order of the file.
    pub members: Vec<ManifestEntry>,
    /// Whether the Manifest or any member is signed, with any key.
    pub signed: bool,
    /// SHA-256 of the file as it was read.
    pub read: Digest,
    /// The digests of the whole file, with the new metadata if there is a `stamp`.
    pub digests: FileDigests,
    /// The metadata archive that replaces the old one, if a BUILD_TIME was given. `members`, `metadata` and
    /// `body` then describe the new one.
    pub stamp: Option<Stamp>,
    /// The part of the file that signing can keep. `None` if the file must be rewritten.
    pub body: Option<Body>,
}

/// Everything before the Manifest of a canonically encoded container without signatures, if the Manifest
/// comes last. Such a container can be signed by rewriting only its end.
#[derive(Debug, Clone)]
pub struct Body {
    /// Size of the part in bytes.
    pub size: u64,
    /// The state of the whole file's digests at the end of the part.
    pub file: FileHasher,
    /// The SHA512 state of every member to be signed, by name.
    pub to_sign: Vec<(String, Sha512)>,
}

const CONTAINER: &str = "the container";

/// Reads a whole GPKG from `reader` and checks everything that does not depend on what was
/// requested. Signatures are not verified.
///
/// # Errors
/// [`GpkgError::Io`] if reading fails; every other variant is a fault of the file.
pub fn verify(reader: impl Read, limits: &Limits) -> Result<Gpkg, GpkgError> {
    look(reader, limits, None)
}

/// Like [`verify`], for a package that will be stored with this BUILD_TIME (seconds since the Unix epoch).
/// The replacement metadata is computed in the same pass, and each metadata value must be one that Portage
/// can read.
///
/// # Errors
/// See [`verify`].
pub fn verify_stamped(reader: impl Read, limits: &Limits, build_time: u64) -> Result<Gpkg, GpkgError> {
    look(reader, limits, Some(build_time))
}

fn look(reader: impl Read, limits: &Limits, build_time: Option<u64>) -> Result<Gpkg, GpkgError> {
    let source = Source::new(reader, limits.file_bytes);
    let mut pass = Pass::new(limits, source.counter(), build_time);
    let mut tar = TarReader::new(source);
    while let Some(entry) = tar.next_entry().map_err(|error| GpkgError::archive(CONTAINER, error))? {
        pass.take_member(&entry, &mut tar)?;
        tar.skip_data().map_err(|error| GpkgError::archive(CONTAINER, error))?;
        pass.put_stamp(tar.inner_mut());
        if pass.manifest.is_none() {
            pass.body_size = pass.consumed.get();
            tar.inner_mut().mark();
        }
    }
    let is_plain = tar.is_plain();
    let mut hashed = tar.into_inner().finish().map_err(GpkgError::Io)?;
    hashed.marked = hashed.marked.filter(|_| is_plain);
    pass.finish(hashed)
}

struct Pass<'l> {
    limits: &'l Limits,
    consumed: Rc<Cell<u64>>,
    build_time: Option<u64>,
    stamp: Option<Stamp>,
    directory: Option<String>,
    members: Vec<ManifestEntry>,
    to_sign: Vec<(String, Sha512)>,
    /// Size in bytes of everything before the Manifest.
    body_size: u64,
    /// Whether members follow the Manifest.
    manifest_inside: bool,
    manifest: Option<Manifest>,
    metadata: Option<Metadata>,
    image: Option<ImageSummary>,
}

impl<'l> Pass<'l> {
    fn new(limits: &'l Limits, consumed: Rc<Cell<u64>>, build_time: Option<u64>) -> Self {
        Self {
            limits,
            consumed,
            build_time,
            stamp: None,
            directory: None,
            members: Vec::new(),
            to_sign: Vec::new(),
            body_size: 0,
            manifest_inside: false,
            manifest: None,
            metadata: None,
            image: None,
        }
    }

    fn take_member<R: Read>(
        &mut self,
        entry: &TarEntry,
        tar: &mut TarReader<Source<R>>,
    ) -> Result<(), GpkgError> {
        let name = self.check_name(entry)?;
        let member = || name.clone();
        if name == "Manifest" {
            self.manifest = Some(Manifest::parse(&small_member(&name, entry, tar)?)?);
            return Ok(());
        }
        let stamped = self.build_time.filter(|_| name.starts_with("metadata.tar") && !name.ends_with(".sig"));
        if stamped.is_some() {
            tar.inner_mut().hold();
        }
        let mut reader = MemberReader::new(tar);
        let unreadable = |error| GpkgError::reading(&name, error);
        if let Some(base) = name.strip_suffix(".sig") {
            if !base.starts_with("metadata.tar") && !base.starts_with("image.tar") && base != "gpkg-1" {
                return Err(GpkgError::Member { member: member(), reason: "signs nothing that a GPKG has" });
            }
        } else if let Some(suffix) = name.strip_prefix("metadata.tar") {
            if self.metadata.is_some() {
                return Err(GpkgError::Member { member: member(), reason: "is a second metadata archive" });
            }
            let compression =
                Compression::of_suffix(suffix).ok_or_else(|| GpkgError::Compressor { member: member() })?;
            let inflated =
                self.inflate(compression, &mut reader, self.limits.metadata_bytes).map_err(unreadable)?;
            let mut metadata = metadata_archive::read(inflated, self.limits)?;
            if let Some(build_time) = stamped {
                values::check(&metadata, self.limits)?;
                let path = String::from_utf8_lossy(&entry.path);
                let stamp = Stamp::new(&mut metadata, build_time, &path, compression, entry.size);
                self.stamp = Some(stamp.map_err(GpkgError::Io)?);
            }
            self.metadata = Some(metadata);
        } else if let Some(suffix) = name.strip_prefix("image.tar") {
            if self.image.is_some() {
                return Err(GpkgError::Member { member: member(), reason: "is a second image archive" });
            }
            let compression =
                Compression::of_suffix(suffix).ok_or_else(|| GpkgError::Compressor { member: member() })?;
            let inflated =
                self.inflate(compression, &mut reader, self.limits.image_bytes).map_err(unreadable)?;
            self.image = Some(image::check(inflated, self.limits)?);
        } else if name == "gpkg-1" {
            if entry.size > manifest::MAX_BYTES {
                return Err(GpkgError::Member { member: name, reason: "is too large" });
            }
        } else {
            return Err(GpkgError::Member { member: name, reason: "does not belong into a GPKG" });
        }
        // The digests include data that the decompressor left unread.
        io::copy(&mut reader, &mut io::sink()).map_err(unreadable)?;
        let hasher = reader.into_hasher();
        if is_signable(&name) {
            let stamp = self.stamp.as_ref().filter(|stamp| stamp.member == name);
            let sha512 = stamp.map_or_else(|| hasher.sha512(), |stamp| hashed(&stamp.data).sha512());
            self.to_sign.push((name.clone(), sha512));
        }
        self.manifest_inside |= self.manifest.is_some();
        self.members.push(ManifestEntry { name, digests: hasher.finish() });
        Ok(())
    }

    /// Returns the name of a member without its directory, if a member of this name is allowed here.
    fn check_name(&mut self, entry: &TarEntry) -> Result<String, GpkgError> {
        let refuse = |reason| GpkgError::Member { member: printable(&entry.path), reason };
        if entry.kind != EntryKind::File {
            return Err(refuse("is not a regular file"));
        }
        let text = std::str::from_utf8(&entry.path).map_err(|_| refuse("has a name that is not UTF-8"))?;
        let odd = |c: char| c.is_control() || c.is_whitespace();
        let split = text.split_once('/').filter(|(directory, name)| {
            let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && part.len() <= 255;
            plain(directory) && plain(name) && !name.contains('/') && !text.contains(odd)
        });
        let (directory, name) =
            split.ok_or_else(|| refuse("is not a file directly in the package's directory"))?;
        if self.directory.get_or_insert_with(|| directory.to_owned()) != directory {
            return Err(refuse("lies in another directory than the rest"));
        }
        let seen = self.members.iter().any(|member| member.name == name);
        if seen || (name == "Manifest" && self.manifest.is_some()) {
            return Err(refuse("occurs twice"));
        }
        if self.members.len() >= self.limits.members {
            let limit = self.limits.members as u64;
            return Err(GpkgError::TooLarge {
                place: CONTAINER.to_owned(),
                what: "the number of members",
                limit,
            });
        }
        Ok(name.to_owned())
    }

    fn inflate<'r>(
        &self,
        how: Compression,
        reader: impl Read + 'r,
        limit: u64,
    ) -> io::Result<Inflated<Box<dyn Read + 'r>>> {
        let consumed = Rc::clone(&self.consumed);
        // Allow for tar headers and padding on top of the file contents.
        let limit = limit.saturating_add(limit / 8).saturating_add(1 << 20);
        Ok(Inflated::new(how.decoder(reader)?, consumed, limit, self.limits.ratio))
    }

    /// Continues the file's digests with the new metadata after the old one has been read.
    fn put_stamp<R: Read>(&mut self, source: &mut Source<R>) {
        if let Some(stamp) = self.stamp.as_mut().filter(|stamp| stamp.replaces == 0) {
            (stamp.at, stamp.replaces) = (self.body_size, self.consumed.get() - self.body_size);
            source.replace(stamp.bytes.clone());
        }
    }

    fn finish(mut self, hashed_file: Hashed) -> Result<Gpkg, GpkgError> {
        if !self.members.iter().any(|member| member.name == "gpkg-1") {
            return Err(GpkgError::Missing("gpkg-1"));
        }
        let manifest = self.manifest.ok_or(GpkgError::Missing("Manifest"))?;
        check_against(&manifest, &self.members)?;
        if let Some(stamp) = &self.stamp {
            let replaced = self.members.iter_mut().filter(|member| member.name == stamp.member);
            replaced.for_each(|member| member.digests = hashed(&stamp.data).finish());
        }
        let metadata = self.metadata.ok_or(GpkgError::Missing("metadata.tar.zst"))?;
        let image = self.image.ok_or(GpkgError::Missing("image.tar.zst"))?;
        let has_signatures = self.members.iter().any(|member| member.name.ends_with(".sig"));
        let signed = manifest.signed || has_signatures;
        let directory = self.directory.ok_or(GpkgError::Missing("gpkg-1"))?;
        let (size, to_sign) = (self.body_size, self.to_sign);
        let Hashed { read, digests, marked } = hashed_file;
        let kept = marked.filter(|_| !has_signatures && !self.manifest_inside);
        let body = kept.map(|file| Body { size, file, to_sign });
        let (members, stamp) = (self.members, self.stamp);
        Ok(Gpkg { directory, metadata, image, members, signed, read, digests, stamp, body })
    }
}

/// Whether a member gets a signature of its own, as the two archives do.
#[must_use]
pub fn is_signable(member: &str) -> bool {
    member != "gpkg-1" && !member.ends_with(".sig")
}

fn hashed(bytes: &[u8]) -> MemberHasher {
    let mut hasher = MemberHasher::default();
    hasher.update(bytes);
    hasher
}

/// Reads a member that is small enough to be kept in memory.
fn small_member<R: Read>(name: &str, entry: &TarEntry, tar: &mut TarReader<R>) -> Result<Vec<u8>, GpkgError> {
    if entry.size > manifest::MAX_BYTES {
        let place = format!("`{name}`");
        return Err(GpkgError::TooLarge { place, what: "its size in bytes", limit: manifest::MAX_BYTES });
    }
    let mut bytes = Vec::new();
    tar.read_to_end(&mut bytes).map_err(|error| GpkgError::reading(name, error))?;
    Ok(bytes)
}

/// Checks that the Manifest lists exactly the members, with the right digests.
fn check_against(manifest: &Manifest, members: &[ManifestEntry]) -> Result<(), GpkgError> {
    for member in members {
        let listed = manifest.entries.iter().find(|entry| entry.name == member.name);
        let listed = listed
            .ok_or_else(|| GpkgError::Manifest { reason: format!("does not list `{}`", member.name) })?;
        let (is, must) = (&member.digests, &listed.digests);
        for (same, what) in [
            (is.size == must.size, "size"),
            (is.sha512 == must.sha512, "SHA512"),
            (is.blake2b == must.blake2b, "BLAKE2B"),
        ] {
            if !same {
                return Err(GpkgError::Mismatch { member: member.name.clone(), what });
            }
        }
    }
    match manifest.entries.iter().find(|entry| !members.iter().any(|member| member.name == entry.name)) {
        Some(absent) => {
            let reason = format!("lists `{}`, which is not there", printable(absent.name.as_bytes()));
            Err(GpkgError::Manifest { reason })
        }
        None => Ok(()),
    }
}
