//! Whether a file is the package that was asked for.
//!
//! A sound container is not enough: stock Portage compares neither the name in the index
//! nor the one in the job with what is inside a file, so a signed package can be served as
//! any other. The only place where identity is checked is here, before signing.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};
use swarm_common::{
    digest::Digest,
    format::{
        digests::FileDigests,
        gpkg::{self, GpkgError, ImageSummary, Limits, Metadata},
        packages_index::{Entry, EntryError, PublishedFile},
        xpak,
    },
    wire::drone::Target,
};

/// A file that is exactly what was asked for.
#[derive(Debug, Clone)]
pub struct VerifiedPackage {
    /// What the package says about itself.
    pub metadata: Metadata,
    /// The whole file as it was checked.
    pub digests: FileDigests,
    /// What it would merge.
    pub image: ImageSummary,
    /// It carries signatures, by whomever; signing replaces them.
    pub signed: bool,
}

impl VerifiedPackage {
    /// The index entry of the package, once it is known as which bytes (after signing),
    /// where and with which modification time (seconds since the epoch) it is published.
    ///
    /// # Errors
    /// Never for a package that passed [`verify`], which demands what an entry needs.
    pub fn entry(&self, path: &str, digests: FileDigests, mtime: u64) -> Result<Entry, EntryError> {
        Entry::new(&self.metadata, &PublishedFile { path: path.to_owned(), digests, mtime })
    }
}

/// Why a file is not taken. `kind` is stable, for reasons of quarantine and HTTP problems;
/// `message` is one line for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// Such as `wrong-digest`, `wrong-slot`, `bad-manifest`.
    pub kind: &'static str,
    /// What is wrong, and what was expected.
    pub message: String,
}

/// Why a file could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The file is at fault.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Our disk is at fault; nothing is known about the file.
    #[error("cannot read the uploaded package: {0}")]
    Unreadable(#[source] io::Error),
}

/// Checks the file at `path` as [`verify`] does.
///
/// # Errors
/// As [`verify`].
pub fn verify_file(
    path: &Path,
    target: &Target,
    expected: Digest,
    limits: &Limits,
) -> Result<VerifiedPackage, IntakeError> {
    let file = File::open(path).map_err(IntakeError::Unreadable)?;
    let result = verify(BufReader::with_capacity(256 * 1024, file), target, expected, limits);
    if matches!(&result, Err(IntakeError::Rejected(rejection)) if rejection.kind != "wrong-digest") {
        let file = File::open(path).map_err(IntakeError::Unreadable)?;
        if xpak::read_metadata(file).is_ok() {
            let message = "the file is an XPAK, which can be neither proved nor signed: \
                           set BINPKG_FORMAT=\"gpkg\" on the drone";
            return Err(Rejection { kind: "xpak", message: message.to_owned() }.into());
        }
    }
    result
}

/// Reads a whole package and checks its digest, its container and that it is `target`.
///
/// # Errors
/// [`IntakeError::Rejected`] if the file is at fault, [`IntakeError::Unreadable`] if
/// reading is.
pub fn verify(
    mut reader: impl Read,
    target: &Target,
    expected: Digest,
    limits: &Limits,
) -> Result<VerifiedPackage, IntakeError> {
    let package = gpkg::verify(&mut reader, limits).map_err(|error| match error {
        GpkgError::Io(error) => IntakeError::Unreadable(error),
        other => Rejection { kind: other.kind(), message: other.to_string() }.into(),
    })?;
    let differs = |kind, what: &str, is: &str, must: &str| -> IntakeError {
        let is: String = is.chars().take(200).collect();
        let message = format!("the package's {what} is `{}`, but `{must}` was asked for", is.escape_debug());
        Rejection { kind, message }.into()
    };
    if package.digests.sha256 != expected {
        return Err(differs(
            "wrong-digest",
            "SHA-256",
            &package.digests.sha256.to_string(),
            &expected.to_string(),
        ));
    }
    let metadata = &package.metadata;
    let build_id = target.build_id.to_string();
    for (kind, key, must) in [
        ("wrong-category", "CATEGORY", target.cpv.category()),
        ("wrong-name", "PF", target.cpv.pf()),
        ("wrong-build-id", "BUILD_ID", build_id.as_str()),
        ("wrong-chost", "CHOST", target.chost.as_str()),
        ("wrong-repository", "repository", target.repository.as_str()),
    ] {
        let is = metadata.line(key);
        if is != must {
            return Err(differs(kind, key, &is, must));
        }
    }
    // A slot without a sub-slot means a sub-slot of the same name.
    let slot = metadata.line("SLOT");
    let (main, sub) = slot.split_once('/').unwrap_or((&slot, &slot));
    if (main, sub) != (&target.slot, &target.subslot) {
        return Err(differs("wrong-slot", "SLOT", &slot, &format!("{}/{}", target.slot, target.subslot)));
    }
    check_use(metadata, target).map_err(|(is, must)| differs("wrong-use", "USE", &is, &must))?;
    let directory = format!("{}-{build_id}", target.cpv.pf());
    if package.directory != directory {
        return Err(differs("wrong-directory", "directory in the container", &package.directory, &directory));
    }
    for key in ["EAPI", "BUILD_TIME"] {
        if metadata.line(key).is_empty() {
            return Err(
                Rejection { kind: "bad-metadata", message: format!("the package has no {key}") }.into()
            );
        }
    }
    Ok(VerifiedPackage {
        metadata: package.metadata,
        digests: package.digests,
        image: package.image,
        signed: package.signed,
    })
}

/// Compares enabled flags. The package's USE also has implicit ones (`amd64`,
/// `elibc_glibc`), which no ebuild lists and no order mentions.
fn check_use(metadata: &Metadata, target: &Target) -> Result<(), (String, String)> {
    let enabled = metadata.line("USE");
    let known: BTreeSet<&str> = target.iuse.iter().map(String::as_str).collect();
    let is: BTreeSet<&str> = enabled.split(' ').filter(|flag| known.contains(flag)).collect();
    let must: BTreeSet<&str> =
        target.use_flags.iter().map(String::as_str).filter(|f| known.contains(f)).collect();
    if is == must {
        return Ok(());
    }
    let words = |flags: BTreeSet<&str>| flags.into_iter().collect::<Vec<_>>().join(" ");
    Err((words(is), words(must)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../common/tests/data/binhost").join(name)
    }

    fn target() -> Target {
        Target {
            cpv: "dev-libs/pebble-1.2".parse().unwrap(),
            slot: "0".to_owned(),
            subslot: "12".to_owned(),
            repository: "fixture".to_owned(),
            use_flags: vec!["smooth".to_owned()],
            iuse: vec!["smooth".to_owned(), "wet".to_owned()],
            chost: "x86_64-pc-linux-gnu".to_owned(),
            build_id: 1,
        }
    }

    fn check(name: &str, target: &Target) -> Result<VerifiedPackage, IntakeError> {
        let digest = Digest::of(&std::fs::read(fixture(name)).unwrap());
        verify_file(&fixture(name), target, digest, &Limits::default())
    }

    #[track_caller]
    fn rejected(name: &str, target: &Target, kind: &str) {
        match check(name, target) {
            Err(IntakeError::Rejected(rejection)) => assert_eq!(rejection.kind, kind, "{rejection}"),
            other => panic!("expected {kind}: {other:?}"),
        }
    }

    #[test]
    fn the_package_that_was_asked_for_is_taken() {
        let package = check("pebble-1.2-1.gpkg.tar", &target()).unwrap();
        assert!(!package.signed);
        let entry = package.entry(&target().path(), package.digests.clone(), 7).unwrap();
        assert_eq!(entry.path(), "dev-libs/pebble/pebble-1.2-1.gpkg.tar");
    }

    #[test]
    fn every_difference_in_identity_is_rejected_by_its_own_kind() {
        let name = "pebble-1.2-1.gpkg.tar";
        let with = |change: fn(&mut Target)| {
            let mut target = target();
            change(&mut target);
            target
        };
        for (kind, change) in [
            ("wrong-category", (|t| t.cpv = "dev-util/pebble-1.2".parse().unwrap()) as fn(&mut Target)),
            ("wrong-name", |t| t.cpv = "dev-libs/pebble-1.3".parse().unwrap()),
            ("wrong-name", |t| t.cpv = "dev-libs/stone-1.2".parse().unwrap()),
            ("wrong-build-id", |t| t.build_id = 2),
            ("wrong-slot", |t| t.slot = "1".to_owned()),
            ("wrong-slot", |t| t.subslot = "11".to_owned()),
            ("wrong-slot", |t| t.subslot = "0".to_owned()),
            ("wrong-use", |t| t.use_flags.clear()),
            ("wrong-use", |t| t.use_flags.push("wet".to_owned())),
            ("wrong-chost", |t| t.chost = "aarch64-unknown-linux-gnu".to_owned()),
            ("wrong-repository", |t| t.repository = "gentoo".to_owned()),
        ] {
            rejected(name, &with(change), kind);
        }
        rejected("pebble-1.2-2.gpkg.tar", &target(), "wrong-build-id");
        rejected("pebble-1.10-1.gpkg.tar", &target(), "wrong-name");
    }

    #[test]
    fn a_slot_without_a_sub_slot_is_its_own_sub_slot() {
        let mut target = target();
        target.cpv = "dev-libs/pebble-1.10".parse().unwrap();
        target.subslot = "0".to_owned();
        check("pebble-1.10-1.gpkg.tar", &target).unwrap();
    }

    #[test]
    fn other_bytes_than_announced_are_rejected() {
        let path = fixture("pebble-1.2-1.gpkg.tar");
        let result = verify_file(&path, &target(), Digest::of(b""), &Limits::default());
        assert!(matches!(result, Err(IntakeError::Rejected(Rejection { kind: "wrong-digest", .. }))));
    }

    #[test]
    fn an_xpak_is_rejected_with_what_to_change() {
        rejected("marker-0.5_rc1-r2-2.xpak", &target(), "xpak");
    }

    #[test]
    fn a_file_that_is_not_there_is_no_rejection() {
        let result = verify_file(Path::new("/nonexistent"), &target(), Digest::of(b""), &Limits::default());
        assert!(matches!(result, Err(IntakeError::Unreadable(_))));
    }
}
