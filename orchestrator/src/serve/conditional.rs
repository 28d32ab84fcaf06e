//! Conditional and range requests (RFC 9110, sections 13 and 14), as far as clients of a binary package host
//! need them. Does no I/O. Times are whole seconds since the Unix epoch.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Portage sends its TIMESTAMP plus this many seconds as `If-Modified-Since`, and would miss an index
/// published within that time.
const PORTAGE_HABIT_SECS: u64 = 5;

/// The conditions of a request, as raw header values.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conditions<'r> {
    pub if_match: Option<&'r str>,
    pub if_none_match: Option<&'r str>,
    pub if_modified_since: Option<&'r str>,
    pub if_unmodified_since: Option<&'r str>,
    pub if_range: Option<&'r str>,
    pub user_agent: Option<&'r str>,
}

/// The relevant parts of a GET or HEAD request, unparsed.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestHead<'r> {
    pub is_head: bool,
    pub range: Option<&'r str>,
    pub conditions: Conditions<'r>,
}

/// The current version of a file.
#[derive(Debug, Clone)]
pub struct Version {
    /// Its entity tag with quotes; weak if the file can change without its tag changing.
    pub tag: String,
    /// Its modification time; for an index, its TIMESTAMP.
    pub modified: u64,
}

/// The result of a conditional GET or HEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionalOutcome {
    /// Send the file or the requested part of it.
    Send,
    /// 304: the client already has this version.
    NotModified,
    /// 412: the version that the client expects is not the current one.
    Failed,
}

/// Evaluates the conditions in the order of RFC 9110, section 13.2.2: an entity tag takes
/// precedence over a date.
#[must_use]
pub fn judge(asked: &Conditions, version: &Version) -> ConditionalOutcome {
    let holds = match (asked.if_match, asked.if_unmodified_since.and_then(parse_date)) {
        (Some(tags), _) => lists(tags, |tag| is_same(tag, &version.tag)),
        (None, Some(date)) => version.modified <= date,
        (None, None) => true,
    };
    if !holds {
        return ConditionalOutcome::Failed;
    }
    let is_current = match asked.if_none_match {
        Some(tags) => lists(tags, |tag| opaque(tag) == opaque(&version.tag)),
        None => not_modified(asked.if_modified_since, asked.user_agent, version.modified),
    };
    if is_current { ConditionalOutcome::NotModified } else { ConditionalOutcome::Send }
}

/// Whether the client already has the version with this modification time.
fn not_modified(if_modified_since: Option<&str>, user_agent: Option<&str>, modified: u64) -> bool {
    let Some(since) = if_modified_since.and_then(parse_date) else { return false };
    let is_portage = user_agent.is_some_and(|agent| agent.starts_with("Gentoo Portage"));
    let since = if is_portage { since.saturating_sub(PORTAGE_HABIT_SECS) } else { since };
    modified <= since
}

/// Whether a list of entity tags, or `*`, matches. A malformed part ends the list.
fn lists(list: &str, is_meant: impl Fn(&str) -> bool) -> bool {
    let mut rest = list.trim();
    if rest == "*" {
        return true;
    }
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let quoted = rest.strip_prefix("W/").unwrap_or(rest);
        let Some(end) = quoted.strip_prefix('"').and_then(|text| text.find('"')) else { return false };
        let length = rest.len() - quoted.len() + end + 2;
        let (Some(tag), Some(after)) = (rest.get(..length), rest.get(length..)) else { return false };
        if is_meant(tag) {
            return true;
        }
        rest = after;
    }
}

/// Strong comparison: neither tag is weak.
fn is_same(one: &str, other: &str) -> bool {
    one == other && !one.starts_with("W/")
}

/// An entity tag without its weakness prefix.
fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

#[must_use]
pub fn http_date(seconds: u64) -> String {
    // The last second that the format can represent. No published file is later.
    let seconds = seconds.min(253_402_300_799);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

fn parse_date(text: &str) -> Option<u64> {
    let time: SystemTime = httpdate::parse_http_date(text.trim()).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// 200 with the whole file.
    All,
    Part {
        first: u64,
        last: u64,
    },
    /// 416: the file has none of the requested bytes.
    Unsatisfiable,
}

/// Evaluates a `Range` header for a file of `size` bytes. A malformed header or one with several ranges is
/// ignored, as the standard allows. `If-Range` matches only the file's own date or strong entity tag; without
/// a known version, it never matches.
#[must_use]
pub fn range(range: Option<&str>, if_range: Option<&str>, size: u64, version: Option<&Version>) -> ByteRange {
    let is_current = |asked: &str, version: &Version| match asked.contains('"') {
        true => is_same(asked.trim(), &version.tag),
        false => parse_date(asked) == Some(version.modified),
    };
    if if_range.is_some_and(|asked| !version.is_some_and(|version| is_current(asked, version))) {
        return ByteRange::All;
    }
    match range.and_then(|header| parse_range(header, size)) {
        Some(bytes) => bytes,
        None => ByteRange::All,
    }
}

/// Parses `bytes=first-last`, `bytes=first-` or `bytes=-count`; `None` for anything else.
fn parse_range(header: &str, size: u64) -> Option<ByteRange> {
    let (unit, ranges) = header.split_once('=')?;
    let (first, last) = ranges.trim().split_once('-')?;
    // `str::parse` accepts a sign; the standard does not.
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    if first.is_empty() {
        let count = number(last).filter(|_| !last.is_empty())?;
        return Some(match count {
            0 => ByteRange::Unsatisfiable,
            _ if size == 0 => ByteRange::Unsatisfiable,
            _ => ByteRange::Part { first: size.saturating_sub(count), last: size - 1 },
        });
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    if first >= size {
        return Some(ByteRange::Unsatisfiable);
    }
    Some(ByteRange::Part { first, last: last.min(size - 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_795_243_698;

    #[test]
    fn portage_sees_an_index_that_is_one_second_newer() {
        let portage = Some("Gentoo Portage");
        // Portage has TIMESTAMP T and sends T + 5.
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
        let part = |first, last| ByteRange::Part { first, last };
        for (header, expected) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=0-", part(0, 99)),
            ("bytes=40-", part(40, 99)),
            ("bytes=40-1000", part(40, 99)),
            ("bytes=-1", part(99, 99)),
            ("bytes=-1000", part(0, 99)),
            ("bytes=99-99", part(99, 99)),
            ("Bytes= 5-6", part(5, 6)),
            ("bytes=100-", ByteRange::Unsatisfiable),
            ("bytes=-0", ByteRange::Unsatisfiable),
            ("bytes=6-5", ByteRange::All),
            ("bytes=0-1,5-6", ByteRange::All),
            ("bytes=+1-2", ByteRange::All),
            ("bytes=a-b", ByteRange::All),
            ("bytes=99999999999999999999-", ByteRange::All),
            ("items=0-1", ByteRange::All),
            ("bytes", ByteRange::All),
            ("bytes=-", ByteRange::All),
        ] {
            assert_eq!(range(Some(header), None, 100, None), expected, "{header}");
        }
        assert_eq!(range(None, None, 100, None), ByteRange::All);
        assert_eq!(range(Some("bytes=0-"), None, 0, None), ByteRange::Unsatisfiable);
        assert_eq!(range(Some("bytes=-5"), None, 0, None), ByteRange::Unsatisfiable);
    }

    #[test]
    fn a_range_of_another_version_gets_everything() {
        let part = ByteRange::Part { first: 1, last: 2 };
        let strong = Version { tag: "\"a\"".into(), modified: T };
        let weak = Version { tag: "W/\"a\"".into(), modified: T };
        let asks =
            |if_range: &str, version: &Version| range(Some("bytes=1-2"), Some(if_range), 100, Some(version));
        assert_eq!(asks(&http_date(T), &weak), part);
        assert_eq!(asks(&http_date(T - 1), &weak), ByteRange::All);
        assert_eq!(asks("\"a\"", &strong), part);
        for (tag, version) in [("\"a\"", &weak), ("W/\"a\"", &weak), ("W/\"a\"", &strong), ("\"b\"", &strong)]
        {
            assert_eq!(asks(tag, version), ByteRange::All, "{tag} {version:?}");
        }
        assert_eq!(range(Some("bytes=1-2"), Some("\"a\""), 100, None), ByteRange::All);
    }

    #[test]
    fn lists_of_entity_tags_are_read_as_far_as_they_are_some() {
        let has = |list: &str| lists(list, |tag| opaque(tag) == "\"a,b\"");
        for list in ["*", " * ", "\"a,b\"", "W/\"a,b\"", "\"x\", W/\"a,b\"", ",, \"x\"\t,\"a,b\","] {
            assert!(has(list), "{list}");
        }
        for list in ["", ",", "a,b", "\"a", "W/", "\"x\", *", "w/\"a,b\"", "x \"a,b\"", "\"a\",\"b\""] {
            assert!(!has(list), "{list}");
        }
    }
}
