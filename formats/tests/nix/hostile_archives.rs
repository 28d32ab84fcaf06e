//! Hostile archives: each is refused, and for the right reason.

use std::io::{self, Read};
use swarm_formats::nix::nar::{NarError, NarEvent, NarKind, NarLimits, NarReader, NarWriter};

const LIMITS: NarLimits = NarLimits { bytes: 1 << 30, entries: 100, depth: 16 };

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut string = (bytes.len() as u64).to_le_bytes().to_vec();
    string.extend_from_slice(bytes);
    string.resize(string.len().next_multiple_of(8), 0);
    string
}

/// The strings of an archive, which `text` contains separated by blanks: `( type regular contents hello )`.
fn strings(text: &str) -> Vec<u8> {
    text.split(' ').filter(|word| !word.is_empty()).flat_map(|word| string(word.as_bytes())).collect()
}

fn archive(node: &[u8]) -> Vec<u8> {
    [strings("nix-archive-1"), node.to_vec()].concat()
}

fn directory(entries: &[Vec<u8>]) -> Vec<u8> {
    [strings("( type directory"), entries.concat(), strings(")")].concat()
}

fn entry(name: &[u8], node: &[u8]) -> Vec<u8> {
    [strings("entry ( name"), string(name), strings("node"), node.to_vec(), strings(")")].concat()
}

fn file() -> Vec<u8> {
    strings("( type regular contents hello )")
}

fn symlink(target: &[u8]) -> Vec<u8> {
    [strings("( type symlink target"), string(target), strings(")")].concat()
}

/// A node for a file that claims to have `size` bytes, with 100 bytes of contents.
fn announcing(size: u64) -> Vec<u8> {
    [strings("( type regular contents"), size.to_le_bytes().to_vec(), vec![b'x'; 100]].concat()
}

fn nested(depth: usize) -> Vec<u8> {
    (1..depth).fold(directory(&[]), |node, _| directory(&[entry(b"d", &node)]))
}

fn read(bytes: &[u8]) -> Result<(), NarError> {
    NarReader::new(bytes, LIMITS).finish().map(|_| ())
}

#[test]
fn every_hostile_archive_is_refused_with_its_reason() {
    let in_root = |name: &[u8], node: &[u8]| archive(&directory(&[entry(name, node)]));
    let pair = |one: &[u8], other: &[u8]| archive(&directory(&[entry(one, &file()), entry(other, &file())]));
    let many: Vec<_> = (100..200).map(|n: u32| entry(n.to_string().as_bytes(), &file())).collect();
    let mut padded_name = in_root(b"name", &file());
    let at = padded_name.windows(8).position(|window| window == b"name\0\0\0\0").unwrap();
    let second = at + 1 + padded_name[at + 1..].windows(8).position(|w| w == b"name\0\0\0\0").unwrap();
    padded_name[second + 7] = 1;
    let mut padded_contents = archive(&file());
    let at = padded_contents.windows(5).position(|window| window == b"hello").unwrap();
    padded_contents[at + 5] = b'!';

    let table: Vec<(&str, Vec<u8>, &str)> = vec![
        // Names that lead elsewhere.
        ("up", in_root(b"..", &file()), "an entry is named `.` or `..`"),
        ("here", in_root(b".", &file()), "an entry is named `.` or `..`"),
        ("path", in_root(b"../../etc/passwd", &file()), "a slash or a NUL byte"),
        ("absolute", in_root(b"/etc/passwd", &file()), "a slash or a NUL byte"),
        ("nul", in_root(b"a\0b", &file()), "a slash or a NUL byte"),
        ("no name", in_root(b"", &file()), "a name must have 1 to 255 bytes"),
        ("long name", in_root(&[b'a'; 256], &file()), "a name must have 1 to 255 bytes"),
        ("up as a directory", in_root(b"..", &nested(2)), "an entry is named `.` or `..`"),
        // A second entry in the place of a link would be written through the link.
        ("twice", pair(b"a", b"a"), "two entries of a directory have the same name"),
        (
            "below a link",
            archive(&directory(&[entry(b"a", &symlink(b"/etc")), entry(b"a", &nested(1))])),
            "two entries of a directory have the same name",
        ),
        ("unsorted", pair(b"b", b"a"), "not sorted by name"),
        ("sorted without case", pair(b"a", b"B"), "not sorted by name"),
        // Links that no system can make.
        ("no target", in_root(b"l", &symlink(b"")), "the target of a link must have 1 to 4095 bytes"),
        (
            "long target",
            in_root(b"l", &symlink(&[b'a'; 4096])),
            "the target of a link must have 1 to 4095 bytes",
        ),
        ("nul in target", in_root(b"l", &symlink(b"a\0b")), "the target of a link contains a NUL byte"),
        // Wrong lengths.
        ("100 MB that are 100 B", archive(&announcing(100 << 20)), "ends too early"),
        ("4 GB", archive(&announcing(4 << 30)), "its size in bytes exceeds the limit of 1073741824"),
        ("all there is", archive(&announcing(u64::MAX)), "its size in bytes exceeds the limit"),
        ("4 GB in a directory", in_root(b"f", &announcing(4 << 30)), "its size in bytes exceeds the limit"),
        (
            "a name of 4 GB",
            archive(
                &[strings("( type directory entry ( name"), (4u64 << 30).to_le_bytes().to_vec()].concat(),
            ),
            "its size in bytes exceeds the limit",
        ),
        (
            "a name of 16 MB",
            archive(
                &[strings("( type directory entry ( name"), (16u64 << 20).to_le_bytes().to_vec()].concat(),
            ),
            "a name must have 1 to 255 bytes",
        ),
        (
            "a target of 16 MB",
            archive(&[strings("( type symlink target"), (16u64 << 20).to_le_bytes().to_vec()].concat()),
            "the target of a link must have 1 to 4095 bytes",
        ),
        ("a first word of 16 MB", (16u64 << 20).to_le_bytes().to_vec(), "an unknown keyword"),
        // Too many or too deep entries.
        ("deep", archive(&nested(17)), "the depth of its directories exceeds the limit of 16"),
        ("many", archive(&directory(&many)), "the number of its entries exceeds the limit of 100"),
        // Padding and trailing data.
        ("padding of a name", padded_name, "the padding is not zero"),
        ("padding of contents", padded_contents, "the padding is not zero"),
        ("a second archive", [archive(&file()), archive(&file())].concat(), "trailing data"),
        ("a byte more", [archive(&file()), vec![0]].concat(), "trailing data"),
        // Words that are not part of the format.
        ("nothing", Vec::new(), "ends too early"),
        (
            "another format",
            strings("nix-archive-2 ( type regular contents hello )"),
            "`nix-archive-1` expected",
        ),
        ("a device", archive(&strings("( type device )")), "the type of a node must be"),
        (
            "executable, with a value",
            archive(&strings("( type regular executable x contents a )")),
            "`` expected",
        ),
        ("no contents", archive(&strings("( type regular )")), "`contents` expected"),
        ("contents twice", archive(&strings("( type regular contents a contents b )")), "`)` expected"),
        ("type twice", archive(&strings("( type regular type symlink target a )")), "`contents` expected"),
        ("target of a file", archive(&strings("( type regular target a )")), "`contents` expected"),
        ("name of the root", archive(&strings("( name a type regular contents a )")), "`type` expected"),
        ("node before name", archive(&strings("( type directory entry ( node")), "`name` expected"),
        (
            "an entry without a node",
            archive(&strings("( type directory entry ( name a )")),
            "`node` expected",
        ),
        ("a word in a directory", archive(&strings("( type directory contents a )")), "`entry` expected"),
    ];
    for (what, bytes, reason) in table {
        let error = read(&bytes).expect_err(what).to_string();
        assert!(error.contains(reason), "{what}: {error}");
    }
}

#[test]
fn an_archive_cut_off_anywhere_ends_too_early() {
    let whole = archive(&directory(&[entry(b"f", &file()), entry(b"l", &symlink(b"f"))]));
    read(&whole).unwrap();
    for end in 0..whole.len() {
        let error = read(&whole[..end]).unwrap_err();
        assert!(matches!(error, NarError::Truncated { at } if at <= end as u64), "{end}: {error}");
    }
}

#[test]
fn links_in_a_circle_are_told_and_not_followed() {
    let circle = archive(&directory(&[entry(b"a", &symlink(b"b")), entry(b"b", &symlink(b"a"))]));
    let mut reader = NarReader::new(circle.as_slice(), LIMITS);
    let mut targets = Vec::new();
    while let Some(event) = reader.next_event().unwrap() {
        if let NarEvent::Node { kind: NarKind::Symlink { target }, .. } = event {
            targets.push(target);
        }
    }
    assert_eq!(targets, [b"b", b"a"]);
}

#[test]
fn nothing_is_read_after_an_error() {
    let bytes = archive(&directory(&[entry(b"b", &file()), entry(b"a", &file())]));
    let mut reader = NarReader::new(bytes.as_slice(), LIMITS);
    while let Ok(Some(_)) = reader.next_event() {}
    assert!(reader.next_event().is_err());
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
    assert!(reader.finish().is_err());
}

/// A source that returns a few bytes at a time and fails at its end.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = to.len().min(3);
        match self.0.read(&mut to[..n])? {
            0 if n > 0 => Err(io::Error::other("the disk is gone")),
            n => Ok(n),
        }
    }
}

#[test]
fn a_source_that_fails_is_not_the_archives_fault() {
    let bytes = archive(&file());
    let cut = &bytes[..bytes.len() - 20];
    let error = NarReader::new(Failing(cut), LIMITS).finish().unwrap_err();
    assert!(matches!(error, NarError::Io(_)) && error.to_string() == "the disk is gone", "{error}");
    // The same happens while contents are read.
    let at = bytes.windows(5).position(|window| window == b"hello").unwrap();
    let mut reader = NarReader::new(Failing(&bytes[..at + 2]), LIMITS);
    reader.next_event().unwrap();
    let error = NarError::from(reader.read_to_end(&mut Vec::new()).unwrap_err());
    assert!(matches!(error, NarError::Io(_)), "{error}");
    let mut reader = NarReader::new(&bytes[..at + 2], LIMITS);
    reader.next_event().unwrap();
    let error = NarError::from(reader.read_to_end(&mut Vec::new()).unwrap_err());
    assert!(matches!(error, NarError::Truncated { .. }), "{error}");
}

type Writer = NarWriter<Vec<u8>>;

#[test]
fn what_would_be_refused_is_not_written() {
    let refused = |write: &dyn Fn(&mut Writer) -> Result<(), NarError>, reason: &str| {
        let mut writer = NarWriter::new(Vec::new());
        let error = write(&mut writer).and_then(|()| writer.finish().map(|_| ())).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    let empty = io::empty;
    refused(&|_| Ok(()), "without a root");
    refused(&|w| w.directory(b""), "inside a directory");
    refused(&|w| w.directory(b"root"), "exactly one root");
    refused(&|w| w.leave(), "no directory is open");
    refused(&|w| w.symlink(b"", b""), "the target of a link");
    refused(&|w| w.file(b"", false, 2, empty()), "do not have the announced size");
    refused(&|w| w.file(b"", false, 2, &b"abc"[..]), "do not have the announced size");
    refused(
        &|w| w.file(b"", false, 0, empty()).and_then(|()| w.file(b"", false, 0, empty())),
        "exactly one root",
    );
    let in_root = |names: &'static [&'static [u8]]| {
        move |w: &mut Writer| {
            w.directory(b"")?;
            names.iter().try_for_each(|name| w.symlink(name, b"x"))
        }
    };
    refused(&in_root(&[b".."]), "an entry is named `.` or `..`");
    refused(&in_root(&[b"a/b"]), "a slash");
    refused(&in_root(&[b"b", b"a"]), "not sorted by name");
    refused(&in_root(&[b"a", b"a"]), "have the same name");
    refused(
        &|w| (0..300).try_for_each(|n| w.directory(if n == 0 { b"" } else { b"d" })),
        "the depth of its directories",
    );
}
