//! Builds one derivation from exactly the inputs in the order, and archives its outputs.

use super::{
    evaluation, failure,
    graph::{self, Graph},
    inputs,
    session::{Session, disk},
    store::{ATTEMPT, Store},
};
use crate::{
    builder::{
        BuildContext, Product, Stop, failure::resource_failure, missing_resource::MissingResource,
        steps::Steps,
    },
    process::{End, Invocation},
};
use std::{
    collections::BTreeSet,
    ffi::OsString,
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
    nix::{derivation::Derivation, nar::dump, store_path::StoreDir},
    snapshot::NixSource,
};

/// From this version on, a setting instead of `TMPDIR` determines the directory of builds.
const HAS_BUILD_DIR: (u32, u32) = (2, 22);
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
    let mut evaluation = evaluation::ensure(&mut session, source).await?;
    let name = format!("{ATTEMPT}{}", context.assignment.attempt);
    let (evaluated, building) = (session.evaluation.roots(&name), session.building.roots(&name));
    let store = match &first.drv {
        None => {
            let paths: Vec<&str> = targets.iter().map(|target| target.path.as_str()).collect();
            evaluated.keep(paths.iter().copied()).map_err(|error| disk("the roots", &error))?;
            is_evaluated(&mut session, &paths).await?;
            session.evaluation.clone()
        }
        Some(drv) => {
            evaluated.keep([drv.as_str()]).map_err(|error| disk("the roots", &error))?;
            if !session.evaluation.file(drv).exists() && evaluation.has_problems() {
                // The drone that made the plan may have evaluated more attributes since.
                evaluation = evaluation::renew(&mut session, source).await?;
            }
            if !session.evaluation.file(drv).exists() {
                return Err(other_evaluation(&session, drv));
            }
            let derivation = graph::read(&session.evaluation, drv).map_err(|why| wrong(&why))?;
            check(&targets, &derivation)?;
            let needed = needed(&session.evaluation, &derivation)?;
            let needed: Vec<&str> = needed.iter().map(String::as_str).collect();
            let outputs = targets.iter().map(|target| target.path.as_str());
            let rooted = building.keep(needed.iter().copied().chain(outputs).chain([drv.as_str()]));
            rooted.map_err(|error| disk("the roots", &error))?;
            let store = session.building.clone();
            // Usually nothing is missing, so the inputs cost only this query.
            let inputs = order.inputs.iter().map(|input| input.path.as_str());
            let known: BTreeSet<&str> = needed.iter().copied().chain([drv.as_str()]).chain(inputs).collect();
            let lacking = session.unbuilt(&known.into_iter().collect::<Vec<_>>()).await?;
            let lacking: BTreeSet<String> = lacking.into_iter().collect();
            if lacking.contains(drv) {
                // The other derivations of the snapshot are copied as well, so that this happens only once.
                let roots = evaluation.roots.iter().map(|root| root.derivation.as_str());
                let all: Vec<&str> = roots.chain([drv.as_str()]).collect();
                session.copy_derivations(&all, &store).await?;
                session.remember_requisites(&all).await?;
            }
            let needed: Vec<&str> = needed.into_iter().filter(|&path| lacking.contains(path)).collect();
            if !needed.is_empty() {
                let inputs = order.inputs.iter().filter(|input| lacking.contains(&input.path));
                inputs::provide(&mut session, &needed, inputs, &source.upstreams).await?;
                let inputs = order.inputs.iter().map(|input| input.path.as_str());
                context.caches.nix.remember(needed.into_iter().chain(inputs));
            }
            let is_fixed = derivation.outputs.values().any(|output| output.fixed.is_some());
            realise(&mut session, drv, if is_fixed { Phase::Fetching } else { Phase::Building }).await?;
            context.caches.nix.remember(targets.iter().map(|target| target.path.as_str()));
            store
        }
    };
    session.steps.phase(Phase::Packaging).await;
    let paths: Vec<String> = targets.iter().map(|target| target.path.clone()).collect();
    let references = references(&mut session, &store, &paths).await?;
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

/// The references that Nix registered for each path, as base names.
async fn references(
    session: &mut Session<'_>,
    store: &Store,
    paths: &[String],
) -> Result<Vec<Vec<String>>, Stop> {
    let found = session.registered(store, paths.iter().map(String::as_str)).await?;
    let of = |path: &String| {
        let found =
            found.iter().find(|(of, _)| of == path).map_or(&[][..], |(_, references)| references.as_slice());
        found.iter().map(|reference| base_name(reference).to_owned()).collect()
    };
    Ok(paths.iter().map(of).collect())
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

/// The store paths that a derivation needs, without its sources.
fn needed(store: &Store, derivation: &Derivation) -> Result<BTreeSet<String>, Stop> {
    let dir = StoreDir::default();
    let inputs: Vec<String> = derivation.input_derivations.keys().map(|path| dir.absolute(path)).collect();
    let graph = Graph::read(store, &inputs);
    let mut needed = BTreeSet::new();
    for (path, names) in inputs.iter().zip(derivation.input_derivations.values()) {
        let input = graph.get(path).map_err(wrong)?;
        for name in names {
            let output = input.outputs.get(name).ok_or_else(|| wrong(&format!("{path} has no {name}")))?;
            needed.insert(dir.absolute(&output.path));
        }
    }
    Ok(needed)
}

/// Builds a derivation whose inputs are in the store.
async fn realise(session: &mut Session<'_>, drv: &str, phase: Phase) -> Result<(), Stop> {
    let context = session.context;
    let limits = &context.assignment.limits;
    let store = session.building.clone();
    let jobs = context.config.jobs();
    let cores = if limits.jobs == 0 { jobs } else { limits.jobs.min(jobs) };
    let left = session.steps.left();
    let builds = context.attempt_dir.join("build");
    fs::create_dir_all(&builds).map_err(|error| disk("the directory for the build", &error))?;
    let mut args: Vec<OsString> = vec!["--store".into(), store.dir().into(), "--realise".into(), drv.into()];
    args.extend(["--option", "substitute", "false", "--max-jobs", "1"].map(OsString::from));
    for (name, value) in [
        ("--cores", u64::from(cores)),
        ("--timeout", left.as_secs().max(1)),
        ("--max-silent-time", limits.silence_timeout_ms.div_ceil(1000).max(1)),
    ] {
        args.extend([name.into(), value.to_string().into()]);
    }
    if session.programs.is_at_least(HAS_BUILD_DIR) {
        args.extend(["--option".into(), "build-dir".into(), builds.clone().into()]);
    }
    args.extend(["--log-format", "internal-json", "-v"].map(OsString::from));
    let mut env = session.environment(&store.configuration(), &store.home());
    env.push(("TMPDIR".into(), builds.into()));
    let job: Invocation = session.job(session.programs.path("nix-store"), args, env);
    let (ran, heard) = session.attend_build(job, drv, phase).await?;
    if let Some(other) = heard.uncalled {
        // The drone's notes about its store were wrong.
        context.caches.nix.forget();
        let message = format!("Nix began to build {other}, which was not requested: an input is missing");
        return Err(failure::stop(FailureClass::Infra, Phase::Preparing, message));
    }
    let End::Exited(status) = ran.end else { return Err(Stop::Cancelled) };
    if status.success() {
        return Ok(());
    }
    let (phase, peak) = (session.steps.log.phase(), ran.peak_memory_bytes);
    let killed = heard.errors.iter().any(|error| error.contains("failed due to signal 9"));
    if ran.out_of_memory || killed {
        let missing = MissingResource::of_memory(ran.out_of_memory);
        let first_error = session.steps.log.errors.first().unwrap_or_default();
        return Err(Stop::Failed(resource_failure(&missing, phase, Some(peak), first_error)));
    }
    Err(Stop::Failed(failure::failure(status.code(), &heard, &session.steps.log.errors, phase, peak)))
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
