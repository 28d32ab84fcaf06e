//! The status of the swarm.

use crate::key;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use swarm_common::{state::*, wire::view::StatusView};
use swarm_orchestrator::passes::{Context, Pass, Report};
use swarm_tests::api::{Swarm, until};
use tokio::sync::mpsc;

#[tokio::test]
async fn an_empty_swarm_says_what_to_do_first() {
    let swarm = Swarm::start().await.unwrap();
    let status = swarm.admin.status().await.unwrap();
    assert!(!status.healthy);
    assert!(status.next_action.unwrap().starts_with("swarmctl profile add"));
}

#[tokio::test]
async fn a_drone_that_waits_for_approval_is_a_concern_with_the_command_that_mends_it() {
    let swarm = Swarm::start().await.unwrap();
    swarm.profile().await.unwrap();
    let drone = swarm.enrol("slow", false).await.unwrap();
    let status = swarm.admin.status().await.unwrap();
    assert_eq!(status.next_action.as_deref(), Some("swarmctl drone approve slow"));
    swarm.admin.approve_drone(drone.id, &key()).await.unwrap();
    let status = swarm.admin.status().await.unwrap();
    assert!(status.healthy, "{:?}", status.concerns);
    assert_eq!(status.next_action, None);
}

#[tokio::test]
async fn a_run_that_no_drone_can_plan_is_a_concern() {
    let swarm = Swarm::start().await.unwrap();
    swarm.profile().await.unwrap();
    swarm.run().await.unwrap();
    let status = swarm.admin.status().await.unwrap();
    assert!(status.concerns[0].what.contains("waits for its plan"), "{:?}", status.concerns);
}

#[tokio::test]
async fn a_run_under_way_shows_its_queue_and_who_works_on_what() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let run = swarm.planned(&drone).await.unwrap();
    drone.build_order().await.unwrap();
    let status = swarm.admin.status().await.unwrap();
    assert!(status.healthy, "{:?}", status.concerns);
    assert_eq!(status.runs[0].id, run);
    assert_eq!(status.queue.get(&PackageState::Delegated), Some(&1));
    assert_eq!(status.drones[0].working_on[0].title, "dev-libs/pebble-1.2");
    assert!(status.journal_seq > 0);
}

#[tokio::test]
async fn status_says_when_each_pass_last_ran_and_what_it_did() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    drone.build().await.unwrap();
    crate::binhost::generation(&swarm, 1).await;
    swarm.app.passes.fail("visitor", "the door is shut");
    let all_ran = |status: &StatusView| {
        let ran =
            |name: &str| status.passes.iter().any(|p| p.name == name && p.last_run >= status.started_at);
        ran("publisher") && ran("upkeep") && ran("leftovers")
    };
    let looked = async || Some(swarm.admin.status().await.unwrap()).filter(all_ran);
    let status = until("every pass has run", looked).await;
    assert!(status.concerns.iter().any(|c| c.what == "the visitor fails: the door is shut"));
    let publisher = status.passes.iter().find(|p| p.name == "publisher").unwrap();
    assert_eq!((publisher.did.as_str(), &publisher.trouble), ("desk is at generation 1", &None));
    swarm.app.passes.note("visitor", "");
    let status = swarm.admin.status().await.unwrap();
    assert!(!status.concerns.iter().any(|c| c.what.contains("visitor")), "{:?}", status.concerns);
}

#[tokio::test]
async fn a_pass_that_a_defect_ended_is_a_concern_with_what_to_do() {
    let swarm = Swarm::start().await.unwrap();
    let pass = swarm.app.passes.spawn("clumsy", async { panic!("the defect that a test asked for") });
    pass.await.unwrap();
    let status = swarm.admin.status().await.unwrap();
    let concern = status.concerns.iter().find(|c| c.what == "the clumsy fails: it panicked");
    assert_eq!(concern.unwrap().next, "restart `swarm-orchestrator`; see its log for details");
}

/// A pass that runs on request and returns a given report.
struct ScriptedPass {
    next: Option<Report>,
    reports: mpsc::Receiver<Report>,
    ended: Arc<AtomicBool>,
}

impl Pass for ScriptedPass {
    const NAME: &'static str = "doorman";

    async fn wake(&mut self) {
        self.next = self.reports.recv().await;
    }

    async fn run_once(&mut self, cx: &Context) -> Report {
        cx.note("looked at the door");
        self.next.take().unwrap()
    }

    async fn end(self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_pass_that_failed_runs_again_and_is_ended_with_the_orchestrator() {
    let swarm = Swarm::start().await.unwrap();
    let (tell, reports) = mpsc::channel(1);
    let ended = Arc::<AtomicBool>::default();
    let stopping = swarm.app.stopping.child_token();
    let pass = ScriptedPass { next: None, reports, ended: ended.clone() };
    let (_, task) = swarm.app.passes.start(pass, &stopping);
    let row = async |trouble: Option<&str>, did: &str| {
        until("the report", async || {
            let row = swarm.app.passes.list().into_iter().find(|pass| pass.name == "doorman")?;
            (row.trouble.as_deref() == trouble && row.did == did).then_some(())
        })
        .await;
    };
    tell.send(Err("the door is shut".into())).await.unwrap();
    row(Some("the door is shut"), "looked at the door").await;
    tell.send(Ok("opened 2 doors".into())).await.unwrap();
    row(None, "opened 2 doors").await;
    tell.send(Ok(String::new())).await.unwrap();
    row(None, "looked at the door").await;
    assert!(!ended.load(Ordering::SeqCst));
    stopping.cancel();
    task.await.unwrap();
    assert!(ended.load(Ordering::SeqCst));
}
