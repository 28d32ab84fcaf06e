//! What a drone sends. Uploads and logs say at which byte they begin and are told where
//! the orchestrator stands, so a drone can lose the connection anywhere and go on.

use super::{
    Client, ClientError,
    answer::{problem_of, success},
    call::{Call, Wait},
    stream::ByteStream,
};
use crate::{digest::Digest, id::AttemptId, wire::drone::*};
use bytes::Bytes;
use reqwest::{Method, Response, StatusCode};
use std::{path::Path, time::Duration};

/// Where an upload or a log stands, or is to begin.
const UPLOAD_OFFSET: &str = "upload-offset";
/// How much longer than asked a long poll may take to come back.
const CLAIM_GRACE: Duration = Duration::from_secs(15);
/// How long an answer with a large body may take to begin.
const HEAD: Duration = Duration::from_secs(60);
/// The longest silence within a large body.
const IDLE: Duration = Duration::from_secs(60);

/// What became of a piece of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogAppend {
    /// It is stored.
    Stored,
    /// It does not fit on: this many bytes are stored, go on from there.
    StandsAt(u64),
}

impl Client {
    /// Asks to become a drone. Without a credential of the machine's own it is not repeated once
    /// it may have arrived, because the token works once.
    ///
    /// # Errors
    /// As every request; a used or unknown token is refused.
    pub async fn enrol(&self, request: &EnrolRequest) -> Result<EnrolReply, ClientError> {
        let call = Call::post(&["enrol"]).json(request);
        self.json(if request.credential_hash.is_some() { call } else { call.unrepeatable() }).await
    }

    /// Asks for work and waits for it as long as the request says.
    ///
    /// # Errors
    /// As every request.
    pub async fn claim(&self, request: &ClaimRequest) -> Result<ClaimReply, ClientError> {
        let wait = Duration::from_millis(request.wait_ms) + CLAIM_GRACE;
        self.json(Call::post(&["claim"]).json(request).wait(Wait::Whole(wait))).await
    }

    /// Says that the drone lives and what it does.
    ///
    /// # Errors
    /// As every request.
    pub async fn heartbeat(&self, request: &HeartbeatRequest) -> Result<HeartbeatReply, ClientError> {
        self.json(Call::post(&["heartbeat"]).json(request)).await
    }

    /// Says that the drone stops.
    ///
    /// # Errors
    /// As every request.
    pub async fn sign_off(&self, request: &SignOffRequest) -> Result<(), ClientError> {
        self.done(Call::post(&["sign-off"]).json(request)).await
    }

    /// Appends to an attempt's log at the byte `offset`.
    ///
    /// # Errors
    /// As every request; the attempt may be over.
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

    /// Announces a file, or asks where its upload stands.
    ///
    /// # Errors
    /// As every request; the file may not be wanted or too large, or the store full.
    pub async fn begin_upload(
        &self,
        attempt: AttemptId,
        request: &UploadRequest,
    ) -> Result<UploadStatus, ClientError> {
        self.json(Call::post(&["attempts", &attempt.to_string(), "uploads"]).json(request)).await
    }

    /// Sends a file from the byte `offset` on. If the orchestrator stands elsewhere, the
    /// status says where, and nothing was stored.
    ///
    /// # Errors
    /// As every request; a file that fails a check is refused for good.
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

    /// Sends a piece of a file, which belongs at the byte `offset`.
    ///
    /// # Errors
    /// As [`Client::upload_file`].
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

    /// Says how an attempt ended.
    ///
    /// # Errors
    /// As every request.
    pub async fn report(
        &self,
        attempt: AttemptId,
        request: &ReportRequest,
    ) -> Result<ReportReply, ClientError> {
        let call = Call::post(&["attempts", &attempt.to_string(), "report"]).json(request);
        // Judging a large plan takes its time.
        self.json(call.wait(Wait::Whole(HEAD))).await
    }

    /// Fetches a stored package file.
    ///
    /// # Errors
    /// As every request; 404 if it is not there.
    pub async fn artifact(&self, digest: Digest) -> Result<ByteStream, ClientError> {
        let call = Call::get(&["artifacts", &digest.to_string()]).wait(Wait::Head(HEAD));
        Ok(ByteStream::new(self.send(&call).await?, Some(IDLE)))
    }

    /// Fetches the compressed image of a base from byte `first` on, for `format::image::unpack`.
    ///
    /// # Errors
    /// As every request; 404 if it is not there, 416 if it has no such byte.
    pub async fn image(&self, digest: Digest, first: u64) -> Result<ByteStream, ClientError> {
        self.archive(&["images", &digest.to_string()], first).await
    }

    /// Fetches a snapshot's compressed archive from byte `first` on, for `format::snapshot::unpack`.
    ///
    /// # Errors
    /// As every request; 404 if it is not there, 416 if it has no such byte.
    pub async fn snapshot(&self, digest: Digest, first: u64) -> Result<ByteStream, ClientError> {
        self.archive(&["snapshots", &digest.to_string()], first).await
    }

    /// Fetches what a snapshot has that `known` has not, from byte `first` on, for
    /// `format::snapshot::unpack_difference`.
    ///
    /// # Errors
    /// As every request; 404 if one is not there or they have too little in common, 416 if there
    /// is no such byte.
    pub async fn snapshot_since(
        &self,
        digest: Digest,
        known: Digest,
        first: u64,
    ) -> Result<ByteStream, ClientError> {
        self.archive(&["snapshots", &digest.to_string(), "since", &known.to_string()], first).await
    }

    /// Fetches an archive from byte `first` on.
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

/// Where the orchestrator stands, if it refused bytes because they do not fit on.
fn offset_conflict(response: &Response) -> Option<u64> {
    if response.status() != StatusCode::CONFLICT {
        return None;
    }
    response.headers().get(UPLOAD_OFFSET)?.to_str().ok()?.parse().ok()
}

/// The size of a file that is to be sent.
pub(super) async fn file_size(path: &Path) -> Result<u64, ClientError> {
    tokio::fs::metadata(path)
        .await
        .map(|meta| meta.len())
        .map_err(|e| ClientError::Local(format!("{}: cannot be read: {e}", path.display())))
}
