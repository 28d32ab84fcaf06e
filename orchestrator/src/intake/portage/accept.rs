//! Turns a complete upload into a stored artifact: verified, signed, indexed.
//!
//! The uploaded file itself becomes the artifact, so that its bytes are written only once. A crash before the
//! event is journaled leaves an unreferenced artifact, which the leftovers pass removes. The drone keeps its
//! file until the package is confirmed as received, and is then asked to send it again.

use super::identity;
use crate::sign::{OpenPgpKey, SignError, Signed, seal, sign_gpkg};
use crate::{
    intake::{AcceptError, expected_upload::ExpectedUpload},
    rejection::{ExamineError, Rejection},
    store::{
        ArtifactStore, NewArtifact,
        disk::{self, DiskError},
        entries::IndexEntryCache,
        files::FileList,
    },
};
use serde::{Deserialize, Serialize};
use std::{fs::File, io::BufReader, path::Path};
use swarm_common::{digest::Digest, time::TimeMs, wire::drone::PortageTarget};
use swarm_formats::{
    archive::{digests::FileDigests, tar_reader::TarError},
    portage::{
        gpkg::{Gpkg, Stamp},
        packages_index::{Entry, PublishedFile},
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Digest of the stored file, which is the signed one if there is a key.
    pub digest: Digest,
    pub size: u64,
    /// Its BUILD_TIME.
    pub at: TimeMs,
    /// Whether it contains prebuilt programs (`QA_PREBUILT`).
    #[serde(default)]
    pub prebuilt: bool,
    /// Size in bytes of its index entry.
    #[serde(default)]
    pub index_bytes: u64,
}

/// Where accepted packages are stored.
#[derive(Clone, Copy)]
pub struct Acceptance<'a> {
    /// The signing key; `None` stores packages unsigned.
    pub key: Option<&'a OpenPgpKey>,
    pub store: &'a dyn ArtifactStore,
    /// Store for the index entries.
    pub entries: &'a IndexEntryCache,
}

impl Acceptance<'_> {
    /// Accepts the file at `upload`, which must have the digest `announced` and be one of the `expected`
    /// targets. Returns that target and a description of the stored file. An accepted file is moved into the
    /// store; a refused one stays where it is. `examined` is the result of the examination. `build_time` is
    /// the BUILD_TIME of a package without one. If any build ID is allowed, the file gets the one of its
    /// target.
    ///
    /// # Errors
    /// [`AcceptError::Rejected`] if it is not; nothing is stored then.
    pub fn accept<'t>(
        &self,
        upload: &Path,
        examined: Result<Gpkg, ExamineError>,
        expected: &'t ExpectedUpload,
        announced: Digest,
        build_time: TimeMs,
    ) -> Result<(&'t PortageTarget, Accepted), AcceptError> {
        let unreadable = |error| AcceptError::from(DiskError::new("read", upload, error));
        let mut package = match examined {
            Ok(package) => package,
            Err(ExamineError::Unreadable(error)) => return Err(unreadable(error)),
            Err(ExamineError::Rejected(rejection)) => {
                return Err(match identity::explain(upload, rejection) {
                    Ok(rejection) | Err(ExamineError::Rejected(rejection)) => rejection.into(),
                    Err(ExamineError::Unreadable(error)) => unreadable(error),
                });
            }
        };
        let target = identity::identify(&package, expected, announced)?;
        if expected.any_build_id {
            package.renumber(target.build_id).map_err(|error| AcceptError::Failed(error.to_string()))?;
        }
        let built_at = package.metadata.line("BUILD_TIME").parse().unwrap_or(build_time.as_secs());
        let (form, digests) = self.sign(upload, &package, built_at)?;
        let (digest, size) = (digests.sha256, digests.size);
        let file = PublishedFile { path: target.path(), digests, mtime: built_at };
        let entry = Entry::new(&package.metadata, &file)
            .map_err(|error| Rejection { kind: "bad-metadata", message: error.to_string() })?;
        // Written before the upload is modified, so that a full disk leaves the upload intact.
        self.entries.put(digest, &entry, &FileList::of(&package.image.paths))?;
        let stored = self.keep(upload, form, digest);
        if stored.is_err()
            && let Err(error) = self.entries.remove(digest)
        {
            tracing::warn!(%digest, %error, "cannot remove an unused index entry");
        }
        let at = TimeMs(built_at.saturating_mul(1000));
        let prebuilt = !package.metadata.line("QA_PREBUILT").is_empty();
        let index_bytes = entry.to_text().len() as u64;
        stored.map(|()| (target, Accepted { digest, size, at, prebuilt, index_bytes }))
    }

    /// Moves the file into the store.
    fn keep(&self, upload: &Path, form: Form<'_>, digest: Digest) -> Result<(), AcceptError> {
        match form {
            Form::Sealed { keep, stamp, tail } => self.store.take_over(upload, keep, stamp, &tail, digest)?,
            Form::Copied(copy) => {
                copy.commit(digest)?;
                disk::remove_file(upload)?;
            }
        }
        Ok(())
    }

    /// Determines the form in which the artifact is stored.
    fn sign<'p>(
        &'p self,
        upload: &Path,
        package: &'p Gpkg,
        now: u64,
    ) -> Result<(Form<'p>, FileDigests), AcceptError> {
        let stamp = package.stamp.as_ref();
        if let Some(body) = &package.body {
            let signed = seal(self.key, package, body, Vec::new(), now);
            let Signed { output, digests } = signed.map_err(|error| failed(upload, error))?;
            return Ok((Form::Sealed { keep: body.size, stamp, tail: output }, digests));
        }
        let file = File::open(upload).map_err(DiskError::at("open", upload))?;
        let reader = BufReader::with_capacity(256 * 1024, file);
        let signed = sign_gpkg(self.key, reader, self.store.create()?, now, stamp);
        let Signed { output, digests } = signed.map_err(|error| failed(upload, error))?;
        Ok((Form::Copied(output), digests))
    }
}

/// How an upload becomes an artifact without being copied.
enum Form<'a> {
    /// The first `keep` bytes stay; metadata and end are replaced.
    Sealed {
        keep: u64,
        stamp: Option<&'a Stamp>,
        tail: Vec<u8>,
    },
    Copied(Box<dyn NewArtifact + 'a>),
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
    use crate::store::{LocalStore, StoreError};
    use std::sync::Arc;
    use swarm_common::{
        id::{AttemptId, DroneId},
        wire::artifact::Artifact,
    };
    use swarm_formats::portage::gpkg::{self, Limits};

    const NOW: TimeMs = TimeMs(1_800_000_000_000);

    fn upload() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../formats/tests/data/binhost/cairn-3-1.gpkg.tar")
    }

    fn target() -> PortageTarget {
        PortageTarget {
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
        store: Arc<LocalStore>,
        entries: IndexEntryCache,
        limits: Limits,
        upload: std::path::PathBuf,
        digest: Digest,
    }

    impl Place {
        fn with(bytes: &[u8]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = Arc::new(LocalStore::open(dir.path().join("store")).unwrap());
            let limits = Limits::default();
            let entries = IndexEntryCache::open(dir.path().join("entries"), store.clone(), limits).unwrap();
            let upload = dir.path().join("upload");
            std::fs::write(&upload, bytes).unwrap();
            Self { store, entries, limits, upload, digest: Digest::of(bytes), dir }
        }

        fn accept(&self, key: Option<&OpenPgpKey>, target: PortageTarget) -> Result<Accepted, AcceptError> {
            self.accept_as(key, &ExpectedUpload::packages([target]))
        }

        fn accept_as(
            &self,
            key: Option<&OpenPgpKey>,
            expected: &ExpectedUpload,
        ) -> Result<Accepted, AcceptError> {
            let acceptance = Acceptance { key, store: &*self.store, entries: &self.entries };
            let examined = identity::examine_file(&self.upload, &self.limits, NOW);
            acceptance
                .accept(&self.upload, examined, expected, self.digest, NOW)
                .map(|(_, accepted)| accepted)
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
            target: target().into(),
            digest: accepted.digest,
            uploaded_digest: place.digest,
            size: accepted.size,
            attempt: AttemptId(1),
            drone: DroneId(1),
            received_at: NOW,
            index_bytes: accepted.index_bytes,
            nar: None,
        };
        let entry = place.entries.entry(&artifact).unwrap();
        assert_eq!(
            (entry.get("SIZE"), entry.get("SHA1")),
            (accepted.size.to_string().as_str(), stored.digests.sha1.as_str())
        );
        assert_eq!(std::fs::read_dir(place.dir.path().join("store/tmp")).unwrap().count(), 0);
    }

    /// Verifies the stored package and reads it.
    fn stored(place: &Place, accepted: Accepted) -> gpkg::Gpkg {
        place.store.verify(accepted.digest).unwrap();
        let stored = gpkg::verify(place.store.read(accepted.digest).unwrap(), &place.limits).unwrap();
        assert_eq!((stored.digests.sha256, stored.digests.size), (accepted.digest, accepted.size));
        stored
    }

    #[test]
    fn the_build_time_is_the_orchestrators_and_nothing_else_is_changed() {
        let key = OpenPgpKey::generate("Test").unwrap();
        let before = gpkg::verify(&package()[..], &Limits::default()).unwrap();
        let foreign = sign_gpkg(Some(&key), &package()[..], Vec::new(), 1, None).unwrap().output;
        // Sealed in place, stored unsigned, and sealed as a copy.
        for (bytes, key) in [(package(), Some(&key)), (package(), None), (foreign, Some(&key))] {
            let place = Place::with(&bytes);
            let accepted = place.accept(key, target()).unwrap();
            assert_eq!(accepted.at, NOW);
            let mut after = stored(&place, accepted);
            assert_eq!(after.signed, key.is_some());
            assert_eq!(after.metadata.line("BUILD_TIME"), NOW.as_secs().to_string());
            let original = before.metadata.0["BUILD_TIME"].clone();
            after.metadata.0.insert("BUILD_TIME".to_owned(), original);
            assert_eq!((&after.metadata, &after.image), (&before.metadata, &before.image));
            let image =
                |package: &gpkg::Gpkg| package.members.iter().find(|m| m.name.starts_with("image")).cloned();
            assert_eq!(image(&after), image(&before));
            assert!(!place.upload.exists());
        }
    }

    #[test]
    fn one_signed_by_somebody_else_is_copied_without_those_signatures() {
        let (other, key) = (OpenPgpKey::generate("Other").unwrap(), OpenPgpKey::generate("Test").unwrap());
        let foreign = sign_gpkg(Some(&other), &package()[..], Vec::new(), 1, None).unwrap().output;
        let place = Place::with(&foreign);
        let accepted = place.accept(Some(&key), target()).unwrap();
        let stored = gpkg::verify(place.store.read(accepted.digest).unwrap(), &place.limits).unwrap();
        assert_eq!((stored.signed, stored.members.len()), (true, 5));
        assert!(!place.upload.exists());
    }

    #[test]
    fn a_package_that_is_taken_back_gets_the_build_id_of_its_target_and_is_otherwise_the_same() {
        let key = OpenPgpKey::generate("Test").unwrap();
        let before = gpkg::verify(&package()[..], &Limits::default()).unwrap();
        let foreign = sign_gpkg(Some(&key), &package()[..], Vec::new(), 1, None).unwrap().output;
        for (bytes, key) in [(package(), Some(&key)), (package(), None), (foreign, Some(&key))] {
            let place = Place::with(&bytes);
            let target = PortageTarget { build_id: 4711, ..target() };
            let expected =
                ExpectedUpload { any_build_id: true, ..ExpectedUpload::packages([target.clone()]) };
            let mut after = stored(&place, place.accept_as(key, &expected).unwrap());
            assert_eq!((after.signed, after.directory.as_str()), (key.is_some(), "cairn-3-4711"));
            let expected = ExpectedUpload::packages([target]);
            assert_eq!(identity::identify(&after, &expected, after.read).unwrap().build_id, 4711);
            for name in ["BUILD_TIME", "BUILD_ID"] {
                after.metadata.0.insert(name.to_owned(), before.metadata.0[name].clone());
            }
            assert_eq!((&after.metadata, &after.image), (&before.metadata, &before.image));
        }
        let place = Place::with(&package());
        let other = PortageTarget { slot: "1".to_owned(), ..target() };
        let expected = ExpectedUpload { any_build_id: true, ..ExpectedUpload::packages([other]) };
        let error = place.accept_as(None, &expected).unwrap_err();
        assert!(matches!(error, AcceptError::Rejected(Rejection { kind: "wrong-slot", .. })), "{error}");
    }

    #[test]
    fn a_bad_upload_leaves_nothing() {
        let place = Place::with(&package());
        let error = place.accept(None, PortageTarget { build_id: 2, ..target() }).unwrap_err();
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
