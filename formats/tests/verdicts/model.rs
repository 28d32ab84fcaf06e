//! A valid package, in parts that can be changed before it is assembled.

use super::forge::{ENVIRONMENT, Forge, end, raw, seal};
use std::io::Write as _;

/// The default directory of the container.
const DIRECTORY: &str = "x-1-1";

/// How a long name of an entry is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Ustar,
    Gnu,
    Pax,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub path: Vec<u8>,
    pub kind: u8,
    pub link: Vec<u8>,
    pub data: Vec<u8>,
    pub style: Style,
}

impl Entry {
    pub fn new(path: &str, kind: u8, link: &str, data: &[u8]) -> Self {
        let (path, link) = (path.as_bytes().to_vec(), link.as_bytes().to_vec());
        Self { path, kind, link, data: data.to_vec(), style: Style::Ustar }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let cut = |name: &[u8]| name[..name.len().min(99)].to_vec();
        let (path, link) = (cut(&self.path), cut(&self.link));
        let mut bytes = Vec::new();
        let long = [(&self.path, b'L', "path"), (&self.link, b'K', "linkpath")];
        match self.style {
            Style::Ustar => {}
            Style::Gnu => {
                for (name, kind, _) in long.iter().filter(|(name, ..)| !name.is_empty()) {
                    bytes.extend(raw(b"././@LongLink", *kind, b"", &[name, &b"\0"[..]].concat()));
                }
            }
            Style::Pax => {
                let records = long.iter().filter(|(name, ..)| !name.is_empty());
                let records: Vec<u8> = records.flat_map(|(name, _, key)| record(key, name)).collect();
                bytes.extend(raw(b"PaxHeaders/x", b'x', b"", &records));
            }
        }
        bytes.extend(raw(&path, self.kind, &link, &self.data));
        if self.style == Style::Gnu {
            for block in bytes.chunks_mut(512).filter(|block| &block[257..262] == b"ustar") {
                block[257..265].copy_from_slice(b"ustar  \0");
                seal(block);
            }
        }
        bytes
    }
}

/// A record of an extended header.
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (1..).map(|digits| rest + digits).find(|n| n.to_string().len() == n - rest).unwrap();
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

#[derive(Debug, Clone)]
pub struct Model {
    pub directory: &'static str,
    pub values: Vec<(String, Vec<u8>)>,
    pub image: Vec<Entry>,
}

impl Model {
    pub fn new() -> Self {
        let values = [
            ("CATEGORY", "app-misc\n"),
            ("PF", "x-1\n"),
            ("EAPI", "8\n"),
            ("SLOT", "0/2\n"),
            ("BUILD_ID", "1"),
            ("BUILD_TIME", "1795244939\n"),
            ("SIZE", "17\n"),
            ("CHOST", "x86_64-pc-linux-gnu\n"),
            ("repository", "fixture\n"),
            ("KEYWORDS", "amd64 ~arm64 -*\n"),
            ("USE", "amd64 elibc_glibc smooth\n"),
            ("IUSE", "+smooth -wet dry\n"),
            ("DEFINED_PHASES", "compile install\n"),
            ("RDEPEND", ">=dev-libs/a-1.2:0/3= || ( dev-libs/b !!<dev-libs/c-2_rc1[x(+),-y] )\n"),
            ("DEPEND", "dev-libs/a:0/3=\n"),
            ("LICENSE", "|| ( GPL-2+ MIT )\n"),
            ("RESTRICT", "test\n"),
            ("PROVIDES", "x86_32: liba.so.1 x86_64: liba.so.1\n"),
            ("REQUIRES", "x86_64: libc.so.6 libm.so.6\n"),
            ("DESCRIPTION", "A stone, gr\u{f6}\u{df}er\n"),
            ("NEEDED.ELF.2", "X86_64;/usr/lib/liba.so.1;liba.so.1;;libc.so.6;x86_64\n"),
            ("x-1.ebuild", "EAPI=8\n"),
        ];
        let mut values: Vec<_> =
            values.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into();
        values.push(("environment.bz2".to_owned(), ENVIRONMENT.to_vec()));
        let image = vec![
            Entry::new("image", b'5', "", b""),
            Entry::new("image/usr", b'5', "", b""),
            Entry::new("image/usr/lib", b'5', "", b""),
            Entry::new("image/usr/lib/liba.so.1", b'0', "", b"a library"),
            Entry::new("image/usr/lib/liba.so", b'2', "liba.so.1", b""),
            Entry::new("image/usr/lib/hard", b'1', "image/usr/lib/liba.so.1", b""),
            Entry::new("image/usr/share/doc/read me", b'0', "", b"read me"),
            Entry::new("image/etc", b'5', "", b""),
            Entry::new("image/etc/conf", b'2', "/run/conf", b""),
        ];
        Self { directory: DIRECTORY, values, image }
    }

    /// A package with this version.
    pub fn of(version: &str) -> Self {
        let mut model = Self::with("PF", format!("x-{version}\n").as_bytes());
        let ebuild = model.values.iter_mut().find(|(key, _)| key.ends_with(".ebuild"));
        ebuild.unwrap().0 = format!("x-{version}.ebuild");
        // This leaks a few bytes per package, which is fine in a short-lived test.
        model.directory = format!("x-{version}-1").leak();
        model
    }

    /// A package with this metadata value.
    pub fn with(key: &str, value: &[u8]) -> Self {
        let mut model = Self::new();
        model.values.retain(|(other, _)| other != key);
        model.values.push((key.to_owned(), value.to_vec()));
        model
    }

    /// A package with these additional entries in its image.
    pub fn and(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut model = Self::new();
        model.image.extend(entries);
        model
    }

    pub fn metadata(&self) -> Vec<u8> {
        let values = self.values.iter();
        end(values
            .flat_map(|(key, value)| raw(format!("metadata/{key}").as_bytes(), b'0', b"", value))
            .collect())
    }

    pub fn archive(&self) -> Vec<u8> {
        end(self.image.iter().flat_map(Entry::bytes).collect())
    }

    pub fn build(&self) -> Vec<u8> {
        Forge { directory: self.directory, ..pack(&self.metadata(), &self.archive()) }.build()
    }
}

/// A package with these archives, compressed so that Python unpacks it without external programs.
pub fn pack(metadata: &[u8], image: &[u8]) -> Forge {
    let members = vec![
        ("gpkg-1".to_owned(), Vec::new()),
        ("metadata.tar.gz".to_owned(), gzip(metadata)),
        ("image.tar.gz".to_owned(), gzip(image)),
    ];
    Forge { directory: DIRECTORY, members }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
