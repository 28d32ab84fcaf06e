//! Brings the inputs of a build into the store: archives from the swarm through a binary cache in the
//! attempt's directory, everything else from the upstream caches that the profile allows.

use super::{
    failure,
    missing::substituters,
    session::{Call, Output, Session, disk, drone},
};
use crate::{artifacts::ArtifactRequest, builder::Stop};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};
use swarm_common::{
    state::{FailureClass, Phase},
    wire::nix::NixInput,
};
use swarm_formats::{
    nix::{
        nar::NarSum,
        narinfo::{Compression, NarInfo},
        store_path::StoreDir,
    },
    snapshot::NixUpstream,
};

/// This priority makes Nix prefer the cache to all others.
const CACHE_INFO: &str = "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 1\n";
/// Maximum number of paths in a message.
const MAX_LISTED: usize = 8;

/// Copies the `needed` paths, which the store lacks, into it. `inputs` are the paths that the swarm built,
/// with their references. Builds nothing.
pub(super) async fn provide(
    session: &mut Session<'_>,
    needed: &[&str],
    inputs: impl Iterator<Item = &NixInput>,
    upstreams: &[NixUpstream],
) -> Result<(), Stop> {
    let store = session.building.clone();
    session.steps.phase(Phase::Fetching).await;
    let cache = session.context.attempt_dir.join("inputs");
    fs::create_dir_all(cache.join("nar")).map_err(|error| disk("the inputs", &error))?;
    fs::write(cache.join("nix-cache-info"), CACHE_INFO).map_err(|error| disk("the inputs", &error))?;
    for input in inputs {
        let caches = &session.context.caches;
        let (cancel, request) = (session.steps.cancel().clone(), ArtifactRequest::from(input));
        let file = tokio::select! {
            file = caches.artifacts.get(caches.client.as_ref(), &request) => file?,
            () = cancel.cancelled() => return Err(Stop::Cancelled),
        };
        offer(&cache, input, &file)?;
    }
    let mut args: Vec<OsString> = ["--realise", "--max-jobs", "0"].map(OsString::from).to_vec();
    args.extend(needed.iter().map(OsString::from));
    // The digests of these archives were checked, so they need no signatures.
    args.extend(substituters(Some(format!("file://{}?trusted=true", cache.display())), upstreams));
    let call = Call { program: "nix-store", args, store: &store, output: Output::Taken };
    let ended = session.run(call).await?;
    if ended.code() != Some(0) {
        let lacking = session.lacking(&store, needed).await?;
        let names: Vec<&str> = lacking.iter().take(MAX_LISTED).map(String::as_str).collect();
        let message = match names.is_empty() {
            true => format!("the inputs cannot be had: {}", ended.error()),
            false => format!(
                "{} inputs are in no cache that may be used: {}\n{}",
                lacking.len(),
                names.join(" "),
                ended.error()
            ),
        };
        return Err(failure::stop(FailureClass::Infra, Phase::Fetching, message));
    }
    Ok(())
}

/// Adds an archive to the cache.
fn offer(cache: &Path, input: &NixInput, file: &Path) -> Result<(), Stop> {
    let wrong = |why: String| {
        let message = format!("bad order: the input {}: {why}", input.path.escape_debug());
        failure::stop(FailureClass::Infra, Phase::Fetching, message)
    };
    let dir = StoreDir::default();
    let path = dir.parse(&input.path).map_err(|error| wrong(error.to_string()))?;
    let references = input.nar.references.iter().map(|name| name.parse());
    let references = references
        .collect::<Result<_, _>>()
        .map_err(|error: swarm_formats::nix::store_path::StorePathError| wrong(error.to_string()))?;
    let name = format!("nar/{}.nar.zst", input.digest);
    let info = NarInfo {
        url: name
            .parse()
            .map_err(|error: swarm_formats::nix::narinfo::NarInfoError| wrong(error.to_string()))?,
        compression: Compression::Zstd,
        file_hash: None,
        file_size: None,
        nar: NarSum { hash: input.nar.hash, size: input.nar.size },
        references,
        deriver: None,
        signatures: BTreeSet::new(),
        content_address: None,
        path: path.clone(),
    };
    let place = || -> io::Result<()> {
        link(file, &cache.join(&name))?;
        fs::write(cache.join(format!("{}.narinfo", path.hash_part())), info.to_text(&dir))
    };
    place().map_err(|error| drone(format!("the input {}: {error}", input.path)))
}

/// Makes a file available at another path, without copying it if possible.
fn link(file: &Path, to: &PathBuf) -> io::Result<()> {
    match fs::hard_link(file, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => fs::copy(file, to).map(drop),
        linked => linked,
    }
}
