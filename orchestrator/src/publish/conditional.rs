//! Conditional and partial requests (RFC 9110, sections 13 and 14), as far as clients of a
//! binary package host need them. Pure: times are whole seconds since the epoch.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Portage asks for changes since the TIMESTAMP it has plus this many seconds, and so does
/// not see an index that is published within them.
const PORTAGE_HABIT_SECS: u64 = 5;

/// Whether to answer 304: the client has this version already.
///
/// `if_modified_since` and `user_agent` are the request's headers as they came;
/// `last_modified` is the file's time, for an index its TIMESTAMP.
#[must_use]
pub fn not_modified(if_modified_since: Option<&str>, user_agent: Option<&str>, last_modified: u64) -> bool {
    let Some(since) = if_modified_since.and_then(parse_date) else { return false };
    let is_portage = user_agent.is_some_and(|agent| agent.starts_with("Gentoo Portage"));
    let since = if is_portage { since.saturating_sub(PORTAGE_HABIT_SECS) } else { since };
    last_modified <= since
}

/// The value of `Last-Modified`.
#[must_use]
pub fn http_date(seconds: u64) -> String {
    // The last second that the format can tell; a file from beyond is not ours.
    let seconds = seconds.min(253_402_300_799);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

fn parse_date(text: &str) -> Option<u64> {
    let time: SystemTime = httpdate::parse_http_date(text.trim()).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// Which bytes to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bytes {
    /// 200 with everything.
    All,
    /// 206 with these.
    Part {
        /// The first byte.
        first: u64,
        /// The last byte, inclusive.
        last: u64,
    },
    /// 416: nothing of what is asked for is there.
    Unsatisfiable,
}

/// What a `Range` header asks of a file of `size` bytes. A header that is malformed or asks
/// for several ranges is ignored, as the standard allows. `if_range` counts if it is the
/// file's own date; an entity tag never matches, as we send none.
#[must_use]
pub fn range(range: Option<&str>, if_range: Option<&str>, size: u64, last_modified: u64) -> Bytes {
    if if_range.is_some_and(|date| parse_date(date) != Some(last_modified)) {
        return Bytes::All;
    }
    match range.and_then(|header| parse_range(header, size)) {
        Some(bytes) => bytes,
        None => Bytes::All,
    }
}

/// `bytes=first-last`, `bytes=first-` or `bytes=-count`; `None` if it is anything else.
fn parse_range(header: &str, size: u64) -> Option<Bytes> {
    let (unit, ranges) = header.split_once('=')?;
    let (first, last) = ranges.trim().split_once('-')?;
    // `str::parse` takes a sign, the standard does not.
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    if first.is_empty() {
        let count = number(last).filter(|_| !last.is_empty())?;
        return Some(match count {
            0 => Bytes::Unsatisfiable,
            _ if size == 0 => Bytes::Unsatisfiable,
            _ => Bytes::Part { first: size.saturating_sub(count), last: size - 1 },
        });
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    if first >= size {
        return Some(Bytes::Unsatisfiable);
    }
    Some(Bytes::Part { first, last: last.min(size - 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_795_243_698;

    #[test]
    fn portage_sees_an_index_that_is_one_second_newer() {
        let portage = Some("Gentoo Portage");
        // Portage has TIMESTAMP T, and asks since T + 5.
        let asks = http_date(T + 5);
        assert!(not_modified(Some(&asks), portage, T));
        for newer in 1..10 {
            assert!(!not_modified(Some(&asks), portage, T + newer), "{newer}");
        }
    }

    #[test]
    fn other_clients_mean_what_they_say() {
        for agent in [None, Some("Wget/1.21"), Some("curl")] {
            assert!(not_modified(Some(&http_date(T)), agent, T));
            assert!(not_modified(Some(&http_date(T + 5)), agent, T + 5));
            assert!(!not_modified(Some(&http_date(T)), agent, T + 1));
        }
    }

    #[test]
    fn a_missing_or_malformed_date_means_send_it() {
        for header in [None, Some(""), Some("yesterday"), Some("0"), Some("Thu, 99 Foo 2026 99:99:99 GMT")] {
            assert!(!not_modified(header, Some("Gentoo Portage"), T), "{header:?}");
        }
        assert!(http_date(u64::MAX).ends_with("GMT"));
    }

    #[test]
    fn ranges_are_cut_to_the_file() {
        let part = |first, last| Bytes::Part { first, last };
        for (header, expected) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=0-", part(0, 99)),
            ("bytes=40-", part(40, 99)),
            ("bytes=40-1000", part(40, 99)),
            ("bytes=-1", part(99, 99)),
            ("bytes=-1000", part(0, 99)),
            ("bytes=99-99", part(99, 99)),
            ("Bytes= 5-6", part(5, 6)),
            ("bytes=100-", Bytes::Unsatisfiable),
            ("bytes=-0", Bytes::Unsatisfiable),
            ("bytes=6-5", Bytes::All),
            ("bytes=0-1,5-6", Bytes::All),
            ("bytes=+1-2", Bytes::All),
            ("bytes=a-b", Bytes::All),
            ("bytes=99999999999999999999-", Bytes::All),
            ("items=0-1", Bytes::All),
            ("bytes", Bytes::All),
            ("bytes=-", Bytes::All),
        ] {
            assert_eq!(range(Some(header), None, 100, T), expected, "{header}");
        }
        assert_eq!(range(None, None, 100, T), Bytes::All);
        assert_eq!(range(Some("bytes=0-"), None, 0, T), Bytes::Unsatisfiable);
        assert_eq!(range(Some("bytes=-5"), None, 0, T), Bytes::Unsatisfiable);
    }

    #[test]
    fn a_range_of_another_version_gets_everything() {
        let part = Bytes::Part { first: 1, last: 2 };
        assert_eq!(range(Some("bytes=1-2"), Some(&http_date(T)), 100, T), part);
        assert_eq!(range(Some("bytes=1-2"), Some(&http_date(T - 1)), 100, T), Bytes::All);
        assert_eq!(range(Some("bytes=1-2"), Some("\"etag\""), 100, T), Bytes::All);
    }
}
