//! The Manifest of a GPKG: one line `DATA name size SHA512 hex BLAKE2B hex` per member, optionally
//! clear-signed (RFC 9580, section 7).

use super::error::{GpkgError, printable};
use crate::archive::digests::MemberDigests;
use std::fmt::Write as _;

/// The maximum size of a Manifest in bytes.
pub const MAX_BYTES: u64 = 1 << 20;

const SIGNED: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestEntry {
    /// The member's name without the directory.
    pub name: String,
    /// The expected size and digests. Both digests are mandatory: Portage 3.0.83 crashes if one is
    /// missing.
    pub digests: MemberDigests,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The lines, in order.
    pub entries: Vec<ManifestEntry>,
    /// Whether it is clear-signed. The signature is not verified.
    pub signed: bool,
}

fn refuse(reason: impl Into<String>) -> GpkgError {
    GpkgError::Manifest { reason: reason.into() }
}

impl Manifest {
    /// Parses a Manifest.
    ///
    /// # Errors
    /// [`GpkgError::Manifest`] if the bytes are not text, are not a list of `DATA` lines with both digests,
    /// or list a member twice.
    pub fn parse(bytes: &[u8]) -> Result<Self, GpkgError> {
        let text = std::str::from_utf8(bytes).map_err(|_| refuse("is not UTF-8 text"))?;
        let signed = text.starts_with(SIGNED);
        let lines = if signed { signed_lines(text)? } else { text.lines().collect() };
        let mut entries: Vec<ManifestEntry> = Vec::new();
        for line in lines.into_iter().filter(|line| !line.trim().is_empty()) {
            let entry = parse_line(line)?;
            if entries.iter().any(|other| other.name == entry.name) {
                return Err(refuse(format!("lists `{}` twice", entry.name)));
            }
            entries.push(entry);
        }
        Ok(Self { entries, signed })
    }

    /// The text to sign: one line for each of `entries`, with the fields in Portage's order.
    #[must_use]
    pub fn render(entries: &[ManifestEntry]) -> String {
        let mut text = String::new();
        for ManifestEntry { name, digests: MemberDigests { size, sha512, blake2b } } in entries {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "DATA {name} {size} BLAKE2B {blake2b} SHA512 {sha512}");
        }
        text
    }
}

/// The lines between the armor headers and the signature, with dash escapes removed.
fn signed_lines(text: &str) -> Result<Vec<&str>, GpkgError> {
    let mut lines = text.lines().skip(1);
    lines
        .by_ref()
        .find(|line| line.trim().is_empty())
        .ok_or_else(|| refuse("is clear-signed without a text"))?;
    let mut body = Vec::new();
    for line in lines {
        if line.trim_end() == SIGNATURE {
            return Ok(body);
        }
        body.push(line.strip_prefix("- ").unwrap_or(line));
    }
    Err(refuse("is clear-signed without a signature"))
}

fn parse_line(line: &str) -> Result<ManifestEntry, GpkgError> {
    // Readers disagree about which other bytes end a line or a word.
    if !line.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Err(refuse(format!("has a line that is not plain text: `{}`", printable(line.as_bytes()))));
    }
    let mut words = line.split_ascii_whitespace();
    if words.next() != Some("DATA") {
        return Err(refuse(format!("has a line that is not DATA: `{}`", printable(line.as_bytes()))));
    }
    let name = words.next().ok_or_else(|| refuse("has a line without a name"))?;
    let shown = printable(name.as_bytes());
    let size = words.next().filter(|size| size.bytes().all(|b| b.is_ascii_digit()));
    let size = size
        .and_then(|size| size.parse().ok())
        .ok_or_else(|| refuse(format!("gives no size for `{shown}`")))?;
    let (mut sha512, mut blake2b) = (None, None);
    while let Some(algorithm) = words.next() {
        let value = words.next().ok_or_else(|| refuse(format!("ends a digest of `{shown}` early")))?;
        let is_hex = value.bytes().all(|b| b.is_ascii_hexdigit());
        let slot = match algorithm {
            "SHA512" => &mut sha512,
            "BLAKE2B" => &mut blake2b,
            // Other digests are allowed, but add nothing to these two. Portage takes the word after the first
            // `SHA512`, so none may occur as the value of another digest.
            _ if is_hex => continue,
            _ => return Err(refuse(format!("has a malformed {algorithm} of `{shown}`"))),
        };
        let is_digest = is_hex && value.len() == 128;
        if !is_digest || slot.replace(value.to_ascii_lowercase()).is_some() {
            return Err(refuse(format!("has a malformed or repeated {algorithm} of `{shown}`")));
        }
    }
    let missing =
        |what: &str| refuse(format!("has no {what} of `{shown}`: both SHA512 and BLAKE2B are needed"));
    let digests = MemberDigests {
        size,
        sha512: sha512.ok_or_else(|| missing("SHA512"))?,
        blake2b: blake2b.ok_or_else(|| missing("BLAKE2B"))?,
    };
    Ok(ManifestEntry { name: name.to_owned(), digests })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::digests::MemberHasher;

    fn entry(name: &str) -> ManifestEntry {
        ManifestEntry { name: name.to_owned(), digests: MemberHasher::default().finish() }
    }

    #[test]
    fn a_manifest_survives_text_and_a_clear_signature() {
        let entries = vec![entry("gpkg-1"), entry("image.tar.zst")];
        let text = Manifest::render(&entries);
        let plain = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!((plain.entries.clone(), plain.signed), (entries, false));
        let signed =
            format!("{SIGNED}\nHash: SHA512\n\n{text}{SIGNATURE}\n\nabc\n-----END PGP SIGNATURE-----\n");
        let signed = Manifest::parse(signed.as_bytes()).unwrap();
        assert_eq!((signed.entries, signed.signed), (plain.entries, true));
    }

    #[test]
    fn a_line_without_either_digest_is_refused() {
        let line = Manifest::render(&[entry("gpkg-1")]);
        for algorithm in ["SHA512", "BLAKE2B"] {
            let without = line.replace(algorithm, "SHA3_512");
            let error = Manifest::parse(without.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(&format!("no {algorithm}")), "{error}");
        }
    }

    #[test]
    fn malformed_manifests_are_refused() {
        let line = Manifest::render(&[entry("gpkg-1")]);
        for bad in [
            format!("{line}{line}"),
            line.replace("DATA", "DIST"),
            line.replace(" 0 ", " -1 "),
            line.replace(" BLAKE2B", " X SHA512 BLAKE2B"),
            line.replace(" 0 ", " 0 \x0c"),
            line.replace(" 0 ", " 99999999999999999999 "),
            line.trim_end()[..line.len() - 3].to_owned(),
            "DATA".to_owned(),
            format!("{SIGNED}\nHash: SHA512\n\n{line}"),
            format!("{SIGNED}\n"),
        ] {
            assert!(matches!(Manifest::parse(bad.as_bytes()), Err(GpkgError::Manifest { .. })), "{bad}");
        }
        assert!(Manifest::parse(b"\xff\xfe").is_err());
    }
}
