//! Small text files with a checksum in the first line, so that a changed byte is noticed.

use swarm_common::digest::Digest;

/// The content of a file with this text.
#[must_use]
pub fn seal(text: &str) -> String {
    format!("{}\n{text}", Digest::of(text.as_bytes()))
}

/// The text of a file; `None` if it was changed or is incomplete.
#[must_use]
pub fn open(content: &[u8]) -> Option<&str> {
    let (digest, text) = std::str::from_utf8(content).ok()?.split_once('\n')?;
    (digest.parse() == Ok(Digest::of(text.as_bytes()))).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_changed_byte_and_no_missing_end_goes_unnoticed() {
        let content = seal("{\"a\": 1}").into_bytes();
        assert_eq!(open(&content), Some("{\"a\": 1}"));
        for at in 0..content.len() {
            assert_eq!(open(&content[..at]), None, "cut at {at}");
            for bit in 0..8 {
                let mut changed = content.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(open(&changed), None, "bit {bit} of byte {at}");
            }
        }
    }
}
