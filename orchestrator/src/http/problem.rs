//! All errors of requests and their mapping to HTTP: status, stable kind and title, as RFC 9457
//! problem details.
//!
//! The mapping has no catch-all arm on purpose: whoever adds an error must decide here how clients
//! see it.

use crate::{
    engine::EngineError,
    intake::upload::UploadError,
    store::{StoreError, disk::DiskError},
};
use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use swarm_common::{
    name::Name,
    state::Caller,
    wire::problem::{self, Problem},
};
use swarm_core::Refusal;

/// Header with the position of an upload, a log or a piece.
pub(super) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// Seconds after which a client may retry.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The request has no credential.
    #[error("this requires a credential: send `Authorization: Bearer …`")]
    NoCredential,
    /// The credential is unknown or was revoked.
    #[error("the credential is unknown or revoked")]
    UnknownCredential,
    /// The credential belonged to a drone that an admin removed.
    #[error(
        "drone {0} was removed from this swarm by an admin: to enrol it again, remove its credential and \
         create a token with `swarmctl drone token`"
    )]
    RemovedDrone(Name),
    /// The credential has another role.
    #[error("{0}")]
    WrongRole(&'static str),
    #[error("{0}")]
    PlainHttp(String),
    /// The caller's budget of connections is used up.
    #[error("too many connections of {0}s (`connections` and `connections_per_address` of `[limits]`)")]
    NoRoom(Caller),
    /// The engine refused the command, or cannot take it now.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The core's rules do not allow the request.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What was requested does not exist.
    #[error("{0}")]
    Absent(String),
    /// A name matches several things.
    #[error("{0}")]
    Ambiguous(String),
    #[error("{0}")]
    BadRequest(String),
    /// The request is well-formed, but its content is invalid.
    #[error("{0}")]
    Unprocessable(String),
    /// A number in the request exceeds a limit.
    #[error("at most {most} {what} are allowed")]
    Beyond { what: &'static str, most: usize },
    /// The body exceeds the route's limit.
    #[error("the body exceeds the limit of {limit} bytes")]
    BodyTooLarge { limit: u64 },
    /// The body paused for too long.
    #[error("no data received for {seconds} s; closing the connection")]
    BodyStalled { seconds: u64 },
    /// The connection broke in the middle of the body.
    #[error("the body is incomplete: {0}")]
    BodyBroken(String),
    /// An uploaded file is not the requested package.
    #[error("{message}")]
    PackageRejected { kind: &'static str, message: String },
    /// A report names a file that was not uploaded.
    #[error("{0}")]
    NotUploaded(String),
    /// A piece does not start where the stored bytes end.
    #[error("the chunk starts at {given}, but {offset} bytes are stored: continue from there")]
    WrongOffset { given: u64, offset: u64 },
    #[error(transparent)]
    Upload(UploadError),
    /// A disk of the orchestrator failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is not enough disk space for what was announced.
    #[error("{0}")]
    NoSpace(String),
    #[error("{0}")]
    Unavailable(String),
    /// An error of the orchestrator itself.
    #[error("{0}")]
    Internal(String),
}

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::WrongOffset { given, offset } => Self::WrongOffset { given, offset },
            UploadError::Disk(error) => Self::Disk(error),
            other => Self::Upload(other),
        }
    }
}

impl ApiError {
    /// The engine's reply does not match the command.
    pub(super) fn unexpected(reply: &swarm_core::Reply) -> Self {
        Self::Internal(format!("unexpected reply of the engine: {reply:?}"))
    }

    /// Status, stable kind and title.
    fn row(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::NoCredential => (S::UNAUTHORIZED, "no-credential", "credential required"),
            Self::UnknownCredential => (S::UNAUTHORIZED, "unknown-credential", "unknown credential"),
            Self::RemovedDrone(_) => (S::UNAUTHORIZED, problem::DRONE_REMOVED, "the drone was removed"),
            Self::WrongRole(_) => (S::FORBIDDEN, "wrong-role", "credential not permitted"),
            Self::PlainHttp(_) => (S::FORBIDDEN, "plain-http", "TLS required"),
            Self::Engine(EngineError::Refused(refusal)) | Self::Refused(refusal) => refused(refusal),
            Self::Engine(EngineError::Stalled(_)) => {
                (S::SERVICE_UNAVAILABLE, "journal-stalled", "journal not writable")
            }
            Self::Engine(EngineError::Standby { .. }) => {
                (S::SERVICE_UNAVAILABLE, "standby", "not the leader")
            }
            Self::Engine(EngineError::Stopped) => {
                (S::SERVICE_UNAVAILABLE, "stopping", "orchestrator is stopping")
            }
            Self::NoRoom(_) => (S::SERVICE_UNAVAILABLE, "no-room", "too many connections"),
            Self::Absent(_) => (S::NOT_FOUND, "not-found", "not found"),
            Self::Ambiguous(_) => (S::CONFLICT, "ambiguous", "ambiguous name"),
            Self::BadRequest(_) => (S::BAD_REQUEST, "bad-request", "malformed request"),
            Self::Unprocessable(_) => (S::UNPROCESSABLE_ENTITY, "invalid", "invalid content"),
            Self::Beyond { .. } => (S::UNPROCESSABLE_ENTITY, "beyond-limit", "limit exceeded"),
            Self::BodyTooLarge { .. } => (S::PAYLOAD_TOO_LARGE, "too-large", "body too large"),
            Self::BodyStalled { .. } => (S::REQUEST_TIMEOUT, "body-stalled", "body timed out"),
            Self::BodyBroken(_) => (S::BAD_REQUEST, "body-broken", "body incomplete"),
            Self::PackageRejected { .. } => (S::UNPROCESSABLE_ENTITY, "package-rejected", "package rejected"),
            Self::NotUploaded(_) => (S::CONFLICT, "not-uploaded", "file not uploaded"),
            Self::WrongOffset { .. } => (S::CONFLICT, "wrong-offset", "wrong upload offset"),
            Self::Upload(error) => upload(error),
            Self::Disk(error) | Self::Store(StoreError::Disk(error)) => disk(error),
            Self::Store(StoreError::Absent(_)) => (S::NOT_FOUND, "not-found", "not found"),
            Self::Store(StoreError::Damaged { .. }) => {
                (S::INTERNAL_SERVER_ERROR, "damaged", "stored file damaged")
            }
            Self::NoSpace(_) => (
                S::INSUFFICIENT_STORAGE,
                "disk-full",
                "disk of the orchestrator nearly \
                 full",
            ),
            Self::Unavailable(_) => (S::SERVICE_UNAVAILABLE, "unavailable", "temporarily unavailable"),
            Self::Internal(_) => (S::INTERNAL_SERVER_ERROR, "internal", "internal error"),
        }
    }
}

fn refused(refusal: &Refusal) -> (StatusCode, &'static str, &'static str) {
    use StatusCode as S;
    match refusal {
        Refusal::UnknownDrone(_) => (S::NOT_FOUND, "unknown-drone", "no such drone"),
        Refusal::UnknownProfile(_) => (S::NOT_FOUND, "unknown-profile", "no such profile"),
        Refusal::UnknownBase(_) => (S::NOT_FOUND, "unknown-base", "no such base"),
        Refusal::UnknownGeneration { .. } => (S::NOT_FOUND, "unknown-generation", "no such generation"),
        Refusal::UnknownSchedule(_) => (S::NOT_FOUND, "unknown-schedule", "no such schedule"),
        Refusal::UnknownRun(_) => (S::NOT_FOUND, "unknown-run", "no such run"),
        Refusal::UnknownPackage(_) => (S::NOT_FOUND, "unknown-package", "no such package"),
        Refusal::UnknownAttempt(_) => (S::NOT_FOUND, "unknown-attempt", "no such attempt"),
        Refusal::BadEnrolToken => (S::FORBIDDEN, "bad-enrol-token", "invalid enrolment token"),
        Refusal::NameTaken(_) => (S::CONFLICT, "name-taken", "name already in use"),
        Refusal::OtherMachine { .. } => (S::UNAUTHORIZED, "other-machine", "credential of another machine"),
        Refusal::EarlierBoot { .. } => {
            (S::CONFLICT, "earlier-boot", "credential used with an earlier boot ID")
        }
        Refusal::NotYours { .. } => (S::FORBIDDEN, "not-yours", "attempt of another drone"),
        Refusal::StaleAttempt { .. } => (S::CONFLICT, "stale-attempt", "attempt is over"),
        Refusal::NotWorking { .. } => (S::CONFLICT, "not-working", "drone not eligible for work"),
        Refusal::WrongState { .. } | Refusal::NotPinned { .. } => {
            (S::CONFLICT, "wrong-state", "not allowed in this state")
        }
        Refusal::RunUnderWay { .. } => (S::CONFLICT, "run-under-way", "run already active"),
        Refusal::Invalid(_) => (S::UNPROCESSABLE_ENTITY, "invalid", "invalid content"),
    }
}

fn upload(error: &UploadError) -> (StatusCode, &'static str, &'static str) {
    use StatusCode as S;
    match error {
        UploadError::Unknown => (S::NOT_FOUND, "unknown-upload", "upload not announced"),
        UploadError::TooLarge { .. } => (S::PAYLOAD_TOO_LARGE, "too-large", "file too large"),
        UploadError::TooManyFiles { .. } => (S::UNPROCESSABLE_ENTITY, "too-many-uploads", "too many files"),
        UploadError::TooLargeTogether { .. } => {
            (S::PAYLOAD_TOO_LARGE, "uploads-too-large", "total size of the attempt's files too large")
        }
        UploadError::SizeChanged { .. } => (S::CONFLICT, "size-changed", "file size changed"),
        UploadError::WrongOffset { .. } => (S::CONFLICT, "wrong-offset", "wrong upload offset"),
        UploadError::TooMany { .. } => (
            S::UNPROCESSABLE_ENTITY,
            "too-many-bytes",
            "more data than \
             announced",
        ),
        UploadError::Busy => (S::SERVICE_UNAVAILABLE, "upload-busy", "upload already in progress"),
        UploadError::Disk(error) => disk(error),
    }
}

fn disk(error: &DiskError) -> (StatusCode, &'static str, &'static str) {
    match error {
        DiskError::Full { .. } => {
            (StatusCode::INSUFFICIENT_STORAGE, "disk-full", "disk of the orchestrator full")
        }
        DiskError::Io { .. } => {
            (StatusCode::INTERNAL_SERVER_ERROR, "disk", "disk failure of the orchestrator")
        }
    }
}

/// A problem for the outermost layer, which adds the request id and writes the body.
#[derive(Debug, Clone)]
pub(super) struct Pending(pub(super) Problem);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, kind, title) = self.row();
        let mut headers = HeaderMap::new();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"build-swarm\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if let Self::Engine(EngineError::Standby { leader: Some(leader) }) = &self
            && let Ok(leader) = HeaderValue::from_str(leader)
        {
            headers.insert(header::LOCATION, leader);
        }
        if let Self::WrongOffset { offset, .. } = self {
            headers.insert(UPLOAD_OFFSET, offset.into());
        }
        if matches!(
            self,
            Self::BodyStalled { .. } | Self::BodyBroken(_) | Self::BodyTooLarge { .. } | Self::NoRoom(_)
        ) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let kind = match &self {
            Self::PackageRejected { kind, .. } => format!("/problems/package-rejected/{kind}"),
            _ => format!("/problems/{kind}"),
        };
        let problem = Problem {
            kind,
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.to_string(),
            request_id: None,
            retry_after_s: None,
        };
        let mut response = (status, headers).into_response();
        response.extensions_mut().insert(Pending(problem));
        response
    }
}

/// Writes the problem as the body of the response.
pub(super) fn write(problem: &Problem, mut response: Response) -> Response {
    let body = serde_json::to_vec(problem).unwrap_or_default();
    response.headers_mut().remove(header::CONTENT_LENGTH);
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    *response.body_mut() = axum::body::Body::from(body);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_common::id::AttemptId;

    fn status(error: impl Into<ApiError>) -> u16 {
        error.into().into_response().status().as_u16()
    }

    #[test]
    fn a_stall_says_when_to_come_back_and_a_wrong_offset_where_to_go_on() {
        let response = ApiError::from(EngineError::Stalled("disk full".into())).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");

        let response = ApiError::from(UploadError::WrongOffset { given: 1, offset: 7 }).into_response();
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(response.headers()[UPLOAD_OFFSET], "7");
    }

    #[test]
    fn a_missing_credential_is_challenged_and_a_full_disk_has_its_own_status() {
        let response = ApiError::NoCredential.into_response();
        assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
        assert_eq!(status(DiskError::Full { path: "/x".into() }), 507);
        assert_eq!(status(Refusal::BadEnrolToken), 403);
        assert_eq!(status(Refusal::UnknownAttempt(AttemptId(1))), 404);
    }
}
