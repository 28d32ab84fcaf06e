//! From a complete upload to a stored artifact: checked, signed, indexed.
//!
//! The upload itself is left alone: the caller removes it after the event is in the
//! journal. A crash before that leaves an artifact nobody knows, which
//! [`Store::remove_others`] clears, and an upload that is accepted again.

use super::{
    disk::DiskError,
    entries::EntryBook,
    intake::{self, IntakeError, Rejection},
    store::{self, Store, StoreError},
};
use crate::sign::{OpenPgpKey, SignError, sign_gpkg};
use std::{fs::File, io::BufReader, path::Path};
use swarm_common::{
    digest::Digest,
    format::{gpkg::Limits, tar_reader::TarError},
    time::TimeMs,
    wire::drone::Target,
};

/// A package that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Digest of the stored file; signed, where there is a key.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Why a package was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The file is at fault; a repeat will not help. HTTP 422, and a reason for quarantine.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// No space is left; a repeat helps when there is some. HTTP 507.
    #[error("{0}")]
    Full(DiskError),
    /// We are at fault: disk or key. HTTP 500.
    #[error("cannot store the package: {0}")]
    Failed(String),
}

impl From<DiskError> for AcceptError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Full { .. } => Self::Full(error),
            DiskError::Io { .. } => Self::Failed(error.to_string()),
        }
    }
}

impl From<StoreError> for AcceptError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Disk(error) => error.into(),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Where accepted packages go.
#[derive(Clone, Copy)]
pub struct Acceptance<'a> {
    /// Bounds of what is looked at.
    pub limits: &'a Limits,
    /// Who signs; `None` stores packages as they came.
    pub key: Option<&'a OpenPgpKey>,
    /// Keeps the files.
    pub store: &'a Store,
    /// Keeps their index entries.
    pub entries: &'a EntryBook,
}

impl Acceptance<'_> {
    /// Takes the file at `upload`, which must have the digest `expected` and be `target`.
    ///
    /// # Errors
    /// [`AcceptError::Rejected`] if it is anything else; nothing is stored then.
    pub fn accept(
        &self,
        upload: &Path,
        target: &Target,
        expected: Digest,
        now: TimeMs,
    ) -> Result<Accepted, AcceptError> {
        let package =
            intake::verify_file(upload, target, expected, self.limits).map_err(|error| match error {
                IntakeError::Rejected(rejection) => AcceptError::Rejected(rejection),
                IntakeError::Unreadable(error) => DiskError::new("read", upload, error).into(),
            })?;
        let file = File::open(upload).map_err(DiskError::at("open", upload))?;
        let reader = BufReader::with_capacity(256 * 1024, file);
        let digests = match self.key {
            None => store::insert(self.store, reader, Some(expected))?,
            Some(key) => {
                let mut new = self.store.create()?;
                sign_gpkg(key, reader, &mut new, now.as_secs()).map_err(|error| match error {
                    SignError::Write(error) => {
                        DiskError::new("write the signed copy of", upload, error).into()
                    }
                    SignError::Read(TarError::Io(error)) => DiskError::new("read", upload, error).into(),
                    other => AcceptError::Failed(other.to_string()),
                })?;
                new.commit(None)?
            }
        };
        let (digest, size) = (digests.sha256, digests.size);
        let entry = package
            .entry(&target.path(), digests, now.as_secs())
            .map_err(|error| Rejection { kind: "bad-metadata", message: error.to_string() })?;
        self.entries.put(digest, &entry)?;
        Ok(Accepted { digest, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_common::{
        format::gpkg,
        id::{AttemptId, DroneId},
        wire::artifact::Artifact,
    };

    const NOW: TimeMs = TimeMs(1_800_000_000_000);

    fn upload() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../common/tests/data/binhost/cairn-3-1.gpkg.tar")
    }

    fn target() -> Target {
        Target {
            cpv: "app-misc/cairn-3".parse().unwrap(),
            slot: "0".to_owned(),
            subslot: "0".to_owned(),
            repository: "fixture".to_owned(),
            use_flags: Vec::new(),
            iuse: Vec::new(),
            chost: "x86_64-pc-linux-gnu".to_owned(),
            build_id: 1,
        }
    }

    #[test]
    fn a_good_upload_becomes_a_signed_artifact_with_an_entry() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let limits = Limits::default();
        let entries = EntryBook::open(dir.path().join("entries"), limits).unwrap();
        let key = OpenPgpKey::generate("Test").unwrap();
        let acceptance = Acceptance { limits: &limits, key: Some(&key), store: &store, entries: &entries };
        let uploaded_digest = Digest::of(&std::fs::read(upload()).unwrap());
        let accepted = acceptance.accept(&upload(), &target(), uploaded_digest, NOW).unwrap();
        assert_ne!(accepted.digest, uploaded_digest);
        let stored = gpkg::verify(store.read(accepted.digest).unwrap(), &limits).unwrap();
        assert!(stored.signed);
        let artifact = Artifact {
            target: target(),
            digest: accepted.digest,
            uploaded_digest,
            size: accepted.size,
            attempt: AttemptId(1),
            drone: DroneId(1),
            received_at: NOW,
        };
        let entry = entries.entry(&store, &artifact).unwrap();
        assert_eq!(
            (entry.get("SIZE"), entry.get("SHA1")),
            (accepted.size.to_string().as_str(), stored.digests.sha1.as_str())
        );

        let unsigned = Acceptance { key: None, ..acceptance };
        assert_eq!(
            unsigned.accept(&upload(), &target(), uploaded_digest, NOW).unwrap().digest,
            uploaded_digest
        );
        assert!(upload().exists(), "the caller removes the upload");
    }

    #[test]
    fn a_bad_upload_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let limits = Limits::default();
        let entries = EntryBook::open(dir.path().join("entries"), limits).unwrap();
        let acceptance = Acceptance { limits: &limits, key: None, store: &store, entries: &entries };
        let digest = Digest::of(&std::fs::read(upload()).unwrap());
        let other = Target { build_id: 2, ..target() };
        let error = acceptance.accept(&upload(), &other, digest, NOW).unwrap_err();
        assert!(matches!(error, AcceptError::Rejected(Rejection { kind: "wrong-build-id", .. })), "{error}");
        assert_eq!(store.list().unwrap(), []);
        assert_eq!(std::fs::read_dir(dir.path().join("entries")).unwrap().count(), 0);
    }

    #[test]
    fn our_own_troubles_are_no_rejections() {
        let full =
            DiskError::new("write", Path::new("/x"), std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert!(matches!(AcceptError::from(full), AcceptError::Full(_)));
        let other =
            StoreError::Disk(DiskError::new("write", Path::new("/x"), std::io::Error::other("burnt")));
        assert!(matches!(AcceptError::from(other), AcceptError::Failed(_)));
    }
}
