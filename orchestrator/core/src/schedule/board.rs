//! Who is busy until when, and who would finish a piece of work soonest.

use super::late::Ongoing;
use crate::{drone::Drone, estimate::stretch_permille, swarm::Swarm};
use std::{cmp::Reverse, collections::BTreeMap, ops::Range};
use swarm_common::{id::*, state::DroneState, time::TimeMs};

/// Every slot of the drones that count, with what it has to do.
pub(super) struct Board<'a> {
    pub(super) slots: Vec<Slot<'a>>,
    now: u64,
}

/// The time of a drone's slot from now on.
pub(super) struct Slot<'a> {
    pub(super) id: DroneId,
    pub(super) drone: &'a Drone,
    /// How fast a build in it is that is alone on the drone.
    speed_permille: u64,
    /// All slots of its drone.
    machine: Range<usize>,
    /// From when on it has time; 0 if it has nothing to do.
    free_at: u64,
    /// What was placed there, in order, without overlaps.
    taken: Vec<(u64, u64)>,
}

/// Where a piece of work would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Position among the slots.
    pub(super) slot: usize,
    /// When it would begin.
    pub(super) start: u64,
    /// When its slot would be free again.
    end: u64,
    /// When its result would be there.
    pub(super) finish: u64,
    /// When another slot would have it there at the soonest.
    pub(super) elsewhere: u64,
}

impl<'a> Board<'a> {
    /// The slots of the drones that count, `claimant` included. A busy one is free when its
    /// attempt is expected to end; the others of the claimant and of those that wait now, of a
    /// drone that has just begun or ended something when it will have asked.
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

    /// Where `work_ms` that may begin at `ready` would be finished soonest, of the slots
    /// that may have it.
    pub(super) fn soonest(&self, ready: u64, work_ms: u64, may: impl Fn(&Slot) -> bool) -> Option<Place> {
        let ready = ready.max(self.now);
        let mut best: Option<((u64, Reverse<u64>), Place)> = None;
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
            // Equals keep their order, which is that of the drones' ids.
            let key = (finish, Reverse(slot.speed_permille));
            if best.as_ref().is_none_or(|(least, _)| key < *least) {
                elsewhere = best.map_or(elsewhere, |(_, beaten)| beaten.finish);
                best = Some((key, Place { slot: n, start, end, finish, elsewhere: 0 }));
            } else {
                elsewhere = elsewhere.min(finish);
            }
        }
        best.map(|(_, place)| Place { elsewhere, ..place })
    }

    /// When all drones together would be through with what they are at and `work_ms` more.
    pub(super) fn through(&self, work_ms: u64) -> u64 {
        let speed = |s: &Slot| s.speed_permille * 1000 / stretch_permille(s.machine.len());
        let busy = |s: &Slot| s.free_at.saturating_sub(self.now).saturating_mul(speed(s)) / 1000;
        let work_ms = self.slots.iter().map(busy).fold(work_ms, u64::saturating_add);
        let speed: u64 = self.slots.iter().map(speed).sum();
        self.now + work_ms.saturating_mul(1000) / speed.max(1)
    }

    /// How long a chain of work takes at least.
    pub(super) fn chain_ms(&self, work_ms: u64) -> u64 {
        let fastest = self.slots.iter().map(|s| s.speed_permille).max();
        work_ms.saturating_mul(1000) / fastest.unwrap_or(1)
    }

    /// How many builds a drone would have at that time, with one in its slot `n`.
    fn builds_at(&self, time: u64, n: usize) -> usize {
        let others = self.slots[n].machine.clone().filter(|&other| other != n);
        1 + others.filter(|&other| self.slots[other].is_busy_at(time)).count()
    }

    /// Keeps the place for what goes there.
    pub(super) fn take(&mut self, place: Place) {
        let taken = &mut self.slots[place.slot].taken;
        let at = taken.partition_point(|&(start, _)| start < place.start);
        taken.insert(at, (place.start, place.end));
    }
}

impl Slot<'_> {
    /// Whether it has nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.free_at == 0 && self.taken.is_empty()
    }

    fn is_busy_at(&self, time: u64) -> bool {
        self.free_at > time || self.taken.iter().any(|&(from, to)| from <= time && time < to)
    }

    /// How long it is busy with this work if its drone has so many builds meanwhile.
    fn length_ms(&self, work_ms: u64, builds: usize) -> u64 {
        let alone = self.drone.setup_ms + work_ms.saturating_mul(1000) / self.speed_permille;
        alone.saturating_mul(stretch_permille(builds)) / 1000
    }

    /// When from `ready` on it has `length` free.
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
