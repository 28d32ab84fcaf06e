//! Content that is offered to a profile and tried by a run before the profile switches to it.

use crate::reason::Reason;
use serde::{Deserialize, Serialize};
use swarm_common::{id::RunId, wire::admin::CandidateRequest};

/// The content that a profile may switch to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidates {
    /// The content that the next run tries.
    #[serde(default, with = "crate::record")]
    pub offered: Option<CandidateRequest>,
    /// The content that a run tries now.
    pub trial: Option<Trial>,
    /// The last candidate that was refused, until another is taken.
    pub refused: Option<Refused>,
}

/// A candidate and the run that tries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    pub run: RunId,
    #[serde(with = "crate::record")]
    pub content: CandidateRequest,
}

/// A candidate that was refused or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The candidate and the run that tried it. `None` if it could not be made.
    pub trial: Option<Trial>,
    pub source: String,
    pub why: Reason,
}

impl Candidates {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The undecided candidates: the one that is tried, with its run, then the one for the next run.
    pub fn open(&self) -> impl Iterator<Item = (Option<RunId>, &CandidateRequest)> {
        let trial = self.trial.iter().map(|trial| (Some(trial.run), &trial.content));
        trial.chain(self.offered.iter().map(|content| (None, content)))
    }

    /// Ends the trial of `run` and returns it, if there is one.
    pub(crate) fn end(&mut self, run: RunId) -> Option<Trial> {
        self.trial.take_if(|trial| trial.run == run)
    }
}
