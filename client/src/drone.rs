//! Requests of a drone. Uploads and logs carry the byte offset at which they begin, and the response contains
//! the orchestrator's own offset, so a transfer can resume after any disconnect.

use super::{
    Client, ClientError,
    answer::{problem_of, success},
    call::{Call, Wait},
    stream::ByteStream,
};
use bytes::Bytes;
use reqwest::{Method, Response, StatusCode};
use std::{path::Path, time::Duration};
use swarm_common::{digest::Digest, id::AttemptId, wire::drone::*};

/// Header with the byte offset of an upload or log: where the request begins, or what the orchestrator has.
const UPLOAD_OFFSET: &str = "upload-offset";
/// How much longer than requested a long poll may take.
const CLAIM_GRACE: Duration = Duration::from_secs(15);
/// Time limit for the response headers before a large body.
const HEAD: Duration = Duration::from_secs(60);
/// The maximum pause within a large body.
const IDLE: Duration = Duration::from_secs(60);
/// How many times the orchestrator may correct the upload offset before an upload is abandoned.
const ROUNDS: u32 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogAppend {
    Stored,
    /// The offset does not match: the orchestrator has this many bytes. Continue from there.
    StandsAt(u64),
}

impl Client {
    /// Enrols a machine as a drone. Enrolment tokens are single-use, so a request without a credential
    /// created by the machine is not repeated once it may have arrived.
    ///
    /// # Errors
    /// See [`ClientError`]; a used or unknown token is refused.
    pub async fn enrol(&self, request: &EnrolRequest) -> Result<EnrolReply, ClientError> {
        let call = Call::post(&["enrol"]).json(request);
        self.json(if request.credential_hash.is_some() { call } else { call.unrepeatable() }).await
    }

    /// Asks for work. Waits for as long as the request says.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn claim(&self, request: &ClaimRequest) -> Result<ClaimReply, ClientError> {
        let wait = Duration::from_millis(request.wait_ms) + CLAIM_GRACE;
        self.json(Call::post(&["claim"]).json(request).wait(Wait::Whole(wait))).await
    }

    /// Reports that the drone is alive, and what it is doing.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn heartbeat(&self, request: &HeartbeatRequest) -> Result<HeartbeatReply, ClientError> {
        self.json(Call::post(&["heartbeat"]).json(request)).await
    }

    /// Reports that the drone is stopping.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sign_off(&self, request: &SignOffRequest) -> Result<(), ClientError> {
        self.done(Call::post(&["sign-off"]).json(request)).await
    }

    /// Appends to an attempt's log at byte `offset`.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the attempt has ended.
    pub async fn append_log(
        &self,
        attempt: AttemptId,
        offset: u64,
        bytes: Bytes,
    ) -> Result<LogAppend, ClientError> {
        let call =
            Call::post(&["attempts", &attempt.to_string(), "log"]).query("offset", Some(offset)).bytes(bytes);
        let response = self.answer(&call).await?;
        match offset_conflict(&response) {
            Some(offset) => Ok(LogAppend::StandsAt(offset)),
            None => success(response).await.map(|_| LogAppend::Stored),
        }
    }

    /// Announces a file, or queries the progress of its upload.
    ///
    /// # Errors
    /// See [`ClientError`]; refused if the file is not wanted or too large, or the store is full.
    pub async fn begin_upload(
        &self,
        attempt: AttemptId,
        request: &UploadRequest,
    ) -> Result<UploadStatus, ClientError> {
        self.json(Call::post(&["attempts", &attempt.to_string(), "uploads"]).json(request)).await
    }

    /// Sends a file from byte `offset` on. If the orchestrator expects another offset, nothing is
    /// stored and the returned status contains the expected one.
    ///
    /// # Errors
    /// See [`ClientError`]; a file that fails a check is refused permanently.
    pub async fn upload_file(
        &self,
        attempt: AttemptId,
        digest: Digest,
        path: &Path,
        offset: u64,
    ) -> Result<UploadStatus, ClientError> {
        let size = file_size(path).await?;
        let call = upload_call(attempt, digest, offset).file(path.to_owned(), offset, size);
        self.upload(call).await
    }

    /// Sends the rest of a file that the orchestrator has as far as `status` says. Calls `progress` with each new
    /// offset. Returns the last status, which is not verified if the upload makes no progress.
    ///
    /// # Errors
    /// See [`Client::upload_file`].
    pub async fn upload_rest(
        &self,
        attempt: AttemptId,
        digest: Digest,
        path: &Path,
        mut status: UploadStatus,
        mut progress: impl FnMut(u64),
    ) -> Result<UploadStatus, ClientError> {
        for _ in 0..ROUNDS {
            progress(status.offset);
            if status.verified {
                break;
            }
            status = self.upload_file(attempt, digest, path, status.offset).await?;
        }
        Ok(status)
    }

    /// Sends the piece of a file that begins at byte `offset`.
    ///
    /// # Errors
    /// See [`Client::upload_file`].
    pub async fn upload_piece(
        &self,
        attempt: AttemptId,
        digest: Digest,
        offset: u64,
        piece: Bytes,
    ) -> Result<UploadStatus, ClientError> {
        self.upload(upload_call(attempt, digest, offset).bytes(piece)).await
    }

    async fn upload(&self, call: Call) -> Result<UploadStatus, ClientError> {
        let response = self.answer(&call).await?;
        if let Some(offset) = offset_conflict(&response) {
            return Ok(UploadStatus { offset, verified: false });
        }
        if !response.status().is_success() {
            return Err(problem_of(response).await);
        }
        let url = response.url().to_string();
        response.json().await.map_err(|e| ClientError::Protocol { url, status: None, what: e.to_string() })
    }

    /// Reports how an attempt ended.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn report(
        &self,
        attempt: AttemptId,
        request: &ReportRequest,
    ) -> Result<ReportReply, ClientError> {
        let call = Call::post(&["attempts", &attempt.to_string(), "report"]).json(request);
        // The orchestrator takes a while to process a large plan.
        self.json(call.wait(Wait::Whole(HEAD))).await
    }

    /// Downloads a stored package file.
    ///
    /// # Errors
    /// See [`ClientError`]; status 404 if it does not exist.
    pub async fn artifact(&self, digest: Digest) -> Result<ByteStream, ClientError> {
        let call = Call::get(&["artifacts", &digest.to_string()]).wait(Wait::Head(HEAD));
        Ok(ByteStream::new(self.send(&call).await?, Some(IDLE)))
    }

    /// Downloads the compressed image of a base from byte `first` on, for `swarm_formats::image::unpack`.
    ///
    /// # Errors
    /// See [`ClientError`]; status 404 if it does not exist, 416 if `first` is beyond its end.
    pub async fn image(&self, digest: Digest, first: u64) -> Result<ByteStream, ClientError> {
        self.archive(&["images", &digest.to_string()], first).await
    }

    /// Downloads the compressed archive of a snapshot from byte `first` on, for
    /// `swarm_formats::snapshot::unpack`.
    ///
    /// # Errors
    /// See [`ClientError`]; status 404 if it does not exist, 416 if `first` is beyond its end.
    pub async fn snapshot(&self, digest: Digest, first: u64) -> Result<ByteStream, ClientError> {
        self.archive(&["snapshots", &digest.to_string()], first).await
    }

    /// Downloads the difference from the snapshot `known` to another one, from byte `first` on, for
    /// `swarm_formats::snapshot::unpack_difference`.
    ///
    /// # Errors
    /// See [`ClientError`]; status 404 if either does not exist or they have too little in common,
    /// 416 if `first` is beyond the end.
    pub async fn snapshot_since(
        &self,
        digest: Digest,
        known: Digest,
        first: u64,
    ) -> Result<ByteStream, ClientError> {
        self.archive(&["snapshots", &digest.to_string(), "since", &known.to_string()], first).await
    }

    /// Downloads an archive from byte `first` on.
    async fn archive(&self, path: &[&str], first: u64) -> Result<ByteStream, ClientError> {
        let call = Call::get(path).wait(Wait::Head(HEAD));
        let response = self.send(&call.header("range", format!("bytes={first}-"))).await?;
        if response.status() != StatusCode::PARTIAL_CONTENT && first > 0 {
            let (url, what) = (response.url().to_string(), "the whole archive, not a part".to_owned());
            return Err(ClientError::Protocol { url, status: None, what });
        }
        Ok(ByteStream::new(response, Some(IDLE)))
    }
}

fn upload_call(attempt: AttemptId, digest: Digest, offset: u64) -> Call {
    let path = ["attempts", &attempt.to_string(), "uploads", &digest.to_string()];
    Call::new(Method::PATCH, &path).header(UPLOAD_OFFSET, offset)
}

/// The offset that the orchestrator expects. `None` unless the response is a conflict of offsets.
fn offset_conflict(response: &Response) -> Option<u64> {
    if response.status() != StatusCode::CONFLICT {
        return None;
    }
    response.headers().get(UPLOAD_OFFSET)?.to_str().ok()?.parse().ok()
}

/// The size of a file to send, in bytes.
pub(super) async fn file_size(path: &Path) -> Result<u64, ClientError> {
    tokio::fs::metadata(path)
        .await
        .map(|meta| meta.len())
        .map_err(|e| ClientError::Local(format!("cannot read {}: {e}", path.display())))
}
