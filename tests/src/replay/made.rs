//! Artificial workloads with the shape of measured ones: few packages with most of the work, long chains, and
//! a core that nearly everything needs.
//!
//! The parameters are those of T2 SDE's measured build times and dependencies: the logarithms of the seconds
//! are normally distributed with mean 2.6 and deviation 1.7, up to a few hours; 4 to 16 dependencies at the
//! median; 10 to 46 levels. In sets of an update's size, the work is usually 5 to 10 times the longest chain.

use super::workload::{Item, Workload};
use crate::sim::rng::Rng;
use anyhow::Result;

/// The longest build, in seconds.
const LONGEST_S: f64 = 13_000.0;

/// `count` packages for a seed.
///
/// # Errors
/// Does not fail for any count; the workload is checked like any other.
pub fn made(count: usize, seed: u64) -> Result<Workload> {
    let mut rng = Rng::new(seed);
    let levels = 10 + (rng.below(37) as usize).min(count / 12);
    let mut items = Vec::with_capacity(count);
    for n in 0..count {
        // Each level has fewer packages than the one below it.
        let seconds = (2.6 + 1.7 * normal(&mut rng)).exp().clamp(1.0, LONGEST_S).round();
        let level = n * levels / count.max(1);
        let below = level * count / levels;
        let mut deps: Vec<String> = Vec::new();
        if level > 0 {
            let need_count = (2.4 + 0.8 * normal(&mut rng)).exp().clamp(1.0, 110.0) as usize;
            let chained = rng.chance(300);
            for k in 0..need_count {
                // One dependency on the level just below keeps the levels; most others are on the core.
                let from = if chained && k == 0 { (level - 1) * count / levels } else { 0 };
                let span = (below - from) as f64;
                let skew = if k == 0 { 1.0 } else { 6.0 };
                let at = from + (unit(&mut rng).powf(skew) * span) as usize;
                deps.push(format!("made-{}", at.min(below - 1)));
            }
            deps.sort_unstable();
            deps.dedup();
        }
        items.push(Item { name: format!("made-{n}"), version: "1".into(), deps, seconds });
    }
    Workload::new(format!("made-{count}-{seed}"), items)
}

fn unit(rng: &mut Rng) -> f64 {
    (rng.bits() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A normally distributed number (Box and Muller 1958).
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * unit(rng).max(1e-300).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(rng)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_workload_has_the_shape_of_measured_ones() {
        let workload = made(5_266, 1).unwrap();
        let mut seconds: Vec<f64> = workload.items.iter().map(|i| i.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        assert!((8.0..20.0).contains(&seconds[seconds.len() / 2]));
        assert!((90.0..180.0).contains(&seconds[seconds.len() * 9 / 10]));
        let mut deps: Vec<usize> = workload.deps.iter().map(Vec::len).collect();
        deps.sort_unstable();
        assert!((3..=16).contains(&deps[deps.len() / 2]));
        assert_eq!(made(475, 7).unwrap().items, made(475, 7).unwrap().items);
    }
}
