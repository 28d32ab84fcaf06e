//! Two nights of a household: a world of a desktop's size, three drones, and a workstation that installs what
//! they built.

use super::{
    Settings,
    report::{Goal, Row, Section},
    shape::Shape,
};
use crate::e2e::{
    swarm::{PROFILE, Swarm},
    workstation::Workstation,
};
use anyhow::{Context, Result, ensure};
use std::{fs, time::Instant};
use swarm_common::{
    state::{PackageState, RunState},
    wire::view::RunView,
};

const DRONES: [&str; 3] = ["ada", "ben", "cleo"];

/// Runs the benchmark once, because it takes half an hour.
///
/// # Errors
/// Something does not start, or a package is not received or not installed.
pub fn run(_: &Settings) -> Result<Section> {
    let shape = Shape::of("t2-475", usize::MAX)?;
    let mut swarm = Swarm::start(&[], &["app-misc/part0"])?;
    let world = shape.write(&swarm.repository())?;
    swarm.set_world(&world)?;
    swarm.pin_anew()?;
    for drone in DRONES {
        swarm.enrol(drone, "")?;
    }
    let (first, first_s) = night(&swarm)?;
    ensure!(first.counts.get(&PackageState::Received) == Some(&(shape.packages() as u64)), "{first:?}");

    let (bumped, dependants) = shape.most_needed();
    shape.write_version(&swarm.repository(), bumped, 2)?;
    swarm.pin_anew()?;
    let (second, second_s) = night(&swarm)?;
    let rebuilt = shape.packages() as u64 - second.reused;
    ensure!(rebuilt == 1, "{rebuilt} packages were built anew: {second:?}");

    let workstation = Workstation::new(&swarm.repository())?;
    swarm.set_up(&workstation)?;
    fs::write(workstation.path("var/lib/portage/world"), world.join("\n") + "\n")?;
    let began = Instant::now();
    workstation.update()?;
    let install_s = began.elapsed().as_secs_f64();
    let missing: Vec<_> = (0..shape.packages())
        .filter(|&n| !workstation.has(&format!("{}-{}", Shape::atom(n), if n == bumped { 2 } else { 1 })))
        .collect();
    ensure!(missing.is_empty(), "not installed: {missing:?}");

    let packages = shape.packages() as f64;
    let rows = vec![
        Row::alone(format!("first night, {}, s", shape.name), first_s),
        Row::alone("first night, s a package", first_s / packages),
        Row::new("second night, packages built", rebuilt as f64, "the bumped one", 1.0, Goal::AtMost(1.0)),
        Row::new("second night, s", second_s, "the first", first_s, Goal::AtMost(0.1)),
        Row::alone("workstation installs all, s", install_s),
    ];
    let about = format!(
        "The desktop and server packages of T2 as packages that install one file, {} drones with the real Portage on \
         this machine, signatures demanded by the workstation. The second night has a new version of the package that \
         most others need ({dependants} of them).",
        DRONES.len()
    );
    Ok(Section { title: "Night", about, rows })
}

/// A run until everything is published, and its duration in seconds.
fn night(swarm: &Swarm) -> Result<(RunView, f64)> {
    let began = Instant::now();
    swarm.ctl(&["run", "start", PROFILE, "--wait"])?;
    let seconds = began.elapsed().as_secs_f64();
    let runs: Vec<RunView> = swarm.ask(&["run", "list"])?;
    let last = runs.into_iter().max_by_key(|run| run.started_at).context("no run")?;
    ensure!(last.state == RunState::Succeeded, "{last:?}");
    Ok((last, seconds))
}
