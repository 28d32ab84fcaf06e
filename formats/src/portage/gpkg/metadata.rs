//! The metadata of a package.

use std::collections::BTreeMap;

/// Values by key, exactly as stored (usually one line and a newline).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata(pub BTreeMap<String, Vec<u8>>);

impl Metadata {
    /// A value in which each run of whitespace is replaced by one blank, as Portage writes it to an index.
    /// Empty if the key is absent.
    #[must_use]
    pub fn line(&self, key: &str) -> String {
        let bytes = self.0.get(key).map_or(&[][..], Vec::as_slice);
        // Python's whitespace includes the four ASCII information separators.
        let blank = |c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c);
        let text = String::from_utf8_lossy(bytes);
        text.split(blank).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }
}
