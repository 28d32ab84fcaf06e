//! Chooses the work for a claim.
//!
//! The packages with the longest chains of waiting work are placed on the board one after the other,
//! including blocked packages that will soon be ready. A fast drone is then kept free for such a package,
//! unless other work fits in before it, or the rest of the run takes so long that starting the package later
//! or elsewhere costs nothing.

use super::{
    board::{Board, Placement, Slot},
    fit::{Fit, Groups, Neighbours, window},
    late::{Ongoing, Straggler, straggler},
    reasons::Reasons,
    twin::Twins,
};
use crate::{
    follow,
    graph::ReadyTimes,
    judge,
    state::{Drone, Job, Package, Run, Swarm},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};
use swarm_common::{id::*, state::*, time::TimeMs, wire::base::Base};

/// Number of packages with the longest chains that are considered, including blocked ones.
const LOOK_AHEAD: usize = 64;

/// Number of needed packages considered beyond [`LOOK_AHEAD`], in addition to one per drone.
const READY_WINDOW: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    Plan(RunId),
    Base(RunId),
    Build { package: PackageId, duplicate_of: Option<AttemptId> },
    Nothing(String),
}

/// Active runs, most urgent first.
fn by_urgency(swarm: &Swarm) -> Vec<(RunId, &Run)> {
    let mut runs: Vec<_> =
        swarm.runs.iter().filter(|(_, r)| !r.state.is_over()).map(|(&id, r)| (id, r)).collect();
    runs.sort_by_key(|(id, run)| (run.class, *id));
    runs
}

pub(super) fn choose(swarm: &Swarm, now: TimeMs, id: DroneId, drone: &Drone, free_bytes: u64) -> Choice {
    let runs = by_urgency(swarm);
    let planning = runs.iter().find(|(run, r)| {
        r.state == RunState::Planning
            && r.plan_not_before <= now
            && drone.builds_for(r)
            && swarm.attempts_at(Job::Plan(*run)).next().is_none()
    });
    if let Some((run, _)) = planning {
        return Choice::Plan(*run);
    }
    // The next run will be planned in the new generation of this base.
    if let Some(run) = follow::choose(swarm, now, |run| drone.builds_for(run)) {
        return Choice::Base(run);
    }
    let mut planner = Planner::new(swarm, now, Some((id, free_bytes)));
    for (id, run) in &runs {
        if let Some((package, duplicate_of)) = planner.run(*id, run, |_, _| false) {
            return Choice::Build { package, duplicate_of };
        }
    }
    for (id, run) in &runs {
        if let Some((package, duplicate_of)) = planner.overdue(*id, run) {
            return Choice::Build { package, duplicate_of };
        }
    }
    Choice::Nothing(planner.reasons.describe(swarm, runs.is_empty()))
}

/// The drone that is expected to build a needed package, and when it would start.
pub(crate) fn outlook(swarm: &Swarm, now: TimeMs, id: PackageId) -> Option<(DroneId, TimeMs)> {
    let mut planner = Planner::new(swarm, now, None);
    let mut found = None;
    for (run_id, run) in by_urgency(swarm) {
        planner.run(run_id, run, |package, place| {
            if package == id {
                found = Some(place);
            }
            package == id
        });
        if found.is_some() {
            break;
        }
    }
    let place: Placement = found?;
    Some((planner.board.slots[place.slot].id, TimeMs(place.start)))
}

/// The earliest time at which each package being built will be available.
fn ends(ongoing: &[Ongoing]) -> BTreeMap<PackageId, u64> {
    let ends = ongoing.iter().filter_map(|a| Some((a.package()?.0, a.there_at())));
    let mut ends: Vec<(PackageId, u64)> = ends.collect();
    // Of several entries for one package, collecting keeps the last one, which is the earliest end.
    ends.sort_unstable_by_key(|&(package, end)| (package, Reverse(end)));
    ends.into_iter().collect()
}

/// One evaluation of the board, for a claim or a forecast.
struct Planner<'a> {
    swarm: &'a Swarm,
    now: TimeMs,
    /// The drone that claims, and its free memory in bytes. `None` for a forecast.
    claimant: Option<(DroneId, u64)>,
    /// The builds that the claimant is already running.
    beside: Neighbours,
    ongoing: Vec<Ongoing<'a>>,
    board: Board<'a>,
    groups: Groups<'a>,
    /// When packages will be available: both those being built and those placed.
    ends: BTreeMap<PackageId, u64>,
    ready_times: ReadyTimes,
    /// Packages that are being built, or placed, for other runs.
    twins: Twins,
    reasons: Reasons,
    /// Packages that the claimant is kept free for: their rank, and when they would start.
    reservations: Vec<(u64, u64)>,
}

impl<'a> Planner<'a> {
    fn new(swarm: &'a Swarm, now: TimeMs, claimant: Option<(DroneId, u64)>) -> Self {
        let ongoing = Ongoing::all(swarm, now);
        let drone = claimant.and_then(|(id, _)| Some((id, swarm.drones.get(&id)?)));
        Self {
            swarm,
            now,
            claimant,
            beside: drone.map(|(id, drone)| Neighbours::of(swarm, id, drone, &ongoing)).unwrap_or_default(),
            board: Board::new(swarm, now, claimant.map(|(id, _)| id), &ongoing),
            groups: Groups::new(swarm, &ongoing),
            ends: ends(&ongoing),
            twins: Twins::new(swarm, &ongoing),
            ongoing,
            ready_times: ReadyTimes::default(),
            reasons: Reasons::default(),
            reservations: Vec::new(),
        }
    }

    /// Places the packages that a run still has to build, longest chains first, until one falls to
    /// the claimant now or `stop` returns true.
    fn run(
        &mut self,
        run_id: RunId,
        run: &'a Run,
        mut stop: impl FnMut(PackageId, Placement) -> bool,
    ) -> Option<(PackageId, Option<AttemptId>)> {
        self.ready_times = ReadyTimes::default();
        let mut late = self.stragglers(run_id);
        late.retain(|(_, s)| s.certain || s.doubtful);
        let makespan = self.board.makespan(run.open_ms);
        let (swarm, claimant) = (self.swarm, self.claimant);
        let drones: Vec<&Drone> = self
            .board
            .slots
            .iter()
            .map(|s| (s.id, s.drone))
            .filter(|(id, _)| claimant.is_none_or(|(claimant, _)| claimant == *id))
            .map(|(_, drone)| drone)
            .collect();
        let is_own = |id| {
            run.base != Base::Nix
                || swarm.packages.get(&id).is_some_and(|p| drones.iter().any(|drone| drone.is_for(p)))
        };
        let first: Vec<_> = window(&run.open, LOOK_AHEAD, is_own).collect();
        let last = first.last().filter(|_| first.len() >= LOOK_AHEAD).map(|last| **last);
        let mut ahead = first.into_iter();
        let beyond = last.map(|last| run.ready.range((Bound::Excluded(last), Bound::Unbounded)));
        let mut beyond = window(beyond.into_iter().flatten(), self.board.slots.len() + READY_WINDOW, is_own);
        loop {
            let next = ahead.next().or_else(|| beyond.next());
            let rank = next.map(|(rank, _)| *rank);
            while late.last().is_some_and(|(r, _)| rank.is_none_or(|rank| *r <= rank)) {
                let (_, straggler) = late.pop()?;
                if let Some(found) = self.duplicate(run, straggler, makespan) {
                    return Some(found);
                }
            }
            let &(_, id) = next?;
            let Some(package) = self.swarm.packages.get(&id) else { continue };
            let Some(place) = self.place(run, id, package) else { continue };
            let needed = package.state == PackageState::Needed;
            if needed && let Some(there) = self.twins.there_at(package, self.now, place.finish) {
                self.reasons.twin.get_or_insert(id);
                self.ends.insert(id, there);
                continue;
            }
            // An idle drone is lost capacity: keep it free only for packages that determine the end
            // of the run.
            let rest_ms = self.board.chain_ms(package.rank_ms.saturating_sub(package.predicted_ms));
            if !needed && place.elsewhere.saturating_add(rest_ms) <= makespan {
                self.ends.insert(id, place.finish);
                continue;
            }
            let slot = &self.board.slots[place.slot];
            let now_here = place.start <= self.now.0 && needed;
            if let Some((claimant, free_bytes)) = self.claimant {
                if slot.id == claimant && now_here {
                    let fit = self.fit(run, id, package);
                    let mut slots = self.board.slots.iter();
                    let others = slots.any(|s| s.id != claimant && fit.suits(s.id, s.drone));
                    if (!others && self.beside.builds == 0)
                        || fit.has_room(slot.drone, free_bytes, &self.beside)
                    {
                        return Some((id, None));
                    }
                    self.reasons.no_memory.get_or_insert(id);
                    continue;
                }
                if slot.id == claimant {
                    self.reasons.kept_free.get_or_insert(id);
                    self.reservations.push((package.rank_ms, place.start));
                } else if needed {
                    let other = slot.id;
                    self.reasons.held_back.get_or_insert((id, other));
                }
            }
            self.board.take(place);
            self.groups.enter(package);
            self.ends.insert(id, place.finish);
            if needed {
                self.twins.note(package, place.finish);
            }
            if stop(id, place) {
                return None;
            }
        }
    }

    fn fit<'p>(&self, run: &'p Run, id: PackageId, package: &'p Package) -> Fit<'p> {
        Fit::new(self.swarm, run, (id, package), self.board.slots.iter().map(|s| (s.id, s.drone)))
    }

    /// Where a package would be built. `None` if its start cannot be predicted or no drone may
    /// build it.
    fn place(&mut self, run: &Run, id: PackageId, package: &Package) -> Option<Placement> {
        let ready = match package.state {
            PackageState::Needed if package.not_before > self.now => {
                let ms = package.not_before.since(self.now);
                let least = self.reasons.waiting_ms.map_or(ms, |least| least.min(ms));
                self.reasons.waiting_ms = Some(least);
                return None;
            }
            PackageState::Needed => self.now.0,
            // Keeping a drone free for a guess costs more than it gains.
            _ if package.guessed => return None,
            _ => {
                let first = run.packages.first()?.0;
                let position = (id.0 - first) as u32;
                let (ends, swarm) = (&self.ends, self.swarm);
                let end = |member: u32| {
                    let member = PackageId(first + u64::from(member));
                    let there = || swarm.packages.get(&member).filter(|p| p.state == PackageState::Received);
                    ends.get(&member).copied().or_else(|| there().map(|_| 0))
                };
                run.graph.ready_at(position, &end, &mut self.ready_times)?
            }
        };
        if self.groups.keep_out(package) {
            self.reasons.kept_out.get_or_insert(id);
            return None;
        }
        let fit = self.fit(run, id, package);
        let place = self.board.soonest(ready, package.predicted_ms, |s| fit.suits(s.id, s.drone));
        if let Some((claimant, _)) = self.claimant
            && package.state == PackageState::Needed
            && self.board.slots.iter().any(|s| s.id == claimant && !fit.suits(s.id, s.drone))
        {
            self.reasons.not_for_it += 1;
        }
        place
    }

    /// The late attempts of a run by rank, the longest chain last. Empty if more than a quarter of the slots
    /// are busy with duplicates.
    fn stragglers(&self, run: RunId) -> Vec<(Reverse<u64>, Straggler)> {
        let doubled = self.ongoing.iter().filter(|a| a.attempt.duplicate_of.is_some()).count();
        if doubled > self.board.slots.len() / 4 {
            return Vec::new();
        }
        let overdue = self.ongoing.iter().filter(|a| a.is_overdue()).filter_map(Ongoing::package);
        let overdue: BTreeSet<_> =
            overdue.filter(|(_, p)| p.run == run).map(|(id, p)| (id, p.rank_ms)).collect();
        let late = |(id, rank_ms)| {
            let building_it = |a: &&Ongoing| a.package().is_some_and(|(package, _)| package == id);
            let live: Vec<&Ongoing> = self.ongoing.iter().filter(building_it).collect();
            // Each live attempt may fail, and all failures count against the package.
            let most = self.swarm.policy.failures_in_all as usize;
            if judge::failures(self.swarm, id) + live.len() >= most {
                return None;
            }
            Some((Reverse(rank_ms), straggler(&live)?))
        };
        let mut found: Vec<(Reverse<u64>, Straggler)> = overdue.into_iter().filter_map(late).collect();
        found.sort_by_key(|(rank, s)| (Reverse(*rank), s.package));
        found
    }

    /// Duplicates an attempt that is overdue, though it may still be in order, on a claimant that has nothing
    /// better to do.
    fn overdue(&mut self, run_id: RunId, run: &Run) -> Option<(PackageId, Option<AttemptId>)> {
        let (claimant, free_bytes) = self.claimant?;
        let idle = Board::new(self.swarm, self.now, Some(claimant), &self.ongoing);
        for (Reverse(rank), late) in self.stragglers(run_id).into_iter().rev() {
            let package = self.swarm.packages.get(&late.package)?;
            if late.others > 0 || package.guessed {
                continue;
            }
            let fit = self.fit(run, late.package, package);
            let is_building_it =
                |s: &Slot| self.swarm.attempts_of(s.id).any(|(_, a)| a.job == Job::Build(late.package));
            let may = |s: &Slot| s.is_idle() && !is_building_it(s) && fit.suits(s.id, s.drone);
            let Some(place) = idle.soonest(self.now.0, late.work_ms, may) else { continue };
            let slot = &idle.slots[place.slot];
            let reserved = self.reservations.iter().any(|&(r, start)| r > rank && start < place.finish);
            let worth = place.finish - self.now.0 <= 2 * late.elapsed_ms;
            if slot.id == claimant && !reserved && worth && fit.has_room(slot.drone, free_bytes, &self.beside)
            {
                return Some((late.package, Some(late.attempt)));
            }
        }
        None
    }

    /// Gives a straggler's package to another drone that would finish sooner, if there is one. If the
    /// straggler is only doubtful, it is duplicated only if the package would determine the end of the run
    /// even if it were restarted now, because waiting for certainty would then end the run later still.
    fn duplicate(
        &mut self,
        run: &Run,
        late: Straggler,
        makespan: u64,
    ) -> Option<(PackageId, Option<AttemptId>)> {
        let package = self.swarm.packages.get(&late.package)?;
        let building_it: Vec<DroneId> =
            self.swarm.attempts_at(Job::Build(late.package)).map(|(_, a)| a.drone).collect();
        let fit = self.fit(run, late.package, package);
        let may = |s: &Slot| !building_it.contains(&s.id) && fit.suits(s.id, s.drone);
        let place = self.board.soonest(self.now.0, late.work_ms, may)?;
        let rest_ms = self.board.chain_ms(package.rank_ms.saturating_sub(package.predicted_ms));
        let ends_the_run = place.finish.saturating_add(rest_ms) > makespan;
        let soon = place.finish - self.now.0 <= 2 * late.elapsed_ms;
        let worth = if late.certain { place.finish < late.finish } else { ends_the_run && soon };
        if !worth {
            return None;
        }
        let slot = &self.board.slots[place.slot];
        if let Some((claimant, free_bytes)) = self.claimant
            && slot.id == claimant
            && place.start <= self.now.0
            && fit.has_room(slot.drone, free_bytes, &self.beside)
        {
            return Some((late.package, Some(late.attempt)));
        }
        self.board.take(place);
        self.ends.insert(late.package, place.finish);
        None
    }
}
