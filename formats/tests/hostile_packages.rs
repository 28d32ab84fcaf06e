//! Malicious packages: each must be refused with the right kind of error, and none may cause a
//! panic or exceed the memory limit.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "shared with other tests")]
mod forge;
mod properties;

use forge::{Forge, end, image, metadata, raw, seal, zst};
use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
};
use swarm_formats::portage::gpkg::{self, Gpkg, GpkgError, Limits};

fn check(bytes: &[u8]) -> Result<Gpkg, GpkgError> {
    gpkg::verify(bytes, &Limits::default())
}

#[track_caller]
fn refused(bytes: &[u8], kind: &str, needle: &str) {
    match check(bytes) {
        Ok(_) => panic!("accepted, expected {kind}"),
        Err(error) => {
            assert_eq!(error.kind(), kind, "{error}");
            let text = error.to_string();
            assert!(text.contains(needle), "{text}");
            assert!(!text.contains('\n') && text.len() < 400, "{text:?}");
        }
    }
}

#[test]
fn the_forge_makes_a_sound_package() {
    let gpkg = check(&Forge::new().build()).unwrap();
    assert_eq!(gpkg.metadata.line("PF"), "x-1");
    assert_eq!((gpkg.image.entries, gpkg.image.bytes), (2, 5));
}

#[test]
fn members_may_come_in_any_order_and_gzip_is_read() {
    let mut forge = Forge::new();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(&image()).unwrap();
    forge.members[2] = ("image.tar.gz".to_owned(), gz.finish().unwrap());
    forge.members.reverse();
    let manifest_first =
        end([forge.raw_member("Manifest", forge.manifest().as_bytes()), forge.blocks()].concat());
    assert_eq!(check(&manifest_first).unwrap().image.entries, 2);
}

#[test]
fn a_package_cut_off_anywhere_is_refused() {
    let bytes = Forge::new().build();
    let content = bytes.iter().rposition(|&b| b != 0).unwrap();
    // The end-of-archive marker needs one block; the padding after it may be cut.
    for cut in 0..=content.next_multiple_of(512) {
        let error = check(&bytes[..cut]).expect_err("a cut package");
        assert!(!matches!(error, GpkgError::Io(_)), "{cut}: {error}");
    }
}

// fault: 28
#[test]
fn no_flipped_bit_in_a_member_goes_unseen() {
    let bytes =
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/binhost/pebble-1.2-1.gpkg.tar"))
            .unwrap();
    let good = check(&bytes).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        if let Ok(gpkg) = check(&damaged) {
            // The header checksum covers unused fields, so only spaces and terminators between
            // fields can change unnoticed.
            assert_eq!(
                (gpkg.members, gpkg.metadata),
                (good.members.clone(), good.metadata.clone()),
                "byte {at}"
            );
        }
    }
}

#[test]
fn wrong_member_names_are_refused() {
    let forge = Forge::new();
    let manifest = forge.manifest();
    for path in [
        "../evil",
        "/etc/passwd",
        "x-1-1/../../evil",
        "x-1-1/a/b",
        "other/file",
        "file",
        "x-1-1/",
        "./x",
        "x-1-1/a b",
    ] {
        let extra = raw(path.as_bytes(), b'0', b"", b"");
        let bytes = end([forge.blocks(), extra, forge.raw_member("Manifest", manifest.as_bytes())].concat());
        assert!(matches!(check(&bytes), Err(GpkgError::Member { .. } | GpkgError::Archive { .. })), "{path}");
    }
}

#[test]
fn members_that_are_no_regular_files_are_refused() {
    for kind in *b"123456SDMV" {
        let bytes = end([raw(b"x-1-1/image.tar.zst", kind, b"", b""), Forge::new().build()].concat());
        assert!(check(&bytes).is_err(), "type {}", char::from(kind));
    }
    let global = [raw(b"x-1-1/g", b'g', b"", b"11 path=ab\n"), Forge::new().build()].concat();
    refused(&global, "bad-archive", "global extended header");
    let sparse = [raw(b"x-1-1/p", b'x', b"", b"22 GNU.sparse.major=1\n"), Forge::new().build()].concat();
    refused(&sparse, "bad-archive", "sparse");
}

#[test]
fn entries_whose_name_readers_differ_about_are_refused() {
    let long = raw(b"././@LongLink", b'L', b"", b"x-1-1/gpkg-1\0");
    let pax = raw(b"x-1-1/p", b'x', b"", b"21 path=x-1-1/gpkg-2\n");
    let twice = [long, pax, Forge::new().build()].concat();
    refused(&twice, "bad-archive", "two names");
    let records = b"21 path=x-1-1/gpkg-1\n21 path=x-1-1/gpkg-2\n";
    let records = [raw(b"x-1-1/p", b'x', b"", records), Forge::new().build()].concat();
    refused(&records, "bad-archive", "two values for a key");
    let mut prefixed = raw(b"x-1-1/gpkg-1", b'0', b"", b"");
    prefixed[257..265].copy_from_slice(b"ustar  \0");
    prefixed[345..348].copy_from_slice(b"etc");
    seal(&mut prefixed[..512]);
    refused(&[prefixed, Forge::new().build()].concat(), "bad-archive", "two names");
}

#[test]
fn duplicate_foreign_and_absent_members_are_refused() {
    let mut twice = Forge::new();
    twice.members.push(twice.members[2].clone());
    refused(&twice.build(), "bad-member", "twice");

    let mut two_images = Forge::new();
    two_images.members.push(("image.tar.gz".to_owned(), Vec::new()));
    refused(&two_images.build(), "bad-member", "second image");

    let mut foreign = Forge::new();
    foreign.members.push(("virus.exe".to_owned(), Vec::new()));
    refused(&foreign.build(), "bad-member", "does not belong");

    for (index, name) in ["gpkg-1", "metadata.tar.zst", "image.tar.zst"].into_iter().enumerate() {
        let mut without = Forge::new();
        without.members.remove(index);
        refused(&without.build(), "missing-member", name);
    }
    refused(&end(Forge::new().blocks()), "missing-member", "Manifest");

    let forge = Forge::new();
    let two_manifests = [forge.blocks(), forge.raw_member("Manifest", forge.manifest().as_bytes())].concat();
    let two_manifests = [two_manifests, forge.raw_member("Manifest", forge.manifest().as_bytes())].concat();
    refused(&end(two_manifests), "bad-member", "twice");
}

#[test]
fn every_wrong_manifest_is_refused() {
    let forge = Forge::new();
    let manifest = forge.manifest();
    let flip = |text: &str, at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        String::from_utf8(bytes).unwrap()
    };
    let image_at = manifest.find("image.tar").unwrap();
    let sha512_at = image_at + manifest[image_at..].find("SHA512 ").unwrap() + 7;
    let blake2b_at = image_at + manifest[image_at..].find("BLAKE2B ").unwrap() + 8;
    refused(&forge.with_manifest(&flip(&manifest, sha512_at)), "manifest-mismatch", "SHA512");
    refused(&forge.with_manifest(&flip(&manifest, blake2b_at)), "manifest-mismatch", "BLAKE2B");
    let size_at = image_at + "image.tar.zst ".len();
    refused(&forge.with_manifest(&flip(&manifest, size_at)), "manifest-mismatch", "size");
    refused(&forge.with_manifest(&manifest.replace("SHA512", "SHA256")), "bad-manifest", "no SHA512");
    refused(&forge.with_manifest(&manifest.replace("BLAKE2B", "WHIRLPOOL")), "bad-manifest", "no BLAKE2B");
    let unlisted: String = manifest.lines().skip(1).map(|line| format!("{line}\n")).collect();
    refused(&forge.with_manifest(&unlisted), "bad-manifest", "does not list `gpkg-1`");
    let absent = manifest.clone() + &manifest.lines().next().unwrap().replace("gpkg-1", "ghost");
    refused(&forge.with_manifest(&absent), "bad-manifest", "lists `ghost`");
    refused(&forge.with_manifest(&"x".repeat(2 << 20)), "too-large", "Manifest");
}

#[test]
fn other_compressors_are_named_and_refused() {
    for name in ["image.tar", "image.tar.lz", "image.tar.lzo", "image.tar.Z", "metadata.tar"] {
        let mut forge = Forge::new();
        let index = usize::from(name.starts_with("image")) + 1;
        forge.members[index].0 = name.to_owned();
        refused(&forge.build(), "unsupported-compressor", name);
    }
    let mut garbage = Forge::new();
    garbage.members[2].1 = b"this is no zstd".to_vec();
    refused(&garbage.build(), "bad-compression", "image archive");
}

// fault: 29
#[test]
fn bombs_are_stopped_early() {
    // 4 GiB of zeros in one file of the archive, which take a few hundred KiB when compressed.
    let mut header = raw(b"image/zeros", b'0', b"", b"");
    header[124..136].copy_from_slice(b"40000000000\0");
    seal(&mut header);
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(&header).unwrap();
    io::copy(&mut io::repeat(0).take(256 << 20), &mut encoder).unwrap();
    let mut forge = Forge::new();
    forge.members[2].1 = encoder.finish().unwrap();
    refused(&forge.build(), "too-large", "compression ratio");

    let limits = Limits { image_bytes: 1000, ..Limits::default() };
    let error = gpkg::verify(&forge.build()[..], &limits).unwrap_err();
    assert_eq!(error.kind(), "too-large", "{error}");

    let mut bomb = Forge::new();
    bomb.members[1].1 = zst(&vec![0x41; 80 << 20]);
    assert!(check(&bomb.build()).is_err());
    let mut value = raw(b"metadata/PF", b'0', b"", &[]);
    value[124..136].copy_from_slice(b"00777777777\0");
    seal(&mut value);
    refused(&Forge::with(&end(value), &image()).build(), "too-large", "metadata");

    let limits = Limits { image_entries: 1, ..Limits::default() };
    let error = gpkg::verify(&Forge::new().build()[..], &limits).unwrap_err();
    assert!(error.to_string().contains("number of entries"), "{error}");
    let limits = Limits { file_bytes: 5000, ..Limits::default() };
    let error = gpkg::verify(&Forge::new().build()[..], &limits).unwrap_err();
    assert_eq!(error.kind(), "too-large", "{error}");
}

#[test]
fn a_long_name_does_not_take_the_memory_it_claims() {
    let mut long = raw(b"././@LongLink", b'L', b"", b"");
    long[124..136].copy_from_slice(b"77777777777\0");
    seal(&mut long);
    refused(&Forge::with(&metadata(), &end(long)).build(), "bad-archive", "too long");
}

// fault: 29
#[test]
fn an_image_with_tricks_is_refused() {
    let cases: [(&[u8], u8, &[u8], &str); 14] = [
        (b"etc/passwd", b'0', b"", "plain path"),
        (b"/image/x", b'0', b"", "plain path"),
        (b"image/../../etc/passwd", b'0', b"", "plain path"),
        (b"image//x", b'0', b"", "plain path"),
        (b"image/./x", b'0', b"", "plain path"),
        (b"imagex/y", b'0', b"", "plain path"),
        (b"image", b'2', b"/etc", "should be a directory"),
        (b"image/sda", b'4', b"", "device"),
        (b"image/tty", b'3', b"", "device"),
        (b"image/fifo", b'6', b"", "device"),
        (b"image/hard", b'1', b"etc/shadow", "hard link"),
        (b"image/hard", b'1', b"image/../../x", "hard link"),
        (b"image/hard", b'1', b"/etc/shadow", "hard link"),
        (b"image/soft", b'2', b"", "link to nothing"),
    ];
    for (path, kind, link, needle) in cases {
        refused(&Forge::with(&metadata(), &end(raw(path, kind, link, b""))).build(), "bad-image", needle);
    }
    let through = [raw(b"image/dir", b'2', b"/etc", b""), raw(b"image/dir/passwd", b'0', b"", b"x")].concat();
    refused(&Forge::with(&metadata(), &end(through)).build(), "bad-image", "behind a symbolic link");
    let through =
        [raw(b"image/dir", b'2', b"/etc", b""), raw(b"image/x", b'1', b"image/dir/passwd", b"")].concat();
    refused(&Forge::with(&metadata(), &end(through)).build(), "bad-image", "hard link");
    let behind = [end(raw(b"image/a", b'0', b"", b"")), raw(b"image/b", b'0', b"", b"")].concat();
    refused(&Forge::with(&metadata(), &behind).build(), "bad-archive", "after the end");
}

#[test]
fn links_that_packages_have_are_accepted() {
    let links = [
        raw(b"image/usr/lib/a", b'0', b"", b"x"),
        raw(b"image/usr/lib/b", b'1', b"image/usr/lib/a", b""),
        raw(b"image/usr/lib/c", b'2', b"/etc/alternatives/c", b""),
        raw(b"image/usr/lib/d", b'2', b"../../../opt/d", b""),
    ];
    assert_eq!(check(&Forge::with(&metadata(), &end(links.concat())).build()).unwrap().image.entries, 4);
}

#[test]
fn metadata_with_tricks_is_refused() {
    for (path, kind) in [
        (&b"metadata/a/b"[..], b'0'),
        (b"metadata/..", b'0'),
        (b"../metadata/PF", b'0'),
        (b"PF", b'0'),
        (b"metadata/PF", b'2'),
        (b"metadata/dir/", b'5'),
    ] {
        refused(&Forge::with(&end(raw(path, kind, b"", b"")), &image()).build(), "bad-metadata", "");
    }
    let twice = [raw(b"metadata/PF", b'0', b"", b"a"), raw(b"metadata/PF", b'0', b"", b"b")].concat();
    refused(&Forge::with(&end(twice), &image()).build(), "bad-metadata", "twice");
}

#[test]
fn a_failing_disk_is_not_the_packages_fault() {
    struct Failing(usize);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("disk on fire"));
            }
            let n = self.0.min(buffer.len());
            self.0 -= n;
            Ok(n)
        }
    }
    let bytes = Forge::new().build();
    for good in [0, 100, 600, 1500] {
        let reader = bytes[..good].chain(Failing(0));
        let error = gpkg::verify(reader, &Limits::default()).unwrap_err();
        assert!(matches!(error, GpkgError::Io(_)), "{good}: {error}");
    }
}
