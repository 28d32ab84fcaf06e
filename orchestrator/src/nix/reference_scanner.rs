//! Finds all store paths that an archive contains in full (`/nix/store/HASH-…`). Those that are unknown to
//! the run may be in an upstream cache.

use std::{
    collections::BTreeSet,
    io::{self, Read},
};
use swarm_formats::nix::nix32;

/// Text before a hash part.
const DIR: &[u8] = b"/nix/store/";
/// Digits of a hash part.
const DIGITS: usize = 32;
/// Length of directory, hash part and hyphen.
const WHOLE: usize = DIR.len() + DIGITS + 1;
/// Maximum hash parts to remember. No valid path refers to so many.
const MOST: usize = 20_000;

/// A scanner that takes bytes in pieces.
#[derive(Debug, Default)]
pub struct ReferenceScanner {
    found: BTreeSet<String>,
    /// The end of the previous piece.
    tail: Vec<u8>,
}

impl ReferenceScanner {
    /// Scans the next piece. Matches may span pieces.
    pub fn scan(&mut self, bytes: &[u8]) {
        let mut seam = std::mem::take(&mut self.tail);
        seam.extend_from_slice(&bytes[..bytes.len().min(WHOLE - 1)]);
        self.search(&seam);
        self.search(bytes);
        let last = if bytes.len() < WHOLE - 1 { &seam[..] } else { bytes };
        self.tail = last[last.len().saturating_sub(WHOLE - 1)..].to_vec();
    }

    /// The hash parts that were found.
    #[must_use]
    pub fn found(self) -> BTreeSet<String> {
        self.found
    }

    fn search(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        // Slashes are rare enough that looking for one at a time is fast.
        while let Some(at) = rest.iter().position(|&byte| byte == b'/') {
            rest = &rest[at..];
            let Some(here) = rest.get(..WHOLE) else { return };
            let digits = &here[DIR.len()..WHOLE - 1];
            if here.starts_with(DIR)
                && here.ends_with(b"-")
                && digits.iter().all(|&digit| nix32::is_digit(digit))
                && self.found.len() < MOST
            {
                self.found.insert(digits.iter().map(|&digit| char::from(digit)).collect());
            }
            rest = &rest[1..];
        }
    }
}

/// A reader that passes its bytes to a scanner, if there is one.
pub struct ScanningReader<'m, R> {
    inner: R,
    mentions: Option<&'m mut ReferenceScanner>,
}

impl<'m, R> ScanningReader<'m, R> {
    /// Scans what is read from `inner`.
    pub fn new(inner: R, mentions: Option<&'m mut ReferenceScanner>) -> Self {
        Self { inner, mentions }
    }
}

impl<R: Read> Read for ScanningReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if let Some(mentions) = &mut self.mentions {
            mentions.scan(&buffer[..n]);
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_however_the_bytes_are_cut() {
        let [a, b] = ["a", "7"].map(|digit| digit.repeat(32));
        let text = format!(
            "x/nix/store/{a}-glibc/lib:/nix/store/{b}-x /nix/store/{}-no /nix/store/",
            "e".repeat(32)
        );
        for size in 1..text.len() {
            let mut mentions = ReferenceScanner::default();
            text.as_bytes().chunks(size).for_each(|piece| mentions.scan(piece));
            assert_eq!(mentions.found(), BTreeSet::from([a.clone(), b.clone()]), "pieces of {size}");
        }
    }

    #[test]
    fn only_a_whole_path_counts() {
        let a = "a".repeat(32);
        for text in [format!("{a}-glibc"), format!("/nix/store/{a}"), format!("/nix/store/{}-x", &a[1..])] {
            let mut mentions = ReferenceScanner::default();
            mentions.scan(text.as_bytes());
            assert!(mentions.found().is_empty(), "{text}");
        }
    }
}
