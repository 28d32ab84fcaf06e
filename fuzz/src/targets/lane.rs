//! The lane's request head: the result depends neither on how much has arrived nor on what follows, and a
//! reader that only splits lines finds the same path and headers.

#[allow(dead_code, reason = "the lane answers by more of it")]
#[path = "../../../orchestrator/src/serve/conditional.rs"]
mod conditional;
#[path = "../../../orchestrator/src/serve/lane/request.rs"]
mod request;

use conditional::{ByteRange, RequestHead, Version};
use request::Read;

/// The same limit as in the orchestrator.
const HEADERS: usize = 64;

/// Size of the requested file in bytes.
const SIZE: u64 = 1000;

/// Everything that the lane reads from a head.
type Said = (String, [Option<String>; 7], usize, bool, bool);

/// Parses a head; `None` if it is incomplete.
fn said(bytes: &[u8]) -> Option<Result<Said, ()>> {
    let seen = |path: &str, head: &RequestHead| {
        let RequestHead { range, conditions: c, .. } = *head;
        let texts = [range, c.if_range, c.if_modified_since, c.if_unmodified_since, c.if_match];
        let texts = [texts[0], texts[1], texts[2], texts[3], texts[4], c.if_none_match, c.user_agent];
        answer(head);
        (path.to_owned(), texts.map(|text| text.map(str::to_owned)))
    };
    match request::read(bytes, seen) {
        Read::Part => None,
        Read::Foreign => Some(Err(())),
        Read::Request { answer: (path, texts), bytes, is_head, close } => {
            Some(Ok((path, texts, bytes, is_head, close)))
        }
    }
}

/// Checks that the answered part of a file is within it.
fn answer(head: &RequestHead) {
    let version = Version { tag: "\"1-2\"".to_owned(), modified: 1_790_000_000 };
    let _verdict = conditional::judge(&head.conditions, &version);
    for size in [0, 1, SIZE] {
        match conditional::range(head.range, head.conditions.if_range, size, Some(&version)) {
            ByteRange::Part { first, last } => {
                assert!(first <= last && last < size, "{first}-{last} of {size}")
            }
            ByteRange::All | ByteRange::Unsatisfiable => {}
        }
    }
}

/// The lines of a head, without line endings.
fn lines(head: &[u8]) -> Vec<&[u8]> {
    let lines = head.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.is_empty()).collect()
}

pub fn run(input: &[u8]) {
    let Some(Ok(said_of_all)) = said(input) else { return };
    let (path, texts, length, head, _) = &said_of_all;
    assert!(*length <= input.len());
    for end in 0..*length {
        assert_eq!(said(&input[..end]), None, "cut at {end}");
    }
    let only = &input[..*length];
    for rest in [&b""[..], b"\r\n\r\n", b"GET /binhost/x HTTP/1.1\r\nhost: y\r\n\r\n", b"\0\xff"] {
        assert_eq!(said(&[only, rest].concat()), Some(Ok(said_of_all.clone())));
    }

    let lines = lines(only);
    let method = if *head { "HEAD" } else { "GET" };
    let words: Vec<&[u8]> = lines[0].split(|&b| b == b' ').filter(|word| !word.is_empty()).collect();
    assert_eq!(words, [method.as_bytes(), format!("/binhost/{path}").as_bytes(), b"HTTP/1.1"]);
    let headers: Vec<(String, &[u8])> = lines[1..]
        .iter()
        .map(|line| {
            let colon = line.iter().position(|&b| b == b':').expect("a header has a colon");
            let name = String::from_utf8(line[..colon].to_ascii_lowercase()).expect("a name is ASCII");
            (name, line[colon + 1..].trim_ascii())
        })
        .collect();
    assert!(headers.len() <= HEADERS);
    let values = |header: &str| -> Vec<&[u8]> {
        headers.iter().filter(|(name, _)| name == header).map(|(_, value)| *value).collect()
    };
    assert_eq!(values("host").len(), 1);
    // Otherwise the body would be read as the next request.
    assert!(values("content-length").iter().all(|value| *value == b"0"));
    assert!(values("transfer-encoding").is_empty() && values("upgrade").is_empty());
    let names =
        ["range", "if-range", "if-modified-since", "if-unmodified-since", "if-match", "if-none-match"];
    for (name, text) in names.into_iter().chain(["user-agent"]).zip(texts) {
        let first = values(name).first().copied();
        assert_eq!(text.is_some(), first.is_some(), "{name}");
        // A value that is not text counts as empty.
        let same = text.as_ref().is_none_or(|text| text.is_empty() || Some(text.as_bytes()) == first);
        assert!(same, "{name}: {text:?} {first:?}");
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let least = "GET /binhost/desk/Packages HTTP/1.1\r\nHost: s\r\n\r\n";
    let portage = "GET /binhost/desk/Packages HTTP/1.1\r\nHost: [::1]:80\r\nUser-Agent: Gentoo Portage\r\n\
         If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\nAccept: */*\r\n\r\n";
    let range = "HEAD /binhost/desk/a/b-1.gpkg.tar HTTP/1.1\r\nhost: s:1\r\nRange: bytes=1-9\r\n\
         If-Range: \"1-2\"\r\nContent-Length: 0\r\nConnection: TE, close\r\n\r\nGET";
    let tags = "GET /binhost/x HTTP/1.1\r\nhost: s\r\nIf-Match: \"a\", W/\"b\"\r\nIf-None-Match: *\r\n\
         If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\nRange: bytes=-5\r\n\r\n";
    [least, portage, range, tags].into_iter().map(Into::into).collect()
}
