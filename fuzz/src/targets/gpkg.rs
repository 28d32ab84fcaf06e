//! GPKG: an accepted package contains what the `tar` crate finds in it, is read the same in pieces of any
//! size, stays within the limits, and has an index entry that can be read back. Replacing its build time
//! changes nothing else.

use crate::{
    pieces::Pieces,
    tars::{
        self, Found,
        forge::{Forge, raw},
    },
};
use std::{collections::BTreeMap, io::Write as _};
use swarm_common::digest::Digest;
use swarm_formats::{
    archive::digests::{FileDigests, FileHasher, MemberHasher},
    portage::{
        gpkg::{self, Gpkg, Limits, manifest::ManifestEntry},
        packages_index::{Entry, PackagesIndex, PublishedFile},
    },
};

const BUILD_TIME: u64 = 1_790_000_000;

const SUFFIXES: [&str; 5] = [".zst", ".gz", ".lz4", ".xz", ".bz2"];

fn limits() -> Limits {
    let (file_bytes, metadata_bytes, image_bytes) = (1 << 20, 16 << 10, 32 << 10);
    Limits {
        file_bytes,
        metadata_bytes,
        image_bytes,
        image_entries: 40,
        paths_bytes: 200,
        ratio: 2000,
        members: 6,
    }
}

/// How to make a package from an input.
struct Mode(u8);

impl Mode {
    /// The rest of the input is a container instead of its two archives.
    fn is_container(&self) -> bool {
        self.0 & 0x80 != 0
    }

    /// The input's archives are used unchanged, as if they were compressed already.
    fn is_raw(&self) -> bool {
        self.0 & 0x40 != 0
    }

    fn has_signature(&self) -> bool {
        self.0 & 0x20 != 0
    }

    fn suffix(&self) -> &'static str {
        SUFFIXES[usize::from(self.0 & 7) % SUFFIXES.len()]
    }
}

/// A package with these two archives, which are sealed and compressed or used unchanged.
fn assemble(mode: &Mode, archives: [&[u8]; 2]) -> Vec<u8> {
    let suffix = mode.suffix();
    let archives = archives.map(|archive| {
        if mode.is_raw() {
            return archive.to_vec();
        }
        let mut archive = archive.to_vec();
        tars::seal(&mut archive);
        tars::end(&mut archive);
        compress(suffix, &archive)
    });
    let [metadata, image] = archives;
    let mut members = vec![("gpkg-1".to_owned(), Vec::new()), (format!("metadata.tar{suffix}"), metadata)];
    if mode.has_signature() {
        members.push((format!("metadata.tar{suffix}.sig"), b"signature".to_vec()));
    }
    members.push((format!("image.tar{suffix}"), image));
    let forge = Forge { directory: "x-1-1", members };
    let mut container = [forge.blocks(), forge.raw_member("Manifest", forge.manifest().as_bytes())].concat();
    tars::end(&mut container);
    container
}

/// Compresses with the format of `suffix`. Formats not supported here give damaged data, which the reader
/// must handle.
fn compress(suffix: &str, bytes: &[u8]) -> Vec<u8> {
    match suffix {
        ".zst" => zstd::bulk::compress(bytes, 1).unwrap(),
        ".gz" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        ".lz4" => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        _ => bytes.to_vec(),
    }
}

fn package(input: &[u8]) -> Option<Vec<u8>> {
    let (&mode, rest) = input.split_first()?;
    let mode = Mode(mode);
    if mode.is_container() {
        let mut container = rest.to_vec();
        tars::seal(&mut container);
        return Some(container);
    }
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (metadata, image) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    Some(assemble(&mode, [metadata, image]))
}

pub fn run(input: &[u8]) {
    let Some(file) = package(input) else { return };
    let read = gpkg::verify(&file[..], &limits());
    // Compare only whether there is an error: its text comes from the decompressor and depends on the pieces.
    let pieces = gpkg::verify(Pieces::of(&file), &limits());
    assert_eq!(read.as_ref().map(facts).ok(), pieces.as_ref().map(facts).ok());
    let stamped = gpkg::verify_stamped(&file[..], &limits(), BUILD_TIME);
    let Ok(package) = read else { return assert!(stamped.is_err(), "accepted only with another build time") };
    assert_eq!((package.read, &package.digests), (Digest::of(&file), &digests(&file)));
    check_limits(&package);
    compare(&package, &file);
    check_entry(&package);
    if let Ok(stamped) = stamped {
        check_stamp(&package, stamped, &file);
    }
}

fn facts(package: &Gpkg) -> String {
    let Gpkg { directory, metadata, image, members, signed, read, digests, .. } = package;
    format!("{directory} {metadata:?} {image:?} {members:?} {signed} {read} {digests:?}")
}

fn digests(bytes: &[u8]) -> FileDigests {
    FileHasher::read_all(bytes).unwrap()
}

fn check_limits(package: &Gpkg) {
    let limits = limits();
    let image = &package.image;
    assert!(image.entries <= limits.image_entries && image.bytes <= limits.image_bytes, "{image:?}");
    assert!(image.paths.len() as u64 <= limits.paths_bytes + 1, "{image:?}");
    assert!(package.members.len() <= limits.members);
    let metadata: usize = package.metadata.0.values().map(Vec::len).sum();
    // Values and headers have a common limit, with an allowance for headers.
    assert!(metadata as u64 <= 2 * limits.metadata_bytes + (1 << 20));
}

/// The inner archive whose member name begins with `name`, read by the `tar` crate; `None` if that refuses
/// it.
fn inner(container: &[Found], name: &str) -> Option<Vec<Found>> {
    let mut members = container.iter().filter_map(|member| {
        let (_, path) = std::str::from_utf8(&member.path).ok()?.split_once('/')?;
        let suffix = path.strip_prefix(name).filter(|suffix| !suffix.ends_with(".sig"))?;
        Some((suffix, member))
    });
    let (suffix, member) = members.next().expect("the member is there");
    let archive = gpkg::inner(suffix, &member.data[..]).unwrap().expect("its compression is known");
    tars::others(archive).ok()
}

/// Compares with what another reader finds, if that accepts the package.
fn compare(package: &Gpkg, file: &[u8]) {
    let Ok(container) = tars::others(file) else { return };
    let named = |member: &Found| {
        let (directory, name) = std::str::from_utf8(&member.path).unwrap().split_once('/').unwrap();
        assert_eq!((directory, member.kind), (&*package.directory, b'0'));
        name.to_owned()
    };
    let members: Vec<ManifestEntry> = container
        .iter()
        .filter(|member| !member.path.ends_with(b"/Manifest"))
        .map(|member| {
            let mut hasher = MemberHasher::default();
            hasher.update(&member.data);
            ManifestEntry { name: named(member), digests: hasher.finish() }
        })
        .collect();
    assert_eq!(members, package.members);
    if let Some(values) = inner(&container, "metadata.tar") {
        assert_eq!(by_key(values), package.metadata.0);
    }
    let Some(image) = inner(&container, "image.tar") else { return };
    assert_eq!(image.len() as u64, package.image.entries);
    assert_eq!(image.iter().map(|found| found.data.len() as u64).sum::<u64>(), package.image.bytes);
    let paths = image.iter().filter(|found| found.kind != b'5').flat_map(|found| {
        let end = if found.kind == b'2' { &b"/\0"[..] } else { b"\0" };
        [&found.path[b"image".len()..], end].concat()
    });
    let paths: Vec<u8> = paths.collect();
    assert!(package.image.more_paths || package.image.paths == paths, "{:?}", package.image);
}

fn by_key(values: Vec<Found>) -> BTreeMap<String, Vec<u8>> {
    let key = |path: &[u8]| String::from_utf8(path[b"metadata/".len()..].to_vec()).unwrap();
    values.into_iter().map(|found| (key(&found.path), found.data)).collect()
}

/// Checks that the index entry matches the package.
fn check_entry(package: &Gpkg) {
    let file =
        PublishedFile { path: "a/b.gpkg.tar".into(), digests: package.digests.clone(), mtime: BUILD_TIME };
    let Ok(entry) = Entry::new(&package.metadata, &file) else { return };
    assert_eq!(Entry::parse(&entry.to_text()).as_ref(), Some(&entry));
    let mut index = PackagesIndex::new(BTreeMap::new());
    index.insert(entry);
    let text = String::from_utf8(index.to_bytes()).unwrap();
    assert_eq!(PackagesIndex::parse(&text).as_ref(), Ok(&index), "{text}");
}

fn check_stamp(package: &Gpkg, stamped: Gpkg, file: &[u8]) {
    let mut expected = package.metadata.clone();
    expected.0.insert("BUILD_TIME".to_owned(), format!("{BUILD_TIME}\n").into_bytes());
    assert_eq!((&stamped.metadata, &stamped.image), (&expected, &package.image));
    assert_eq!(stamped.read, package.read);
    let stamp = stamped.stamp.expect("a package with metadata has a stamp");
    let suffix = stamp.member.strip_prefix("metadata.tar").expect("the metadata is replaced");
    let archive = gpkg::inner(suffix, &stamp.data[..]).unwrap().unwrap();
    assert_eq!(by_key(tars::others(archive).unwrap()), expected.0);
    // The digests are those of the file in which the new member replaces the old one.
    let Some(body) = stamped.body else { return };
    let (at, replaces) = (usize::try_from(stamp.at).unwrap(), usize::try_from(stamp.replaces).unwrap());
    let replaced = [&file[..at], &stamp.bytes, &file[at + replaces..]].concat();
    assert_eq!(stamped.digests, digests(&replaced));
    let kept = usize::try_from(body.file.size()).unwrap();
    assert_eq!(body.file.finish(), digests(&replaced[..kept]));
}

pub fn seeds() -> Vec<Vec<u8>> {
    let value =
        |key: &str, value: &str| raw(format!("metadata/{key}").as_bytes(), b'0', b"", value.as_bytes());
    let most =
        [("SLOT", "0/1\n"), ("EAPI", "8\n"), ("RDEPEND", "|| ( a/b:0= !!<a/c-1[x] )\n"), ("IUSE", "+x y\n")];
    let least = [value("CATEGORY", "app-misc\n"), value("PF", "x-1\n")].concat();
    let full: Vec<u8> = most.iter().flat_map(|(key, text)| value(key, text)).collect();
    let full = [&least[..], &full].concat();
    let image = [raw(b"image/", b'5', b"", b""), raw(b"image/usr", b'0', b"", b"hello")].concat();
    let links =
        [&image[..], &raw(b"image/l", b'2', b"usr", b""), &raw(b"image/h", b'1', b"image/usr", b"")].concat();
    let input = |mode: u8, metadata: &[u8], image: &[u8]| {
        [&[mode][..], &(metadata.len() as u16).to_le_bytes(), metadata, image].concat()
    };
    let zst = |archive: &[u8]| {
        let mut archive = archive.to_vec();
        tars::end(&mut archive);
        compress(".zst", &archive)
    };
    let container = assemble(&Mode(0), [&full, &image]);
    vec![
        input(0, &least, &image),
        input(0, &full, &links),
        input(1, &full, &image),
        input(0x22, &full, &links),
        input(0x40, &zst(&full), &zst(&image)),
        [&[0x80], &container[..]].concat(),
    ]
}
