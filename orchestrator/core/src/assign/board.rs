//! The timeline of each slot, and which slot would finish a piece of work soonest.

use super::late::Ongoing;
use crate::{
    estimate::stretch_permille,
    state::{Drone, Swarm},
};
use std::{cmp::Reverse, collections::BTreeMap, ops::Range};
use swarm_common::{id::*, state::DroneState, time::TimeMs};

pub(super) struct Board<'a> {
    pub(super) slots: Vec<Slot<'a>>,
    now: u64,
}

/// The timeline of one slot of a drone.
pub(super) struct Slot<'a> {
    pub(super) id: DroneId,
    pub(super) drone: &'a Drone,
    /// Speed of a build that has the drone to itself, in thousandths.
    speed_permille: u64,
    /// Positions of all slots of its drone.
    machine: Range<usize>,
    /// When the slot becomes free, in milliseconds of the swarm's clock; 0 if it is free now.
    free_at: u64,
    /// Start and end of each piece of work placed on the slot, in order and without overlaps.
    taken: Vec<(u64, u64)>,
}

/// A possible placement of a piece of work. Times are in milliseconds of the swarm's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) slot: usize,
    pub(super) start: u64,
    /// When the slot would be free again.
    end: u64,
    /// When the result would be available.
    pub(super) finish: u64,
    /// The earliest time the result would be available from any other slot.
    pub(super) elsewhere: u64,
}

impl<'a> Board<'a> {
    /// The slots of the drones considered, including `claimant`. A busy slot becomes free when its
    /// attempt is expected to end. Free slots count now for the claimant and for drones that are
    /// waiting, and at the time of the expected claim for drones that have just begun or ended an
    /// attempt.
    pub(super) fn new(
        swarm: &'a Swarm,
        now: TimeMs,
        claimant: Option<DroneId>,
        mut ongoing: &[Ongoing],
    ) -> Self {
        let mut slots = Vec::with_capacity(swarm.drones.len());
        let until = |times: &BTreeMap<DroneId, TimeMs>, id| times.get(&id).copied().filter(|&t| t > now);
        for (&id, drone) in &swarm.drones {
            let before = ongoing.partition_point(|a| a.attempt.drone < id);
            let own = &ongoing[before..];
            let (own, rest) = own.split_at(own.partition_point(|a| a.attempt.drone == id));
            ongoing = rest;
            let claims = claimant == Some(id);
            if swarm.state_of(id, drone) != DroneState::Online && !claims {
                continue;
            }
            let asks_at = match until(&swarm.live.due_back, id) {
                _ if claims || until(&swarm.live.waiting, id).is_some() => Some(0),
                back => back.map(|back| back.0),
            };
            let busy = own.iter().filter(|a| a.is_building()).map(|a| a.expected_end().0);
            let mut times: Vec<u64> = busy.collect();
            let free = drone.slots().saturating_sub(times.len());
            times.extend(asks_at.into_iter().flat_map(|at| std::iter::repeat_n(at, free)));
            let speeds = own.iter().map(Ongoing::speed_permille);
            let speed_permille = speeds.min().unwrap_or_else(|| drone.likely_permille()).max(1);
            let machine = slots.len()..slots.len() + times.len();
            let slot = |free_at| Slot {
                id,
                drone,
                speed_permille,
                machine: machine.clone(),
                free_at,
                taken: Vec::new(),
            };
            slots.extend(times.into_iter().map(slot));
        }
        Self { slots, now: now.0 }
    }

    /// The place among slots accepted by `may` where `work_ms`, which cannot start before `ready`,
    /// would be finished soonest.
    pub(super) fn soonest(&self, ready: u64, work_ms: u64, may: impl Fn(&Slot) -> bool) -> Option<Placement> {
        let ready = ready.max(self.now);
        let mut best: Option<((u64, Reverse<u64>), Placement)> = None;
        let mut elsewhere = u64::MAX;
        for (n, slot) in self.slots.iter().enumerate() {
            let alone = slot.length_ms(work_ms, 1);
            let least = ready + alone + slot.drone.upload_ms;
            if least > elsewhere || !may(slot) {
                continue;
            }
            let length = slot.length_ms(work_ms, self.builds_at(slot.gap(ready, alone), n));
            let start = slot.gap(ready, length);
            let end = start + length;
            let finish = end + slot.drone.upload_ms;
            // Ties are broken by the order of drone ids.
            let key = (finish, Reverse(slot.speed_permille));
            if best.as_ref().is_none_or(|(least, _)| key < *least) {
                elsewhere = best.map_or(elsewhere, |(_, beaten)| beaten.finish);
                best = Some((key, Placement { slot: n, start, end, finish, elsewhere: 0 }));
            } else {
                elsewhere = elsewhere.min(finish);
            }
        }
        best.map(|(_, place)| Placement { elsewhere, ..place })
    }

    /// When all drones together would finish their current work and `work_ms` more.
    pub(super) fn makespan(&self, work_ms: u64) -> u64 {
        let speed = |s: &Slot| s.speed_permille * 1000 / stretch_permille(s.machine.len());
        let busy = |s: &Slot| s.free_at.saturating_sub(self.now).saturating_mul(speed(s)) / 1000;
        let work_ms = self.slots.iter().map(busy).fold(work_ms, u64::saturating_add);
        let speed: u64 = self.slots.iter().map(speed).sum();
        self.now + work_ms.saturating_mul(1000) / speed.max(1)
    }

    /// The shortest time in which a chain of `work_ms` can be done, in milliseconds.
    pub(super) fn chain_ms(&self, work_ms: u64) -> u64 {
        let fastest = self.slots.iter().map(|s| s.speed_permille).max();
        work_ms.saturating_mul(1000) / fastest.unwrap_or(1)
    }

    /// How many builds the drone of slot `n` would have at `time`, including one in that slot.
    fn builds_at(&self, time: u64, n: usize) -> usize {
        let others = self.slots[n].machine.clone().filter(|&other| other != n);
        1 + others.filter(|&other| self.slots[other].is_busy_at(time)).count()
    }

    pub(super) fn take(&mut self, place: Placement) {
        let taken = &mut self.slots[place.slot].taken;
        let at = taken.partition_point(|&(start, _)| start < place.start);
        taken.insert(at, (place.start, place.end));
    }
}

impl Slot<'_> {
    pub(super) fn is_idle(&self) -> bool {
        self.free_at == 0 && self.taken.is_empty()
    }

    fn is_busy_at(&self, time: u64) -> bool {
        self.free_at > time || self.taken.iter().any(|&(from, to)| from <= time && time < to)
    }

    /// How long `work_ms` would occupy the slot while its drone runs `builds` builds.
    fn length_ms(&self, work_ms: u64, builds: usize) -> u64 {
        let alone = self.drone.setup_ms + work_ms.saturating_mul(1000) / self.speed_permille;
        alone.saturating_mul(stretch_permille(builds)) / 1000
    }

    /// The first time from `ready` on at which the slot is free for `length` milliseconds.
    fn gap(&self, ready: u64, length: u64) -> u64 {
        let mut start = ready.max(self.free_at);
        for &(from, to) in &self.taken {
            if start + length <= from {
                break;
            }
            start = start.max(to);
        }
        start
    }
}
