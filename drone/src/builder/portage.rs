//! Building packages with Portage: dependencies as binaries, the target from source.
//!
//! Two steps, because one cannot do it: `--buildpkgonly` builds without installing, which
//! needs the build dependencies installed before. They are installed as binaries only;
//! the run of `emerge` is stopped when it turns to compiling one, since a drone that
//! compiles dependencies hides that the swarm lacks them.
//!
//! A cycle is built in stages in one root. The packages of its earlier stages lie in a
//! package directory of their own, from which `emerge` takes them like any dependency.

use super::{
    Stop,
    steps::{Step, Steps},
};
use crate::buildroot::Root;
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};
use swarm_common::{
    state::{FailureClass, Phase},
    wire::drone::{BuildOrder, Target},
    wire::plan::PlanStage,
};

/// Options of every `emerge`: no surprises from the bundle, no colours, nothing that asks.
const COMMON: [&str; 6] =
    ["--ignore-default-opts", "--color=n", "--nospinner", "--oneshot", "--quiet-build=n", "--autounmask=n"];

/// Options that make what a system has installed already what the plan has: versions, USE
/// flags, and builds of one version. What else is installed is nobody's business here.
const AS_PLANNED: [&str; 7] = [
    "--update",
    // The target's dependencies count even if the target itself is installed already.
    "--selective=n",
    "--deep",
    "--newuse",
    "--rebuilt-binaries=y",
    "--complete-graph-if-new-ver=n",
    "--complete-graph-if-new-use=n",
];

/// Builds what is ordered; gives the files in the order of the targets.
pub(super) async fn build(root: &Root, order: &BuildOrder, steps: &mut Steps) -> Result<Vec<PathBuf>, Stop> {
    let stages = stages(order)?;
    // What each target is built with now; a stage may change its own for a while.
    let mut flags: Vec<Vec<String>> = order.targets.iter().map(|t| flags(t, &[])).collect();
    let mut files = vec![None; order.targets.len()];
    for (number, stage) in stages.iter().enumerate() {
        let at = stage.package as usize;
        let target = &order.targets[at];
        let last = stages[number + 1..].iter().all(|later| later.package != stage.package);
        if stages.len() > 1 {
            let changes = stage.use_changes.join(" ");
            let text = format!("stage {} of {}: {} {changes}", number + 1, stages.len(), target.cpv);
            steps.log.say(text.trim_end()).await;
        }
        flags[at] = self::flags(target, &stage.use_changes);
        let entries: Vec<_> = order.targets.iter().map(atom).zip(flags.iter().cloned()).collect();
        root.set_use(&entries)?;

        let paths = root.paths();
        root.set_packages(&paths.stages)?;
        let wanted = stages.len() > 1 || may_have_build_dependencies(&paths.snapshot, target);
        if number > 0 {
            index_stages(root, steps).await?;
        }
        if wanted {
            install_dependencies(root, target, steps).await?;
        }
        let dir = if last { &paths.packages } else { &paths.stages };
        root.set_packages(dir)?;
        // Of all names a file could get, the right one must be the first that is free.
        // Other stages get one that no target has.
        let highest = order.targets.iter().map(|t| t.build_id).max().unwrap_or(1);
        let taken = reserve(dir, target, if last { target.build_id } else { highest + 1 }).map_err(disk)?;
        if !compile(root, target, steps, !wanted).await? {
            install_dependencies(root, target, steps).await?;
            compile(root, target, steps, false).await?;
        }
        for path in taken {
            // A placeholder that is left would be taken for a package.
            fs::remove_file(path).map_err(disk)?;
        }
        if last {
            let file = dir.join(target.path());
            let size = file.metadata().map(|m| m.len()).unwrap_or(0);
            if size == 0 {
                return Err(misnamed(dir, target));
            }
            let copy = paths.stages.join(target.path());
            if number + 1 < stages.len() {
                fs::create_dir_all(copy.parent().unwrap_or(&paths.stages)).map_err(disk)?;
                fs::hard_link(&file, &copy).map_err(disk)?;
            }
            files[at] = Some(file);
        }
    }
    let files: Option<Vec<PathBuf>> = files.into_iter().collect();
    files.ok_or_else(|| {
        Stop::failed(
            FailureClass::Infra,
            Phase::Packaging,
            "the order's stages do not build all of its targets",
        )
    })
}

/// The stages; for a single package it is one.
fn stages(order: &BuildOrder) -> Result<Vec<PlanStage>, Stop> {
    let wrong =
        |why: &str| Err(Stop::failed(FailureClass::Infra, Phase::Preparing, format!("bad order: {why}")));
    if order.targets.is_empty() {
        return wrong("it has no target");
    }
    if let Some(bad) = order.targets.iter().find(|t| t.build_id == 0 || t.build_id > 100_000) {
        return wrong(&format!("{} has the build id {}", bad.cpv, bad.build_id));
    }
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_+@.".contains(&b))
    };
    let mut words = order
        .targets
        .iter()
        .flat_map(|t| t.use_flags.iter().chain(&t.iuse).chain([&t.repository, &t.slot]).map(String::as_str));
    if let Some(bad) = words.find(|w| !word(w)) {
        return wrong(&format!("`{}` is neither a USE flag, a slot nor a repository", bad.escape_debug()));
    }
    if order.stages.iter().flat_map(|s| &s.use_changes).any(|w| !word(w)) {
        return wrong("a stage changes what is not a USE flag");
    }
    if order.stages.is_empty() {
        let one = |at| PlanStage { package: at, use_changes: Vec::new() };
        return Ok((0..u32::try_from(order.targets.len()).unwrap_or(u32::MAX)).map(one).collect());
    }
    if order.stages.iter().any(|s| s.package as usize >= order.targets.len()) {
        return wrong("a stage builds what is not a target");
    }
    Ok(order.stages.clone())
}

/// The target's exact atom.
fn atom(target: &Target) -> String {
    format!("={}::{}", target.cpv, target.repository)
}

/// Every flag the target knows, on or off, so that no default of the bundle is left to
/// say otherwise; then the changes.
fn flags(target: &Target, changes: &[String]) -> Vec<String> {
    let own = target
        .iuse
        .iter()
        .map(|flag| if target.use_flags.contains(flag) { flag.clone() } else { format!("-{flag}") });
    own.chain(changes.iter().cloned()).collect()
}

/// Whether the target can have build dependencies at all. Starting Portage to learn that
/// there are none takes a good part of the time that a small package builds. Only a text
/// without the word can be trusted; the other error is found out by `--buildpkgonly`.
fn may_have_build_dependencies(snapshot: &Path, target: &Target) -> bool {
    let repos = snapshot.join("repos");
    let repo = repos.join(&target.repository);
    let ebuild = repo.join(target.cpv.cp()).join(format!("{}.ebuild", target.cpv.pf()));
    let mut texts = vec![ebuild];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(path) = texts.pop() {
        let Ok(text) = fs::read_to_string(&path) else { return true };
        for line in text.lines().map(str::trim_start).filter(|line| !line.starts_with('#')) {
            if line.contains("DEPEND") {
                return true;
            }
            let Some(names) = line.strip_prefix("inherit ") else { continue };
            for name in names.split_whitespace() {
                let eclass = repo.join("eclass").join(format!("{name}.eclass"));
                if seen.insert(name.to_owned()) {
                    // An eclass of another repository, or a name that is computed: not known.
                    texts.push(eclass);
                }
            }
        }
    }
    false
}

fn arguments(common: bool, own: &[&str], atom: &str) -> Vec<OsString> {
    let common: &[&str] = if common { &COMMON } else { &[] };
    common.iter().chain(own).map(OsString::from).chain([OsString::from(atom)]).collect()
}

/// Installs the build dependencies from the binary package host.
async fn install_dependencies(root: &Root, target: &Target, steps: &mut Steps) -> Result<(), Stop> {
    steps.phase(Phase::Preparing).await;
    // The target itself must not come as a binary: then only what it needs to run would
    // be its dependencies.
    let own = format!("--usepkg-exclude={}:{}", target.cpv.cp(), target.slot);
    let args = [
        "--onlydeps",
        "--onlydeps-with-rdeps=n",
        "--usepkg",
        "--getbinpkg",
        own.as_str(),
        // A newer ebuild must not win over the binary of the plan.
        "--useoldpkg-atoms=*/*",
        "--binpkg-respect-use=y",
    ];
    let mut args = args.to_vec();
    if root.is_inhabited() {
        args.extend(AS_PLANNED);
    }
    let args = arguments(true, &args, &atom(target));
    let step = Step {
        program: root.program("emerge"),
        args,
        env: Vec::new(),
        dependencies_of: Some(&target.cpv),
        root,
    };
    let succeeded = steps.run(step).await?;
    if succeeded { Ok(()) } else { Err(steps.failed(FailureClass::Infra)) }
}

/// Makes the packages of the stages so far known: of those that were put there by another
/// hand, the resolver sees only what the directory's index has.
async fn index_stages(root: &Root, steps: &mut Steps) -> Result<(), Stop> {
    let args = ["--fix", "binhost"].map(OsString::from).to_vec();
    let step = Step { program: root.program("emaint"), args, env: Vec::new(), dependencies_of: None, root };
    let succeeded = steps.run(step).await?;
    if succeeded { Ok(()) } else { Err(steps.failed(FailureClass::Drone)) }
}

/// Builds the target. `false`, if that is `tentative`: dependencies turned out to be missing.
async fn compile(root: &Root, target: &Target, steps: &mut Steps, tentative: bool) -> Result<bool, Stop> {
    steps.phase(Phase::Building).await;
    // Nothing of the package host is asked for: its build ids would be counted.
    let args = arguments(true, &["--buildpkgonly", "--usepkg=n", "--getbinpkg=n"], &atom(target));
    let step = Step { program: root.program("emerge"), args, env: Vec::new(), dependencies_of: None, root };
    let succeeded = steps.run(step).await?;
    if succeeded {
        steps.phase(Phase::Packaging).await;
        return Ok(true);
    }
    let unmet = steps.log.errors.verdict().is_some_and(|v| v.contains("requires all dependencies"));
    match (unmet, tentative) {
        (true, true) => Ok(false),
        (true, false) => Err(steps.failed(FailureClass::Infra)),
        _ => Err(steps.failed(FailureClass::Package)),
    }
}

/// Portage gives a package the first build id from 1 on whose file is not there. So the
/// ones before the wanted one are put there, empty.
fn reserve(dir: &Path, target: &Target, build_id: u32) -> io::Result<Vec<PathBuf>> {
    let mut taken = Vec::new();
    for id in 1..build_id {
        let path = dir.join(Target { build_id: id, ..target.clone() }.path());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        match fs::OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(_) => taken.push(path),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Ok(taken)
}

fn disk(error: io::Error) -> Stop {
    Stop::failed(
        FailureClass::Drone,
        Phase::Packaging,
        format!("the package directory cannot be used: {error}"),
    )
}

fn misnamed(dir: &Path, target: &Target) -> Stop {
    let parent = dir.join(target.cpv.cp());
    let names: Vec<String> = fs::read_dir(&parent)
        .map(|entries| entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    let message = format!(
        "emerge succeeded, but {} is not among what it made: {}",
        target.path(),
        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
    );
    Stop::failed(FailureClass::Drone, Phase::Packaging, message)
}
