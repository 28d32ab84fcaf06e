//! How close nights come to the shortest possible duration, and the cost of a decision: measured and
//! artificial sets of packages through the real core in virtual time, compared with the rules of peers in the
//! same nights.

use super::{
    Settings,
    report::{Goal, Row, Section, median},
};
use crate::replay::{
    case::{Case, Knowledge, Mishap},
    fleet::Fleet,
    made::made,
    peers::Peer,
    table::{Policy, mean, row},
    workload::Workload,
};
use anyhow::Result;
use std::path::Path;

/// Nights of each case. Estimates and speeds are drawn anew for each.
const NIGHTS: u64 = 21;

/// Measured sets in `tests/workloads`.
const MEASURED: [&str; 2] = ["blfs-733.json", "t2-475.json"];

/// Seeds of artificial sets in the shape of an update: the work is 7.5 to 9.5 times the longest chain. The
/// rules were not tuned with these sets.
const MADE: [u64; 3] = [12, 22, 34];

/// Packages of an update.
const UPDATE: usize = 475;

/// Packages of a whole distribution.
const WHOLE: usize = 5_266;

/// A kind of night, and the goals for the fleets A, B and C.
const CASES: [(&str, Knowledge, Mishap, [f64; 3]); 3] = [
    ("estimates ±40 %", Knowledge::Estimates(0.4), Mishap::None, [1.03, 1.005, 1.10]),
    ("cold start", Knowledge::None, Mishap::None, [1.35, 1.10, 1.45]),
    ("straggler", Knowledge::Estimates(0.4), Mishap::Straggler, [1.25, 1.10, 1.50]),
];

/// Runs the benchmark.
///
/// # Errors
/// A set cannot be read, or the core does not complete a night.
pub fn run(_: &Settings) -> Result<Section> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
    let mut sets =
        MEASURED.iter().map(|set| Workload::read(&folder.join(set))).collect::<Result<Vec<_>>>()?;
    for seed in MADE {
        sets.push(made(UPDATE, seed)?);
    }
    let mut rows = Vec::new();
    for (word, knowledge, mishap, goals) in CASES {
        let case = Case { knowledge, mishap, setup_ms: 0.0 };
        for (name, goal) in ["A", "B", "C"].into_iter().zip(goals) {
            let fleet: Fleet = name.parse()?;
            let what = format!("{word}, fleet {name}: night / lower bound");
            rows.extend(beside(&what, &sets, &fleet, &case, goal)?);
        }
    }
    let usual = Case { knowledge: Knowledge::Estimates(0.4), mishap: Mishap::None, setup_ms: 0.0 };
    let what = "5,266 made packages ±40 %, fleet A: night / lower bound";
    rows.extend(beside(what, &[made(WHOLE, 1)?], &"A".parse()?, &usual, 1.015)?);
    rows.extend(decisions(&usual)?);
    let about = format!(
        "The real core runs in virtual time (`swarm-sim`), next to simulations of the peers' rules. Figures are geometric \
         means, over five sets of packages, of the medians of {NIGHTS} nights. The sets are BLFS, T2 SDE, and three \
         artificial ones with the shape of an update. Speeds of the fleets: A 4,4,2,2,1,1,1,0.5; B eight times 1; \
         C 8,4,4,2,2,2, six times 1, four times 0.5. The straggler is the fastest drone, which slows down to an eighth \
         half-way. The lower bound does not take this into account, so 1 cannot be reached. A decision is a claim during \
         a night of 5,000 packages on 64 drones."
    );
    Ok(Section { title: "Scheduling", about, rows })
}

/// Ours compared with the bound and with each peer.
fn beside(what: &str, sets: &[Workload], fleet: &Fleet, case: &Case, goal: f64) -> Result<Vec<Row>> {
    let of = |policy: Policy| -> Result<f64> {
        let rows = sets.iter().map(|set| row(set, fleet, case, policy, NIGHTS));
        Ok(mean(rows.collect::<Result<Vec<_>>>()?.iter()))
    };
    let ours = of(Policy::Core)?;
    let mut rows = vec![Row::new(what, ours, "the lower bound", 1.0, Goal::AtMost(goal))];
    for &peer in Peer::ALL {
        rows.push(Row::new(what, ours, peer.word(), of(Policy::Peer(peer))?, Goal::None));
    }
    Ok(rows)
}

/// The cost of the claims in one night.
fn decisions(case: &Case) -> Result<Vec<Row>> {
    let fleet: Fleet = "16x4,16x2,16x1,16x0.5".parse()?;
    let workload = made(5_000, 1)?;
    let night = case.night(&workload, &fleet, 0);
    let outcome = Policy::Core.play(&workload, &night)?;
    let ms = outcome.decisions.iter().map(|d| d.as_secs_f64() * 1000.0).collect();
    Ok(vec![Row::within("one decision, 5,000 packages, 64 drones: median ms", median(ms)?, 1.0)])
}
