//! Things that break, and are whole again later.

use super::farm::Farm;
use crate::{faults::redis::Redis, sim::rng::Rng};
use anyhow::Result;
use rustix::process::Signal;
use std::fmt;

/// One fault. Numbers are those of drones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The orchestrator is killed, and started later.
    KillOrchestrator,
    /// It is stopped in order, and started later.
    StopOrchestrator,
    /// It stands still, as a machine that swaps does.
    PauseOrchestrator,
    /// A drone and all it builds with are killed.
    KillDrone(usize),
    /// A drone is asked to stop.
    StopDrone(usize),
    /// A drone stands still past its lease.
    PauseDrone(usize),
    /// Nothing comes through in either direction.
    CutCable(usize),
    /// A drone hears but is not heard.
    Mute(usize),
    /// A slow link.
    SlowCable(usize),
    /// The orchestrator's disk is full.
    FillDisk,
    /// Redis is killed, and started later on what it kept.
    KillRedis,
    /// Redis stands still.
    PauseRedis,
}

use Fault::*;

impl Fault {
    /// One that fits the farm.
    pub fn choose(rng: &mut Rng, farm: &Farm) -> Self {
        let drone = rng.below(farm.nodes.len() as u64) as usize;
        let of_redis = if farm.redis.is_some() { 2 } else { 0 };
        match rng.below(14 + of_redis) {
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
            14 => KillRedis,
            _ => PauseRedis,
        }
    }

    /// Its longest length in milliseconds.
    pub fn longest_ms(self) -> u64 {
        match self {
            KillOrchestrator | StopOrchestrator | KillRedis => 8_000,
            PauseOrchestrator | FillDisk => 15_000,
            PauseRedis => 6_000,
            KillDrone(_) | StopDrone(_) => 30_000,
            PauseDrone(_) | CutCable(_) | Mute(_) | SlowCable(_) => 45_000,
        }
    }

    /// Whether both at once would be the same, or would hide each other.
    pub fn excludes(self, other: &Self) -> bool {
        match (self.drone(), other.drone()) {
            (None, None) => true,
            (a, b) => a == b,
        }
    }

    /// The drone that it befalls.
    pub fn drone(self) -> Option<usize> {
        match self {
            KillDrone(n) | StopDrone(n) | PauseDrone(n) | CutCable(n) | Mute(n) | SlowCable(n) => Some(n),
            _ => None,
        }
    }

    /// What it is called in the report.
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
            KillRedis => "Redis killed",
            PauseRedis => "Redis paused",
        }
    }

    /// Makes it.
    pub fn begin(self, farm: &mut Farm) -> Result<()> {
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
            KillRedis => farm.with_redis(Redis::kill),
            PauseRedis => farm.signal_redis(Signal::STOP),
        }
    }

    /// Ends it.
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
