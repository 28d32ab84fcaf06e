//! Processes on a machine with a wrong clock at the start, as without a clock battery, which learns the time
//! a little later.

use std::{fs, path::Path, process::Command, time::SystemTime};
use swarm_client::{Bytes, IdempotencyKey};
use swarm_common::{
    state::DroneState,
    wire::{admin::EnrolTokenRequest, drone::Outcome, view::PassView},
};
use swarm_daemon::config::secret::write_private;
use swarm_tests::{
    api::{FakeDrone, PROFILE, Receiver, pebble, pebble_at, plan_of, until},
    bench::server::Orchestrator,
    e2e::{process::Process, programs::program},
    soak::clock::Clock,
};
use tokio::task::block_in_place;

const YEAR_MS: i64 = 365 * 24 * 3_600_000;

fn now_ms() -> u64 {
    u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

/// The real drone with this clock. It may have been enrolled earlier. It builds nothing.
fn drone(folder: &Path, swarm: &Orchestrator, clock: &Clock, token: &str) -> Process {
    let at = |name: &str| folder.join(name).display().to_string();
    fs::create_dir_all(folder.join("portage/bin")).unwrap();
    fs::write(folder.join("portage/bin/emerge"), "").unwrap();
    write_private(&folder.join("token"), token).unwrap();
    let text = format!(
        "orchestrators = [\"http://{}\"]\nname = \"ada\"\nstate_dir = \"{}\"\ncache_dir = \"{}\"\n\
         token_file = \"{}\"\nheartbeat = \"1s\"\nprofiles = [\"another\"]\n\
         [builder]\nwork_dir = \"{}\"\ncache_dir = \"{}\"\nportage_prefix = \"{}\"\n",
        swarm.address,
        at("drone-state"),
        at("drone-cache"),
        at("token"),
        at("roots"),
        at("drone-cache"),
        at("portage"),
    );
    fs::write(folder.join("drone.toml"), text).unwrap();
    let mut command = Command::new(program("swarm-drone").unwrap());
    clock.give_to(&mut command);
    Process::start(command.arg("--config").arg(folder.join("drone.toml")), &folder.join("drone.log")).unwrap()
}

async fn token(swarm: &Orchestrator) -> String {
    let request = EnrolTokenRequest { valid_ms: 600_000, approved: true };
    let key = IdempotencyKey::random().unwrap();
    swarm.admin.make_enrol_token(&request, &key).await.unwrap().token
}

/// Waits until the orchestrator's time is right.
async fn is_right(drone: &FakeDrone) {
    let is_right = async || {
        let beat = drone.heartbeat(Vec::new()).await.unwrap();
        (beat.now.0.abs_diff(now_ms()) < 5_000).then_some(())
    };
    until("the orchestrator has the time", is_right).await;
}

/// Starts both with a clock `ahead_ms` ahead, corrects it while a package is built, and delivers.
async fn heals(ahead_ms: i64) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::new(folder.path()).unwrap();
    clock.show(ahead_ms).unwrap();
    let start = || {
        let settings = "[policy]\nstartup_grace = \"5s\"\nlease = \"20s\"\n";
        block_in_place(|| Orchestrator::start_as(folder.path(), settings, |c| clock.give_to(c))).unwrap()
    };
    let swarm = start();
    let crew = swarm.crew(1).await.unwrap();
    let token = token(&swarm).await;
    let mut ada = drone(folder.path(), &swarm, &clock, &token);
    let is_online = async |swarm: &Orchestrator| {
        let drones = swarm.admin.drones().await.unwrap();
        drones.iter().any(|d| d.name.as_str() == "ada" && d.state == DroneState::Online).then_some(())
    };
    until("ada is online", async || is_online(&swarm).await).await;
    swarm.planned(&crew[0], plan_of(&[pebble()])).await.unwrap();
    let (attempt, order) = crew[0].build_order().await.unwrap();

    clock.show(0).unwrap();
    is_right(&crew[0]).await;
    let artifact = crew[0].upload(attempt, &order.targets[0]).await.unwrap();
    let built = Outcome::Built { artifacts: vec![artifact] };
    assert!(crew[0].report(attempt, built).await.unwrap().accepted, "{ahead_ms}: its lease was not lost");
    let url = format!("http://{}/binhost/{PROFILE}/Packages", swarm.address);
    let index = until("the package is published", async || {
        let text = reqwest::get(&url).await.ok()?.text().await.ok()?;
        text.contains("CPV: ").then_some(text)
    })
    .await;
    let concerns = |swarm: &Orchestrator| {
        let admin = swarm.admin.clone();
        async move {
            let concerns = admin.status().await.unwrap().concerns;
            concerns.into_iter().map(|concern| concern.what).collect::<Vec<String>>()
        }
    };
    assert_eq!(concerns(&swarm).await, Vec::<String>::new(), "{ahead_ms}");
    for key in ["TIMESTAMP: ", "BUILD_TIME: "] {
        let line = index.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        let at: u64 = line.parse().unwrap();
        assert!(now_ms() / 1000 - 600 < at && at <= now_ms() / 1000, "{ahead_ms}: {key}{at}");
    }
    for run in swarm.admin.runs().await.unwrap() {
        assert!(run.started_at.0.abs_diff(now_ms()) < 600_000, "{ahead_ms}: {:?}", run.started_at);
    }
    assert!(ada.ended().unwrap().is_none(), "{}", ada.output());

    // The next start must not mistake its own traces for those of another orchestrator.
    block_in_place(|| swarm.stop()).unwrap();
    let swarm = start();
    assert!(!swarm.log().contains("skipping IDs"), "{}", swarm.log());
    let audit = swarm.admin.audit().await.unwrap();
    assert_eq!((audit.faults, audit.mended), (vec![], vec![]), "{ahead_ms}");
}

// fault: 58
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_starts_in_1970_and_gets_the_time_later_loses_nothing() {
    heals(-i64::try_from(now_ms()).unwrap() + 3_600_000).await;
}

// fault: 58
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_starts_years_ahead_publishes_nothing_of_the_future() {
    heals(20 * YEAR_MS).await;
}

/// The result of the clean-up pass, once it has run since the start.
async fn cleaned(swarm: &Orchestrator) -> PassView {
    let looked = async || {
        let status = swarm.admin.status().await.ok()?;
        let ran = |pass: &PassView| pass.name == "leftovers" && pass.last_run >= status.started_at;
        status.passes.iter().find(|pass| ran(pass)).cloned()
    };
    until("it was cleaned up", looked).await
}

// fault: 58
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_starts_years_ahead_removes_nothing_for_its_age_and_stays_able_to_tell() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::new(folder.path()).unwrap();
    let hook = Receiver::start().await.unwrap();
    let settings = format!(
        "first_cleaning = \"10ms\"\n[[notify.sink]]\nurl = \"http://{}/hook\"\nminimum = \"info\"\n",
        hook.address
    );
    let start = || {
        let change = |command: &mut Command| clock.give_to(command);
        block_in_place(|| Orchestrator::start_as(folder.path(), &settings, change)).unwrap()
    };
    let state = folder.path().join("state");
    let generations = state.join("binhost").join(PROFILE).join("stable/generations");

    // With a correct clock: two generations, and a build log.
    let swarm = start();
    let crew = swarm.crew(1).await.unwrap();
    let mut built = None;
    for (number, package) in [pebble(), pebble_at("1.10", "0")].into_iter().enumerate() {
        swarm.planned(&crew[0], plan_of(&[package])).await.unwrap();
        let (attempt, order) = crew[0].build_order().await.unwrap();
        crew[0].client.append_log(attempt, 0, Bytes::from_static(b"made\n")).await.unwrap();
        let artifact = crew[0].upload(attempt, &order.targets[0]).await.unwrap();
        let outcome = Outcome::Built { artifacts: vec![artifact] };
        assert!(crew[0].report(attempt, outcome).await.unwrap().accepted);
        let generation = generations.join((number + 1).to_string());
        until("the generation is published", async || generation.exists().then_some(())).await;
        // Wait for this before the next one, so that each is a separate message.
        hook.wait(number + 1).await.unwrap();
        built.get_or_insert((order.package, attempt));
    }
    let (package, attempt) = built.unwrap();
    block_in_place(|| swarm.stop()).unwrap();
    // The state that a version without this record leaves.
    fs::remove_file(state.join("clock")).unwrap();

    // It starts twice with a clock years ahead, and has a message that the sink refuses.
    clock.show(20 * YEAR_MS).unwrap();
    let swarm = start();
    cleaned(&swarm).await;
    block_in_place(|| swarm.stop()).unwrap();
    let swarm = start();
    let pass = cleaned(&swarm).await;
    assert!(pass.did.starts_with("nothing removed: the machine's clock is 1"), "{pass:?}");
    assert!(generations.join("1").exists(), "its day of grace is not over");
    swarm.admin.package_log(package, Some(attempt), false).await.unwrap();
    hook.answer_with(503);
    let nobody = swarm.admin.without_credential();
    let drone = FakeDrone::enrol(&nobody, &token(&swarm).await, "elm").await.unwrap();
    swarm.planned(&drone, plan_of(&[pebble_at("1.10", "0")])).await.unwrap();
    until("the sink has refused", async || (hook.refused() > 0).then_some(())).await;

    // The machine learns the time.
    clock.show(0).unwrap();
    is_right(&drone).await;
    hook.answer_with(200);
    hook.wait(3).await.unwrap();
    block_in_place(|| swarm.stop()).unwrap();
    let swarm = start();
    let pass = cleaned(&swarm).await;
    assert!((pass.did.as_str(), &pass.trouble) == ("", &None), "the clock is believed: {pass:?}");
    assert!(generations.join("1").exists());
    swarm.admin.package_log(package, Some(attempt), false).await.unwrap();
}
