//! Interpreting responses: successes, problem documents, and anything else.

use super::{ClientError, Tried, retry::retry_after};
use reqwest::{Response, Url};
use swarm_common::{causes::with_causes, wire::problem::Problem};

/// The maximum size of a JSON response, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// How many characters of a response are quoted if it is not a problem document.
const SHOWN_CHARS: usize = 200;

/// Returns a successful response, or the error that the response describes.
pub(super) async fn success(response: Response) -> Result<Response, ClientError> {
    if response.status().is_success() { Ok(response) } else { Err(problem_of(response).await) }
}

/// Turns an error response into a [`ClientError`].
pub(super) async fn problem_of(response: Response) -> ClientError {
    let status = response.status();
    let url = response.url().to_string();
    if status.is_redirection() {
        let to = response.headers().get("location").and_then(|v| v.to_str().ok());
        let what = format!("redirected to {}; use that address instead", to.unwrap_or("nowhere"));
        return ClientError::Protocol { url, status: None, what };
    }
    let is_problem = response
        .headers()
        .get("content-type")
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.starts_with("application/problem+json"));
    let retry_after_s = retry_after(response.headers()).map(|pause| pause.as_secs());
    let body = match read_bounded(response).await {
        Ok(body) => body,
        Err(e) => return e,
    };
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) if is_problem => ClientError::Problem(Box::new(Problem { retry_after_s, ..problem })),
        _ => {
            let shown: String =
                without_tags(&String::from_utf8_lossy(&body)).chars().take(SHOWN_CHARS).collect();
            let what = if shown.is_empty() { shown } else { format!(": `{shown}`") };
            ClientError::Protocol { url, status: Some(status.as_u16()), what }
        }
    }
}

/// The text of an HTML page, as one line.
fn without_tags(page: &str) -> String {
    let mut within = false;
    let words: String = page
        .chars()
        .filter_map(|c| match c {
            '<' => (!std::mem::replace(&mut within, true)).then_some(' '),
            '>' if std::mem::replace(&mut within, false) => None,
            c => (!within).then_some(c),
        })
        .collect();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Reads a whole response, up to [`MAX_ANSWER_BYTES`].
pub(super) async fn read_bounded(mut response: Response) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(piece)) if body.len() + piece.len() <= MAX_ANSWER_BYTES => {
                body.extend_from_slice(&piece);
            }
            Ok(Some(_)) => {
                let what = format!("its response is larger than {MAX_ANSWER_BYTES} bytes");
                return Err(ClientError::Protocol { url: response.url().to_string(), status: None, what });
            }
            Ok(None) => return Ok(body),
            Err(e) => return Err(broken_off(response.url(), &e)),
        }
    }
}

/// The error for a connection that ended in the middle of a response.
pub(super) fn broken_off(url: &Url, error: &reqwest::Error) -> ClientError {
    let mut address = url.clone();
    address.set_path("");
    address.set_query(None);
    let why = format!("the response is incomplete: {}", with_causes(error));
    ClientError::Unreachable { tried: vec![Tried { address, why, untrusted: false }] }
}
