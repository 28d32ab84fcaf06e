//! Candidates: a refused one is reported everywhere until another is accepted, and nothing else is served.

use crate::{binhost::generation, key};
use serde_json::json;
use swarm_common::{
    digest::Digest,
    wire::{
        admin::{CandidateFailure, CandidateRequest},
        concern::{Concern, ConcernKind},
        nix::NixRoot,
        plan::{PlanProblem, PlanReport, ProblemKind},
    },
};
use swarm_orchestrator::metrics;
use swarm_tests::api::{PROFILE, Receiver, Swarm, name, plan_of, until};

const METRIC: &str = "\nswarm_concern{kind=\"candidate_refused\"} 1\n";

/// A plan with one attribute that an upstream cache has, so that nothing is built.
fn plan(hash: char) -> PlanReport {
    let path = format!("/nix/store/{}-tool", hash.to_string().repeat(32));
    PlanReport { roots: vec![NixRoot { attribute: "tool".into(), path, host: false }], ..plan_of(&[]) }
}

fn broken() -> PlanReport {
    let problem = PlanProblem {
        kind: ProblemKind::Evaluation,
        atoms: vec!["tool".into()],
        message: "error: no tool".into(),
        suggestion: None,
    };
    PlanReport { problems: vec![problem], ..plan_of(&[]) }
}

async fn refused(swarm: &Swarm) -> Option<Concern> {
    let all = swarm.admin.status().await.unwrap().concerns;
    all.into_iter().find(|concern| matches!(concern.fact, ConcernKind::CandidateRefused { .. }))
}

// fault: 63
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_candidate_is_told_in_all_places_until_another_is_taken() {
    let inbox = Receiver::start().await.unwrap();
    let swarm = Swarm::start_with(|config| inbox.subscribe(config).unwrap()).await.unwrap();
    let drone = swarm.nix_drone("one").await.unwrap();
    swarm.nix_profile(&[]).await.unwrap();
    swarm.nix_run(&drone, plan('a')).await.unwrap();
    generation(&swarm, 1).await;
    let profile = async || swarm.admin.profile(&name(PROFILE)).await.unwrap();
    let pinned = profile().await.snapshot;

    let source = json!({ "flake": false, "file": "x.nix", "attributes": ["tool"] });
    let snapshot = swarm.nix_snapshot(&source, &[("x.nix", "{ }")]).await.unwrap();
    let candidate = CandidateRequest { snapshot, source: "the newest commit".into() };
    let unknown = CandidateRequest { snapshot: Digest::of(b"nowhere"), ..candidate.clone() };
    let error = swarm.admin.offer_candidate(&name(PROFILE), &unknown, &key()).await.unwrap_err();
    assert!(error.status() == Some(422) && error.to_string().contains("upload it first"), "{error}");
    let view = swarm.admin.offer_candidate(&name(PROFILE), &candidate, &key()).await.unwrap();
    assert_eq!((view.snapshot, view.candidates[0].snapshot), (pinned, snapshot));

    swarm.nix_run(&drone, broken()).await.unwrap();
    let concern = refused(&swarm).await.unwrap();
    let what = "desk stays at test: r2 could not serve all of the newest commit: tool cannot be evaluated: error: no \
                tool";
    assert_eq!(concern.what, what);
    assert!(metrics::text(&swarm.app).contains(METRIC));
    let is_notified = async |words: &str| {
        until(words, async || inbox.taken().iter().any(|p| p.text("text").contains(words)).then_some(()))
            .await;
    };
    is_notified("r2 could not serve all of the newest commit").await;
    let after = profile().await;
    assert_eq!((after.snapshot, after.generation), (pinned, 1));

    let failure = CandidateFailure { source: "git+https://host/x".into(), why: "it is away".into() };
    swarm.admin.report_no_candidate(&name(PROFILE), &failure, &key()).await.unwrap();
    let concern = refused(&swarm).await.unwrap();
    assert!(
        concern.what.ends_with("there is no candidate from git+https://host/x: it is away"),
        "{concern:?}"
    );
    let lines = CandidateFailure { why: "two\nlines".into(), ..failure };
    let error = swarm.admin.report_no_candidate(&name(PROFILE), &lines, &key()).await.unwrap_err();
    assert_eq!(error.status(), Some(422));

    swarm.admin.offer_candidate(&name(PROFILE), &candidate, &key()).await.unwrap();
    swarm.nix_run(&drone, plan('b')).await.unwrap();
    assert_eq!(refused(&swarm).await, None);
    assert!(!metrics::text(&swarm.app).contains(METRIC));
    generation(&swarm, 2).await;
    is_notified("resolved").await;
    assert_eq!(profile().await.snapshot, snapshot);
}
