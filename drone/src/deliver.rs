//! Sending what an attempt brought: its log and files, then its report.

use crate::{agent::Delivery, logs, spool::Spool};
use swarm_common::{
    client::{Client, ClientError},
    id::AttemptId,
    wire::drone::{Outcome, ReportRequest, UploadRequest, Work},
};

/// Problems whose cure is to send the files again.
const FILES_MISSING: &str = "/problems/files-missing";

/// Sends the log and the files of an attempt.
pub async fn files(client: &Client, spool: &Spool, attempt: AttemptId, report: &ReportRequest) -> Delivery {
    match try_files(client, spool, attempt, report).await {
        Ok(()) => Delivery::Done,
        Err(Trouble::Client(error)) => judge(attempt, "the files were not taken", &error),
        Err(Trouble::Spool(error)) => {
            tracing::error!(%attempt, %error, "the spooled files cannot be read; the work is given up");
            Delivery::Refused
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
) -> Result<(), Trouble> {
    let Outcome::Built { artifacts } = &report.outcome else { return Ok(()) };
    let assignment = spool.assignment(attempt).map_err(Trouble::Spool)?;
    let Work::Build(order) = assignment.work else { return Ok(()) };
    for (digest, target) in artifacts.iter().zip(order.targets) {
        let file = spool.file(attempt, *digest).map_err(Trouble::Spool)?;
        let request = UploadRequest { digest: file.digest, size: file.size, cpv: target.cpv };
        let mut status = client.begin_upload(attempt, &request).await.map_err(Trouble::Client)?;
        while !status.verified {
            let sent = client.upload_file(attempt, file.digest, &file.path, status.offset).await;
            status = sent.map_err(Trouble::Client)?;
        }
    }
    Ok(())
}

/// Sends the rest of the log, then how an attempt ended.
pub async fn report(client: &Client, spool: &Spool, attempt: AttemptId, report: &ReportRequest) -> Delivery {
    if let Err(error) = logs::deliver(client, attempt, &spool.log(attempt)).await {
        // A log is worth a try, not a result.
        tracing::debug!(%attempt, %error, "the rest of the log was not taken");
    }
    match client.report(attempt, report).await {
        Ok(reply) => {
            tracing::info!(%attempt, accepted = reply.accepted, reason = reply.reason, "reported");
            Delivery::Done
        }
        Err(ClientError::Problem(problem)) if problem.kind == FILES_MISSING => Delivery::FilesMissing,
        Err(error) => judge(attempt, "the report was not taken", &error),
    }
}

/// Whether it is worth another try.
fn judge(attempt: AttemptId, what: &str, error: &ClientError) -> Delivery {
    if error.is_transient() || matches!(error, ClientError::Protocol { .. } | ClientError::Local(_)) {
        tracing::warn!(%attempt, %error, "{what}; tried again later");
        Delivery::Failed
    } else {
        tracing::warn!(%attempt, %error, "{what}, for good");
        Delivery::Refused
    }
}
