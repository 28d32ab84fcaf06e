//! Builds one derivation from exactly the inputs in the order, and archives its outputs.

use super::{
    derivations, evaluation, failure,
    graph::Resolver,
    inputs,
    server::{self, Served},
    session::{Session, disk},
    store::{ATTEMPT, Roots, Store},
};
use crate::builder::{
    BuildContext, Product, Stop, failure::resource_failure, first_error::plain,
    missing_resource::MissingResource, steps::Steps,
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};
use swarm_common::{
    digest::Digest,
    state::{FailureClass, Phase},
    wire::{
        drone::{BuildOrder, Target},
        nix::{NixTarget, base_name},
    },
};
use swarm_formats::{
    archive::DigestWriter,
    nix::{
        derivation::Derivation,
        nar::dump,
        serve::{self, BuildResult, BuildStatus},
        store_path::StoreDir,
    },
    snapshot::{NixSource, NixUpstream},
};

/// Compression level. Higher levels take much more time than they save on the network.
const LEVEL: i32 = 3;

/// Builds the order. Returns the archives and their references, in the order of the targets.
pub(super) async fn build(
    context: &BuildContext,
    source: &NixSource,
    order: &BuildOrder,
    steps: &mut Steps,
) -> Result<Product, Stop> {
    let targets: Vec<&NixTarget> = order.targets.iter().filter_map(Target::nix).collect();
    let first = *targets.first().ok_or_else(|| wrong("it has no target"))?;
    if targets.len() != order.targets.len() || targets.iter().any(|target| target.drv != first.drv) {
        return Err(wrong("its targets are not of one derivation"));
    }
    let mut session = Session::open(context, steps).await?;
    session.clean().await?;
    let name = format!("{ATTEMPT}{}", context.assignment.attempt);
    let (evaluation_roots, build_roots) = (session.evaluation.roots(&name), session.building.roots(&name));
    let (store, references) = match &first.drv {
        None => {
            evaluation::ensure(&mut session, source).await?;
            let paths: Vec<&str> = targets.iter().map(|target| target.path.as_str()).collect();
            evaluation_roots.keep(paths.iter().copied()).map_err(|error| disk("the roots", &error))?;
            let store = session.evaluation.clone();
            let references = match context.caches.nix.sources(&store, &paths) {
                Some(known) => known,
                None => {
                    is_evaluated(&mut session, &paths).await?;
                    session.registered(&store, paths.iter().copied()).await?
                }
            };
            (store, references)
        }
        Some(drv) => {
            let sent = match order.derivations {
                Some(archive) => derivations::find(&mut session, archive, drv).await?,
                None => None,
            };
            let derivation = match sent {
                Some(derivation) => derivation,
                None => evaluated(&mut session, source, drv, &evaluation_roots).await?,
            };
            check(&targets, &derivation)?;
            let dir = StoreDir::default();
            let needed: Vec<String> =
                derivation.input_sources.iter().map(|path| dir.absolute(path)).collect();
            let outputs = targets.iter().map(|target| target.path.as_str());
            let rooted = build_roots.keep(needed.iter().map(String::as_str).chain(outputs.clone()));
            rooted.map_err(|error| disk("the roots", &error))?;
            provide(&mut session, &needed, order, &source.upstreams).await?;
            let references = realise(&mut session, drv, &derivation).await?;
            context.caches.nix.remember(outputs);
            (session.building.clone(), references)
        }
    };
    session.steps.phase(Phase::Packaging).await;
    let paths: Vec<String> = targets.iter().map(|target| target.path.clone()).collect();
    let references = paths.iter().map(|path| base_names(&references, path)).collect();
    let to = context.attempt_dir.join("archives");
    let archived = tokio::task::spawn_blocking(move || archive(&store, &paths, &to)).await;
    let files = archived.map_err(|error| error.to_string()).flatten().map_err(|why| {
        failure::stop(
            FailureClass::Drone,
            Phase::Packaging,
            format!("what was built cannot be archived: {why}"),
        )
    })?;
    Ok(Product { files, references })
}

/// The base names of what `path` refers to, except itself.
fn base_names(references: &[(String, Vec<String>)], path: &str) -> Vec<String> {
    let found = references.iter().find(|(of, _)| of == path);
    let others = found.into_iter().flat_map(|(_, references)| references).filter(|&other| other != path);
    others.map(|other| base_name(other).to_owned()).collect()
}

/// Gets a derivation by evaluating the snapshot, with its sources in the build store.
async fn evaluated(
    session: &mut Session<'_>,
    source: &NixSource,
    drv: &str,
    roots: &Roots,
) -> Result<Derivation, Stop> {
    let mut evaluation = evaluation::ensure(session, source).await?;
    roots.keep([drv]).map_err(|error| disk("the roots", &error))?;
    if !session.evaluation.file(drv).exists() && evaluation.has_problems() {
        // The drone that made the plan may have evaluated more attributes since.
        evaluation = evaluation::renew(session, source).await?;
    }
    if !session.evaluation.file(drv).exists() {
        return Err(other_evaluation(session, drv));
    }
    if !session.unbuilt(&[drv]).await?.is_empty() {
        // The other derivations of the snapshot are copied as well, so that this happens only once.
        let derivations = evaluation.roots.iter().map(|root| root.derivation.as_str());
        let all: Vec<&str> = derivations.chain([drv]).collect();
        let store = session.building.clone();
        session.copy_derivations(&all, &store).await?;
        session.remember_requisites(&all).await?;
    }
    Resolver::new(&session.evaluation).resolve(drv).map_err(|why| wrong(&why))
}

/// Brings the inputs of a build into the store. Usually nothing is missing, so this costs only a query.
async fn provide(
    session: &mut Session<'_>,
    needed: &[String],
    order: &BuildOrder,
    upstreams: &[NixUpstream],
) -> Result<(), Stop> {
    let inputs = || order.inputs.iter().map(|input| input.path.as_str());
    let all: BTreeSet<&str> = needed.iter().map(String::as_str).chain(inputs()).collect();
    let lacking = session.unbuilt(&all.into_iter().collect::<Vec<_>>()).await?;
    let lacking: BTreeSet<String> = lacking.into_iter().collect();
    let needed: Vec<&str> =
        needed.iter().filter(|path| lacking.contains(*path)).map(String::as_str).collect();
    if !needed.is_empty() {
        // It starts while the inputs are fetched.
        server::warm(session);
        let lacking = order.inputs.iter().filter(|input| lacking.contains(&input.path));
        inputs::provide(session, &needed, lacking, upstreams).await?;
        session.context.caches.nix.remember(needed.into_iter().chain(inputs()));
    }
    Ok(())
}

fn wrong(why: &str) -> Stop {
    failure::stop(FailureClass::Infra, Phase::Preparing, format!("bad order: {why}"))
}

/// Checks that the snapshot evaluates to these paths.
async fn is_evaluated(session: &mut Session<'_>, paths: &[&str]) -> Result<(), Stop> {
    let store = session.evaluation.clone();
    let lacking = session.lacking(&store, paths).await?;
    match lacking.first() {
        None => Ok(()),
        Some(path) => Err(other_evaluation(session, path)),
    }
}

fn other_evaluation(session: &Session<'_>, path: &str) -> Stop {
    let message = format!(
        "the snapshot does not evaluate to {path} here (Nix {}): its evaluation depends on the machine, the time or \
         the version of Nix",
        session.programs.version
    );
    failure::stop(FailureClass::Infra, Phase::Preparing, message)
}

/// Checks that the targets are outputs of the derivation.
fn check(targets: &[&NixTarget], derivation: &Derivation) -> Result<(), Stop> {
    let dir = StoreDir::default();
    let bad = targets.iter().find(|target| {
        let output = derivation.outputs.get(&target.output);
        output.is_none_or(|output| dir.absolute(&output.path) != target.path)
    });
    match bad {
        None => Ok(()),
        Some(bad) => Err(wrong(&format!("{} is not its output `{}`", bad.path, bad.output))),
    }
}

/// Builds a derivation whose inputs are in the store. Returns the outputs with the paths that they refer to.
async fn realise(
    session: &mut Session<'_>,
    drv: &str,
    derivation: &Derivation,
) -> Result<Vec<(String, Vec<String>)>, Stop> {
    let context = session.context;
    let dir = StoreDir::default();
    let timeout = session.steps.left().as_secs().max(1);
    let silent = context.assignment.limits.silence_timeout_ms.div_ceil(1000).max(1);
    let path = dir.parse(drv).map_err(|error| wrong(&error.to_string()))?;
    let request = serve::request(&path, derivation, &dir, silent, timeout);
    let is_fixed = derivation.outputs.values().any(|output| output.fixed.is_some());
    let phase = if is_fixed { Phase::Fetching } else { Phase::Building };
    let Served { result, used, mut heard } = server::build(session, &request, phase).await?;
    if let Some(BuildResult { status: BuildStatus::Built, outputs, .. }) = result {
        return Ok(outputs);
    }
    let status = result.map(|result| {
        heard.errors.extend(Some(plain(&result.error).into_owned()).filter(|error| !error.is_empty()));
        result.status
    });
    let is_in = |text: &str| heard.errors.iter().any(|error| error.contains(text));
    if is_in(failure::NO_INPUT) {
        // The drone's notes about its store were wrong.
        context.caches.nix.forget();
    }
    let (phase, peak) = (session.steps.log.phase(), used.peak_memory_bytes);
    if used.out_of_memory || is_in("failed due to signal 9") {
        let missing = MissingResource::of_memory(used.out_of_memory);
        let first_error = session.steps.log.errors.first().unwrap_or_default();
        return Err(Stop::Failed(resource_failure(&missing, phase, Some(peak), first_error)));
    }
    Err(Stop::Failed(failure::failure(status, &heard, &session.steps.log.errors, phase, peak)))
}

/// Archives store paths into a directory. No two files have the same content, because uploads are named by
/// their digest.
fn archive(store: &Store, paths: &[String], to: &Path) -> Result<Vec<PathBuf>, String> {
    fs::create_dir_all(to).map_err(|error| error.to_string())?;
    let mut seen: BTreeSet<Digest> = BTreeSet::new();
    let mut files = Vec::new();
    for path in paths {
        let at = to.join(format!("{}.nar.zst", path.rsplit('/').next().unwrap_or_default()));
        for cut in 0.. {
            let digest = compress(&store.file(path), &at, cut).map_err(|error| format!("{path}: {error}"))?;
            if seen.insert(digest) {
                break;
            }
        }
        files.push(at);
    }
    Ok(files)
}

/// Writes the compressed archive of `from` and returns its digest. A different `cut` gives other compressed
/// bytes for the same archive.
fn compress(from: &Path, to: &Path, cut: usize) -> Result<Digest, String> {
    let to_text = |error: io::Error| error.to_string();
    let file = io::BufWriter::new(File::create(to).map_err(to_text)?);
    let encoder = zstd::Encoder::new(DigestWriter::new(file), LEVEL).map_err(to_text)?;
    let (cutter, _) = dump(from, Cutter { encoder, left: cut }).map_err(|error| error.to_string())?;
    let (mut file, digest) = cutter.encoder.finish().map_err(to_text)?.finish();
    file.flush().map_err(to_text)?;
    Ok(digest)
}

/// Ends a block of the compressed stream after some bytes.
struct Cutter<W: Write> {
    encoder: zstd::Encoder<'static, W>,
    left: usize,
}

impl<W: Write> Write for Cutter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return self.encoder.write(bytes);
        }
        let written = self.encoder.write(&bytes[..bytes.len().min(self.left)])?;
        self.left -= written;
        if self.left == 0 {
            self.encoder.flush()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_outputs_become_files_with_other_bytes_and_the_same_archive() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &crate::config::NixConfig::default()).unwrap();
        let paths = ["/nix/store/a-dev", "/nix/store/a-doc", "/nix/store/a-man"].map(String::from);
        for path in &paths {
            fs::create_dir_all(store.file(path)).unwrap();
        }
        let files = archive(&store, &paths, &dir.path().join("archives")).unwrap();
        let packed: BTreeSet<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
        assert_eq!(packed.len(), 3);
        let archives: BTreeSet<Vec<u8>> =
            packed.iter().map(|packed| zstd::decode_all(&packed[..]).unwrap()).collect();
        assert_eq!(archives.len(), 1);
    }
}
