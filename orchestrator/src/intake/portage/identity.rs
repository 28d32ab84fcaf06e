//! Checks whether a file is the requested package.
//!
//! A valid container is not sufficient: stock Portage compares the content of a file neither with the name in
//! the index nor with the requested one, so a signed package could be served as any other. Identity is
//! checked only here, before signing.

use crate::{
    intake::expected_upload::ExpectedUpload,
    rejection::{ExamineError, Rejection},
};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufReader, Read},
    path::Path,
};
use swarm_common::{
    digest::Digest,
    time::TimeMs,
    wire::drone::{PortageTarget, Target},
};
use swarm_formats::portage::{
    gpkg::{self, Gpkg, GpkgError, Limits, Metadata},
    xpak,
};

/// Reads a whole package, which will be stored with this BUILD_TIME, and checks everything that
/// does not depend on what was requested.
///
/// # Errors
/// [`ExamineError::Rejected`] if the file is at fault, [`ExamineError::Unreadable`] if it cannot be
/// read.
pub fn examine(reader: impl Read, limits: &Limits, build_time: TimeMs) -> Result<Gpkg, ExamineError> {
    gpkg::verify_stamped(reader, limits, build_time.as_secs()).map_err(|error| match error {
        GpkgError::Io(error) => ExamineError::Unreadable(error),
        other => Rejection { kind: other.kind(), message: other.to_string() }.into(),
    })
}

/// [`examine`] for the file at `path`.
///
/// # Errors
/// See [`examine`].
pub fn examine_file(path: &Path, limits: &Limits, build_time: TimeMs) -> Result<Gpkg, ExamineError> {
    let file = File::open(path).map_err(ExamineError::Unreadable)?;
    examine(BufReader::with_capacity(256 * 1024, file), limits, build_time)
}

/// Whether the package exceeds the limits with which it was examined.
pub fn is_cut_short(examined: &Result<Gpkg, ExamineError>) -> bool {
    match examined {
        Ok(package) => package.image.more_paths,
        Err(ExamineError::Rejected(rejection)) => rejection.kind == "too-large",
        Err(ExamineError::Unreadable(_)) => false,
    }
}

/// Returns the rejection of the file at `path`, or a more helpful one: an XPAK is not a damaged
/// GPKG, and the message can name the setting to change on its drone.
pub fn explain(path: &Path, rejection: Rejection) -> Result<Rejection, ExamineError> {
    let file = File::open(path).map_err(ExamineError::Unreadable)?;
    if xpak::read_metadata(file).is_err() {
        return Ok(rejection);
    }
    let message = "the file is an XPAK, which can be neither verified nor signed: set \
        BINPKG_FORMAT=\"gpkg\" on the drone";
    Ok(Rejection { kind: "xpak", message: message.to_owned() })
}

/// Which of the `expected` targets an examined package is. Its bytes must have the announced digest.
///
/// # Errors
/// It is none of them. The reason refers to the last target.
pub fn identify<'t>(
    package: &Gpkg,
    expected: &'t ExpectedUpload,
    announced: Digest,
) -> Result<&'t PortageTarget, Rejection> {
    let message = "no file is expected".to_owned();
    let mut refused = Rejection { kind: "not-asked-for", message };
    let own_id = package.metadata.line("BUILD_ID").parse().ok().filter(|_| expected.any_build_id);
    for target in expected.targets.iter().filter_map(Target::portage) {
        match check(package, target, own_id.unwrap_or(target.build_id), announced) {
            Ok(()) => return Ok(target),
            Err(rejection) => refused = rejection,
        }
    }
    Err(refused)
}

/// Checks that an examined package is `target` with this build id.
fn check(package: &Gpkg, target: &PortageTarget, build_id: u32, announced: Digest) -> Result<(), Rejection> {
    let differs = |kind, what: &str, is: &str, must: &str| {
        let is: String = is.chars().take(200).collect();
        let message = format!("the package's {what} is `{}`, expected `{must}`", is.escape_debug());
        Rejection { kind, message }
    };
    if package.read != announced {
        let is = package.read.to_string();
        return Err(differs("wrong-digest", "SHA-256", &is, &announced.to_string()));
    }
    let metadata = &package.metadata;
    let build_id = build_id.to_string();
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
    // A slot without a sub-slot implies a sub-slot of the same name.
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
    if metadata.line("EAPI").is_empty() {
        return Err(Rejection { kind: "bad-metadata", message: "the package has no EAPI".to_owned() });
    }
    check_bound(metadata)
}

/// Checks that every `:=` dependency is bound to the slot that was installed during the build. If one is
/// unbound, nothing was installed for it, and the package would never be rebuilt for another ABI.
fn check_bound(metadata: &Metadata) -> Result<(), Rejection> {
    for key in ["DEPEND", "RDEPEND", "BDEPEND", "PDEPEND", "IDEPEND"] {
        let line = metadata.line(key);
        let unbound = |word: &&str| {
            let atom = word.split('[').next().unwrap_or_default();
            !word.starts_with('!') && atom.split("::").next().unwrap_or_default().ends_with(":=")
        };
        if let Some(atom) = line.split(' ').find(unbound) {
            let atom: String = atom.chars().take(200).collect();
            let message = format!(
                "{key} of the package has `{}` without a slot: it was not installed during the build",
                atom.escape_debug()
            );
            return Err(Rejection { kind: "unbound-slot", message });
        }
    }
    Ok(())
}

/// Compares the enabled flags. The package's USE also has implicit flags (`amd64`, `elibc_glibc`),
/// which neither the ebuild nor the request lists.
fn check_use(metadata: &Metadata, target: &PortageTarget) -> Result<(), (String, String)> {
    let enabled = metadata.line("USE");
    let declared: BTreeSet<&str> = target.iuse.iter().map(String::as_str).collect();
    let is: BTreeSet<&str> = enabled.split(' ').filter(|flag| declared.contains(flag)).collect();
    let must: BTreeSet<&str> =
        target.use_flags.iter().map(String::as_str).filter(|f| declared.contains(f)).collect();
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
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../formats/tests/data/binhost").join(name)
    }

    fn target() -> PortageTarget {
        PortageTarget {
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

    fn check(name: &str, target: &PortageTarget) -> Result<Gpkg, Rejection> {
        let digest = Digest::of(&std::fs::read(fixture(name)).unwrap());
        match examine_file(&fixture(name), &Limits::default(), TimeMs(1_800_000_000_000)) {
            Ok(package) => identify(&package, &ExpectedUpload::packages([target.clone()]), digest)
                .map(|_| package.clone()),
            Err(ExamineError::Rejected(rejection)) => Err(explain(&fixture(name), rejection).unwrap()),
            Err(other) => panic!("{other}"),
        }
    }

    #[track_caller]
    fn rejected(name: &str, target: &PortageTarget, kind: &str) {
        match check(name, target) {
            Err(rejection) => assert_eq!(rejection.kind, kind, "{rejection}"),
            other => panic!("expected {kind}: {other:?}"),
        }
    }

    #[test]
    fn the_package_that_was_asked_for_is_taken() {
        let package = check("pebble-1.2-1.gpkg.tar", &target()).unwrap();
        assert!(!package.signed);
        let other = PortageTarget { build_id: 2, ..target() };
        let expected = ExpectedUpload::packages([other, target()]);
        assert_eq!(identify(&package, &expected, package.read).unwrap().build_id, 1);
        let nothing = ExpectedUpload::packages([]);
        assert_eq!(identify(&package, &nothing, package.read).unwrap_err().kind, "not-asked-for");
    }

    // fault: 28
    #[test]
    fn every_difference_in_identity_is_rejected_by_its_own_kind() {
        let name = "pebble-1.2-1.gpkg.tar";
        let with = |change: fn(&mut PortageTarget)| {
            let mut target = target();
            change(&mut target);
            target
        };
        for (kind, change) in [
            (
                "wrong-category",
                (|t| t.cpv = "dev-util/pebble-1.2".parse().unwrap()) as fn(&mut PortageTarget),
            ),
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
        let package = examine_file(&path, &Limits::default(), TimeMs(1_800_000_000_000)).unwrap();
        let expected = ExpectedUpload::packages([target()]);
        assert_eq!(identify(&package, &expected, Digest::of(b"")).unwrap_err().kind, "wrong-digest");
    }

    #[test]
    fn an_xpak_is_rejected_with_what_to_change() {
        rejected("marker-0.5_rc1-r2-2.xpak", &target(), "xpak");
    }

    #[test]
    fn a_file_that_is_not_there_is_no_rejection() {
        let result = examine_file(Path::new("/nonexistent"), &Limits::default(), TimeMs(1_800_000_000_000));
        assert!(matches!(result, Err(ExamineError::Unreadable(_))));
    }

    #[test]
    fn a_dependency_that_the_build_did_not_bind_to_a_slot_is_rejected() {
        let metadata = |value: &str| Metadata([("RDEPEND".to_owned(), value.into())].into());
        for (value, unbound) in [
            ("dev-libs/a:0/1= || ( dev-libs/b dev-libs/c:2 ) !dev-libs/d:=", false),
            ("dev-libs/a:* dev-libs/e:0/3.4=[x,y(+)]::gentoo", false),
            ("dev-libs/a:=", true),
            (">=dev-libs/a-2:=[x]", true),
            ("dev-libs/z dev-libs/a:=::gentoo", true),
        ] {
            let found = check_bound(&metadata(value));
            assert_eq!(found.as_ref().is_err(), unbound, "{value}");
            assert!(found.is_ok() || found.is_err_and(|r| r.message.contains("dev-libs/a")));
        }
    }
}
