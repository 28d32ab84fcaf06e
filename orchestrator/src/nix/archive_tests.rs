//! Archives that are hostile, and archives that are valid.

use super::*;
use swarm_formats::nix::nar::NarWriter;

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn path(digit: char) -> StorePath {
    format!("{}-x", digit.to_string().repeat(32)).parse().unwrap()
}

fn with(file: &[u8]) -> Vec<u8> {
    let mut nar = NarWriter::new(Vec::new());
    nar.directory(b"").unwrap();
    nar.file(b"file", false, file.len() as u64, file).unwrap();
    nar.leave().unwrap();
    nar.finish().unwrap().0
}

fn read(file: &[u8]) -> Result<NarFile, Rejection> {
    let targets = ScanTargets { paths: [path('a'), path('b')].into(), mentions: true };
    match examine(file, &limits(1 << 20), &targets) {
        Ok(file) => Ok(file),
        Err(ExamineError::Rejected(rejection)) => Err(rejection),
        Err(other) => panic!("{other}"),
    }
}

#[track_caller]
fn rejected(file: &[u8], kind: &str) {
    match read(file) {
        Err(rejection) => assert_eq!(rejection.kind, kind, "{rejection}"),
        Ok(file) => panic!("taken: {file:?}"),
    }
}

/// A string in the NAR format.
fn word(text: &[u8]) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// A NAR made of these strings.
fn words(words: &[&[u8]]) -> Vec<u8> {
    words.iter().flat_map(|text| word(text)).collect()
}

/// A directory with entries of these names, all empty directories.
fn entries(names: &[&[u8]]) -> Vec<u8> {
    let mut nar = words(&[b"nix-archive-1", b"(", b"type", b"directory"]);
    for name in names {
        nar.extend(words(&[b"entry", b"(", b"name", name, b"node"]));
        nar.extend(words(&[b"(", b"type", b"directory", b")", b")"]));
    }
    nar.extend(word(b")"));
    nar
}

#[test]
fn a_sound_archive_tells_its_hash_references_and_mentions() {
    let (a, c) = (path('a'), path('c'));
    let nar = with(format!("{} /nix/store/{c} /nix/store/{a}", a.hash_part()).as_bytes());
    let file = zstd(&nar);
    let found = read(&file).unwrap();
    assert_eq!((found.read, found.size), (Digest::of(&file), file.len() as u64));
    assert_eq!(found.sum, NarSum { hash: Digest::of(&nar), size: nar.len() as u64 });
    assert_eq!(found.references, [a].into());
    assert_eq!(found.mentions, [c.hash_part().to_owned()].into());
    assert_eq!(found.flat, None);
    assert!(found.listing.unwrap().contains("\"file\":{\"type\":\"regular\""));
}

#[test]
fn the_content_of_a_single_file_is_hashed_as_well() {
    let single = |executable| {
        let mut nar = NarWriter::new(Vec::new());
        nar.file(b"", executable, 6, &b"hello\n"[..]).unwrap();
        read(&zstd(&nar.finish().unwrap().0)).unwrap().flat
    };
    assert_eq!(single(false), Some(Digest::of(b"hello\n")));
    assert_eq!(single(true), None);
}

#[test]
fn a_file_that_is_not_whole_or_not_zstd_is_rejected() {
    let file = zstd(&with(&[b'x'; 9000]));
    for end in [0, 3, 10, file.len() - 1] {
        rejected(&file[..end], "bad-compression");
    }
    rejected(&with(b"not compressed"), "bad-compression");
    rejected(&[&file[..], b"more"].concat(), "bad-compression");
    rejected(&[file.clone(), file].concat(), "bad-nar");
}

#[test]
fn a_window_that_takes_much_memory_is_rejected() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(27).unwrap();
    std::io::Write::write_all(&mut encoder, &with(&[b'x'; 9000])).unwrap();
    rejected(&encoder.finish().unwrap(), "bad-compression");
}

#[test]
fn names_that_lead_elsewhere_repeat_or_are_not_sorted_are_rejected() {
    for names in
        [&[&b".."[..]][..], &[b"."], &[b""], &[b"a/b"], &[b"/etc"], &[b"a\0b"], &[b"a", b"a"], &[b"b", b"a"]]
    {
        rejected(&zstd(&entries(names)), "bad-nar");
    }
    read(&zstd(&entries(&[b"a", b"b"]))).unwrap();
}

#[test]
fn lies_about_sizes_padding_and_what_follows_are_rejected() {
    let nar = with(b"12345");
    let at = nar.windows(5).position(|bytes| bytes == b"12345").unwrap();
    let mut padded = nar.clone();
    padded[at + 6] = 1;
    rejected(&zstd(&padded), "bad-nar");
    for size in [4 << 30, u64::MAX] {
        let mut lie = nar.clone();
        lie[at - 8..at].copy_from_slice(&u64::to_le_bytes(size));
        rejected(&zstd(&lie), "too-large");
    }
    rejected(&zstd(&[&nar[..], b"trailing"].concat()), "bad-nar");
    rejected(&zstd(&nar[..nar.len() - 8]), "bad-nar");
    rejected(&zstd(b""), "bad-nar");
}

#[test]
fn a_link_is_kept_as_it_is_and_nothing_can_lie_below_it() {
    let mut nar = words(&[b"nix-archive-1", b"(", b"type", b"directory"]);
    nar.extend(words(&[b"entry", b"(", b"name", b"a", b"node", b"("]));
    let link = words(&[b"type", b"symlink", b"target", b"../../..", b")", b")", b")"]);
    read(&zstd(&[nar.clone(), link].concat())).unwrap();
    let below = words(&[b"type", b"symlink", b"target", b"/", b"entry", b"(", b"name", b"x"]);
    rejected(&zstd(&[nar, below].concat()), "bad-nar");
}

#[test]
fn deep_nesting_and_what_grows_without_end_are_rejected() {
    let mut deep = word(b"nix-archive-1");
    for _ in 0..300 {
        deep.extend(words(&[b"(", b"type", b"directory", b"entry", b"(", b"name", b"d", b"node"]));
    }
    rejected(&zstd(&deep), "too-large");
    let zeros = with(&vec![0; 9 << 20]);
    let small = zstd(&zeros);
    assert!(small.len() < 10_000);
    rejected(&small, "too-large");
}

#[test]
fn a_disk_that_fails_is_no_rejection() {
    struct Burnt;
    impl Read for Burnt {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("burnt"))
        }
    }
    let file = zstd(&with(&[b'x'; 9000]));
    let result = examine((&file[..20]).chain(Burnt), &limits(1 << 20), &ScanTargets::default());
    assert!(matches!(result, Err(ExamineError::Unreadable(error)) if error.to_string() == "burnt"));
}

#[test]
fn no_damaged_bit_makes_it_panic_or_goes_unnoticed() {
    let nar = with(b"some content");
    for at in 0..nar.len() * 8 {
        let mut damaged = nar.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        if let Ok(found) = read(&zstd(&damaged)) {
            assert_ne!(found.sum.hash, Digest::of(&nar), "bit {at}");
        }
    }
}
