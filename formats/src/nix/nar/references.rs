//! Finds references to store paths.
//!
//! In Nix a path refers to another if its NAR contains the other's hash part anywhere: in a
//! file, a name or the target of a link.

use crate::nix::{
    nix32,
    store_path::{HASH_PART, StorePath},
};
use std::collections::{BTreeSet, HashMap};

/// A scanner that takes bytes in pieces.
#[derive(Debug, Default)]
pub struct References {
    sought: HashMap<[u8; HASH_PART], Vec<StorePath>>,
    found: BTreeSet<StorePath>,
    /// The end of the previous piece, at most one byte shorter than a hash part.
    tail: Vec<u8>,
}

impl References {
    /// A scanner for references to these paths.
    pub fn to<'a>(candidates: impl IntoIterator<Item = &'a StorePath>) -> Self {
        let mut sought: HashMap<_, Vec<_>> = HashMap::new();
        for path in candidates {
            if let Some(part) = path.hash_part().as_bytes().first_chunk() {
                sought.entry(*part).or_default().push(path.clone());
            }
        }
        Self { sought, ..Self::default() }
    }

    /// Scans the next piece. Matches may span pieces.
    pub fn scan(&mut self, bytes: &[u8]) {
        if self.sought.is_empty() {
            return;
        }
        let mut seam = std::mem::take(&mut self.tail);
        seam.extend_from_slice(&bytes[..bytes.len().min(HASH_PART - 1)]);
        self.search(&seam);
        self.search(bytes);
        let last = if bytes.len() < HASH_PART - 1 { &seam } else { bytes };
        self.tail = last[last.len().saturating_sub(HASH_PART - 1)..].to_vec();
    }

    /// The candidates that were found.
    #[must_use]
    pub fn found(self) -> BTreeSet<StorePath> {
        self.found
    }

    fn search(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while let Some(part) = bytes[at..].first_chunk::<HASH_PART>() {
            // Search from the end: no match can start at or before a byte that is not a digit.
            match part.iter().rposition(|&byte| !nix32::is_digit(byte)) {
                Some(other) => at += other + 1,
                None => {
                    self.found.extend(self.sought.remove(part).into_iter().flatten());
                    at += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(digit: char) -> StorePath {
        format!("{}-x", digit.to_string().repeat(HASH_PART)).parse().unwrap()
    }

    /// The references found in these bytes when they are scanned in pieces of the sizes `cuts`.
    fn found(bytes: &[u8], candidates: &[StorePath], cuts: &[usize]) -> BTreeSet<StorePath> {
        let mut references = References::to(candidates);
        let mut rest = bytes;
        for &cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            references.scan(piece);
            rest = after;
        }
        references.scan(rest);
        references.found()
    }

    proptest! {
        #[test]
        fn what_is_found_does_not_depend_on_where_the_pieces_end(
            texts in prop::collection::vec("[ab/]{0,40}|a{32}|b{32}|c{32}", 0..12),
            cuts in prop::collection::vec(0usize..80, 0..12),
        ) {
            let candidates = ['a', 'b', 'c', 'd'].map(path);
            let text = texts.concat();
            let expected = candidates.iter().filter(|path| text.contains(path.hash_part())).cloned().collect();
            prop_assert_eq!(found(text.as_bytes(), &candidates, &cuts), expected);
        }
    }

    #[test]
    fn a_path_given_byte_by_byte_is_found() {
        let text = format!("see {} and no more", path('z'));
        assert_eq!(found(text.as_bytes(), &[path('z'), path('y')], &[1; 100]), [path('z')].into());
    }
}
