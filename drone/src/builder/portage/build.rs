//! Builds packages with Portage, running `emerge` once for each.
//!
//! All dependencies in the order are already installed, so `emerge` runs without its resolver, which could
//! only contradict the plan, and compiles nothing but the target.
//!
//! A dependency cycle is built in stages in one root: the result of each stage is installed for the next one.

use super::{
    emerge::{COMMON, arguments},
    install::install_from,
    root::Root,
    step::Step,
};
use crate::builder::{Stop, steps::Steps};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use swarm_common::{
    state::{FailureClass, Phase},
    wire::drone::{BuildOrder, PortageTarget, Target},
    wire::plan::PlanStage,
};

/// Builds the order. Returns the package files in the order of the targets.
pub(super) async fn build(root: &Root, order: &BuildOrder, steps: &mut Steps) -> Result<Vec<PathBuf>, Stop> {
    let targets: Vec<&PortageTarget> = order.targets.iter().filter_map(Target::portage).collect();
    let stages = stages(order, &targets)?;
    // Current USE flags of each target. A stage may change the flags of its target.
    let mut flags: Vec<Vec<String>> = targets.iter().map(|t| flags(t, &[])).collect();
    let mut files = vec![None; targets.len()];
    for (number, stage) in stages.iter().enumerate() {
        let at = stage.package as usize;
        let target = targets[at];
        let last = stages[number + 1..].iter().all(|later| later.package != stage.package);
        if stages.len() > 1 {
            let changes = stage.use_changes.join(" ");
            let text = format!("stage {} of {}: {} {changes}", number + 1, stages.len(), target.cpv);
            steps.log.say(text.trim_end()).await;
        }
        flags[at] = self::flags(target, &stage.use_changes);
        let entries: Vec<_> = targets.iter().map(|t| atom(t)).zip(flags.iter().cloned()).collect();
        root.set_use(&entries)?;

        let (places, seen) = (root.outside(), root.inside());
        let (dir, seen) =
            if last { (&places.packages, &seen.packages) } else { (&places.stages, &seen.stages) };
        // Portage uses the first free build ID. For the final build this must be the target's; earlier stages
        // get an ID that no target has.
        let highest = targets.iter().map(|t| t.build_id).max().unwrap_or(1);
        let build_id = if last { target.build_id } else { highest + 1 };
        let taken = reserve(dir, target, build_id).map_err(disk)?;
        compile(root, target, seen, steps).await?;
        for path in taken {
            fs::remove_dir(path).map_err(disk)?;
        }
        if last {
            let file = dir.join(target.path());
            let size = file.metadata().map(|m| m.len()).unwrap_or(0);
            if size == 0 {
                return Err(misnamed(dir, target));
            }
            files[at] = Some(file);
        }
        if number + 1 < stages.len() {
            let atom = format!("={}-{build_id}", target.cpv);
            install_from(root, seen, vec![atom], steps).await?;
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

/// The stages of the order; one for each target if the order has none.
fn stages(order: &BuildOrder, targets: &[&PortageTarget]) -> Result<Vec<PlanStage>, Stop> {
    let wrong = |why: &str| {
        Err(Stop::failed(
            FailureClass::Infra,
            Phase::Preparing,
            format!(
                "invalid build order: \
                 {why}"
            ),
        ))
    };
    if targets.is_empty() || targets.len() != order.targets.len() {
        return wrong("it has no target, or a target that is not a Portage package");
    }
    if let Some(bad) = targets.iter().find(|t| t.build_id == 0 || t.build_id > 100_000) {
        return wrong(&format!("{} has build ID {}", bad.cpv, bad.build_id));
    }
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_+@.".contains(&b))
    };
    let mut words = targets
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
        return Ok((0..u32::try_from(targets.len()).unwrap_or(u32::MAX)).map(one).collect());
    }
    if order.stages.iter().any(|s| s.package as usize >= targets.len()) {
        return wrong("a stage builds what is not a target");
    }
    Ok(order.stages.clone())
}

/// An atom that matches exactly this version and repository.
fn atom(target: &PortageTarget) -> String {
    format!("={}::{}", target.cpv, target.repository)
}

/// Sets every flag of the target explicitly, so that defaults in the bundle have no effect, and then applies
/// the changes.
fn flags(target: &PortageTarget, changes: &[String]) -> Vec<String> {
    let own = target
        .iuse
        .iter()
        .map(|flag| if target.use_flags.contains(flag) { flag.clone() } else { format!("-{flag}") });
    own.chain(changes.iter().cloned()).collect()
}

/// Builds the target into a package directory.
async fn compile(
    root: &Root,
    target: &PortageTarget,
    packages: &Path,
    steps: &mut Steps,
) -> Result<(), Stop> {
    steps.phase(Phase::Building).await;
    let args = arguments(&COMMON, &["--buildpkgonly", "--usepkg=n"], &[&atom(target)]);
    let env = vec![("PKGDIR".into(), packages.into())];
    let step = Step { program: root.program("emerge"), args, env, root };
    let succeeded = step.run(steps).await?;
    if !succeeded {
        return Err(steps.failed(FailureClass::Package));
    }
    steps.phase(Phase::Packaging).await;
    Ok(())
}

/// Makes Portage choose `build_id`. Portage uses the first ID, counting from 1, whose file name is free, so
/// this occupies all names before it with directories, which Portage does not mistake for packages.
fn reserve(dir: &Path, target: &PortageTarget, build_id: u32) -> io::Result<Vec<PathBuf>> {
    let mut taken = Vec::new();
    for id in 1..build_id {
        let path = dir.join(PortageTarget { build_id: id, ..target.clone() }.path());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        match fs::create_dir(&path) {
            Ok(()) => taken.push(path),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Ok(taken)
}

fn disk(error: io::Error) -> Stop {
    Stop::failed(FailureClass::Drone, Phase::Packaging, format!("cannot use the package directory: {error}"))
}

fn misnamed(dir: &Path, target: &PortageTarget) -> Stop {
    let parent = dir.join(target.cpv.cp());
    let names: Vec<String> = fs::read_dir(&parent)
        .map(|entries| entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    let message = format!(
        "emerge succeeded, but did not create {}; it created: {}",
        target.path(),
        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
    );
    Stop::failed(FailureClass::Drone, Phase::Packaging, message)
}
