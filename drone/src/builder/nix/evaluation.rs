//! Evaluates the attributes of a snapshot to derivations. An attribute that fails does not stop the others.
//! The result is kept for the snapshot's builds.

use super::{
    jobs::{self, Answer},
    lock::lock,
    missing::substituters,
    sandbox::{INPUTS, SOURCE, Sandbox},
    session::{Call, Ended, Output, Session, disk, drone},
    source,
    store::Store,
};
use crate::{builder::Stop, config::NixConfig, process::End};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};
use swarm_common::{
    digest::Digest,
    wire::plan::{PlanProblem, ProblemKind},
};
use swarm_formats::snapshot::NixSource;

/// How many attributes to evaluate together while none fails.
const BATCH: usize = 64;
/// Number of evaluations to keep.
const KEPT: usize = 8;
/// Directory in a store with the kept evaluations.
const RECORDS: &str = "evaluations";

/// The result of evaluating a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Evaluation {
    /// Version of the Nix that evaluated it.
    version: String,
    /// The attributes that evaluate to a derivation.
    pub roots: Vec<Root>,
    /// The attributes that do not, with the reasons.
    pub problems: Vec<PlanProblem>,
}

/// An attribute that evaluates to a derivation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Root {
    /// The attribute path; for a host, its name.
    pub attribute: String,
    /// Whether it is the system of a host.
    pub host: bool,
    /// Store path of the derivation.
    pub derivation: String,
    /// The output that the attribute selects; `None` for the default one.
    pub output: Option<String>,
}

impl Evaluation {
    pub(super) fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }
}

impl Root {
    fn is_of(&self, target: &EvaluationTarget) -> bool {
        self.host == target.host && self.attribute == target.attribute
    }
}

#[derive(Debug, Clone)]
struct EvaluationTarget {
    attribute: String,
    host: bool,
    /// Its path in the expression.
    path: String,
}

fn targets(source: &NixSource) -> Vec<EvaluationTarget> {
    let plain = |path: &String| EvaluationTarget { attribute: path.clone(), host: false, path: path.clone() };
    let host = |name: &String| EvaluationTarget {
        attribute: name.clone(),
        host: true,
        path: format!("nixosConfigurations.{name}.config.system.build.toplevel"),
    };
    source.attributes.iter().map(plain).chain(source.hosts.iter().map(host)).collect()
}

/// Evaluates the snapshot of this attempt, unless that was done before. Afterwards its derivations and their
/// sources are in the store for evaluation and stay there for a while.
pub(super) async fn ensure(session: &mut Session<'_>, source: &NixSource) -> Result<Evaluation, Stop> {
    // An existing evaluation need not wait until another snapshot is evaluated.
    let snapshot = session.context.assignment.snapshot;
    match find(session, snapshot).await? {
        Some(found) => Ok(found),
        None => complete(session, source, |_| true).await,
    }
}

/// Like [`ensure`], but evaluates again what failed: a limit may be higher now, or a cache that evaluation
/// needs may answer again.
pub(super) async fn renew(session: &mut Session<'_>, source: &NixSource) -> Result<Evaluation, Stop> {
    complete(session, source, |found| !found.has_problems()).await
}

/// Evaluates the attributes that a kept evaluation lacks, unless it is `enough`.
async fn complete(
    session: &mut Session<'_>,
    source: &NixSource,
    enough: impl Fn(&Evaluation) -> bool,
) -> Result<Evaluation, Stop> {
    let shared = session.context.caches.nix.clone();
    let snapshot = session.context.assignment.snapshot;
    let _turn = shared.evaluating(session.steps.cancel()).await?;
    let found = find(session, snapshot).await?;
    if let Some(found) = found.clone().filter(|found| enough(found)) {
        return Ok(found);
    }
    let evaluated = found.map(|found| found.roots).unwrap_or_default();
    let evaluation = evaluate(session, source, evaluated).await?;
    keep(&session.evaluation, snapshot, &evaluation).map_err(|error| disk("the evaluation", &error))?;
    shared.checked().insert(snapshot);
    Ok(evaluation)
}

/// A kept evaluation, if all of its derivations are still in the store.
async fn find(session: &mut Session<'_>, snapshot: Digest) -> Result<Option<Evaluation>, Stop> {
    let file = record(&session.evaluation, snapshot);
    let Some(found) = fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Evaluation>(&text).ok())
    else {
        return Ok(None);
    };
    let store = session.evaluation.clone();
    let derivations: Vec<&str> = found.roots.iter().map(|root| root.derivation.as_str()).collect();
    if found.version != session.programs.version {
        return Ok(None);
    }
    let nix = session.context.caches.nix.clone();
    if !nix.checked().contains(&snapshot) {
        if !session.lacking(&store, &derivations).await?.is_empty() {
            return Ok(None);
        }
        nix.checked().insert(snapshot);
    }
    if let Err(error) = fs::File::open(&file).and_then(|file| file.set_modified(SystemTime::now())) {
        tracing::debug!(%error, "cannot record the last use of an evaluation");
    }
    Ok(Some(found))
}

fn record(store: &Store, snapshot: Digest) -> PathBuf {
    store.dir().join(RECORDS).join(snapshot.to_string())
}

/// Keeps an evaluation and its derivations, and removes the least recently used evaluations.
fn keep(store: &Store, snapshot: Digest, evaluation: &Evaluation) -> io::Result<()> {
    let file = record(store, snapshot);
    let dir = store.dir().join(RECORDS);
    fs::create_dir_all(&dir)?;
    // The derivations stay rooted until the record is removed.
    let roots = std::mem::ManuallyDrop::new(store.roots(&snapshot.to_string()));
    roots.keep(evaluation.roots.iter().map(|root| root.derivation.as_str()))?;
    fs::write(&file, serde_json::to_vec(evaluation)?)?;
    let mut kept = Vec::new();
    for entry in fs::read_dir(&dir)? {
        let entry = entry?;
        kept.push((entry.metadata()?.modified()?, entry.path()));
    }
    kept.sort_unstable();
    for (_, old) in kept.iter().rev().skip(KEPT) {
        let name = old.file_name().unwrap_or_default().to_string_lossy().into_owned();
        drop(store.roots(&name));
        fs::remove_file(old)?;
    }
    Ok(())
}

/// Evaluates all attributes that are not in `evaluated`.
async fn evaluate(
    session: &mut Session<'_>,
    source: &NixSource,
    evaluated: Vec<Root>,
) -> Result<Evaluation, Stop> {
    let dir = session.context.attempt_dir.join("evaluation");
    let sandbox = Sandbox::make(&dir, source.import_from_derivation);
    let sandbox = sandbox.map_err(|error| disk("the place for the evaluation", &error))?;
    let (from, to) = (session.context.snapshot.clone(), dir.clone());
    let modified = source.modified.unwrap_or_default();
    let copied = tokio::task::spawn_blocking(move || source::copy(&from, &to, modified)).await;
    copied.map_err(io::Error::other).flatten().map_err(|error| disk("the copy of the snapshot", &error))?;
    let inputs = source::inputs(&dir).map_err(|error| disk("the inputs", &error))?;
    let options = options(session, source, &dir, &inputs).await?;
    let all = targets(source);
    let is_known = |one: &EvaluationTarget| evaluated.iter().any(|root| root.is_of(one));
    let pending: Vec<EvaluationTarget> = all.iter().filter(|one| !is_known(one)).cloned().collect();
    session.steps.log.say(&format!("{} attributes are evaluated", pending.len())).await;
    let mut evaluation =
        Evaluation { version: session.programs.version.clone(), roots: evaluated, problems: Vec::new() };
    for batch in pending.chunks(BATCH) {
        let answers = match batch.len() {
            1 => vec![None],
            _ => together(session, &sandbox, source, &options, batch).await?,
        };
        for (one, answer) in batch.iter().zip(answers) {
            let answer = match answer {
                Some(answer) => answer,
                None => alone(session, &sandbox, source, &options, one).await?,
            };
            match answer {
                Ok((derivation, output)) => evaluation.roots.push(Root {
                    attribute: one.attribute.clone(),
                    host: one.host,
                    derivation,
                    output,
                }),
                Err(message) => {
                    session.steps.log.say(&format!("{} is left out: {message}", one.attribute)).await;
                    evaluation.problems.push(PlanProblem {
                        kind: ProblemKind::Evaluation,
                        atoms: vec![one.attribute.clone()],
                        message,
                        suggestion: None,
                    });
                }
            }
        }
    }
    evaluation.roots.sort_by_key(|root| all.iter().position(|one| root.is_of(one)));
    Ok(evaluation)
}

/// The results of evaluating the attributes together; `None` for those that must be evaluated alone.
async fn together(
    session: &mut Session<'_>,
    sandbox: &Sandbox,
    source: &NixSource,
    options: &[OsString],
    batch: &[EvaluationTarget],
) -> Result<Vec<Option<Answer>>, Stop> {
    let ended = run(session, sandbox, source, options, batch).await?;
    if !session.context.config.nix.eval_command.is_empty() {
        return Ok(jobs::answers(&ended.output, batch.len()));
    }
    let found = jobs::derivations(source, &ended.output);
    Ok(match ended.code() == Some(0) && found.len() == batch.len() {
        true => found.into_iter().map(|found| Some(Ok(found))).collect(),
        false => vec![None; batch.len()],
    })
}

/// The result of evaluating one attribute.
async fn alone(
    session: &mut Session<'_>,
    sandbox: &Sandbox,
    source: &NixSource,
    options: &[OsString],
    one: &EvaluationTarget,
) -> Result<Answer, Stop> {
    let ended = run(session, sandbox, source, options, std::slice::from_ref(one)).await?;
    let settings = &session.context.config.nix;
    if let [command, ..] = &settings.eval_command[..] {
        // A non-zero exit code may only mean that the attribute failed.
        let answer = jobs::answers(&ended.output, 1).pop().flatten();
        let answer = answer.or_else(|| failed(settings, &ended).map(Err));
        return Ok(
            answer.unwrap_or_else(|| Err(format!("{command} answered nothing (builder.nix.eval_command)")))
        );
    }
    if let Some(why) = failed(settings, &ended) {
        return Ok(Err(why));
    }
    let found = jobs::derivations(source, &ended.output);
    Ok(match (found.len(), found.into_iter().next()) {
        (1, Some(found)) => Ok(found),
        (0, _) => Err("it evaluates to no derivation".into()),
        (count, _) => Err(format!("it is a set of {count} derivations; name those to build")),
    })
}

/// Why an evaluation returned nothing; `None` if it did not fail as a whole.
fn failed(settings: &NixConfig, ended: &Ended) -> Option<String> {
    let error = ended.error();
    let killed = match ended.end {
        End::TimedOut | End::Silent => {
            return Some(format!(
                "the evaluation takes longer than {} s (builder.nix.evaluation_timeout)",
                settings.evaluation_timeout().as_secs()
            ));
        }
        End::Exited(status) if status.success() => return None,
        End::Exited(status) => status.code().is_none() || ended.out_of_memory,
        _ => return Some(error),
    };
    if killed || ["out of memory", "bad_alloc", "Out of Memory"].iter().any(|text| error.contains(text)) {
        return Some(format!(
            "the evaluation needs more memory than {} MiB (builder.nix.evaluation_memory): {error}",
            settings.evaluation_memory() >> 20
        ));
    }
    Some(error)
}

async fn run(
    session: &mut Session<'_>,
    sandbox: &Sandbox,
    source: &NixSource,
    options: &[OsString],
    batch: &[EvaluationTarget],
) -> Result<Ended, Stop> {
    if let [command, given @ ..] = &session.context.config.nix.eval_command[..] {
        let (command, mut args) = (command.clone(), given.iter().map(OsString::from).collect::<Vec<_>>());
        args.extend_from_slice(options);
        args.extend(jobs::arguments(source, &batch.iter().map(|one| one.path.as_str()).collect::<Vec<_>>()));
        return sandbox.run(session, &command, args).await;
    }
    let (program, mut args) = if source.flake {
        let flake = source::address(SOURCE, source);
        let mut args = ["build", "--dry-run", "--json", "--no-link", "--no-write-lock-file"]
            .map(OsString::from)
            .to_vec();
        args.extend(batch.iter().map(|target| format!("{flake}#{}", target.path).into()));
        ("nix", args)
    } else {
        let mut args: Vec<OsString> = vec![format!("{SOURCE}/{}", source.file).into()];
        args.extend(batch.iter().flat_map(|target| ["-A".into(), OsString::from(&target.path)]));
        ("nix-instantiate", args)
    };
    args.extend(["--store".into(), sandbox.store().into()]);
    args.extend_from_slice(options);
    sandbox.run(session, program, args).await
}

/// The options of all evaluations of a snapshot.
async fn options(
    session: &mut Session<'_>,
    source: &NixSource,
    dir: &Path,
    inputs: &[(String, PathBuf)],
) -> Result<Vec<OsString>, Stop> {
    let mut options: Vec<OsString> = Vec::new();
    let mut set = |name: &str, value: &str| options.extend(["--option", name, value].map(OsString::from));
    set("restrict-eval", "true");
    set("allow-import-from-derivation", if source.import_from_derivation { "true" } else { "false" });
    if !source.flake {
        let mut searched = |what: String| options.extend(["-I".into(), what.into()]);
        searched(format!("source={SOURCE}"));
        inputs.iter().for_each(|(name, _)| searched(format!("{name}={INPUTS}/{name}")));
        for (name, value) in &source.arguments {
            options.extend(["--argstr", name, value].map(OsString::from));
        }
    } else {
        let lock = lock(dir).map_err(|error| drone(format!("flake.lock cannot be read: {error}")))?;
        set("allowed-uris", &lock.addresses.iter().map(String::as_str).collect::<Vec<_>>().join(" "));
        for (name, at) in inputs {
            if lock.locked.contains(name) {
                seed(session, at).await?;
            } else {
                options
                    .extend(["--override-input", name, &format!("path:{INPUTS}/{name}")].map(OsString::from));
            }
        }
    }
    if source.import_from_derivation {
        options.extend(substituters(None, &source.upstreams));
    }
    Ok(options)
}

/// Adds a locked input to the store, where Nix finds it by the hash in the lock file.
async fn seed(session: &mut Session<'_>, input: &Path) -> Result<(), Stop> {
    let mut args: Vec<OsString> = ["store", "add-path", "--name", "source"].map(OsString::from).to_vec();
    args.push(input.into());
    let store = session.evaluation.clone();
    let ended = session.run(Call { program: "nix", args, store: &store, output: Output::Taken }).await?;
    match ended.code() {
        Some(0) => Ok(()),
        _ => Err(drone(format!("the input {} cannot be stored: {}", input.display(), ended.error()))),
    }
}
