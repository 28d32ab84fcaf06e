//! Temporary faults.

use super::{backup, damage, farm::Farm, proxy::Way};
use crate::{faults::redis::Redis, sim::rng::Rng};
use anyhow::{Context, Result};
use rustix::process::Signal;
use std::{fmt, time::Duration};

/// A fault. Numbers are those of drones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The orchestrator is killed and restarted later.
    KillOrchestrator,
    /// The orchestrator is stopped and restarted later.
    StopOrchestrator,
    /// The orchestrator is paused, like a machine that swaps.
    PauseOrchestrator,
    /// A drone and its builds are killed.
    KillDrone(usize),
    /// A drone is asked to stop.
    StopDrone(usize),
    /// A drone is paused for longer than its lease.
    PauseDrone(usize),
    /// No packets pass in either direction.
    CutCable(usize),
    /// The packets that a drone sends are lost.
    Mute(usize),
    /// A drone's link is slow.
    SlowCable(usize),
    /// The orchestrator's disk is full.
    FillDisk,
    /// All machines are suspended for longer than all leases.
    Suspend,
    /// The clock of the orchestrator's machine is set wrong, and later right again.
    SetClock,
    /// The proxy in front of some drones does not work properly.
    HinderProxy(Way),
    /// A byte flips in a package, an index or a snapshot while they are in use.
    FlipByte,
    /// A byte flips in the journal of a stopped orchestrator.
    FlipJournal,
    /// A backup is made, and restored later.
    Restore,
    /// Redis is killed, and later restarted with its data.
    KillRedis,
    PauseRedis,
}

use Fault::*;

impl Fault {
    /// A random fault that is possible in this swarm.
    pub fn choose(rng: &mut Rng, farm: &Farm) -> Self {
        let drone = rng.below(farm.nodes.len() as u64) as usize;
        match rng.below(25) {
            0 => KillOrchestrator,
            1 => StopOrchestrator,
            2 => PauseOrchestrator,
            3..=5 => KillDrone(drone),
            6 => StopDrone(drone),
            7 | 8 => PauseDrone(drone),
            9 | 10 => CutCable(drone),
            11 => Mute(drone),
            12 => SlowCable(drone),
            13 => FillDisk,
            14 => Suspend,
            15 | 16 => SetClock,
            17 | 18 => {
                let ways = [Way::Unreachable, Way::Narrow, Way::Away, Way::Silent];
                HinderProxy(ways[rng.below(4) as usize])
            }
            19 | 20 => FlipByte,
            21 | 22 if farm.redis.is_some() => KillRedis,
            21 => FlipJournal,
            22 => Restore,
            _ if farm.redis.is_some() => PauseRedis,
            _ => KillOrchestrator,
        }
    }

    /// Its maximum duration in milliseconds.
    pub fn longest_ms(self) -> u64 {
        match self {
            KillOrchestrator | StopOrchestrator | KillRedis => 8_000,
            FillDisk => 15_000,
            PauseRedis => 6_000,
            FlipByte | Restore => 20_000,
            FlipJournal => 2_000,
            // Longer than a lease, and long enough for the orchestrator to notice that it was paused.
            Suspend | PauseOrchestrator => 35_000,
            // A wrong clock must last for half a minute to be accepted.
            SetClock => 75_000,
            HinderProxy(_) => 60_000,
            KillDrone(_) | StopDrone(_) => 30_000,
            PauseDrone(_) | CutCable(_) | Mute(_) | SlowCable(_) => 45_000,
        }
    }

    /// Whether two faults must not happen together, because they would be the same or hide each other.
    pub fn excludes(self, other: &Self) -> bool {
        let apart = |fault| match fault {
            SetClock => 1,
            HinderProxy(_) => 2,
            _ => 0,
        };
        (self.drone(), apart(self)) == (other.drone(), apart(*other))
    }

    /// The affected drone, if any.
    pub fn drone(self) -> Option<usize> {
        match self {
            KillDrone(n) | StopDrone(n) | PauseDrone(n) | CutCable(n) | Mute(n) | SlowCable(n) => Some(n),
            _ => None,
        }
    }

    /// Its name in the report.
    pub fn kind(self) -> &'static str {
        match self {
            KillOrchestrator => "orchestrator killed",
            StopOrchestrator => "orchestrator stopped",
            PauseOrchestrator => "orchestrator paused",
            KillDrone(_) => "drone killed",
            StopDrone(_) => "drone stopped",
            PauseDrone(_) => "drone paused",
            CutCable(_) => "drone cut off",
            Mute(_) => "drone not heard",
            SlowCable(_) => "slow link",
            FillDisk => "disk full",
            Suspend => "all machines asleep",
            SetClock => "clock set wrong",
            HinderProxy(Way::Unreachable) => "proxy answers 502",
            HinderProxy(Way::Narrow) => "proxy answers 413",
            HinderProxy(Way::Away) => "proxy gone",
            HinderProxy(Way::Silent) => "proxy silent",
            FlipByte => "byte changed",
            FlipJournal => "byte of the journal changed",
            Restore => "backup restored",
            KillRedis => "Redis killed",
            PauseRedis => "Redis paused",
        }
    }

    /// Begins the fault. If its duration must be known in advance, it lasts for `length`.
    pub fn begin(self, farm: &mut Farm, rng: &mut Rng, length: Duration) -> Result<()> {
        match self {
            KillOrchestrator => farm.kill_orchestrator(),
            StopOrchestrator => farm.stop_orchestrator(),
            PauseOrchestrator => farm.signal_orchestrator(Signal::STOP),
            KillDrone(n) => farm.kill_drone(n),
            StopDrone(n) => farm.signal_drone(n, Signal::TERM),
            PauseDrone(n) => farm.signal_drone(n, Signal::STOP),
            CutCable(n) => farm.nodes[n].set_cable(false),
            Mute(n) => farm.nodes[n].set_mute(true),
            SlowCable(n) => farm.nodes[n].set_slow(true),
            FillDisk => farm.fill_disk(),
            Suspend => farm.suspend(length),
            SetClock => {
                println!("         by {} s", farm.clock.set_wrong(rng)?);
                Ok(())
            }
            HinderProxy(way) => farm.proxy.hinder(way),
            FlipByte => {
                farm.damage = damage::begin(rng, farm)?;
                Ok(())
            }
            FlipJournal => {
                let missed = damage::of_the_journal(rng, farm)?;
                farm.breaches.extend(missed);
                Ok(())
            }
            Restore => {
                farm.backup = Some(backup::make(farm)?);
                Ok(())
            }
            KillRedis => farm.with_redis(Redis::kill),
            PauseRedis => farm.signal_redis(Signal::STOP),
        }
    }

    pub fn end(self, farm: &mut Farm) -> Result<()> {
        match self {
            KillOrchestrator | StopOrchestrator => farm.start_orchestrator(),
            PauseOrchestrator => farm.signal_orchestrator(Signal::CONT),
            KillDrone(n) | StopDrone(n) => farm.restart_drone(n),
            PauseDrone(n) => farm.signal_drone(n, Signal::CONT),
            CutCable(n) => farm.nodes[n].set_cable(true),
            Mute(n) => farm.nodes[n].set_mute(false),
            SlowCable(n) => farm.nodes[n].set_slow(false),
            FillDisk => farm.free_disk(),
            Suspend | FlipJournal => Ok(()),
            SetClock => farm.clock.set_right(),
            HinderProxy(_) => farm.proxy.mend(),
            FlipByte => {
                if let Some(damage) = farm.damage.take() {
                    let missed = damage::end(&damage, farm)?;
                    farm.breaches.extend(missed);
                }
                Ok(())
            }
            Restore => {
                let from = farm.backup.take().context("no backup was made")?;
                backup::restore(farm, &from)
            }
            KillRedis => farm.with_redis(Redis::run),
            PauseRedis => farm.signal_redis(Signal::CONT),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.drone() {
            Some(n) => write!(f, "{} (d{n:02})", self.kind()),
            None => f.write_str(self.kind()),
        }
    }
}
