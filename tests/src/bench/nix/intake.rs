//! An archive from the drone's first byte to the stored file, compared with `nix copy` of the same content.

use super::super::{
    Settings,
    report::{Goal, Row, median},
    server::{Orchestrator, memory_mb},
};
use crate::{
    api::{FakeDrone, PROFILE, facts, mold::noise, name},
    e2e::{nix::NixMachine, workstation::text},
};
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    io::{self, BufReader, Read as _},
    path::{Path, PathBuf},
    time::Instant,
};
use swarm_client::IdempotencyKey;
use swarm_common::{
    digest::Digest,
    state::RunClass,
    wire::{
        admin::{BuilderKind, EnrolTokenRequest, ProfileRequest, StartRunRequest},
        drone::*,
        nix::{NixOutput, NixPackage},
        plan::{PlanPackage, PlanReport},
    },
};
use swarm_formats::{
    nix::nar::dump,
    snapshot::{FORMAT, NixSource, SnapshotContents, SnapshotManifest},
};

/// Size of the content in MB.
const SIZE: u64 = 200;

/// Compression level of drones and of `nix copy`.
const LEVEL: i32 = 3;

pub(super) fn rows(settings: &Settings) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let content = folder.path().join("boulder");
    io::copy(&mut noise(7).take(SIZE * 1_000_000), &mut File::create(&content)?)?;
    let archive = folder.path().join("boulder.nar.zst");
    let (packed, _) = dump(&content, zstd::Encoder::new(File::create(&archive)?, LEVEL)?)?;
    packed.finish()?.sync_all()?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut rates, mut peaks, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..settings.rounds {
        let folder = folder.path().join(round.to_string());
        fs::create_dir(&folder)?;
        let (rate, peak) = runtime.block_on(upload(&folder, &archive))?;
        rates.push(rate);
        peaks.push(peak);
        peer.push(copy(&content)?);
        fs::remove_dir_all(&folder)?;
    }
    let what = format!("upload of a NAR of {SIZE} MB, MB/s");
    Ok(vec![
        Row::new(what, median(rates)?, "nix copy to a cache on disk", median(peer)?, Goal::AtLeast(1.0)),
        Row::within("highest memory of the orchestrator meanwhile, MB", median(peaks)?, 150.0),
    ])
}

/// MB/s of an upload to a new orchestrator, and its peak memory in MB.
async fn upload(folder: &Path, archive: &Path) -> Result<(f64, f64)> {
    let orchestrator = Orchestrator::start(folder, "[policy]\nlease = \"1h\"\n")?;
    let drone = enrolled(&orchestrator).await?;
    let profile = ProfileRequest {
        builder: BuilderKind::Nix,
        snapshot: snapshot(&orchestrator, folder).await?,
        source: "benchmark".into(),
        base: None,
        rebuild: Default::default(),
        publish: Default::default(),
        cpu: Default::default(),
    };
    orchestrator.admin.put_profile(&name(PROFILE), &profile, &IdempotencyKey::random()?).await?;
    let request = StartRunRequest { profile: name(PROFILE), class: RunClass::Nightly };
    orchestrator.admin.start_run(&request, &IdempotencyKey::random()?).await?;
    drone.bring_plan(plan()).await?;
    let (attempt, order) = drone.build_order().await?;
    let target = order.targets.first().context("an order for nothing")?;
    let size = fs::metadata(archive)?.len();
    let digest = Digest::of_all(BufReader::new(File::open(archive)?))?.0;

    let began = Instant::now();
    let request = UploadRequest { digest, size, target: target.id().to_owned() };
    let status = drone.client.begin_upload(attempt, &request).await?;
    let status = drone.client.upload_file(attempt, digest, archive, status.offset).await?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(status.verified, "the upload was not taken: {status:?}");
    let peak = memory_mb(orchestrator.id(), "status", "VmHWM:")?;
    let reply = drone.report(attempt, Outcome::Built { artifacts: vec![digest] }).await?;
    ensure!(reply.accepted, "the path was not accepted: {}", reply.reason);
    orchestrator.stop()?;
    Ok((SIZE as f64 / seconds, peak))
}

/// An enrolled drone that has Nix.
async fn enrolled(orchestrator: &Orchestrator) -> Result<FakeDrone> {
    let request = EnrolTokenRequest { valid_ms: 600_000, approved: true };
    let token = orchestrator.admin.make_enrol_token(&request, &IdempotencyKey::random()?).await?.token;
    let facts = DroneFacts { nix: Some("2.8.0".to_owned()), ..facts() };
    FakeDrone::enrol_with(&orchestrator.admin.without_credential(), &token, "ada", facts).await
}

/// Uploads a snapshot with an empty source.
async fn snapshot(orchestrator: &Orchestrator, folder: &Path) -> Result<Digest> {
    let nix = NixSource {
        file: "default.nix".to_owned(),
        attributes: vec!["boulder".to_owned()],
        ..NixSource::default()
    };
    let mut contents = SnapshotContents::new(SnapshotManifest {
        format: FORMAT,
        portage_profile: None,
        profile_repository: None,
        main_repository: String::new(),
        repositories: Vec::new(),
        nix: Some(nix),
    })?;
    contents.add_bytes("source/default.nix", b"{ }\n".to_vec())?;
    let path: PathBuf = folder.join("snapshot.tar.zst");
    let digest = contents.write(File::create(&path)?, || {})?;
    orchestrator.admin.put_snapshot(digest, &path).await?;
    Ok(digest)
}

/// A plan with a single derivation.
fn plan() -> PlanReport {
    let hash = "vsqpp200i7hamsm5v9sg4hp79s5765n9";
    let package = NixPackage {
        name: "boulder-1".to_owned(),
        drv: Some(format!("/nix/store/{hash}-boulder-1.drv")),
        outputs: vec![NixOutput { name: "out".to_owned(), path: format!("/nix/store/{hash}-boulder-1") }],
        system: "x86_64-linux".to_owned(),
        fixed: false,
        content_hash: None,
        features: Vec::new(),
        local: false,
    };
    let mut plan = crate::api::plan_of(&[]);
    plan.packages.push(PlanPackage::Nix(package));
    plan
}

/// MB/s of `nix copy` of the same content to a file cache.
fn copy(content: &Path) -> Result<f64> {
    let machine = NixMachine::new("")?;
    let added = machine.command("nix-store").arg("--add").arg(content).output()?;
    ensure!(added.status.success(), "{}", text(&added));
    let path = String::from_utf8(added.stdout)?;
    let cache = tempfile::tempdir()?;
    let mut command = machine.command("nix");
    command.args(["copy", "--to"]).arg(format!("file://{}?compression=zstd", cache.path().display()));
    let began = Instant::now();
    let copied = command.arg(path.trim()).output()?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(copied.status.success(), "{}", text(&copied));
    Ok(SIZE as f64 / seconds)
}
