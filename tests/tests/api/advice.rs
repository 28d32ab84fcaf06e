//! Follows the next action in `status` literally, with the real `swarmctl`, until there are no problems.

use crate::{
    conditions::{Lab, kinds_of},
    key,
    packages::quarantine,
};
use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};
use swarm_common::{
    state::*,
    wire::{
        drone::{Failure, Outcome},
        view::StatusView,
    },
};
use swarm_tests::{
    api::{FakeDrone, Swarm, package_for, pebble, plan_of, until},
    e2e::programs::program,
    tidy::top,
};

/// Runs a command line as it was printed. Returns its output.
pub async fn follow(swarm: &Swarm, line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[0], "swarmctl", "{line}");
    let mut command = Command::new(program("swarmctl").unwrap());
    command.args(&words[1..]).env("SWARM_ORCHESTRATOR", swarm.admin.address().as_str());
    command.env("SWARM_TOKEN_FILE", swarm.state_dir().join("admin.token"));
    command.env("HOME", swarm.state_dir()).stdin(Stdio::null());
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{line}: {out}{err}");
    format!("{out}{err}")
}

/// The next action for the concern that contains `said`.
async fn advised(swarm: &Swarm, said: &str) -> String {
    let status = swarm.admin.status().await.unwrap();
    assert!(!status.healthy && status.concerns[0].what.contains(said), "{said}: {:?}", status.concerns);
    status.next_action.unwrap_or_else(|| panic!("nothing is to be done: {:?}", status.concerns))
}

async fn is_over(swarm: &Swarm, said: &str) {
    let StatusView { concerns, .. } = swarm.admin.status().await.unwrap();
    assert!(!concerns.iter().any(|concern| concern.what.contains(said)), "{concerns:?}");
}

/// A command that some output recommends.
fn command_in(text: &str, begin: &str) -> String {
    let at = text.find(begin).unwrap_or_else(|| panic!("`{begin}` is not advised: {text}"));
    text[at..].split(['`', '\n', ',', ';', ':']).next().unwrap_or_default().trim_end_matches('.').to_owned()
}

fn no_plan() -> Outcome {
    let message = "the profile names a parent that is not there".to_owned();
    let failure = Failure {
        class: FailureClass::Package,
        cause: None,
        phase: Phase::Preparing,
        signature: message.clone(),
        message,
    };
    Outcome::Failed { failure }
}

pub async fn fail_plans(swarm: &Swarm, drone: &FakeDrone) {
    while swarm.admin.status().await.unwrap().runs[0].state == RunState::Planning {
        let attempt = drone.work().await.unwrap().attempt;
        drone.report(attempt, no_plan()).await.unwrap();
    }
}

#[tokio::test]
async fn each_command_that_status_names_ends_what_it_names_it_for() {
    let swarm = Swarm::start().await.unwrap();
    let examples = top().join("examples");
    let (bundle, repository) = (examples.join("desktop"), examples.join("repository"));
    let add = advised(&swarm, "no profile exists yet").await.replace("NAME", "desk");
    let add = add.replace("DIR", &format!("{} --repository {}", bundle.display(), repository.display()));
    follow(&swarm, &add).await;
    is_over(&swarm, "no profile exists yet").await;

    let token = follow(&swarm, &advised(&swarm, "no drone has enrolled yet").await).await;
    let token = token.split(['"', '\'', ' ', '\n']).find(|word| word.len() >= 40).unwrap().to_owned();
    let oak = FakeDrone::enrol(&swarm.nobody().unwrap(), &token, "oak").await.unwrap();
    is_over(&swarm, "no drone has enrolled yet").await;

    if !swarm.admin.status().await.unwrap().healthy {
        follow(&swarm, &advised(&swarm, "oak waits for approval").await).await;
    }
    let elm = swarm.enrol("elm", false).await.unwrap();
    follow(&swarm, &advised(&swarm, "elm waits for approval").await).await;
    is_over(&swarm, "waits for approval").await;
    swarm.admin.remove_drone(elm.id, &key()).await.unwrap();

    swarm.admin.drain_drone(oak.id, &key()).await.unwrap();
    swarm.run().await.unwrap();
    follow(&swarm, &advised(&swarm, "no drone that can make it is online").await).await;
    is_over(&swarm, "no drone").await;

    fail_plans(&swarm, &oak).await;
    follow(&swarm, &advised(&swarm, "r1 of desk failed").await).await;
    oak.bring_plan(plan_of(&[pebble()])).await.unwrap();
    let package = quarantine(&swarm, &oak).await;
    is_over(&swarm, "r1 of desk failed").await;

    let why = follow(&swarm, &advised(&swarm, "dev-libs/pebble-1.2 is quarantined").await).await;
    follow(&swarm, &command_in(&why, &format!("swarmctl retry {package}"))).await;
    is_over(&swarm, "quarantined").await;
    follow(&swarm, "swarmctl pause --for 2h --reason test").await;
    let status = swarm.admin.status().await.unwrap();
    let next = &status.concerns.iter().find(|c| c.what.contains("pause")).unwrap().next;
    follow(&swarm, &command_in(next, "swarmctl unpause")).await;
    is_over(&swarm, "pause").await;

    let (attempt, order) = oak.build_order().await.unwrap();
    let file = package_for(&order.targets[0]);
    let artifacts = vec![oak.upload_bytes(attempt, &order.targets[0], file).await.unwrap()];
    oak.report(attempt, Outcome::Built { artifacts }).await.unwrap();
    let status = swarm.admin.status().await.unwrap();
    assert!(status.healthy && status.next_action.is_none(), "{:?}", status.concerns);
}

/// Concerns, and the actions that their texts, and the answers to these actions, lead to in turn.
const LEADS: [(&str, &[&str]); 8] = [
    ("drone_pending", &["approve_drone"]),
    ("plan_waits", &["resume_drone"]),
    ("run_stands_still", &["resume_drone"]),
    ("run_failed", &["start_run"]),
    ("packages_quarantined", &["show_package", "show_log", "retry_package"]),
    ("resolver_refused", &["show_run"]),
    ("store_damaged", &["verify_store"]),
    ("channel_held", &["promote"]),
];

/// Actions that the test of the whole way follows.
const ON_THE_WAY: [&str; 2] = ["add_profile", "issue_token"];

/// Actions that other tests follow. This list may only become shorter.
const ELSEWHERE: [(&str, &str); 5] = [
    ("confirm_reboot", "takes a machine to log in to: the suite `healing`"),
    ("unprotect_drone", "takes a machine to log in to: the suite `healing`"),
    ("show_attempt", "takes a base that follows: `e2e/follow`"),
    ("update_base", "takes a base that follows: `e2e/follow`"),
    ("follow_base", "takes a base that follows: `e2e/follow`"),
];

/// The beginning of an action's command line.
fn begins(action: &str) -> &'static str {
    match action {
        "approve_drone" => "swarmctl drone approve ",
        "resume_drone" => "swarmctl drone resume ",
        "start_run" => "swarmctl run start ",
        "show_package" => "swarmctl why p",
        "show_log" => "swarmctl logs p",
        "retry_package" => "swarmctl retry p",
        "show_run" => "swarmctl run show r",
        "promote" => "swarmctl channel promote desk",
        "verify_store" => "swarmctl audit verify",
        other => panic!("{other} has no command line here"),
    }
}

#[tokio::test]
async fn what_a_concern_leads_to_ends_it() {
    for (kind, actions) in LEADS {
        let lab = Lab::new(kind).await;
        lab.make(kind).await;
        let found = until(kind, async || lab.concerns(kind).await.into_iter().next()).await;
        let mut text = format!("{}; {}; {}", found.what, found.next, found.action.unwrap().command());
        lab.mend_beside(kind).await;
        for action in actions {
            let line = command_in(&text, begins(action));
            text.push_str(&follow(&lab.swarm, &line).await);
        }
        lab.go_on(kind).await;
        until(&format!("{kind} ends"), async || lab.concerns(kind).await.is_empty().then_some(())).await;
    }
}

#[test]
fn every_action_is_followed_somewhere() {
    let all = kinds_of("Action");
    let followed: BTreeSet<&str> =
        LEADS.iter().flat_map(|(_, actions)| *actions).copied().chain(ON_THE_WAY).collect();
    let elsewhere: BTreeSet<&str> = ELSEWHERE.iter().map(|(action, _)| *action).collect();
    assert!(followed.is_disjoint(&elsewhere));
    assert_eq!(followed.union(&elsewhere).map(|&action| action.to_owned()).collect::<BTreeSet<_>>(), all);
}
