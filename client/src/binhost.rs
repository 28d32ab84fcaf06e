//! The binary package host, relayed to a drone's own Portage. Requests and responses pass through unchanged,
//! including their headers, so that ranges and conditional requests work through the relay. `swarmctl` reads
//! small files from it.

use super::{
    ByteStream, Client, ClientError,
    answer::{read_bounded, success},
    call::{Call, Wait},
};
use reqwest::{Method, StatusCode};
use std::time::Duration;

/// Time limit for the response headers.
const HEAD: Duration = Duration::from_secs(60);
/// The maximum pause within a response body.
const IDLE: Duration = Duration::from_secs(60);
/// Request headers that are forwarded.
const ASKED: [&str; 5] = ["if-modified-since", "if-none-match", "if-range", "range", "cache-control"];
/// Response headers that describe the connection rather than the file.
const OF_THE_CONNECTION: [&str; 4] = ["connection", "keep-alive", "transfer-encoding", "upgrade"];

/// A response of the binary package host, whatever its status.
pub struct BinhostAnswer {
    pub status: u16,
    /// All response headers, with lower-case names.
    pub headers: Vec<(String, String)>,
    /// The file, streamed.
    pub body: ByteStream,
}

impl Client {
    /// Requests a file from the binary package host. `path` is the whole path, percent-encoded.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] if no orchestrator answered.
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

    /// Fetches a small file from the binary package host. `None` if it does not exist. `path` is the whole
    /// path, percent-encoded.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn published(&self, path: &str) -> Result<Option<Vec<u8>>, ClientError> {
        let mut call = Call::get(&[]);
        call.public = Some(path.to_owned());
        let response = self.answer(&call).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        read_bounded(success(response).await?).await.map(Some)
    }
}
