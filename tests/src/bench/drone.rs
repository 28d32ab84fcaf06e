//! A night with the real drone and the real Portage compared with `emerge --buildpkg` of the same world in
//! one root: the overhead of the farm when compiling costs next to nothing.

use super::{
    Settings,
    report::{Goal, Row, Section, median},
    shape::Shape,
};
use crate::e2e::{
    base::small_root,
    swarm::{PROFILE, Swarm},
    workstation::{Workstation, copy, text},
};
use anyhow::{Context, Result, ensure};
use std::{fs, path::Path, time::Instant};

/// Packages of the forest and of the wide world: the first of BLFS and T2 in build order.
const FEW: usize = 120;

/// The same for whole graphs: all of BLFS, and as many packages of T2 as a desktop's world has.
const WHOLE: [usize; 2] = [usize::MAX, 320];

/// How many of the wide world's 320 packages a stage3 contains.
const HELD: usize = 209;

/// Maximum time in seconds that a drone may be idle while work waits for it.
const PAUSE: f64 = 0.1;

/// Sandboxes that Portage uses for each build of a drone, and that the peer must use too.
const SANDBOXES: &str = "network-sandbox ipc-sandbox pid-sandbox mount-sandbox";

/// Runs the benchmark.
///
/// # Errors
/// Something does not start, or a night does not end well.
pub fn run(settings: &Settings) -> Result<Section> {
    let mut rows = Vec::new();
    let [forest, wide] = if settings.whole { WHOLE } else { [FEW; 2] };
    let forest = || Shape::of("blfs-733", forest);
    for (shape, held, slots, jobs, goal) in [
        (Shape::ladder(16), 0, 1, 1, 1.15),
        (Shape::ladder(64), 0, 1, 1, 1.15),
        (forest()?, 0, 1, 1, 1.2),
        (forest()?, 0, 2, 1, 0.7),
        (forest()?, 0, 2, 2, 1.15),
        (Shape::of("t2-475", wide)?, 0, 1, 1, 1.3),
        (Shape::of("t2-475", wide)?, wide * HELD / WHOLE[1], 1, 1, 1.15),
    ] {
        let base = if held > 0 { format!(" over a base with {held} of them") } else { String::new() };
        let label = format!("{}{base}, one drone, slots = {slots}, s", shape.name);
        if settings.world.as_ref().is_some_and(|part| !label.contains(part)) {
            continue;
        }
        eprintln!("  {label} beside emerge --jobs={jobs} …");
        let rounds =
            (0..settings.rounds).map(|_| Ok((night(&shape, held, slots)?, plain(&shape, held, jobs)?)));
        let (nights, theirs): (Vec<_>, Vec<_>) = rounds.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let pauses: Vec<f64> = nights.iter().flat_map(|night| night.pauses.iter().copied()).collect();
        if slots == 1 && !pauses.is_empty() {
            let what = format!(
                "end of a build to the start of the next, work waiting, {}{base}: median s",
                shape.name
            );
            rows.push(Row::within(what, median(pauses)?, PAUSE));
        }
        rows.push(Row::new(
            label,
            median(nights.into_iter().map(|night| night.seconds).collect())?,
            format!("emerge --buildpkg --jobs={jobs}"),
            median(theirs)?,
            Goal::AtMost(goal),
        ));
    }
    let about = "One orchestrator, one drone and the real Portage on this machine build a world of packages that each \
                 install one file. The time is from `run start` until everything is published. In comparison, \
                 `emerge --buildpkg` builds the same world into one root, with the same sandboxes. In the ladder, \
                 each package needs the one before it; the other worlds have the graphs of BLFS and of T2, where a \
                 package needs 28 others. With a base, the drone has unpacked the base before, the peer's root has \
                 the same packages installed, and both build the whole world.";
    Ok(Section { title: "Drone", about: about.to_owned(), rows })
}

struct Night {
    /// Duration of the whole run in seconds.
    seconds: f64,
    /// Seconds between the end of each build and the start of the next one, if the next could have started
    /// earlier.
    pauses: Vec<f64>,
}

fn night(shape: &Shape, held: usize, slots: u32) -> Result<Night> {
    // With a base, a run of this package makes the drone unpack it.
    let mut swarm = Swarm::start(&[], &["app-text/banner"])?;
    let world = shape.write(&swarm.repository())?;
    let night = |swarm: &Swarm| swarm.ctl(&["run", "start", PROFILE, "--wait"]);
    if held > 0 {
        put_base(&swarm, shape, held)?;
        swarm.enrol_with_slots("ada", slots)?;
        night(&swarm)?;
    } else {
        swarm.enrol_with_slots("ada", slots)?;
    }
    swarm.set_world(&world)?;
    swarm.pin_anew()?;
    let began = Instant::now();
    night(&swarm)?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Night { seconds, pauses: pauses(&swarm, shape)? })
}

/// Makes the profile build in a base in which the first packages are installed.
fn put_base(swarm: &Swarm, shape: &Shape, held: usize) -> Result<()> {
    let (root, holder) = (swarm.path("stock"), holding(&swarm.repository(), shape, held)?);
    small_root(&root)?;
    for installed in ["var/db/pkg", "usr/share/parts"] {
        copy(&holder.path(installed), &root.join(installed))?;
    }
    swarm.ctl(&["base", "add", "stock", "--from", &root.display().to_string()])?;
    swarm.pin_to("stock")
}

/// A workstation on which Portage has built and installed the first packages.
fn holding(repository: &Path, shape: &Shape, held: usize) -> Result<Workstation> {
    let workstation = Workstation::new(repository)?;
    let atoms: Vec<String> = (0..held.min(shape.packages())).map(Shape::atom).collect();
    if !atoms.is_empty() {
        let output = workstation.command("emerge").args(["--quiet", "--oneshot"]).args(&atoms).output()?;
        ensure!(output.status.success(), "emerge failed: {}", text(&output));
    }
    Ok(workstation)
}

/// The pauses of a drone with one slot.
fn pauses(swarm: &Swarm, shape: &Shape) -> Result<Vec<f64>> {
    let (mut received, mut builds) = (Vec::new(), Vec::new());
    for n in 0..shape.packages() {
        let mut attempts = swarm.why(&Shape::atom(n))?.package.attempts;
        let attempt = attempts.pop().context("a package was not built")?;
        received.push(attempt.ended_at.context("a build has not ended")?.0);
        let (start, usage) = (attempt.started_at.0, attempt.usage.context("a build took nothing")?);
        builds.push((start, start + usage.wall_ms, n));
    }
    builds.sort_unstable();
    let pairs = builds.windows(2).filter_map(|pair| match *pair {
        [(_, end, _), (start, _, next)] => {
            let waited = shape.needs()[next].iter().all(|&need| received[need] <= end);
            waited.then(|| start.saturating_sub(end) as f64 / 1000.0)
        }
        _ => None,
    });
    Ok(pairs.collect())
}

/// Seconds that Portage alone takes.
fn plain(shape: &Shape, held: usize, jobs: u32) -> Result<f64> {
    let swarm = tempfile::tempdir()?;
    let repository = swarm.path().join("repository");
    copy(&crate::e2e::programs::part("examples/repository"), &repository)?;
    let world = shape.write(&repository)?;
    let workstation = holding(&repository, shape, held)?;
    fs::write(workstation.path("var/lib/portage/world"), world.join("\n") + "\n")?;
    let make_conf = workstation.path("etc/portage/make.conf");
    let own = fs::read_to_string(&make_conf)?;
    fs::write(&make_conf, own.replace("FEATURES=\"", &format!("FEATURES=\"{SANDBOXES} ")))?;
    let began = Instant::now();
    let output = workstation
        .command("emerge")
        .args(["--quiet", "--emptytree", "--buildpkg", &format!("--jobs={jobs}"), "@world"])
        .output()?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(output.status.success(), "emerge failed: {}", text(&output));
    Ok(seconds)
}
