//! Reading a request's head, as far as the lane takes it.

use super::super::answer::{Answer, Ask};
use httparse::{Request, Status};
use std::mem::MaybeUninit;

/// What the bytes so far are.
pub(super) enum Read {
    /// Not yet a whole head.
    Part,
    /// Nothing for the lane.
    Foreign,
    /// A request, answered.
    Request {
        answer: Answer,
        /// Length of the head.
        bytes: usize,
        /// It is a HEAD, whose answer has no body.
        head: bool,
        /// The client wants the connection closed after it.
        close: bool,
    },
}

/// Reads a head and answers it by the path below `/binhost/`.
pub(super) fn read(bytes: &[u8], answer: impl FnOnce(&str, &Ask) -> Answer) -> Read {
    if bytes.is_empty() {
        return Read::Part;
    }
    let mut headers = [const { MaybeUninit::uninit() }; super::super::super::connection::HEADERS];
    let mut request = Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Read::Part,
        // The library says what is wrong with it.
        Err(_) => return Read::Foreign,
    };
    let head = match (request.method, request.version) {
        (Some("GET"), Some(1)) => false,
        (Some("HEAD"), Some(1)) => true,
        _ => return Read::Foreign,
    };
    let Some(path) = request.path.and_then(|path| path.strip_prefix("/binhost/")) else {
        return Read::Foreign;
    };
    // Escapes and queries are rare here and not worth a second way to read them.
    if path.bytes().any(|b| b == b'%' || b == b'?' || b == b'#') {
        return Read::Foreign;
    }
    let mut ask = Ask { head, ..Ask::default() };
    let mut close = false;
    for header in request.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let has_body = is("content-length") && header.value != b"0";
        if has_body || is("transfer-encoding") || is("expect") || is("upgrade") {
            return Read::Foreign;
        }
        let Ok(value) = std::str::from_utf8(header.value) else { continue };
        if is("connection") {
            close |= value.split(',').any(|word| word.trim().eq_ignore_ascii_case("close"));
        }
        for (name, place) in [
            ("range", &mut ask.range),
            ("if-range", &mut ask.if_range),
            ("if-modified-since", &mut ask.if_modified_since),
            ("user-agent", &mut ask.user_agent),
        ] {
            if is(name) {
                place.get_or_insert(value);
            }
        }
    }
    Read::Request { answer: answer(path, &ask), bytes: length, head, close }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]
mod tests {
    use super::super::super::answer::broken;
    use super::*;

    /// `part`, `foreign`, or the path and what else was understood.
    fn said(head: &str) -> String {
        let mut seen = String::new();
        let read = read(head.as_bytes(), |path, ask| {
            seen = format!("{path} {:?} {:?}", ask.range, ask.if_modified_since);
            broken(&std::fmt::Error)
        });
        match read {
            Read::Part => "part".into(),
            Read::Foreign => "foreign".into(),
            Read::Request { bytes, head: is_head, close, .. } => {
                format!("{seen} rest={} head={is_head} close={close}", head.len() - bytes)
            }
        }
    }

    #[test]
    fn a_plain_request_is_read_and_what_follows_is_left() {
        let text =
            "GET /binhost/desk/Packages HTTP/1.1\r\nHost: s\r\nRange: bytes=1-\r\nrange: bytes=9-\r\n\r\nGET";
        assert_eq!(said(text), "desk/Packages Some(\"bytes=1-\") None rest=3 head=false close=false");
        let text = "HEAD /binhost/x HTTP/1.1\r\nconnection: TE, Close\r\ncontent-length: 0\r\nif-modified-since: then\r\n\r\n";
        assert_eq!(said(text), "x None Some(\"then\") rest=0 head=true close=true");
        for end in 0..text.len() {
            assert_eq!(said(&text[..end]), "part", "cut at {end}");
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
            "\0",
        ] {
            assert_eq!(said(&format!("{line}\r\n\r\n")), "foreign", "{line}");
        }
    }
}
