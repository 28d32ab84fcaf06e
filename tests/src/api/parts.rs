//! Names, plans, snapshots and package files for the tests.

use anyhow::Result;
use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};
use swarm_common::{
    digest::Digest,
    name::Name,
    wire::{
        drone::{DroneFacts, Target},
        plan::{PlanEdge, PlanReport, PortagePackage},
    },
};
use swarm_formats::snapshot::{FORMAT, SnapshotContents, SnapshotManifest, SnapshotRepository};

/// A name that must be valid.
///
/// # Panics
/// It is not valid.
#[must_use]
pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// The facts that a drone reports about its machine.
#[must_use]
pub fn facts() -> DroneFacts {
    DroneFacts {
        machine_id: "m".to_owned(),
        boot_id: "b".to_owned(),
        cores: 4,
        memory_bytes: 8 << 30,
        version: "0.1.0".to_owned(),
        images: Some("x86_64".to_owned()),
        ..DroneFacts::default()
    }
}

/// The path of a package file built by the real Portage.
#[must_use]
pub fn fixture(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../formats/tests/data/binhost").join(file)
}

/// The package file for a target.
#[must_use]
pub fn package_file(target: &Target) -> PathBuf {
    fixture(&format!(
        "{}-{}.gpkg.tar",
        target.portage().unwrap().cpv.pf(),
        target.portage().unwrap().build_id
    ))
}

/// A package in a plan that matches the file `pebble-1.2-1.gpkg.tar`.
#[must_use]
pub fn pebble() -> PortagePackage {
    pebble_at("1.2", "12")
}

/// The same package with another version and sub-slot. A file for `1.10` with sub-slot `0` exists too.
///
/// # Panics
/// The version is invalid.
#[must_use]
pub fn pebble_at(version: &str, subslot: &str) -> PortagePackage {
    PortagePackage {
        cpv: format!("dev-libs/pebble-{version}").parse().unwrap(),
        slot: "0".to_owned(),
        subslot: subslot.to_owned(),
        repository: "fixture".to_owned(),
        use_flags: vec!["smooth".to_owned()],
        iuse: vec!["smooth".to_owned(), "wet".to_owned()],
        chost: "x86_64-pc-linux-gnu".to_owned(),
        inputs: Digest::of(version.as_bytes()),
        fields: Default::default(),
        strict: Default::default(),
        live: None,
        in_base: false,
    }
}

/// A plan of packages in which each one needs the previous one to be built.
#[must_use]
pub fn plan_of(packages: &[PortagePackage]) -> PlanReport {
    let edge = |to: u32| PlanEdge {
        from: to + 1,
        to,
        build: true,
        runtime: false,
        slot_operator: false,
        satisfied: false,
    };
    PlanReport {
        packages: packages.iter().cloned().map(Into::into).collect(),
        edges: (1..packages.len() as u32).map(|from| edge(from - 1)).collect(),
        ..PlanReport::empty(Digest::of(b"toolchain"))
    }
}

/// A plan whose JSON is larger than `bytes`.
#[must_use]
pub fn limit_plan(bytes: usize) -> PlanReport {
    let mut package = pebble();
    package.repository = "x".repeat(bytes);
    plan_of(&[package])
}

/// Writes a small snapshot to `path`. Returns its digest and the path.
///
/// # Errors
/// It cannot be written.
pub fn snapshot(path: &Path) -> Result<(Digest, PathBuf)> {
    let mut contents = SnapshotContents::new(SnapshotManifest {
        format: FORMAT,
        portage_profile: Some("default".to_owned()),
        profile_repository: None,
        main_repository: "fixture".to_owned(),
        repositories: vec![SnapshotRepository {
            name: "fixture".to_owned(),
            commit: None,
            settings: BTreeMap::new(),
        }],
        nix: None,
    })?;
    contents.add_bytes("repos/fixture/profiles/default/parent", b"..\n".to_vec())?;
    contents.add_bytes("world", b"dev-libs/pebble\n".to_vec())?;
    let digest = contents.write(File::create(path)?, || {})?;
    Ok((digest, path.to_owned()))
}
