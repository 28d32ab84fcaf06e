//! The conditions of a replayed night: what is known in advance, and what goes wrong.

use super::{bound::lower_bound, fleet::*, workload::Workload};
use crate::sim::rng::Rng;

/// What the swarm knows when the night begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Knowledge {
    /// Every package was built before, in a time that differed from the current one by up to this fraction.
    /// The drones' speeds are known.
    Estimates(f64),
    /// Nothing. The drones' core counts indicate their speeds with an error of up to a quarter.
    None,
}

/// What goes wrong half-way, at half of the lower bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    None,
    /// The fastest drone slows down to an eighth of its speed.
    Straggler,
    /// The fastest drone disappears for good.
    Loss,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    pub knowledge: Knowledge,
    pub mishap: Mishap,
    /// Overhead of every package on any drone, in milliseconds.
    pub setup_ms: f64,
}

/// One night: a case with the random choices of a seed.
#[derive(Debug, Clone)]
pub struct Night {
    pub machines: Vec<Machine>,
    /// The processor count of each drone as reported to the core. Four stand for speed 1.
    pub cores: Vec<u32>,
    /// For each package, the previous build time at speed 1 in milliseconds; `None` if nothing is known.
    pub history_ms: Option<Vec<f64>>,
    /// Overhead of every package, in milliseconds.
    pub setup_ms: f64,
    /// The lower bound without the mishap, in milliseconds.
    pub bound_ms: f64,
}

impl Case {
    /// The night for a seed.
    #[must_use]
    pub fn night(&self, workload: &Workload, fleet: &Fleet, seed: u64) -> Night {
        let mut rng = Rng::new(seed.wrapping_mul(0x9E37_79B9).wrapping_add(1));
        let mut unit = || (rng.bits() >> 11) as f64 / (1_u64 << 53) as f64;
        let bound_ms = lower_bound(workload, fleet, self.setup_ms);
        let half = bound_ms / 2.0;
        let machines = fleet.speeds.iter().enumerate().map(|(n, &speed)| {
            let hit = n == fleet.fastest();
            Machine {
                speed,
                turn: (hit && self.mishap == Mishap::Straggler).then_some((half, 0.125)),
                gone_at: if hit && self.mishap == Mishap::Loss { half } else { f64::INFINITY },
            }
        });
        let machines = machines.collect();
        let mut cores = Vec::with_capacity(fleet.speeds.len());
        for speed in &fleet.speeds {
            let hint = if self.knowledge == Knowledge::None { 0.75 + 0.5 * unit() } else { 1.0 };
            cores.push((speed * 4.0 * hint).round().max(1.0) as u32);
        }
        let history_ms = match self.knowledge {
            Knowledge::None => None,
            Knowledge::Estimates(noise) => {
                let past = workload.work_ms().into_iter().map(|w| w * (1.0 + noise * (2.0 * unit() - 1.0)));
                Some(past.collect())
            }
        };
        Night { machines, cores, history_ms, setup_ms: self.setup_ms, bound_ms }
    }
}
