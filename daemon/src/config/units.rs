//! Durations and sizes with their units, as in configuration files and on command lines.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr, time::Duration};

/// The maximum duration in milliseconds: 100 years.
const LONGEST_MS: u64 = 36_525 * 24 * 3_600_000;

/// The maximum size in bytes: 1 EiB.
const LARGEST: u64 = 1 << 60;

/// The maximum length of a value's text, in characters.
const LONGEST_TEXT: usize = 64;

/// Units of a duration in milliseconds, largest first.
const TIMES: [(&str, u64); 5] =
    [("d", 24 * 3_600_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Units of a size in bytes, largest first. A size is shown in the first unit that divides it.
const SIZES: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1000),
    ("kB", 1000),
    ("B", 1),
];

/// A duration such as `250ms`, `90s`, `5m`, `1h30m` or `7d`: whole milliseconds, at most 100 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(u64);

/// A size such as `512MiB`, `4GiB`, `10GB` or `100B`: whole bytes, at most 1 EiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Size(u64);

/// The error for text that is not a duration or size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The text is a number without a unit: the text, and a valid example.
    #[error("`{0}` has no unit; write {1}")]
    NoUnit(String, &'static str),
    /// The text has the wrong form: the text, and the expected form.
    #[error("`{0}` is not {1}")]
    Form(String, &'static str),
    /// The value exceeds the maximum: the text, and the maximum.
    #[error("`{0}` is too much; the most is {1}")]
    TooMuch(String, &'static str),
}

impl Span {
    const FORM: &str = "a duration, such as \"250ms\", \"90s\", \"5m\", \"1h30m\" or \"7d\"";

    /// A duration in milliseconds. More than 100 years become 100 years.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(if ms > LONGEST_MS { LONGEST_MS } else { ms })
    }

    /// A duration in seconds. More than 100 years become 100 years.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self::from_millis(seconds.saturating_mul(1000))
    }

    /// A duration in days of 24 hours. More than 100 years become 100 years.
    #[must_use]
    pub const fn from_days(days: u64) -> Self {
        Self::from_millis(days.saturating_mul(24 * 3_600_000))
    }

    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// The duration in days, rounded up.
    #[must_use]
    pub const fn days(self) -> u64 {
        self.0.div_ceil(24 * 3_600_000)
    }

    /// The duration as a type of the standard library.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError::Form(excerpt(text), Self::FORM);
        match bare_zero(text) {
            Some(true) => return Ok(Self(0)),
            Some(false) => return Err(UnitError::NoUnit(excerpt(text), Self::FORM)),
            None => {}
        }
        // jiff also accepts ISO 8601, clock times and signs, so restrict the characters first.
        let simple = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase() || b == b'.' || b == b' ';
        let begins = text.starts_with(|c: char| c.is_ascii_digit());
        if text.len() > LONGEST_TEXT || !begins || !text.bytes().all(simple) || text.contains("ago") {
            return Err(wrong());
        }
        let span: jiff::Span = text.parse().map_err(|_| wrong())?;
        // Months and years have no fixed length and are refused.
        let span = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
        let nanos = u128::try_from(span.as_nanos()).map_err(|_| wrong())?;
        if nanos % 1_000_000 != 0 {
            return Err(wrong());
        }
        match u64::try_from(nanos / 1_000_000) {
            Ok(ms) if ms <= LONGEST_MS => Ok(Self(ms)),
            _ => Err(UnitError::TooMuch(excerpt(text), "36525d, which are 100 years")),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut rest, mut text) = (self.0, String::new());
        for (unit, ms) in TIMES {
            if rest >= ms {
                text.push_str(&format!("{}{unit}", rest / ms));
                rest %= ms;
            }
        }
        f.pad(if text.is_empty() { "0" } else { &text })
    }
}

impl Size {
    const FORM: &str = "a size, such as \"100KiB\", \"512MiB\", \"4GiB\" or \"10GB\"";

    /// A size in bytes. More than 1 EiB become 1 EiB.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(if bytes > LARGEST { LARGEST } else { bytes })
    }

    /// A size in MiB. More than 1 EiB become 1 EiB.
    #[must_use]
    pub const fn from_mib(mib: u64) -> Self {
        Self::from_bytes(mib.saturating_mul(1 << 20))
    }

    /// A size in GiB. More than 1 EiB become 1 EiB.
    #[must_use]
    pub const fn from_gib(gib: u64) -> Self {
        Self::from_bytes(gib.saturating_mul(1 << 30))
    }

    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = UnitError;

    // The usual libraries calculate in floating point and read "4G" as 4000000000 bytes, which is 4 GiB for
    // systemd and in the shell.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        match bare_zero(text) {
            Some(true) => return Ok(Self(0)),
            Some(false) => return Err(UnitError::NoUnit(excerpt(text), Self::FORM)),
            None => {}
        }
        let wrong = || UnitError::Form(excerpt(text), Self::FORM);
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = SIZES.iter().find(|(name, _)| *name == unit.trim_start_matches(' '));
        let (_, factor) = factor.filter(|_| digits > 0 && text.len() <= LONGEST_TEXT).ok_or_else(wrong)?;
        let bytes = number.parse().ok().and_then(|number: u64| number.checked_mul(*factor));
        bytes
            .filter(|&bytes| bytes <= LARGEST)
            .map(Self)
            .ok_or_else(|| UnitError::TooMuch(excerpt(text), "1048576TiB"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = SIZES.iter().find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        f.pad(&unit.map_or("0".to_owned(), |(unit, bytes)| format!("{}{unit}", self.0 / bytes)))
    }
}

/// Whether a text of digits only is zero, which needs no unit. `None` for other texts.
fn bare_zero(text: &str) -> Option<bool> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.bytes().all(|b| b == b'0'))
}

/// The text for an error message, on one line and not too long.
fn excerpt(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST_TEXT).flat_map(char::escape_debug).collect();
    if text.chars().count() > LONGEST_TEXT {
        shown.push('…');
    }
    shown
}

/// Deserialises the text of a value, or the number 0. Other numbers are refused with a message that says what
/// to write.
macro_rules! in_files {
    ($type:ident) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($type::FORM)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$type, E> {
                        self.visit_str(&number.to_string())
                    }

                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$type, E> {
                        self.visit_str(&number.to_string())
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }
    };
}

in_files!(Span);
in_files!(Size);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, ms) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("90s", 90_000),
            ("5m", 300_000),
            ("5min", 300_000),
            ("5 m", 300_000),
            ("2h", 7_200_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("7d", 604_800_000),
            ("1w", 604_800_000),
            ("1d12h", 129_600_000),
            ("90m", 5_400_000),
            ("36525d", LONGEST_MS),
        ] {
            assert_eq!(text.parse(), Ok(Span(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_forms() {
        for text in [
            "",
            " ",
            "m",
            "5M",
            "5mo",
            "1y",
            "1month",
            "-5m",
            "+5m",
            "5m ago",
            "PT5M",
            "P1M",
            "1:30",
            "5x",
            "5m5m",
            "30m1h",
            "1h30",
            "5us",
            "1.0005s",
            "5 parsecs",
            "5m\n",
            "0x5m",
            "5,5s",
            "ü",
            "٥m",
        ] {
            let error = text.parse::<Span>().unwrap_err().to_string();
            assert!(error.contains("\"1h30m\"") && !error.contains('\n'), "{text}: {error}");
        }
        assert_eq!(
            "90".parse::<Span>().unwrap_err().to_string(),
            format!("`90` has no unit; write {}", Span::FORM)
        );
        for text in ["36526d", "99999999h"] {
            assert!(text.parse::<Span>().unwrap_err().to_string().contains("36525d"), "{text}");
        }
        for text in ["99999999999999999999d".to_owned(), "1".repeat(100_000) + "s"] {
            assert!(text.parse::<Span>().unwrap_err().to_string().len() < 300);
        }
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in [
            ("0", 0),
            ("0GiB", 0),
            ("100B", 100),
            ("100KiB", 102_400),
            ("512MiB", 512 << 20),
            ("4GiB", 4 << 30),
            ("4 GiB", 4 << 30),
            ("10GB", 10_000_000_000),
            ("10MB", 10_000_000),
            ("1kB", 1000),
            ("1KB", 1000),
            ("2TiB", 2 << 40),
            ("1048576TiB", LARGEST),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_the_forms() {
        for text in [
            "", " ", "GiB", "4G", "4g", "4gib", "4Gb", "4Gib", "4K", "4M", "1.5GiB", "-4GiB", "4GiB2MiB",
            "4 G iB", "0x4GiB", "4GiB\n", "4,5GB", "1e3B", "ü", "٤GiB",
        ] {
            let error = text.parse::<Size>().unwrap_err().to_string();
            assert!(error.contains("\"4GiB\"") && !error.contains('\n'), "{text}: {error}");
        }
        assert_eq!(
            "4096".parse::<Size>().unwrap_err().to_string(),
            format!("`4096` has no unit; write {}", Size::FORM)
        );
        for text in ["1048577TiB", "18446744073709551615GiB", "99999999999999999999B"] {
            assert!(text.parse::<Size>().unwrap_err().to_string().contains("the most is"), "{text}");
        }
        assert!(("1".repeat(100_000) + "B").parse::<Size>().unwrap_err().to_string().len() < 300);
    }

    #[test]
    fn what_is_shown_reads_as_the_same_value() {
        for (ms, shown) in [
            (0, "0"),
            (1, "1ms"),
            (1500, "1s500ms"),
            (90_000, "1m30s"),
            (36_000_000, "10h"),
            (604_800_000, "7d"),
            (129_600_000, "1d12h"),
            (u64::MAX, "36525d"),
        ] {
            let span = Span::from_millis(ms);
            assert_eq!((span.to_string().as_str(), span.to_string().parse()), (shown, Ok(span)));
        }
        for (bytes, shown) in [
            (0, "0"),
            (1, "1B"),
            (1000, "1KB"),
            (1024, "1KiB"),
            (1536, "1536B"),
            (67_108_864, "64MiB"),
            (10_000_000_000, "10GB"),
            (17_179_869_184, "16GiB"),
            (u64::MAX, "1048576TiB"),
        ] {
            let size = Size::from_bytes(bytes);
            assert_eq!((size.to_string().as_str(), size.to_string().parse()), (shown, Ok(size)));
        }
    }
}
