//! The derivations of a plan: the drone that makes the plan resolves and uploads them, so that only this drone
//! has to evaluate the snapshot.

use super::{
    graph::Resolver,
    session::{Session, disk},
    store::Store,
};
use crate::{artifacts::ArtifactRequest, builder::Stop};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};
use swarm_common::{
    digest::Digest,
    wire::{
        drone::UploadRequest,
        nix::{DerivationArchive, base_name},
    },
};
use swarm_formats::nix::{
    derivation::Derivation,
    derivations::{read, write},
    store_path::{StoreDir, StorePath},
};

/// Directory beside the stores with the unpacked archives.
const DIRECTORY: &str = "derivations";
/// Number of unpacked archives to keep.
const KEPT: usize = 8;

/// Uploads the derivations of a plan. `None` if there are none, or if the orchestrator does not take them: the
/// drones then evaluate the snapshot.
pub(super) async fn send(
    session: &mut Session<'_>,
    needed: &BTreeSet<String>,
) -> Result<Option<DerivationArchive>, Stop> {
    if needed.is_empty() {
        return Ok(None);
    }
    let (store, all) = (session.evaluation.clone(), needed.clone());
    let at = session.context.attempt_dir.join("derivations.tar.zst");
    let file = at.clone();
    let packed = tokio::task::spawn_blocking(move || pack(&store, &all, &file)).await;
    let packed = packed.map_err(|error| error.to_string()).flatten();
    let sent = match packed {
        Ok(archive) => tokio::select! {
            sent = upload(session, archive, &at) => sent.map(|()| archive),
            () = session.steps.cancel().cancelled() => return Err(Stop::Cancelled),
        },
        Err(error) => Err(error),
    };
    match sent {
        Ok(archive) => Ok(Some(archive)),
        Err(error) => {
            let text = format!(
                "the derivations cannot be uploaded, so each drone will evaluate the source: {error}"
            );
            session.steps.log.say(&text).await;
            Ok(None)
        }
    }
}

fn pack(store: &Store, needed: &BTreeSet<String>, at: &Path) -> Result<DerivationArchive, String> {
    let (dir, mut resolver) = (StoreDir::default(), Resolver::new(store));
    let resolved = needed.iter().map(|drv| {
        let path = dir.parse(drv).map_err(|error| format!("{drv}: {error}"))?;
        Ok((path, resolver.resolve(drv)?))
    });
    let resolved = resolved.collect::<Result<Vec<(StorePath, Derivation)>, String>>()?;
    let written = || -> io::Result<DerivationArchive> {
        write(fs::File::create(at)?, resolved.iter().map(|(path, derivation)| (path, derivation)))?;
        let (digest, size) = Digest::of_all(fs::File::open(at)?)?;
        Ok(DerivationArchive { digest, size })
    };
    written().map_err(|error| error.to_string())
}

async fn upload(session: &Session<'_>, archive: DerivationArchive, file: &Path) -> Result<(), String> {
    let caches = &session.context.caches;
    // This drone builds too, and need not download what it has made.
    caches.artifacts.adopt(file, archive.digest).map_err(|error| error.to_string())?;
    // Without an orchestrator, as in tests, the cache is all there is.
    let Some(client) = &caches.client else { return Ok(()) };
    let DerivationArchive { digest, size } = archive;
    let request = UploadRequest { digest, size, target: DerivationArchive::TARGET.to_owned() };
    let attempt = session.context.assignment.attempt;
    let sent = async {
        let status = client.begin_upload(attempt, &request).await?;
        client.upload_rest(attempt, digest, file, status, |_| ()).await
    };
    let status = sent.await.map_err(|error| error.to_string())?;
    status.verified.then_some(()).ok_or_else(|| format!("it does not get beyond byte {}", status.offset))
}

/// A derivation from an archive. `None` if the archive cannot be used, which is said in the log.
pub(super) async fn find(
    session: &mut Session<'_>,
    archive: DerivationArchive,
    drv: &str,
) -> Result<Option<Derivation>, Stop> {
    let dir = session.directory(DIRECTORY);
    let own = dir.join(archive.digest.to_string());
    let file = own.join(base_name(drv));
    let unpacked = || Derivation::parse(&fs::read(&file).ok()?, &StoreDir::default()).ok();
    if let Some(found) = unpacked() {
        return Ok(Some(found));
    }
    let shared = session.context.caches.nix.clone();
    let _turn = shared.0.copying.lock().await;
    // Another attempt may have unpacked it meanwhile.
    if let Some(found) = unpacked() {
        return Ok(Some(found));
    }
    // What is there was damaged, as by a power loss.
    match fs::remove_dir_all(&own) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(disk("the derivations", &error)),
        _ => {}
    }
    let why = match unpack(session, archive, &dir).await? {
        Ok(()) => match unpacked() {
            Some(found) => return Ok(Some(found)),
            None => "the archive does not contain this one".to_owned(),
        },
        Err(why) => why,
    };
    let text = format!("the plan's derivations cannot be used, so the source is evaluated: {why}");
    session.steps.log.say(&text).await;
    Ok(None)
}

/// Downloads an archive and unpacks it into a directory in `dir` that is named by its digest.
async fn unpack(
    session: &Session<'_>,
    archive: DerivationArchive,
    dir: &Path,
) -> Result<Result<(), String>, Stop> {
    let DerivationArchive { digest, size } = archive;
    let caches = &session.context.caches;
    let title = "the derivations of the plan";
    let request = ArtifactRequest { title, digest, uploaded_digest: digest, size };
    let file = tokio::select! {
        file = caches.artifacts.get(caches.client.as_ref(), &request) => file,
        () = session.steps.cancel().cancelled() => return Err(Stop::Cancelled),
    };
    let file = match file {
        Ok(file) => file,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let dir = dir.to_owned();
    let unpacked = tokio::task::spawn_blocking(move || unpack_file(&file, &dir, digest)).await;
    unpacked.map_err(io::Error::other).flatten().map_err(|error| disk("the derivations", &error))
}

fn unpack_file(file: &Path, dir: &Path, digest: Digest) -> io::Result<Result<(), String>> {
    fs::create_dir_all(dir)?;
    let begun = tempfile::Builder::new().prefix(".new").tempdir_in(dir)?;
    let mut written = Ok(());
    let read = read(io::BufReader::new(fs::File::open(file)?), |path, derivation| {
        if written.is_ok() {
            written = fs::write(begun.path().join(path.as_str()), derivation.to_bytes(&StoreDir::default()));
        }
    });
    written?;
    if let Err(error) = read {
        return Ok(Err(error.to_string()));
    }
    fs::rename(begun.path(), dir.join(digest.to_string()))?;
    prune(dir).map(Ok)
}

/// Removes the oldest archives.
fn prune(dir: &Path) -> io::Result<()> {
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            found.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    found.sort_unstable();
    for (_, old) in found.iter().rev().skip(KEPT) {
        fs::remove_dir_all(old)?;
    }
    Ok(())
}
