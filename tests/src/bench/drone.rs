//! A night with the real drone and the real Portage beside `emerge --buildpkg` of the same world
//! into one root: what the farm costs where compiling costs next to nothing.

use super::{
    Settings,
    report::{Goal, Row, Section, median},
};
use crate::{
    e2e::{
        swarm::{PROFILE, Swarm},
        workstation::{Workstation, text},
    },
    replay::workload::Workload,
};
use anyhow::{Context, Result, ensure};
use std::{fmt::Write as _, fs, path::Path, time::Instant};

/// Packages of the forest: the first of BLFS in an order of building, with what they need.
const FOREST: usize = 120;

/// What Portage does around each build of a drone, and so has to do for the peer.
const SANDBOXES: &str = "network-sandbox ipc-sandbox pid-sandbox mount-sandbox";

/// A world of trivial packages: each with the positions of those before it that it needs.
struct Shape {
    name: String,
    needs: Vec<Vec<usize>>,
}

impl Shape {
    /// Each package needs the one before it.
    fn ladder(packages: usize) -> Self {
        let needs = (0..packages).map(|n| n.checked_sub(1).into_iter().collect()).collect();
        Self { name: format!("ladder of {packages}"), needs }
    }

    /// The first packages of a measured set.
    fn forest(packages: usize) -> Result<Self> {
        let set = Workload::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/blfs-733.json"))?;
        let mut place = vec![None; set.items.len()];
        let mut needs = Vec::new();
        // What is needed first comes first; the sets have no cycles.
        while needs.len() < packages.min(set.items.len()) {
            let ready =
                |item: &usize| place[*item].is_none() && set.deps[*item].iter().all(|&d| place[d].is_some());
            let next = (0..set.items.len()).find(ready).context("the set has a cycle")?;
            needs.push(set.deps[next].iter().filter_map(|&dep| place[dep]).collect());
            place[next] = Some(needs.len() - 1);
        }
        Ok(Self { name: format!("forest of {}", needs.len()), needs })
    }

    /// Writes the ebuilds, and tells the world's atoms.
    fn write(&self, repository: &Path) -> Result<Vec<String>> {
        let atom = |n: usize| format!("app-misc/part{n}");
        for (n, needs) in self.needs.iter().enumerate() {
            let folder = repository.join(atom(n));
            fs::create_dir_all(&folder)?;
            let needs = needs.iter().fold(String::new(), |mut text, &need| {
                let _ = write!(text, " {}", atom(need));
                text
            });
            fs::write(
                folder.join(format!("part{n}-1.ebuild")),
                format!(
                    "EAPI=8\nDESCRIPTION=\"A part\"\nHOMEPAGE=\"https://example.org\"\nSLOT=\"0\"\nLICENSE=\"MIT\"\n\
                     KEYWORDS=\"amd64\"\nDEPEND=\"{needs}\"\nRDEPEND=\"{needs}\"\nS=\"${{WORKDIR}}\"\n\
                     src_install() {{\n\tinsinto /usr/share/parts\n\tnewins - part{n} <<<\"{n}\"\n}}\n"
                ),
            )?;
        }
        Ok((0..self.needs.len()).map(atom).collect())
    }
}

/// Runs the benchmark.
///
/// # Errors
/// Something does not start, or a night does not end well.
pub fn run(settings: &Settings) -> Result<Section> {
    let mut rows = Vec::new();
    for (shape, goal) in [(Shape::ladder(16), 1.15), (Shape::ladder(64), 1.15), (Shape::forest(FOREST)?, 1.2)]
    {
        let rounds = (0..settings.rounds).map(|_| Ok((night(&shape)?, plain(&shape)?)));
        let (ours, theirs): (Vec<_>, Vec<_>) = rounds.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        rows.push(Row::new(
            format!("{}, one drone, s", shape.name),
            median(ours)?,
            "emerge --buildpkg",
            median(theirs)?,
            Goal::AtMost(goal),
        ));
    }
    let about = "One orchestrator, one drone and the real Portage on this machine build a world of packages that each \
                 install one file: from `run start` until everything is published. Beside it `emerge --buildpkg` \
                 builds the same world into one root, with the same sandboxes. In the ladder each package needs the \
                 one before it; the forest has the graph of BLFS.";
    Ok(Section { title: "Drone", about: about.to_owned(), rows })
}

/// Seconds of a whole run.
fn night(shape: &Shape) -> Result<f64> {
    let mut swarm = Swarm::start(&[], &["app-misc/part0"])?;
    let world = shape.write(&swarm.repository())?;
    swarm.set_world(&world)?;
    swarm.pin_anew()?;
    swarm.enrol("ada", "")?;
    let began = Instant::now();
    swarm.ctl(&["run", "start", PROFILE, "--wait"])?;
    Ok(began.elapsed().as_secs_f64())
}

/// Seconds that Portage takes for itself.
fn plain(shape: &Shape) -> Result<f64> {
    let swarm = tempfile::tempdir()?;
    let repository = swarm.path().join("repository");
    crate::e2e::workstation::copy(&crate::e2e::programs::part("examples/repository"), &repository)?;
    let world = shape.write(&repository)?;
    let workstation = Workstation::new(&repository)?;
    fs::write(workstation.path("var/lib/portage/world"), world.join("\n") + "\n")?;
    let make_conf = workstation.path("etc/portage/make.conf");
    let own = fs::read_to_string(&make_conf)?;
    fs::write(&make_conf, own.replace("FEATURES=\"", &format!("FEATURES=\"{SANDBOXES} ")))?;
    let began = Instant::now();
    let output = workstation.command("emerge").args(["--quiet", "--buildpkg", "@world"]).output()?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(output.status.success(), "emerge failed: {}", text(&output));
    Ok(seconds)
}
