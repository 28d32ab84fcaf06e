//! Applies the events of bases.

use crate::{
    event::Event,
    follow,
    state::{Ending, FollowFailure, Following, Job, Swarm},
};
use swarm_common::{id::AttemptId, name::Name, time::TimeMs, wire::base::BaseGeneration};

/// Number of generations kept of each base, including the current one.
const KEPT: usize = 4;

impl Swarm {
    pub(super) fn keep_bases(&mut self, at: TimeMs, event: &Event) {
        match event {
            Event::BasePut { name, generation } => {
                self.stop_following(at, name);
                self.use_generation(name, generation);
                if let Some(base) = self.bases.get_mut(name) {
                    (base.failed, base.unwanted) = (None, None);
                }
            }
            Event::BaseRolledBack { name, to, .. } => {
                self.stop_following(at, name);
                if let Some(base) = self.bases.get_mut(name) {
                    base.unwanted = base.current().map(|last| last.base().digest());
                    base.generations.retain(|generation| generation.number <= *to);
                }
            }
            Event::BaseRemoved { name } => {
                self.stop_following(at, name);
                self.bases.remove(name);
            }
            Event::BaseFollowSet { name, follow } => {
                if !follow {
                    self.stop_following(at, name);
                }
                if let Some(base) = self.bases.get_mut(name) {
                    (base.follow, base.failed, base.unwanted) = (*follow, None, None);
                }
            }
            Event::BaseFollowBegan { name, run, installed } => {
                let (run, installed, after) = (*run, installed.clone(), AttemptId(self.last.attempt));
                if let Some(base) = self.bases.get_mut(name) {
                    base.following =
                        Some(Following { run, installed, since: at, not_before: at, after, reason: None });
                    base.failed = None;
                }
            }
            Event::BaseDelegated { run, attempt, drone, key } => {
                if let Some(run) = self.runs.get_mut(run) {
                    run.base_attempts.push(*attempt);
                }
                self.delegate(at, *attempt, Job::Base(*run), *drone, key);
            }
            Event::BaseNeeded { run, not_before, reason } => {
                let all = self.bases.values_mut().filter_map(|base| base.following.as_mut());
                for following in all.filter(|following| following.run == *run) {
                    following.not_before = *not_before;
                    following.reason = Some(reason.clone());
                }
            }
            Event::BaseReceived { name, attempt, generation, usage } => {
                self.end(at, *attempt, Ending::Accepted, Some(*usage));
                if let Some(run) = generation.run {
                    self.supersede(at, Job::Base(run));
                }
                self.use_generation(name, generation);
                let profile = generation.run.and_then(|run| self.runs.get(&run)).map(|r| r.profile.clone());
                if let Some(base) = self.bases.get_mut(name) {
                    (base.following, base.followed) = (None, profile);
                }
            }
            Event::BaseFollowEnded { name, reason } => {
                if let Some(base) = self.bases.get_mut(name)
                    && let Some(following) = base.following.take()
                {
                    base.unwanted = follow::content(base, &following.installed);
                    base.failed = Some(FollowFailure { run: following.run, reason: reason.clone() });
                }
            }
            _ => {}
        }
    }

    fn use_generation(&mut self, name: &Name, generation: &BaseGeneration) {
        let base = self.bases.entry(name.clone()).or_default();
        base.last_number = generation.number;
        base.generations.push(generation.clone());
        let surplus = base.generations.len().saturating_sub(KEPT);
        base.generations.drain(..surplus);
    }

    /// Stops following: the packages that were to be installed on the base are no longer wanted.
    fn stop_following(&mut self, at: TimeMs, name: &Name) {
        let Some(following) = self.bases.get_mut(name).and_then(|base| base.following.take()) else { return };
        let live: Vec<AttemptId> = self.attempts_at(Job::Base(following.run)).map(|(id, _)| id).collect();
        for attempt in live {
            self.end(at, attempt, Ending::Cancelled, None);
        }
    }
}
