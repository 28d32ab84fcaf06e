//! The binary package host, for passing on to a drone's own Portage: requests and answers
//! go through as they are, headers included, so that what Portage's client and our server
//! have agreed on (ranges, conditional requests) holds over the relay.

use super::{
    ByteStream, Client, ClientError,
    call::{Call, Wait},
};
use reqwest::Method;
use std::time::Duration;

/// How long the head of an answer may take.
const HEAD: Duration = Duration::from_secs(60);
/// The longest silence within an answer.
const IDLE: Duration = Duration::from_secs(60);
/// Headers of a request that mean the same beyond the relay.
const ASKED: [&str; 5] = ["if-modified-since", "if-none-match", "if-range", "range", "cache-control"];
/// Headers of an answer that are about its connection and not about the file.
const OF_THE_CONNECTION: [&str; 4] = ["connection", "keep-alive", "transfer-encoding", "upgrade"];

/// An answer of the binary package host, whatever its status.
pub struct BinhostAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The headers, by lower-case name.
    pub headers: Vec<(String, String)>,
    /// The file, as it comes.
    pub body: ByteStream,
}

impl Client {
    /// Asks for a file of the binary package host. `path` is the whole path, escaped.
    ///
    /// # Errors
    /// No orchestrator answered.
    pub async fn binhost<'a>(
        &self,
        head_only: bool,
        path: &str,
        headers: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<BinhostAnswer, ClientError> {
        let method = if head_only { Method::HEAD } else { Method::GET };
        let mut call = Call::new(method, &[]).wait(Wait::Head(HEAD));
        call.public = Some(path.to_owned());
        for (name, value) in headers {
            if let Some(name) = ASKED.into_iter().find(|asked| name.eq_ignore_ascii_case(asked)) {
                call = call.header(name, value);
            }
        }
        let response = self.answer(&call).await?;
        let kept = response.headers().iter().filter(|(name, _)| !OF_THE_CONNECTION.contains(&name.as_str()));
        let headers =
            kept.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        Ok(BinhostAnswer {
            status: response.status().as_u16(),
            headers: headers.collect(),
            body: ByteStream::new(response, Some(IDLE)),
        })
    }
}
