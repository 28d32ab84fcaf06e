//! Builds packages byte by byte, with a setting for each thing that can be wrong. The only code shared with
//! the readers renders the Manifest's text, so that both sides cannot contain the same mistake.

use swarm_formats::{
    archive::digests::MemberHasher,
    portage::gpkg::manifest::{Manifest, ManifestEntry},
};

/// The value of `environment.bz2` in a package that can be installed: `declare -x A="1"`.
pub const ENVIRONMENT: &[u8] = b"BZh91AY&SY\xe6\xa5\x9b\x96\x00\x00\x05\xdd\x80\x00\x10P\x02 \x02 \x00.\x04\x10@ \x00\x22\x13F\x13'\xea\x84\x00\x00k\x22a\xe9\xbd4\x00|]\xc9\x14\xe1BC\x9a\x96nX";

/// A tar entry with arbitrary header fields.
pub fn raw(path: &[u8], kind: u8, link: &[u8], data: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    header[..path.len()].copy_from_slice(path);
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = kind;
    header[157..157 + link.len()].copy_from_slice(link);
    header[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut header);
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub fn seal(header: &mut [u8]) {
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|&b| u32::from(b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub fn end(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize((bytes.len() + 1024).next_multiple_of(10240), 0);
    bytes
}

pub fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

pub fn metadata() -> Vec<u8> {
    end([raw(b"metadata/CATEGORY", b'0', b"", b"app-misc\n"), raw(b"metadata/PF", b'0', b"", b"x-1\n")]
        .concat())
}

pub fn image() -> Vec<u8> {
    end([raw(b"image/", b'5', b"", b""), raw(b"image/usr", b'0', b"", b"hello")].concat())
}

/// A package under construction, with a setting for each thing that can be wrong.
pub struct Forge {
    pub directory: &'static str,
    pub members: Vec<(String, Vec<u8>)>,
}

impl Forge {
    pub fn new() -> Self {
        Self::with(&metadata(), &image())
    }

    pub fn with(metadata: &[u8], image: &[u8]) -> Self {
        let members = vec![
            ("gpkg-1".to_owned(), Vec::new()),
            ("metadata.tar.zst".to_owned(), zst(metadata)),
            ("image.tar.zst".to_owned(), zst(image)),
        ];
        Self { directory: "x-1-1", members }
    }

    pub fn manifest(&self) -> String {
        let entries: Vec<_> = self
            .members
            .iter()
            .map(|(name, bytes)| {
                let mut hasher = MemberHasher::default();
                hasher.update(bytes);
                ManifestEntry { name: name.clone(), digests: hasher.finish() }
            })
            .collect();
        Manifest::render(&entries)
    }

    pub fn raw_member(&self, name: &str, bytes: &[u8]) -> Vec<u8> {
        raw(format!("{}/{name}", self.directory).as_bytes(), b'0', b"", bytes)
    }

    pub fn blocks(&self) -> Vec<u8> {
        self.members.iter().flat_map(|(name, bytes)| self.raw_member(name, bytes)).collect()
    }

    pub fn with_manifest(&self, manifest: &str) -> Vec<u8> {
        end([self.blocks(), self.raw_member("Manifest", manifest.as_bytes())].concat())
    }

    pub fn build(&self) -> Vec<u8> {
        self.with_manifest(&self.manifest())
    }
}
