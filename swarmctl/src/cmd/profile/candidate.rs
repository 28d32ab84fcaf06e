//! `profile update --candidate`: offers content that the profile adopts only if a run can serve it.

use super::timer::{self, Every};
use crate::{failure::Failure, session::Session, snapshot::LONGEST_SOURCE};
use swarm_client::Client;
use swarm_common::{
    name::Name,
    wire::admin::{CandidateFailure, CandidateRequest},
};

/// The maximum length of a reason, in characters. The orchestrator refuses longer ones.
const LONGEST_REASON: usize = 200;

pub(super) async fn offer(
    session: &Session,
    client: &Client,
    name: &Name,
    request: CandidateRequest,
) -> Result<(), Failure> {
    let profile = session.change(async |key| client.offer_candidate(name, &request, key).await).await?;
    let new = request.snapshot.short();
    session.output.show(&profile, |_| {
        let candidate = profile.candidates.iter().find(|one| one.snapshot == request.snapshot);
        match candidate.map(|candidate| candidate.run) {
            Some(Some(run)) => format!("Run {run} tries snapshot {new}\n"),
            Some(None) => format!(
                "Profile {name} switches to snapshot {new} if the next run can serve all of it\n\
                 Next: swarmctl run start {name} --wait, or wait for its schedule\n"
            ),
            None => format!("Profile {name} is at snapshot {new} already\n"),
        }
    })
}

/// Reports that no candidate could be made from a source. `status` then shows this, and does not report the
/// timer as missing.
pub(super) async fn report(
    session: &Session,
    client: &Client,
    name: &Name,
    (source, why): (&str, &str),
    every: Option<Every>,
) {
    let line = why.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let request = CandidateFailure {
        source: source.chars().take(LONGEST_SOURCE).collect(),
        why: line.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect(),
    };
    let mut reported =
        session.change(async |key| client.report_no_candidate(name, &request, key).await).await;
    if reported.is_ok() {
        reported = timer::tell(session, client, name, every).await;
    }
    if let Err(error) = reported {
        session.output.say(&format!("note: cannot report this failure to the orchestrator: {error}"));
    }
}
