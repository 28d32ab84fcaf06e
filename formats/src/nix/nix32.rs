//! Base 32 as Nix writes hashes. The digits are `0` to `9` and the lower-case letters except `e`, `o`, `t`
//! and `u`. The bits are counted from the lowest bit of the first byte, and the highest are written first.

const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

/// The value that marks a byte that is not a digit.
const NONE: u8 = 0xff;

/// The value of each byte as a digit.
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// The error for text that does not encode the expected number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Nix32Error {
    #[error("not {expected} digits of Nix's base 32")]
    Length {
        /// The required number of digits.
        expected: usize,
    },
    /// This byte is not a digit.
    #[error("`{}` is not a digit of Nix's base 32", .0.escape_ascii())]
    Digit(u8),
    /// The first digit has bits beyond the last byte.
    #[error("the first digit is too large")]
    Excess,
}

/// The number of digits that encode `bytes` bytes.
#[must_use]
pub const fn digits(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

#[must_use]
pub const fn is_digit(byte: u8) -> bool {
    VALUES[byte as usize] != NONE
}

/// Whether a text encodes `bytes` bytes.
#[must_use]
pub fn encodes(text: &[u8], bytes: usize) -> bool {
    let excess = digits(bytes) * 5 - bytes * 8;
    text.len() == digits(bytes)
        && text.iter().all(|&byte| is_digit(byte))
        && text.first().is_none_or(|&byte| VALUES[usize::from(byte)] >> (5 - excess) == 0)
}

#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let byte = |at| bytes.get(at).copied().map_or(0, u16::from);
    let digit = |n: usize| {
        let (at, shift) = (n * 5 / 8, n * 5 % 8);
        let pair = byte(at + 1) << 8 | byte(at);
        char::from(ALPHABET[usize::from(pair >> shift & 31)])
    };
    (0..digits(bytes.len())).rev().map(digit).collect()
}

/// Decodes exactly `N` bytes.
///
/// # Errors
/// The text is not the encoding of `N` bytes.
pub fn decode<const N: usize>(text: &[u8]) -> Result<[u8; N], Nix32Error> {
    if text.len() != digits(N) {
        return Err(Nix32Error::Length { expected: digits(N) });
    }
    let mut bytes = [0; N];
    for (n, &digit) in text.iter().rev().enumerate() {
        if !is_digit(digit) {
            return Err(Nix32Error::Digit(digit));
        }
        let (at, shift) = (n * 5 / 8, n * 5 % 8);
        let [low, high] = (u16::from(VALUES[usize::from(digit)]) << shift).to_le_bytes();
        bytes[at] |= low;
        if high != 0 {
            *bytes.get_mut(at + 1).ok_or(Nix32Error::Excess)? |= high;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_survive_text(hash in any::<[u8; 20]>(), digest in any::<[u8; 32]>()) {
            prop_assert_eq!(decode(encode(&hash).as_bytes()), Ok(hash));
            prop_assert_eq!(decode(encode(&digest).as_bytes()), Ok(digest));
        }

        #[test]
        fn a_text_that_is_read_is_the_only_one_for_its_bytes(text in "[0-9a-z]{52}") {
            if let Ok(bytes) = decode::<32>(text.as_bytes()) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }

    proptest! {
        #[test]
        fn a_text_encodes_bytes_if_they_can_be_decoded(text in "[0-9a-z]{52}|[0-9a-df-np-sv-z]{52}|[0-9a-d]{51}") {
            prop_assert_eq!(encodes(text.as_bytes(), 32), decode::<32>(text.as_bytes()).is_ok());
        }
    }

    #[test]
    fn the_empty_sha256_is_written_as_nix_hash_writes_it() {
        let digest = swarm_common::digest::Digest::of(b"");
        assert_eq!(encode(&digest.0), "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73");
    }

    #[test]
    fn other_lengths_digits_and_values_are_refused() {
        let good = encode(&[7; 32]);
        for (bad, why) in [
            (good[1..].to_owned(), Nix32Error::Length { expected: 52 }),
            (format!("{good}0"), Nix32Error::Length { expected: 52 }),
            (good.replacen(&good[..1], "e", 1), Nix32Error::Digit(b'e')),
            (format!("z{}", &good[1..]), Nix32Error::Excess),
        ] {
            assert_eq!(decode::<32>(bad.as_bytes()), Err(why), "{bad}");
        }
    }
}
