//! Corrects recorded times after the machine's clock was set. A machine may start with a wrong clock and set
//! it later. Times recorded by the wrong clock are moved so that durations stay the same, nothing lies in the
//! future, and what was due in an hour still is.
//!
//! Due times of the calendar are dates, computed without the clock, and stay. Times that BUILD_TIMEs were
//! derived from stay too: they are published and must only increase.

use crate::state::{Attempt, Drone, HealingState, Swarm};
use swarm_common::time::TimeMs;

impl Swarm {
    /// Moves times recorded since `since` by `by_ms`. `now` is a time of the clock that recorded them.
    pub(super) fn set_clock(&mut self, now: TimeMs, since: TimeMs, by_ms: i64) {
        let moved = |time: TimeMs| TimeMs(time.0.saturating_add_signed(by_ms));
        let set = |time: &mut TimeMs| {
            *time = match *time {
                ahead if ahead > now => moved(ahead),
                wrong if wrong >= since => moved(wrong),
                // Recorded by an earlier clock. If that clock was wrong as well, the time still precedes the
                // others.
                right => right.min(moved(since)),
            }
        };
        self.at = moved(now);
        self.restored_at.iter_mut().for_each(set);
        self.tokens.values_mut().for_each(|token| set(&mut token.expires_at));
        self.acts.iter_mut().for_each(|act| set(&mut act.at));
        if let Some(pause) = &mut self.pause {
            set(&mut pause.since);
            set(&mut pause.until);
        }
        for schedule in self.schedules.values_mut() {
            set(&mut schedule.set_at);
            schedule.succeeded_at.iter_mut().for_each(set);
            schedule.last.iter_mut().for_each(|last| set(&mut last.at));
        }
        self.profiles.values_mut().for_each(|p| p.timer.iter_mut().for_each(|timer| set(&mut timer.ran_at)));
        let histories = self.profiles.values_mut().flat_map(|p| [&mut p.stable, &mut p.staging]);
        let generations = histories.flat_map(|history| &mut history.generations);
        generations.for_each(|generation| set(&mut generation.at));
        for run in self.runs.values_mut() {
            set(&mut run.started_at);
            set(&mut run.plan_not_before);
            run.ended_at.iter_mut().for_each(set);
        }
        for package in self.packages.values_mut() {
            set(&mut package.needed_since);
            set(&mut package.not_before);
        }
        self.attempts.values_mut().for_each(|attempt| of_attempt(attempt, set));
        self.drones.values_mut().for_each(|drone| of_drone(drone, set));
        for base in self.bases.values_mut() {
            if let Some(following) = &mut base.following {
                set(&mut following.since);
                set(&mut following.not_before);
            }
        }
        self.quarantine.times().for_each(set);
        self.builds.set_times(set);
        self.past.set_times(set);
        let live = &mut self.live;
        set(&mut live.started_at);
        let by_drone = [
            &mut live.seen,
            &mut live.beaten,
            &mut live.ready_since,
            &mut live.waiting,
            &mut live.due_back,
            &mut live.changed,
            &mut live.returned,
        ];
        by_drone.into_iter().flat_map(|times| times.values_mut()).for_each(set);
        live.leases.values_mut().for_each(set);
        live.set_by_ms = live.set_by_ms.saturating_add(by_ms);
    }
}

fn of_attempt(attempt: &mut Attempt, set: impl Fn(&mut TimeMs)) {
    set(&mut attempt.started_at);
    attempt.ended_at.iter_mut().for_each(&set);
    attempt.phases.values_mut().for_each(&set);
}

fn of_drone(drone: &mut Drone, set: impl Fn(&mut TimeMs)) {
    for time in [&mut drone.enrolled_at, &mut drone.succeeded_at, &mut drone.shared_since] {
        set(time);
    }
    drone.grounded.iter_mut().for_each(|grounded| set(&mut grounded.until));
    let HealingState { silent_since, heard_since, tried, under_way, .. } = &mut drone.healing;
    silent_since.iter_mut().chain(heard_since).for_each(&set);
    tried.iter_mut().for_each(|tried| set(&mut tried.at));
    under_way.iter_mut().for_each(|step| set(&mut step.since));
}
