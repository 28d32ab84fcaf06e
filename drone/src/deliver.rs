//! Delivers the result of an attempt: the log and the files, then the report.

use crate::{agent::Delivery, logs, spool::Spool};
use swarm_client::{Client, ClientError, Fate, Stage};
use swarm_common::{
    id::AttemptId,
    wire::drone::{Outcome, ReportRequest, UploadRequest, Work},
};

/// Sends the files of an attempt, and concurrently its log, which somebody may be following.
pub async fn files(client: &Client, spool: &Spool, attempt: AttemptId, report: &ReportRequest) -> Delivery {
    let mut arrived = 0;
    let sending = try_files(client, spool, attempt, report, &mut arrived);
    let (sent, ()) = tokio::join!(sending, log(client, spool, attempt));
    match sent {
        Ok(()) => Delivery::Done,
        Err(DeliveryError::Client(error)) => {
            judge(attempt, "the orchestrator rejected the files", &error, arrived)
        }
        Err(DeliveryError::Stuck(why)) => {
            tracing::warn!(%attempt, why, "the upload makes no progress, will retry");
            Delivery::Blocked { why, arrived }
        }
        Err(DeliveryError::Spool(error)) => {
            tracing::error!(%attempt, %error, "cannot read the spooled result");
            Delivery::Broken { why: error.to_string() }
        }
    }
}

enum DeliveryError {
    Client(ClientError),
    Spool(std::io::Error),
    /// The orchestrator keeps correcting the offset.
    Stuck(String),
}

async fn try_files(
    client: &Client,
    spool: &Spool,
    attempt: AttemptId,
    report: &ReportRequest,
    arrived: &mut u64,
) -> Result<(), DeliveryError> {
    let Outcome::Built { artifacts } = &report.outcome else { return Ok(()) };
    let assignment = spool.assignment(attempt).map_err(DeliveryError::Spool)?;
    let Work::Build(order) = assignment.work else { return Ok(()) };
    for (digest, target) in artifacts.iter().zip(order.targets) {
        let file = spool.file(attempt, *digest).map_err(DeliveryError::Spool)?;
        let request = UploadRequest { digest: file.digest, size: file.size, target: target.id().to_owned() };
        let mut status = client.begin_upload(attempt, &request).await.map_err(DeliveryError::Client)?;
        if !status.verified {
            let file = file.clone();
            let checked = tokio::task::spawn_blocking(move || Spool::check(&file)).await;
            checked.map_err(std::io::Error::other).flatten().map_err(DeliveryError::Spool)?;
        }
        let before = *arrived;
        let note = |offset| *arrived = before + offset;
        let sent = client.upload_rest(attempt, file.digest, &file.path, status, note).await;
        status = sent.map_err(DeliveryError::Client)?;
        *arrived = before + file.size;
        if !status.verified {
            let why = format!("{} does not get beyond byte {}", target.title(), status.offset);
            return Err(DeliveryError::Stuck(why));
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
        Err(ClientError::Problem(problem)) if problem.is("not-uploaded") => {
            tracing::warn!(%attempt, error = %ClientError::Problem(problem), "uploading the files again");
            Delivery::FilesMissing
        }
        Err(error) => judge(attempt, "the orchestrator rejected the report", &error, 0),
    }
}

/// Decides whether to retry. Only a rejection of the result itself is final. No other error, including server
/// errors and an unknown credential, justifies discarding a built result. The orchestrator rejects with a
/// problem document; any other answer comes from something in between.
fn judge(attempt: AttemptId, what: &str, error: &ClientError, arrived: u64) -> Delivery {
    if error.fate(Stage::Delivering) == Fate::Refused {
        tracing::warn!(%attempt, %error, "{what}, giving up");
        return Delivery::Refused;
    }
    tracing::warn!(%attempt, %error, "{what}, will retry");
    let why = error.to_string();
    match error {
        ClientError::Problem(problem) => {
            let after_ms = problem.retry_after_s.unwrap_or(0).saturating_mul(1000);
            Delivery::Failed { why, arrived, after_ms }
        }
        _ => Delivery::Blocked { why, arrived },
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
            retry_after_s: None,
        };
        judge(AttemptId(1), "a test", &ClientError::Problem(Box::new(problem)), 9)
    }

    #[test]
    fn the_orchestrators_own_answers_are_told_from_those_of_what_is_in_between() {
        assert_eq!(after(409, "stale-attempt"), Delivery::Refused);
        for (status, kind) in [(401, "unknown-credential"), (503, "upload-busy"), (507, "disk-full")] {
            let after = after(status, kind);
            assert!(matches!(after, Delivery::Failed { arrived: 9, .. }), "{status} {kind}: {after:?}");
        }
        let of_a_proxy = |status| ClientError::Protocol { url: String::new(), status, what: String::new() };
        let statuses = [Some(413), Some(403), Some(502), None].map(of_a_proxy);
        for error in statuses.into_iter().chain([ClientError::Unreachable { tried: Vec::new() }]) {
            let after = judge(AttemptId(1), "a test", &error, 9);
            assert!(matches!(after, Delivery::Blocked { arrived: 9, .. }), "{error}: {after:?}");
        }
    }
}
