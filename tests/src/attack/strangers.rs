//! Attacks by strangers in a crowd of connections: malformed heads, paths that lead out of the published
//! tree, and requests without the required credential.

use super::{
    Dice,
    packages::mutate::change_bytes,
    prey::Prey,
    tally::{Due, Said, Tally},
};
use anyhow::Result;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// If there is no answer within this time, the request was incomplete.
const PATIENCE: Duration = Duration::from_secs(1);

/// Request heads, and whether the request is allowed.
const HEADS: [(&str, bool); 16] = [
    ("GET /healthz HTTP/1.1\r\nhost: s\r\n\r\n", true),
    ("GET /binhost/desk/Packages HTTP/1.1\r\nhost: s\r\n\r\n", true),
    ("GET /binhost/desk/../../../admin.token HTTP/1.1\r\nhost: s\r\n\r\n", false),
    ("GET /binhost/desk/%2e%2e/%2e%2e/%2e%2e/admin.token HTTP/1.1\r\nhost: s\r\n\r\n", false),
    ("GET /binhost/..%2f..%2fadmin.token HTTP/1.1\r\nhost: s\r\n\r\n", false),
    ("GET //etc/passwd HTTP/1.1\r\nhost: s\r\n\r\n", false),
    ("GET /api/v1/status HTTP/1.1\r\nhost: s\r\n\r\n", false),
    ("GET /api/v1/events HTTP/1.1\r\nhost: s\r\nauthorization: Bearer admin-\r\n\r\n", false),
    ("GET /metrics HTTP/1.1\r\nhost: s\r\nauthorization: Basic YTpi\r\n\r\n", false),
    ("POST /api/v1/runs HTTP/1.1\r\nhost: s\r\ncontent-length: 2\r\n\r\n{}", false),
    (
        "POST /api/v1/heartbeat HTTP/1.1\r\nhost: s\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        false,
    ),
    (
        "POST /api/v1/claim HTTP/1.1\r\nhost: s\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        false,
    ),
    ("POST /api/v1/enrol HTTP/1.1\r\nhost: s\r\ncontent-length: 99999999999999999999\r\n\r\n", false),
    ("DELETE /api/v1/drones/d1 HTTP/1.1\r\nhost: s\r\n\r\n", false),
    ("PATCH /api/v1/attempts/a1/uploads/0 HTTP/1.1\r\nhost: s\r\n\r\n", false),
    ("OPTIONS * HTTP/1.1\r\nhost: s\r\n\r\n", false),
];

/// Sends requests until `until`.
///
/// # Errors
/// Nothing listens.
pub async fn attack(prey: &Prey, dice: &mut Dice, until: Instant, tally: &mut Tally) -> Result<()> {
    while Instant::now() < until {
        let (head, mut public) = HEADS[dice.below(HEADS.len())];
        let mut bytes = head.as_bytes().to_vec();
        match dice.below(6) {
            0 | 1 => {}
            2 => {
                let value = "x".repeat(1 << dice.below(18));
                let field = format!("\r\nx-long: {value}");
                let at = head.find("\r\n").unwrap_or_default();
                bytes.splice(at..at, field.into_bytes()).for_each(drop);
            }
            3 => {
                let fields = "\r\na: b".repeat(1 << dice.below(12));
                let at = head.find("\r\n").unwrap_or_default();
                bytes.splice(at..at, fields.into_bytes()).for_each(drop);
            }
            _ => {
                (0..=dice.below(3)).for_each(|_| bytes = change_bytes(dice, std::mem::take(&mut bytes)));
                // A mutation may have turned it into another request.
                public |= bytes.windows(8).any(|w| w == b"/healthz" || w == b"/binhost");
            }
        }
        let began = Instant::now();
        let (answer, text) = ask(prey, &bytes).await;
        let what = format!("{}", bytes[..bytes.len().min(120)].escape_ascii());
        if text.contains(prey.token()) || text.contains("PRIVATE KEY") || text.contains("root:x:") {
            tally.wrong(format!("{what} was told a secret"));
        }
        let due = if public { Due::Either } else { Due::Refused };
        tally.judge(what, due, &answer, began.elapsed());
    }
    Ok(())
}

/// The result, and the complete response.
async fn ask(prey: &Prey, bytes: &[u8]) -> (Said, String) {
    let mut answer = Vec::new();
    let asked = timeout(PATIENCE, async {
        let mut stream = TcpStream::connect(prey.address()).await?;
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        stream.read_to_end(&mut answer).await
    });
    let why = match asked.await {
        Ok(Ok(_)) => "it ended".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "nothing came".to_owned(),
    };
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let kind = text.split("\"type\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    match status {
        Some(status) => (Said::Status(status, kind.to_owned()), text),
        None => (Said::Nothing(why), text),
    }
}
