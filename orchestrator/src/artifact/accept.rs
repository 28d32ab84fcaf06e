//! From a complete upload to a stored artifact: checked, signed, indexed.
//!
//! The uploaded file itself becomes the artifact, so that its bytes are written once. A crash
//! before the event is in the journal leaves an artifact nobody knows, which
//! the pass of leftovers clears; the drone, which keeps its file until it is told that the
//! package was received, is asked to send it again.

use super::{
    disk::{self, DiskError},
    entries::EntryBook,
    intake::{self, IntakeError, Rejection},
    store::{NewArtifact, Store, StoreError},
};
use crate::sign::{OpenPgpKey, SignError, Signed, seal, sign_gpkg};
use serde::{Deserialize, Serialize};
use std::{fs::File, io::BufReader, path::Path};
use swarm_common::{
    digest::Digest,
    format::{
        digests::FileDigests,
        gpkg::{Gpkg, Limits},
        packages_index::{Entry, PublishedFile},
        tar_reader::TarError,
    },
    time::TimeMs,
    wire::drone::Target,
};

/// A package that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Takes the file at `upload`, which must have the digest `expected` and be one of
    /// `candidates`: which, and as what. The file becomes the artifact, so it is gone from
    /// its place; one that is not taken is still there. `examined` is what was found while
    /// it came, if it was looked at then.
    ///
    /// # Errors
    /// [`AcceptError::Rejected`] if it is anything else; nothing is stored then.
    pub fn accept<'t>(
        &self,
        upload: &Path,
        examined: Option<Result<Gpkg, IntakeError>>,
        candidates: &'t [Target],
        expected: Digest,
        now: TimeMs,
    ) -> Result<(&'t Target, Accepted), AcceptError> {
        let unreadable = |error| AcceptError::from(DiskError::new("read", upload, error));
        let examined = examined.unwrap_or_else(|| intake::examine_file(upload, self.limits));
        let package = match examined {
            Ok(package) => package,
            Err(IntakeError::Unreadable(error)) => return Err(unreadable(error)),
            Err(IntakeError::Rejected(rejection)) => {
                return Err(match intake::explain(upload, rejection) {
                    Ok(rejection) | Err(IntakeError::Rejected(rejection)) => rejection.into(),
                    Err(IntakeError::Unreadable(error)) => unreadable(error),
                });
            }
        };
        let target = intake::identify(&package, candidates, expected)?;
        let (form, digests) = self.sign(upload, &package, now)?;
        let (digest, size) = (digests.sha256, digests.size);
        let file = PublishedFile { path: target.path(), digests, mtime: now.as_secs() };
        let entry = Entry::new(&package.metadata, &file)
            .map_err(|error| Rejection { kind: "bad-metadata", message: error.to_string() })?;
        // Before the upload is touched: a disk that is full now leaves it as it is.
        self.entries.put(digest, &entry)?;
        let stored = self.keep(upload, form, digest);
        if stored.is_err()
            && let Err(error) = self.entries.remove(digest)
        {
            tracing::warn!(%digest, %error, "an index entry of nothing is left over");
        }
        stored.map(|()| (target, Accepted { digest, size }))
    }

    /// Makes it an artifact.
    fn keep(&self, upload: &Path, form: Form<'_>, digest: Digest) -> Result<(), AcceptError> {
        match form {
            Form::AsItIs => self.store.adopt(upload, digest)?,
            Form::Sealed { keep, tail } => self.store.take_over(upload, keep, &tail, digest)?,
            Form::Copied(copy) => {
                copy.commit(digest)?;
                disk::remove_file(upload)?;
            }
        }
        Ok(())
    }

    /// What the artifact will be.
    fn sign(
        &self,
        upload: &Path,
        package: &Gpkg,
        now: TimeMs,
    ) -> Result<(Form<'_>, FileDigests), AcceptError> {
        let Some(key) = self.key else { return Ok((Form::AsItIs, package.digests.clone())) };
        let now = now.as_secs();
        if let Some(body) = &package.body {
            let signed = seal(key, package, body, Vec::new(), now);
            let Signed { output, digests } = signed.map_err(|error| failed(upload, error))?;
            return Ok((Form::Sealed { keep: body.size, tail: output }, digests));
        }
        let (copy, digests) = self.copy(key, upload, now)?;
        Ok((Form::Copied(copy), digests))
    }

    /// A signed copy.
    fn copy(
        &self,
        key: &OpenPgpKey,
        upload: &Path,
        now: u64,
    ) -> Result<(NewArtifact<'_>, FileDigests), AcceptError> {
        let file = File::open(upload).map_err(DiskError::at("open", upload))?;
        let reader = BufReader::with_capacity(256 * 1024, file);
        let signed = sign_gpkg(key, reader, self.store.create()?, now);
        let Signed { output, digests } = signed.map_err(|error| failed(upload, error))?;
        Ok((output, digests))
    }
}

/// How an upload becomes an artifact.
enum Form<'a> {
    AsItIs,
    /// Its first `keep` bytes and the signed rest.
    Sealed {
        keep: u64,
        tail: Vec<u8>,
    },
    Copied(NewArtifact<'a>),
}

fn failed(upload: &Path, error: SignError) -> AcceptError {
    match error {
        SignError::Write(error) => DiskError::new("write the signed copy of", upload, error).into(),
        SignError::Read(TarError::Io(error)) => DiskError::new("read", upload, error).into(),
        other => AcceptError::Failed(other.to_string()),
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

    struct Place {
        dir: tempfile::TempDir,
        store: Store,
        entries: EntryBook,
        limits: Limits,
        upload: std::path::PathBuf,
        digest: Digest,
    }

    impl Place {
        fn with(bytes: &[u8]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (store, limits) = (Store::open(dir.path().join("store")).unwrap(), Limits::default());
            let entries = EntryBook::open(dir.path().join("entries"), limits).unwrap();
            let upload = dir.path().join("upload");
            std::fs::write(&upload, bytes).unwrap();
            Self { store, entries, limits, upload, digest: Digest::of(bytes), dir }
        }

        fn accept(&self, key: Option<&OpenPgpKey>, target: Target) -> Result<Accepted, AcceptError> {
            let acceptance =
                Acceptance { limits: &self.limits, key, store: &self.store, entries: &self.entries };
            acceptance.accept(&self.upload, None, &[target], self.digest, NOW).map(|(_, accepted)| accepted)
        }
    }

    fn package() -> Vec<u8> {
        std::fs::read(upload()).unwrap()
    }

    #[test]
    fn a_good_upload_becomes_a_signed_artifact_with_an_entry() {
        let key = OpenPgpKey::generate("Test").unwrap();
        let place = Place::with(&package());
        let accepted = place.accept(Some(&key), target()).unwrap();
        assert_ne!(accepted.digest, place.digest);
        assert!(!place.upload.exists(), "its bytes are the artifact's now");
        let stored = gpkg::verify(place.store.read(accepted.digest).unwrap(), &place.limits).unwrap();
        assert!(stored.signed);
        assert_eq!((stored.digests.sha256, stored.digests.size), (accepted.digest, accepted.size));
        let artifact = Artifact {
            target: target(),
            digest: accepted.digest,
            uploaded_digest: place.digest,
            size: accepted.size,
            attempt: AttemptId(1),
            drone: DroneId(1),
            received_at: NOW,
        };
        let entry = place.entries.entry(&place.store, &artifact).unwrap();
        assert_eq!(
            (entry.get("SIZE"), entry.get("SHA1")),
            (accepted.size.to_string().as_str(), stored.digests.sha1.as_str())
        );
        assert_eq!(std::fs::read_dir(place.dir.path().join("store/tmp")).unwrap().count(), 0);
    }

    #[test]
    fn without_a_key_the_upload_is_the_artifact() {
        let place = Place::with(&package());
        assert_eq!(place.accept(None, target()).unwrap().digest, place.digest);
        place.store.verify(place.digest).unwrap();
        assert!(!place.upload.exists());
    }

    #[test]
    fn one_signed_by_somebody_else_is_copied_without_those_signatures() {
        let (other, key) = (OpenPgpKey::generate("Other").unwrap(), OpenPgpKey::generate("Test").unwrap());
        let foreign = sign_gpkg(&other, &package()[..], Vec::new(), 1).unwrap().output;
        let place = Place::with(&foreign);
        let accepted = place.accept(Some(&key), target()).unwrap();
        let stored = gpkg::verify(place.store.read(accepted.digest).unwrap(), &place.limits).unwrap();
        assert_eq!((stored.signed, stored.members.len()), (true, 5));
        assert!(!place.upload.exists());
    }

    #[test]
    fn a_bad_upload_leaves_nothing() {
        let place = Place::with(&package());
        let error = place.accept(None, Target { build_id: 2, ..target() }).unwrap_err();
        assert!(matches!(error, AcceptError::Rejected(Rejection { kind: "wrong-build-id", .. })), "{error}");
        assert_eq!(place.store.list().unwrap(), []);
        assert_eq!(std::fs::read_dir(place.dir.path().join("entries")).unwrap().count(), 0);
        assert!(place.upload.exists(), "the caller removes what is not taken");
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
