//! Bases with additional packages. The packages are installed over the image from the same files on every
//! drone, checked, and cached like images.
//!
//! One run of Portage installs all packages. If anything fails, the result is discarded.

use super::{
    install::{self, move_dir},
    root::{Root, RootOptions},
    step::Step,
};
use crate::{
    builder::{BuildContext, Stop, steps::Steps},
    buildroot::{
        Tree, flatten, layer,
        layers::{Kept, Layer},
        whole,
    },
};
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};
use swarm_common::{
    digest::Digest,
    state::{FailureClass, Phase},
    wire::{
        base::{Base, Dependency},
        drone::{Failure, Work},
    },
};

/// Version of the procedure for making bases; part of the cache key.
const FORMAT: &str = "base-2";

/// Maximum number of sonames in an error message.
const MAX_LISTED: usize = 5;

/// Shell script that selects the newest compiler and binutils for the machine triple `$1`, if the root has
/// Gentoo's programs for that. A new slot is installed beside the old one and is not selected automatically.
const SELECTS: &str = r#"for program in gcc-config binutils-config; do
	command -v $program >/dev/null || continue
	profiles=$($program --nocolor --list-profiles) || exit
	newest=$(echo "$profiles" | grep -oE "(^|[[:space:]])$1-[0-9][0-9.]*([[:space:]]|$)" | tr -d ' \t' | sort -V | tail -n1)
	[ -z "$newest" ] || $program --nocolor "$newest" || exit
	selected=1
done
[ -z "$selected" ] || ! command -v env-update >/dev/null || env-update"#;

/// Shell script that compiles and runs a C and a C++ program, if there are compilers. The C++ program also
/// needs headers and library of C++, whose version may differ from the compiler's.
const COMPILES: &str = r#"cd "$1" || exit
if command -v gcc >/dev/null; then
	echo 'int main(void) { return 0; }' >check.c && gcc -o check check.c && ./check || exit
fi
command -v g++ >/dev/null || exit 0
echo '#include <string>
int main(int count, char **) { return std::to_string(count).size() == 1 ? 0 : 1; }' >check.cc && g++ -o check++ check.cc && ./check++"#;

fn disk(error: io::Error) -> Stop {
    Stop::failed(FailureClass::Drone, Phase::Preparing, format!("cannot create the base: {error}"))
}

/// The base of the attempt with its additional packages, made if necessary. `None` if the base is the image
/// itself or this machine's own `/`.
pub(super) async fn ready(context: &BuildContext, steps: &mut Steps) -> Result<Option<Layer>, Stop> {
    let base = &context.assignment.base;
    let Base::Image { installed, .. } = base else { return Ok(None) };
    if installed.is_empty() {
        return Ok(None);
    }
    steps.phase(Phase::Preparing).await;
    let caches = &context.caches;
    let key = Digest::of_fields([FORMAT.as_bytes(), &base.digest().0]);
    if let Some(found) = find(context, key).await? {
        return Ok(Some(found));
    }
    let making = caches.making.lock().await;
    if let Some(found) = find(context, key).await? {
        return Ok(Some(found));
    }
    let made = make(context, installed, key, steps).await;
    drop(making);
    if made.is_err() {
        caches.bases.give_up(key).map_err(disk)?;
    }
    made.map(Some).map_err(|stop| blamed(context, stop))
}

/// Attributes a failure to make the base. In a base attempt, the packages are at fault. In any other attempt,
/// this drone is, because another drone has already made the same base.
fn blamed(context: &BuildContext, stop: Stop) -> Stop {
    match stop {
        Stop::Failed(failure) if failure.class == FailureClass::Package => {
            let class = match context.assignment.work {
                Work::Base => FailureClass::Package,
                Work::Plan | Work::Build(_) => FailureClass::Drone,
            };
            Stop::Failed(Failure { class, ..failure })
        }
        stop => stop,
    }
}

async fn find(context: &BuildContext, key: Digest) -> Result<Option<Layer>, Stop> {
    let bases = context.caches.bases.clone();
    let found = tokio::task::spawn_blocking(move || bases.get(key)).await.map_err(io::Error::other);
    Ok(found.and_then(|found| found).map_err(disk)?.and_then(Kept::layer))
}

async fn make(
    context: &BuildContext,
    installed: &[Dependency],
    key: Digest,
    steps: &mut Steps,
) -> Result<Layer, Stop> {
    let caches = &context.caches;
    steps.log.say(&format!("making the base: {} packages are installed on its image", installed.len())).await;
    let mut files = Vec::with_capacity(installed.len());
    for dependency in installed {
        files.push((
            dependency.clone(),
            caches.artifacts.get(caches.client.as_ref(), &dependency.into()).await?,
        ));
    }
    let attempt = context.attempt_dir.join("base");
    fs::create_dir_all(&attempt).map_err(disk)?;
    let root = Root::make(RootOptions {
        attempt: &attempt,
        jobserver: None,
        planning: false,
        ..context.root_options()
    })?;
    install::install(&root, &files, steps).await.map_err(|stop| match stop {
        Stop::Failed(failure) if failure.class == FailureClass::Infra => {
            Stop::Failed(Failure { class: FailureClass::Package, ..failure })
        }
        stop => stop,
    })?;
    select_newest(&root, &files, steps).await?;
    works(&root, steps).await?;
    let upper = root.upper().ok_or_else(|| disk(io::Error::other("there is no overlay")))?;
    let (bases, image) = (caches.bases.clone(), context.config.base().to_owned());
    let kept = tokio::task::spawn_blocking(move || {
        let to = bases.begin(key).map_err(disk)?;
        let changed = to.with_file_name("changed");
        move_dir(&upper, &changed).map_err(disk)?;
        flatten(&image, &changed, &to).map_err(disk)?;
        fs::remove_dir_all(&changed).map_err(disk)?;
        is_whole(&image, &to, &files)?;
        bases.keep(key, Some(&[])).map_err(disk)
    });
    let kept = kept.await.map_err(|error| disk(io::Error::other(error)))??;
    drop(root);
    fs::remove_dir_all(&attempt).map_err(disk)?;
    kept.layer().ok_or_else(|| disk(io::ErrorKind::NotFound.into()))
}

fn broken(why: String) -> Stop {
    Stop::failed(FailureClass::Package, Phase::Verifying, why)
}

/// Selects the newest toolchain of the packages' machine triple.
async fn select_newest(root: &Root, files: &[(Dependency, PathBuf)], steps: &mut Steps) -> Result<(), Stop> {
    let Some((_, first)) = files.first() else { return Ok(()) };
    let chost = layer::metadata(first).map_err(disk)?.line("CHOST");
    let args = ["-c", SELECTS, "sh", &chost].map(OsString::from).to_vec();
    let selected = Step { program: "/bin/sh".into(), args, env: Vec::new(), root }.run(steps).await?;
    if selected {
        return Ok(());
    }
    let message = steps.log.errors.first().map_or_else(|| steps.log.errors.last(), str::to_owned);
    Err(broken(format!("the newest toolchain of the new base cannot be selected: {}", message.trim())))
}

/// Checks that the compiler and Portage of the new base work.
async fn works(root: &Root, steps: &mut Steps) -> Result<(), Stop> {
    let text = |text: &str| OsString::from(text);
    let compile = vec![text("-c"), text(COMPILES), text("sh"), root.inside().tmp.clone().into()];
    let checks = [
        ("the compiler", PathBuf::from("/bin/sh"), compile),
        ("Portage", root.program("emerge"), vec![text("--version")]),
    ];
    for (what, program, args) in checks {
        let message = match (Step { program, args, env: Vec::new(), root }).run(steps).await {
            Ok(true) => continue,
            Ok(false) => steps.log.errors.first().map_or_else(|| steps.log.errors.last(), str::to_owned),
            // The program could not be started at all.
            Err(Stop::Failed(failure)) if failure.cause.is_none() => failure.message,
            Err(stop) => return Err(stop),
        };
        return Err(broken(format!("{what} of the new base does not work: {}", message.trim())));
    }
    Ok(())
}

/// Checks that every package is installed with all its files, that no program has become a dangling link, and
/// that no soname is missing that was not already missing in the image.
fn is_whole(image: &Path, made: &Path, files: &[(Dependency, PathBuf)]) -> Result<(), Stop> {
    let (before, after) = (Tree::at(image), Tree::at(made));
    for (dependency, file) in files {
        let cpv = &dependency.cpv;
        if !install::is_installed(&after, dependency, file).map_err(disk)? {
            return Err(broken(format!("{cpv} is missing in the new base, although emerge succeeded")));
        }
        if let Some(path) = whole::missing(&after, cpv.as_str()).map_err(disk)? {
            return Err(broken(format!("{path} of {cpv} is missing in the new base")));
        }
    }
    if let Some(program) = whole::dangling(&before, &after) {
        return Err(broken(format!("{} of the new base is a dangling link", program.display())));
    }
    let unprovided_before = whole::unprovided(&before);
    let lacking: Vec<String> = whole::unprovided(&after)
        .into_iter()
        .filter(|soname| !unprovided_before.contains(soname))
        .map(|soname| soname.1)
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let more = lacking.len().saturating_sub(MAX_LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let names = lacking[..lacking.len().min(MAX_LISTED)].join(", ");
    Err(broken(format!("packages of the new base need {names}{more}, which none of them provides")))
}
