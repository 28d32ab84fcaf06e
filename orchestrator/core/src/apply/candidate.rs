//! Applies the events of candidates, and the effects of runs on them.

use crate::{
    event::Event,
    state::{Profile, Refused, Swarm, Trial},
};
use swarm_common::{id::RunId, state::RunState};

impl Swarm {
    /// Applies an event to the candidates of profiles. Called after all other parts of the state.
    pub(super) fn keep_candidates(&mut self, event: &Event) {
        match event {
            Event::CandidateOffered { profile, candidate } => {
                self.profile(profile, |p| p.candidates.offered = Some(candidate.clone()));
            }
            // Content chosen by an admin replaces all candidates.
            Event::ProfilePut { name, .. } => self.profile(name, |p| p.candidates = Default::default()),
            Event::RunStarted { run, profile, .. } => {
                let Some(candidates) = self.profiles.get_mut(profile).map(|p| &mut p.candidates) else {
                    return;
                };
                let offered = candidates.offered.take();
                candidates.trial = offered.map(|content| Trial { run: *run, content });
                if let Some(record) = self.runs.get_mut(run) {
                    record.on_trial = candidates.trial.is_some();
                }
            }
            Event::RunReopened { run } => self.profile_of(*run, |p| {
                let refused = p.candidates.refused.as_ref().and_then(|refused| refused.trial.clone());
                p.candidates.trial = refused.filter(|trial| trial.run == *run);
            }),
            // A cancelled run proves nothing, so the next run tries the candidate again.
            Event::RunEnded { run, state: RunState::Cancelled, .. } => self.profile_of(*run, |p| {
                if let Some(trial) = p.candidates.end(*run) {
                    p.candidates.offered.get_or_insert(trial.content);
                }
            }),
            Event::CandidateTaken { profile, run } => {
                self.profile(profile, |p| {
                    let Some(Trial { content, .. }) = p.candidates.end(*run) else { return };
                    (p.request.snapshot, p.request.source) = (content.snapshot, content.source);
                    p.candidates.refused = None;
                });
                if let Some(record) = self.runs.get_mut(run) {
                    record.on_trial = false;
                }
                self.publish(*run);
            }
            Event::CandidateRefused { profile, run, source, why } => self.profile(profile, |p| {
                let trial = run.and_then(|run| p.candidates.end(run));
                p.candidates.refused = Some(Refused { trial, source: source.clone(), why: why.clone() });
            }),
            _ => {}
        }
    }

    fn profile_of(&mut self, run: RunId, change: impl FnOnce(&mut Profile)) {
        if let Some(profile) = self.runs.get(&run).map(|run| run.profile.clone()) {
            self.profile(&profile, change);
        }
    }
}
