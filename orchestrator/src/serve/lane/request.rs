//! Parses a request's head, as far as the lane supports it. The fuzz target includes this file.

use super::{HEADERS, RequestHead};
use httparse::{Request, Status};
use std::mem::MaybeUninit;

/// Result of parsing the bytes read so far.
pub(super) enum Read<A> {
    Part,
    /// Not a request for the lane.
    Foreign,
    /// A request and its answer.
    Request {
        answer: A,
        /// Length of the head in bytes.
        bytes: usize,
        /// The method is HEAD: the answer has no body.
        is_head: bool,
        /// The connection must be closed after the answer.
        close: bool,
    },
}

/// Parses a head and answers it by the path below `/binhost/`.
pub(super) fn read<A>(bytes: &[u8], answer: impl FnOnce(&str, &RequestHead) -> A) -> Read<A> {
    if bytes.is_empty() {
        return Read::Part;
    }
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS];
    let mut request = Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Read::Part,
        // The HTTP library answers with the right error.
        Err(_) => return Read::Foreign,
    };
    let is_head = match (request.method, request.version) {
        (Some("GET"), Some(1)) => false,
        (Some("HEAD"), Some(1)) => true,
        _ => return Read::Foreign,
    };
    let Some(path) = request.path.and_then(|path| path.strip_prefix("/binhost/")) else {
        return Read::Foreign;
    };
    // Escapes and queries are rare here and not worth a second implementation.
    if path.bytes().any(|b| b == b'%' || b == b'?' || b == b'#') {
        return Read::Foreign;
    }
    let mut head = RequestHead { is_head, ..RequestHead::default() };
    let (mut close, mut hosts) = (false, 0);
    for header in request.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let has_body = is("content-length") && header.value != b"0";
        if has_body || is("transfer-encoding") || is("expect") || is("upgrade") {
            return Read::Foreign;
        }
        let is_text = header.value.iter().all(|&b| b == b'\t' || (b' '..0x7f).contains(&b));
        let value = std::str::from_utf8(header.value).ok().filter(|_| is_text).unwrap_or_default();
        if is("host") {
            hosts += 1;
            if !is_text || !value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]_".contains(&b)) {
                return Read::Foreign;
            }
        }
        if is("connection") {
            close |= value.split(',').any(|word| word.trim().eq_ignore_ascii_case("close"));
        }
        let conditions = &mut head.conditions;
        for (name, is_list, place) in [
            ("range", false, &mut head.range),
            ("if-range", false, &mut conditions.if_range),
            ("if-modified-since", false, &mut conditions.if_modified_since),
            ("if-unmodified-since", false, &mut conditions.if_unmodified_since),
            ("if-match", true, &mut conditions.if_match),
            ("if-none-match", true, &mut conditions.if_none_match),
            ("user-agent", false, &mut conditions.user_agent),
        ] {
            if is(name) {
                // List values in several lines must be joined, which the HTTP library's route does.
                if is_list && place.is_some() {
                    return Read::Foreign;
                }
                place.get_or_insert(value);
            }
        }
    }
    // The HTTP library's route refuses a request with no host or several.
    if hosts != 1 {
        return Read::Foreign;
    }
    Read::Request { answer: answer(path, &head), bytes: length, is_head, close }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]
mod tests {
    use super::*;

    /// `part`, `foreign`, or the path and the other parsed fields, as text for assertions.
    fn summary(head: &str) -> String {
        let seen = |path: &str, head: &RequestHead| {
            format!("{path} {:?} {:?}", head.range, head.conditions.if_modified_since)
        };
        match read(head.as_bytes(), seen) {
            Read::Part => "part".into(),
            Read::Foreign => "foreign".into(),
            Read::Request { answer, bytes, is_head, close } => {
                format!("{answer} rest={} head={is_head} close={close}", head.len() - bytes)
            }
        }
    }

    #[test]
    fn a_plain_request_is_read_and_what_follows_is_left() {
        let text =
            "GET /binhost/desk/Packages HTTP/1.1\r\nHost: s\r\nRange: bytes=1-\r\nrange: bytes=9-\r\n\r\nGET";
        assert_eq!(summary(text), "desk/Packages Some(\"bytes=1-\") None rest=3 head=false close=false");
        let text = "HEAD /binhost/x HTTP/1.1\r\nHOST: [::1]:80\r\nconnection: TE, Close\r\ncontent-length: 0\r\nif-modified-since: then\r\n\r\n";
        assert_eq!(summary(text), "x None Some(\"then\") rest=0 head=true close=true");
        for end in 0..text.len() {
            assert_eq!(summary(&text[..end]), "part", "cut at {end}");
        }
    }

    #[test]
    fn whatever_else_there_is_goes_to_the_library() {
        for line in [
            "GET /api/v1/status HTTP/1.1",
            "GET /binhosts HTTP/1.1",
            "GET http://s/binhost/desk/Packages HTTP/1.1",
            "GET /binhost/desk/%50ackages HTTP/1.1",
            "GET /binhost/desk/Packages?x HTTP/1.1",
            "GET /binhost/desk/Packages HTTP/1.0",
            "POST /binhost/desk/Packages HTTP/1.1",
            "GET /binhost/desk/Packages HTTP/1.1\r\ncontent-length: 3",
            "GET /binhost/desk/Packages HTTP/1.1\r\nTransfer-Encoding: chunked",
            "GET /binhost/desk/Packages HTTP/1.1\r\nexpect: 100-continue",
            "GET /binhost/desk/Packages HTTP/1.1\r\nupgrade: h2c",
            "GET /binhost/desk/Packages HTTP/1.1\r\nbro ken: x",
            "GET /binhost/desk/Packages HTTP/1.1\r\nif-none-match: \"a\"\r\nif-none-match: \"b\"",
            "GET /binhost/desk/Packages HTTP/1.1\r\nhost: t",
            "GET /binhost/desk/Packages HTTP/1.1\r\nhost: a b",
            "\0",
        ] {
            assert_eq!(summary(&format!("{line}\r\nhost: s\r\n\r\n")), "foreign", "{line}");
        }
        assert_eq!(summary("GET /binhost/desk/Packages HTTP/1.1\r\n\r\n"), "foreign", "no host");
    }
}
