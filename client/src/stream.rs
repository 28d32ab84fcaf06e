//! Streamed responses: archives, followed logs, events.
//!
//! Event streams follow the WHATWG specification of server-sent events (HTML standard, section 9.2.6). Only
//! the fields `id` and `data` are used.

use super::{ClientError, answer::broken_off};
use bytes::Bytes;
use reqwest::Response;
use std::{collections::VecDeque, time::Duration};
use swarm_common::wire::event::EventView;

/// The maximum size of an event, in bytes.
const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

/// The body of a response as a stream of bytes.
pub struct ByteStream {
    response: Response,
    /// The maximum pause between bytes. `None` if any pause is allowed.
    idle: Option<Duration>,
}

impl ByteStream {
    pub(super) fn new(response: Response, idle: Option<Duration>) -> Self {
        Self { response, idle }
    }

    /// The size of the body in bytes, if known in advance.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next bytes. `None` at the end.
    ///
    /// # Errors
    /// The connection broke, or the pause was too long.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let url = self.response.url().clone();
        let piece = self.response.chunk();
        let piece = match self.idle {
            None => piece.await,
            Some(idle) => match tokio::time::timeout(idle, piece).await {
                Ok(piece) => piece,
                Err(_) => {
                    let why = format!("no data for {} s", idle.as_secs());
                    let tried = vec![super::Tried { address: url, why, untrusted: false }];
                    return Err(ClientError::Unreachable { tried });
                }
            },
        };
        piece.map_err(|e| broken_off(&url, &e))
    }
}

/// Events of the journal, as they happen.
pub struct EventStream {
    bytes: ByteStream,
    parser: Parser,
}

impl EventStream {
    pub(super) fn new(bytes: ByteStream) -> Self {
        Self { bytes, parser: Parser::default() }
    }

    /// The next event. `None` when the orchestrator closes the stream, as it does when it stops. To resume,
    /// request the events after the last number.
    ///
    /// # Errors
    /// The connection broke, or the data is not a valid event.
    pub async fn next(&mut self) -> Result<Option<EventView>, ClientError> {
        let wrong = |url: &reqwest::Url, what: String| {
            Err(ClientError::Protocol { url: url.to_string(), status: None, what })
        };
        loop {
            if let Some(data) = self.parser.ready.pop_front() {
                return match serde_json::from_str(&data) {
                    Ok(event) => Ok(Some(event)),
                    Err(e) => wrong(self.bytes.response.url(), format!("not an event: {e}")),
                };
            }
            match self.bytes.next().await? {
                Some(piece) => self.parser.feed(&piece),
                None => return Ok(None),
            }
            if self.parser.held() > MAX_EVENT_BYTES {
                return wrong(self.bytes.response.url(), "an event exceeds the size limit".to_owned());
            }
        }
    }
}

/// Splits a byte stream into the data of its events.
#[derive(Default)]
struct Parser {
    line: Vec<u8>,
    data: String,
    ready: VecDeque<String>,
}

impl Parser {
    fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.line_ends(&String::from_utf8_lossy(&line));
            } else {
                self.line.push(byte);
            }
        }
    }

    fn line_ends(&mut self, line: &str) {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            // An event without data is a keep-alive.
            if !self.data.is_empty() {
                self.ready.push_back(std::mem::take(&mut self.data));
            }
        } else if let Some(value) = line.strip_prefix("data:") {
            if !self.data.is_empty() {
                self.data.push('\n');
            }
            self.data.push_str(value.strip_prefix(' ').unwrap_or(value));
        }
    }

    fn held(&self) -> usize {
        self.line.len() + self.data.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_in_pieces(text: &str, size: usize) -> Vec<String> {
        let mut parser = Parser::default();
        for piece in text.as_bytes().chunks(size) {
            parser.feed(piece);
        }
        parser.ready.into()
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let text =
            ": hello\n\nid: 7\ndata: {\"a\":\ndata: 1}\n\nevent: x\r\ndata:zwei\u{fc}\r\n\r\n:\n\ndata: half";
        for size in [1, 2, 3, 7, 1000] {
            assert_eq!(parse_in_pieces(text, size), ["{\"a\":\n1}", "zwei\u{fc}"], "{size}");
        }
    }
}
