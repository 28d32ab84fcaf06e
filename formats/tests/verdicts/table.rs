//! Packages with one peculiarity each, and the expected result.

use super::{
    forge::{ENVIRONMENT, Forge, end, raw, seal},
    model::{Entry, Model, Style, pack, record},
};
use std::io::Write as _;

/// The peculiarity, the package, and the expected kind of error. `None` if the package is accepted.
pub struct Row(pub String, pub Vec<u8>, pub Option<&'static str>);

pub fn rows() -> Vec<Row> {
    let mut rows = compressions();
    rows.extend(values());
    rows.extend(entries());
    rows.extend(headers());
    rows.extend(containers());
    rows
}

fn compressions() -> Vec<Row> {
    let image = Model::new().archive();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    let mut bz2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    xz.write_all(&image).unwrap();
    bz2.write_all(&image).unwrap();
    lz4.write_all(&image).unwrap();
    let (xz, bz2, lz4) = (xz.finish().unwrap(), bz2.finish().unwrap(), lz4.finish().unwrap());
    let zst = zstd::encode_all(&image[..], 1).unwrap();
    let twice = |bytes: &[u8]| [bytes, bytes].concat();
    let cut = |bytes: &[u8]| bytes[..bytes.len() - 5].to_vec();
    let garbage = |bytes: &[u8]| [bytes, b"garbage"].concat();
    let changed = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    };
    let mut rows = Vec::new();
    for (suffix, packed) in [(".xz", &xz), (".bz2", &bz2), (".lz4", &lz4), (".zst", &zst)] {
        for (what, bytes, kind) in [
            ("", packed.clone(), None),
            (" cut off", cut(packed), Some("truncated")),
            (" with garbage behind", garbage(packed), Some("")),
            (" with one byte changed", changed(packed), Some("")),
            // These are two archives, of which tarfile would see only the first.
            (" twice", twice(packed), Some("bad-archive")),
        ] {
            rows.push(Row(format!("an image as {suffix}{what}"), with_image(suffix, bytes), kind));
        }
    }
    let windowed = |log| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        encoder.write_all(&image).unwrap();
        encoder.finish().unwrap()
    };
    for (log, kind) in [(23, None), (24, Some("bad-compression")), (27, Some("bad-compression"))] {
        let what = format!("an image with a zstd window of 2^{log} bytes");
        rows.push(Row(what, with_image(".zst", windowed(log)), kind));
    }
    for (preset, kind) in [(6, None), (9, Some("bad-compression"))] {
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), preset);
        xz.write_all(&image).unwrap();
        let what = format!("an image by xz -{preset}");
        rows.push(Row(what, with_image(".xz", xz.finish().unwrap()), kind));
    }
    for (suffix, bytes) in [("", image.clone()), (".lz", image.clone()), (".lzo", image)] {
        rows.push(Row(
            format!("an image as .tar{suffix}"),
            with_image(suffix, bytes),
            Some("unsupported-compressor"),
        ));
    }
    rows
}

pub fn with_image(suffix: &str, bytes: Vec<u8>) -> Vec<u8> {
    let mut forge = pack(&Model::new().metadata(), &[]);
    forge.members[2] = (format!("image.tar{suffix}"), bytes);
    forge.build()
}

fn values() -> Vec<Row> {
    // The data is irregular, so that it does not count as a decompression bomb.
    let long =
        |bytes: usize| (0..).flat_map(|n: u32| format!("{n} ").into_bytes()).take(bytes).collect::<Vec<u8>>();
    let bz2 = |bytes: &[u8]| {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let changed = |at: usize| {
        let mut bytes = ENVIRONMENT.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let patch = |hash: &str, name: &str| format!("{}\0{name}\0", hash.repeat(32)).into_bytes();
    let bad = Some("bad-metadata");
    let mut rows = Vec::new();
    for (key, value, kind) in [
        ("DESCRIPTION", b"plain\n".to_vec(), None),
        ("EAPI", b"0".to_vec(), bad),
        ("EAPI", b"9\n".to_vec(), None),
        ("EAPI", b"99\n".to_vec(), bad),
        ("EAPI", b"".to_vec(), bad),
        ("BUILD_TIME", b"yesterday\n".to_vec(), bad),
        ("SIZE", b"-1\n".to_vec(), bad),
        ("DESCRIPTION", b"\xff\xfe".to_vec(), bad),
        ("DESCRIPTION", b"a\0b".to_vec(), bad),
        ("LICENSE", b"GPL-2\0".to_vec(), bad),
        ("DESCRIPTION", "\u{9b}31m".into(), bad),
        ("DESCRIPTION", b"a\tb\nc".to_vec(), None),
        ("RDEPEND", b"|| ( dev-libs/a".to_vec(), bad),
        ("RDEPEND", b"dev-libs/a )".to_vec(), bad),
        ("RDEPEND", b"dev-libs/a-1".to_vec(), bad),
        ("RDEPEND", b"dev-libs/a::gentoo".to_vec(), bad),
        ("PDEPEND", b"x? ( dev-libs/a )".to_vec(), bad),
        ("LICENSE", b"( GPL-2".to_vec(), bad),
        ("RESTRICT", b"|| test".to_vec(), bad),
        ("SLOT", b"0/".to_vec(), bad),
        ("KEYWORDS", b"amd64 @x".to_vec(), bad),
        ("USE", b"a -b".to_vec(), bad),
        ("IUSE", b"a ++b".to_vec(), bad),
        ("DEFINED_PHASES", b"build".to_vec(), bad),
        ("PROVIDES", b"liba.so.1".to_vec(), bad),
        ("CHOST", b"a b".to_vec(), bad),
        ("bad key", b"x".to_vec(), bad),
        ("DESCRIPTION", long(64 << 10), None),
        ("DESCRIPTION", long((64 << 10) + 1), Some("too-large")),
        ("LICENSE", long(4 << 20), Some("too-large")),
        ("NEEDED.ELF.2", long(2 << 20), None),
        ("environment.bz2", bz2(&long(2 << 20)), None),
        ("environment.bz2", bz2(b""), None),
        ("environment.bz2", [ENVIRONMENT, ENVIRONMENT].concat(), None),
        ("environment.bz2", b"".to_vec(), Some("truncated")),
        ("environment.bz2", b"declare -x A=1\n".to_vec(), Some("bad-compression")),
        ("environment.bz2", ENVIRONMENT[..ENVIRONMENT.len() - 1].to_vec(), Some("truncated")),
        ("environment.bz2", [ENVIRONMENT, b"garbage"].concat(), Some("")),
        ("environment.bz2", changed(20), Some("")),
        ("environment.bz2", changed(ENVIRONMENT.len() - 2), Some("")),
        ("environment.bz2", bz2(&vec![b'x'; 1 << 20]), None),
        ("environment.bz2", bz2(&vec![b'x'; 4 << 20]), Some("too-large")),
        ("environment.bz2", vec![b'x'; (8 << 20) + 1], Some("too-large")),
        ("user_patch.digests", patch("ab", "a.patch"), None),
        ("user_patch.digests", [patch("01", "a.patch"), patch("EF", "b c.diff")].concat(), None),
        ("user_patch.digests", b"".to_vec(), bad),
        ("user_patch.digests", b"\0".to_vec(), bad),
        ("user_patch.digests", patch("ag", "a.patch"), bad),
        ("user_patch.digests", patch("ab", "a.txt"), bad),
        ("user_patch.digests", patch("ab", ".patch"), bad),
        ("user_patch.digests", patch("ab", "a/b.patch"), bad),
        ("user_patch.digests", patch("ab", "a\nb.patch"), bad),
        ("user_patch.digests", patch("ab", "a\0b.patch"), bad),
        ("user_patch.digests", [&patch("ab", "a.patch")[..], b"x"].concat(), bad),
        ("user_patch.digests", [&patch("ab", "a.patch")[..], b"\0"].concat(), bad),
        ("x-1.ebuild", b"A=\x0c\x1b\n".to_vec(), None),
        ("x-1.ebuild", b"A=1\r\n".to_vec(), bad),
        ("x-1.ebuild", b"A=\0\n".to_vec(), bad),
        ("x-1.ebuild", b"A=\xff\n".to_vec(), bad),
        ("PF", b"x-2\n".to_vec(), bad),
        ("x-1.ebuild", long(1 << 20), None),
        ("x-1.ebuild", long((1 << 20) + 1), Some("too-large")),
    ] {
        let what = format!("{key} {} ({} bytes)", value[..value.len().min(30)].escape_ascii(), value.len());
        rows.push(Row(what, Model::with(key, &value).build(), kind));
    }
    for key in ["x-1.ebuild", "environment.bz2"] {
        let mut model = Model::new();
        model.values.retain(|(other, _)| other != key);
        rows.push(Row(format!("no {key}"), model.build(), bad));
    }
    let mut model = Model::new();
    model.values.extend((0..256).map(|n| (format!("K{n}"), b"x".to_vec())));
    rows.push(Row("256 values more".to_owned(), model.build(), Some("too-large")));
    model = Model::new();
    for key in ["LICENSE", "RESTRICT", "PROPERTIES", "USE"] {
        model.values.retain(|(other, _)| other != key);
        model.values.push((key.to_owned(), "x ".repeat(32 << 10).into_bytes()));
    }
    rows.push(Row("an index entry of 256 KiB".to_owned(), model.build(), Some("too-large")));
    rows
}

fn entries() -> Vec<Row> {
    let file = |path: &str| Entry::new(path, b'0', "", b"x");
    let link = |path: &str, kind: u8, to: &str| Entry::new(path, kind, to, b"");
    let directory = |path: &str| Entry::new(path, b'5', "", b"");
    let bad = Some("bad-image");
    let lib = "image/usr/lib/liba.so.1";
    let deep = |names: usize| format!("image{}", "/d".repeat(names - 1));
    let styled = |path: &str, style| Entry { style, ..Entry::new(path, b'0', "", b"x") };
    let long = format!("image/{}", "long/".repeat(40)) + "name";
    [
        ("a file more", vec![file("image/x")], None),
        ("a file twice", vec![file("image/x"), file("image/x")], bad),
        ("a directory twice", vec![directory("image/d"), directory("image/d/")], bad),
        ("a directory after what lies in it", vec![file("image/d/x"), directory("image/d")], None),
        ("a file over a directory", vec![file("image/d/x"), file("image/d")], bad),
        ("a link over a directory", vec![link("image/usr", b'2', "etc")], bad),
        ("a path below a file", vec![file(&format!("{lib}/x"))], bad),
        ("a path below a symbolic link", vec![file("image/etc/conf/x")], bad),
        ("a path below a hard link", vec![file("image/usr/lib/hard/x")], bad),
        ("a hard link to a hard link", vec![link("image/h", b'1', "image/usr/lib/hard")], None),
        ("a hard link to a symbolic link", vec![link("image/h", b'1', "image/etc/conf")], bad),
        ("a hard link to a directory", vec![link("image/h", b'1', "image/usr")], bad),
        ("a hard link to nothing", vec![link("image/h", b'1', "image/none")], bad),
        ("a hard link to what comes later", vec![link("image/h", b'1', "image/x"), file("image/x")], bad),
        ("a hard link to itself", vec![link("image/h", b'1', "image/h")], bad),
        ("a hard link to outside", vec![link("image/h", b'1', "etc/shadow")], bad),
        ("a symbolic link to anywhere", vec![link("image/s", b'2', "../../../etc")], None),
        ("a symbolic link to nothing", vec![link("image/s", b'2', "")], bad),
        ("a symbolic link to two lines", vec![link("image/s", b'2', "a\nb")], bad),
        ("a device", vec![link("image/sda", b'4', "")], bad),
        ("a contiguous file", vec![Entry::new("image/x", b'7', "", b"")], bad),
        ("a name of two lines", vec![file("image/a\nb")], bad),
        ("a name that is not UTF-8", vec![Entry { path: b"image/\xff".to_vec(), ..file("") }], bad),
        ("a name with a blank and an umlaut", vec![file("image/a \u{f6}")], None),
        ("a path with ..", vec![file("image/../x")], bad),
        ("a file with a slash", vec![file("image/x/")], Some("bad-archive")),
        ("128 names deep", vec![styled(&deep(128), Style::Gnu)], None),
        ("129 names deep", vec![styled(&deep(129), Style::Gnu)], bad),
        ("a long name of GNU", vec![styled(&long, Style::Gnu)], None),
        ("a long name of POSIX", vec![styled(&long, Style::Pax)], None),
    ]
    .into_iter()
    .map(|(what, entries, kind)| Row(what.to_owned(), Model::and(entries).build(), kind))
    .collect()
}

/// Packages with a header on which readers disagree, before a file of the image.
fn headers() -> Vec<Row> {
    let with = |at: usize, field: &[u8]| {
        let mut header = raw(b"image/x", b'0', b"", b"");
        header[at..at + field.len()].copy_from_slice(field);
        seal(&mut header);
        header
    };
    let extended =
        |kind: u8, data: &[u8]| [raw(b"x", kind, b"", data), raw(b"image/x", b'0', b"", b"")].concat();
    let padded = |kind: u8, size: usize, data: &[u8]| {
        let mut bytes = extended(kind, data);
        bytes[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        seal(&mut bytes[..512]);
        bytes
    };
    let mut signed = with(0, b"image/\xc3\xb6");
    let sum: i64 = signed
        .iter()
        .enumerate()
        .map(|(at, &b)| if (148..156).contains(&at) { 32 } else { i64::from(b as i8) })
        .sum();
    signed[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let bad = Some("bad-archive");
    let mut rows: Vec<Row> = [
        ("a uid of octal digits", with(108, b"0001750\0"), None),
        ("a uid in base-256", with(108, b"\x80\0\0\0\0\x01\0\0"), None),
        ("a uid that no system has", with(108, b"\x80\0\0\0\xff\xff\xff\xff"), bad),
        ("a negative uid", with(108, b"\xff\xff\xff\xff\xff\xff\xff\xfe"), bad),
        ("a uid with a sign", with(108, b"+001750\0"), bad),
        ("a uid with an underscore", with(108, b"0_01750\0"), bad),
        ("a uid of letters", with(108, b"rootroot"), bad),
        ("a gid of blanks", with(116, b"        "), bad),
        ("a gid of NULs", with(116, &[0; 8]), None),
        ("a time before 1970", with(136, &[0xff; 12]), None),
        ("a time that no file system has", with(136, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"), bad),
        ("a time of letters", with(136, b"yesterday..."), bad),
        ("a device number of letters", with(329, b"hostile!"), bad),
        ("a checksum of signed bytes", signed, bad),
        ("a header of 1979", with(257, &[0; 8]), bad),
        ("a long name that goes on in its padding", padded(b'L', 8, b"image/xyz\0"), bad),
        (
            "records that go on in their padding",
            padded(b'x', 17, &[record("comment", b"abcd"), record("path", b"image/y")].concat()),
            bad,
        ),
        ("a uid of records with an underscore", extended(b'x', &record("uid", b"1_0")), bad),
        ("a time of records that is none", extended(b'x', &record("mtime", b"now")), bad),
        ("a time of records with a fraction", extended(b'x', &record("mtime", b"-1.5")), None),
        ("a record without a key", extended(b'x', &record("", b"x")), bad),
        (
            "two paths of records",
            extended(b'x', &[record("path", b"image/y"), record("path", b"image/z")].concat()),
            bad,
        ),
        ("a charset of records", extended(b'x', &record("hdrcharset", b"BINARY")), bad),
        ("an attribute of records", extended(b'x', &record("SCHILY.xattr.user.x", b"y")), None),
        ("global records", extended(b'g', &record("path", b"image/y")), bad),
        ("a sparse file", extended(b'x', &record("GNU.sparse.major", b"1")), bad),
    ]
    .into_iter()
    .map(|(what, entry, kind)| {
        Row(what.to_owned(), pack(&Model::new().metadata(), &end(entry)).build(), kind)
    })
    .collect();
    let twice = [Model::new().archive(), raw(b"image/z", b'0', b"", b"")].concat();
    rows.push(Row("an entry behind the end".to_owned(), pack(&Model::new().metadata(), &twice).build(), bad));
    rows
}

fn containers() -> Vec<Row> {
    let model = Model::new();
    let sound = || pack(&model.metadata(), &model.archive());
    let manifest = |change: fn(String) -> String| {
        let forge: Forge = sound();
        forge.with_manifest(&change(forge.manifest()))
    };
    let metadata = |entry: Vec<u8>| pack(&end([entry, model.metadata()].concat()), &model.archive()).build();
    [
        ("a sound package", sound().build(), None),
        (
            "a Manifest with another digest",
            manifest(|text| text.replacen(" BLAKE2B", " SHA256 ab BLAKE2B", 1)),
            None,
        ),
        (
            "a Manifest whose digest is the name of one",
            manifest(|text| text.replacen(" BLAKE2B", " X SHA512 BLAKE2B", 1)),
            Some("bad-manifest"),
        ),
        (
            "a Manifest with a form feed",
            manifest(|text| text.replacen(" BLAKE2B", "\x0c BLAKE2B", 1)),
            Some("bad-manifest"),
        ),
        ("an image with nothing", pack(&model.metadata(), &end(Vec::new())).build(), Some("bad-image")),
        (
            "an image without its directory",
            pack(&model.metadata(), &end(raw(b"image/x", b'0', b"", b""))).build(),
            None,
        ),
        ("metadata with its directory", metadata(raw(b"metadata/", b'5', b"", b"")), Some("bad-metadata")),
        (
            "metadata with a link",
            metadata(raw(b"metadata/x", b'1', b"metadata/PF", b"")),
            Some("bad-metadata"),
        ),
        ("a value twice", metadata(raw(b"metadata/PF", b'0', b"", b"x-1\n")), Some("bad-metadata")),
    ]
    .into_iter()
    .map(|(what, bytes, kind)| Row(what.to_owned(), bytes, kind))
    .collect()
}
