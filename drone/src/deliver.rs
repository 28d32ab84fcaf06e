//! Delivers the result of an attempt: the log and the files, then the report.

use crate::{agent::Delivery, logs, spool::Spool};
use swarm_common::{
    client::{Client, ClientError},
    id::AttemptId,
    wire::drone::{Outcome, ReportRequest, UploadRequest, Work},
};

/// Problem type: the orchestrator does not have a file that the report names.
const NOT_UPLOADED: &str = "/problems/not-uploaded";

/// Problem types that reject one request, not the result; a retry may succeed.
const WORTH_REPEATING: [&str; 4] =
    [NOT_UPLOADED, "/problems/unknown-upload", "/problems/body-broken", "/problems/plain-http"];

/// How often the orchestrator may correct the upload offset before the upload is abandoned.
const ROUNDS: u32 = 16;

/// Sends the files of an attempt, and concurrently its log, which somebody may be following.
pub async fn files(client: &Client, spool: &Spool, attempt: AttemptId, report: &ReportRequest) -> Delivery {
    let mut arrived = 0;
    let sending = try_files(client, spool, attempt, report, &mut arrived);
    let (sent, ()) = tokio::join!(sending, log(client, spool, attempt));
    match sent {
        Ok(()) => Delivery::Done,
        Err(Trouble::Client(error)) => match judge(attempt, "the orchestrator rejected the files", &error) {
            // The orchestrator answers with a problem document; anything else came from in between.
            Delivery::Failed if !matches!(error, ClientError::Problem(_)) => {
                Delivery::Blocked { why: error.to_string(), arrived }
            }
            delivery => delivery,
        },
        Err(Trouble::Spool(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::error!(%attempt, %error, "a spooled file is missing, giving up on the result");
            Delivery::Refused
        }
        Err(Trouble::Spool(error)) => {
            tracing::error!(%attempt, %error, "cannot read a spooled file, will retry");
            Delivery::Failed
        }
    }
}

enum Trouble {
    Client(ClientError),
    Spool(std::io::Error),
}

async fn try_files(
    client: &Client,
    spool: &Spool,
    attempt: AttemptId,
    report: &ReportRequest,
    arrived: &mut u64,
) -> Result<(), Trouble> {
    let Outcome::Built { artifacts } = &report.outcome else { return Ok(()) };
    let assignment = spool.assignment(attempt).map_err(Trouble::Spool)?;
    let Work::Build(order) = assignment.work else { return Ok(()) };
    for (digest, target) in artifacts.iter().zip(order.targets) {
        let file = spool.file(attempt, *digest).map_err(Trouble::Spool)?;
        let request = UploadRequest { digest: file.digest, size: file.size, target: target.id().to_owned() };
        let mut status = client.begin_upload(attempt, &request).await.map_err(Trouble::Client)?;
        let before = *arrived;
        for _ in 0..ROUNDS {
            *arrived = before + status.offset;
            if status.verified {
                break;
            }
            let sent = client.upload_file(attempt, file.digest, &file.path, status.offset).await;
            status = sent.map_err(Trouble::Client)?;
        }
        *arrived = before + file.size;
        if !status.verified {
            let what = format!("cannot upload {}: stuck at byte {}", target.title(), status.offset);
            return Err(Trouble::Client(ClientError::Local(what)));
        }
    }
    Ok(())
}

/// Sends the rest of the log. Failures are ignored.
async fn log(client: &Client, spool: &Spool, attempt: AttemptId) {
    if let Err(error) = logs::deliver(client, attempt, &spool.log(attempt)).await {
        tracing::debug!(%attempt, %error, "cannot upload the rest of the log");
    }
}

/// Sends the rest of the log and then the report.
pub async fn report(client: &Client, spool: &Spool, attempt: AttemptId, report: &ReportRequest) -> Delivery {
    log(client, spool, attempt).await;
    match client.report(attempt, report).await {
        Ok(reply) => {
            tracing::info!(%attempt, accepted = reply.accepted, reason = reply.reason, "reported");
            Delivery::Done
        }
        Err(ClientError::Problem(problem)) if problem.kind == NOT_UPLOADED => {
            tracing::warn!(%attempt, error = %ClientError::Problem(problem), "uploading the files again");
            Delivery::FilesMissing
        }
        Err(error) => judge(attempt, "the orchestrator rejected the report", &error),
    }
}

/// Decides whether to retry. Only a rejection of the result itself is final; no other error,
/// including server errors and an unknown credential, justifies discarding what was built.
fn judge(attempt: AttemptId, what: &str, error: &ClientError) -> Delivery {
    let is_final = match error {
        ClientError::Problem(problem) => {
            matches!(problem.status, 400 | 403 | 404 | 409 | 410 | 413 | 422)
                && !WORTH_REPEATING.contains(&problem.kind.as_str())
        }
        ClientError::Unreachable { .. } | ClientError::Protocol { .. } | ClientError::Local(_) => false,
    };
    if is_final {
        tracing::warn!(%attempt, %error, "{what}, giving up");
        Delivery::Refused
    } else {
        tracing::warn!(%attempt, %error, "{what}, will retry");
        Delivery::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_common::wire::problem::Problem;

    fn after(status: u16, kind: &str) -> Delivery {
        let problem = Problem {
            kind: format!("/problems/{kind}"),
            title: String::new(),
            status,
            detail: String::new(),
            request_id: None,
        };
        judge(AttemptId(1), "a test", &ClientError::Problem(Box::new(problem)))
    }

    #[test]
    fn only_a_refusal_of_the_work_itself_ends_delivery() {
        for (status, kind) in [
            (403, "not-yours"),
            (404, "unknown-attempt"),
            (409, "stale-attempt"),
            (413, "too-large"),
            (422, "package-rejected/identity"),
        ] {
            assert_eq!(after(status, kind), Delivery::Refused, "{status} {kind}");
        }
        for (status, kind) in [
            (400, "body-broken"),
            (401, "unknown-credential"),
            (403, "plain-http"),
            (404, "unknown-upload"),
            (408, "body-stalled"),
            (409, "not-uploaded"),
            (429, "slow-down"),
            (500, "internal"),
            (503, "upload-busy"),
            (507, "disk-full"),
        ] {
            assert_eq!(after(status, kind), Delivery::Failed, "{status} {kind}");
        }
        let away = ClientError::Unreachable { tried: Vec::new() };
        assert_eq!(judge(AttemptId(1), "a test", &away), Delivery::Failed);
    }
}
