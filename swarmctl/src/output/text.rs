//! Formats words and numbers for people, and makes untrusted text safe to print.

use jiff::{Timestamp, tz::TimeZone};
use swarm_common::time::TimeMs;

/// Makes text from a drone, a build or a resolver safe to print as one line on a terminal: control
/// characters, which could move the cursor or hide what follows, become visible.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        push_clean(&mut out, c);
    }
    out
}

/// Like [`clean`], for text of several lines.
#[must_use]
pub fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

/// Escapes the control characters that JSON permits (DEL and U+0080 to U+009F) in JSON too, since it may be
/// printed to a terminal. They occur in strings only.
#[must_use]
pub fn clean_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out
}

/// Appends `c`, escaped if it must not be printed as it is.
pub fn push_clean(out: &mut String, c: char) {
    // Also hidden: characters that are invisible or change the direction of text.
    let hidden =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    if c.is_control() || hidden {
        out.extend(c.escape_default());
    } else {
        out.push(c);
    }
}

/// A duration in its two largest units: `45 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`.
#[must_use]
pub fn span(ms: u64) -> String {
    swarm_common::time::span(ms / 1000)
}

/// How long ago `then` was.
#[must_use]
pub fn ago(now: TimeMs, then: TimeMs) -> String {
    format!("{} ago", span(now.since(then)))
}

/// A size in binary units.
#[must_use]
pub fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 {
        format!("{value:.0} {}", units[unit])
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

/// A time in this machine's time zone: `2026-11-21 07:20:05`.
#[must_use]
pub fn moment(time: TimeMs) -> String {
    match i64::try_from(time.0).map(Timestamp::from_millisecond) {
        Ok(Ok(stamp)) => stamp.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        _ => format!("{} ms", time.0),
    }
}

/// A time in a named time zone: `2026-11-22 03:30 CET`. If the zone is unknown, this machine's is used.
#[must_use]
pub fn moment_in(time: TimeMs, zone: &str) -> String {
    let stamp = i64::try_from(time.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    match (stamp, TimeZone::get(zone)) {
        (Some(stamp), Ok(zone)) => stamp.to_zoned(zone).strftime("%Y-%m-%d %H:%M %Z").to_string(),
        _ => moment(time),
    }
}

/// The current time by this machine's clock.
#[must_use]
pub fn now() -> TimeMs {
    TimeMs(u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0))
}

/// A number with a noun in singular or plural: `1 drone`, `2 drones`.
#[must_use]
pub fn count(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    // fault: 33
    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        assert_eq!(clean("a\x1b[2Jb\r\n"), "a\\u{1b}[2Jb");
        assert_eq!(clean("a\nb\tc\u{7}\u{9b}"), "a\\nb\\tc\\u{7}\\u{9b}");
        assert_eq!(clean("exe\u{202e}txt"), "exe\\u{202e}txt");
        assert_eq!(clean("grün ✓"), "grün ✓");
        assert_eq!(clean_lines("a\x1bb\nc\n"), "a\\u{1b}b\nc");
    }

    #[test]
    fn no_control_character_is_left_in_json_and_it_means_the_same() {
        let all: String = (0..=0x1ff).filter_map(char::from_u32).chain("\u{202e}✓".chars()).collect();
        let value = serde_json::json!({ &all: [&all, 7] });
        for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let clean = clean_json(&json);
            assert!(clean.chars().all(|c| c == '\n' || !c.is_control()), "{clean:?}");
            assert!(clean.contains("\\u009b") && clean.contains("\\u007f"), "{clean}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&clean).unwrap(), value);
        }
    }

    #[test]
    fn spans_and_sizes_read_well() {
        assert_eq!(span(0), "0 s");
        assert_eq!(span(59_999), "59 s");
        assert_eq!(span(60_000), "1 min");
        assert_eq!(span(185_000), "3 min 5 s");
        assert_eq!(span(7_800_000), "2 h 10 min");
        assert_eq!(span(273_600_000), "3 d 4 h");
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(200 << 30), "200 GiB");
        assert_eq!(size(u64::MAX), "16777216 TiB");
    }
}
