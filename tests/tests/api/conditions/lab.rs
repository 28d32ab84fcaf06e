//! A swarm in which each condition is caused and resolved.

mod disk;

use crate::{advice::fail_plans, key, packages::quarantine};
use disk::Disk;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};
use swarm_client::ClientError;
use swarm_common::{
    state::{FailureCause, FailureClass, Phase},
    wire::{
        admin::ProfileRequest,
        calendar::{PauseRequest, TimerRequest},
        channel::RollbackRequest,
        concern::Concern,
        cpu::{Cpu, CpuNeeds},
        drone::*,
        plan::*,
        view::ProfileView,
    },
};
use swarm_daemon::config::Span;
use swarm_tests::api::{
    FakeDrone, PROFILE, Receiver, Swarm, TestClock, facts, name, nothing_free, pebble, pebble_at, plan_of,
    until,
};

/// A swarm with one drone and a clock that the test moves.
pub struct Lab {
    /// The disk of the artifacts, if it is a separate one. Dropped before the folder that contains it.
    disk: Option<Disk>,
    pub swarm: Swarm,
    clock: Arc<TestClock>,
    oak: FakeDrone,
    /// Receives notifications.
    pub inbox: Receiver,
    /// Another receiver, which may refuse notifications.
    moody: Receiver,
}

fn processor(level: u8) -> Option<Cpu> {
    let (vendor, x86_64_level) = (String::new(), Some(level));
    Some(Cpu { vendor, family: 6, model: 1, x86_64_level, flags: Vec::new() })
}

impl Lab {
    pub async fn new(kind: &str) -> Self {
        let (inbox, moody) = (Receiver::start().await.unwrap(), Receiver::start().await.unwrap());
        let clock = Arc::new(TestClock::default());
        let mut disk = None;
        let swarm = Swarm::start_at(Some(clock.clone()), |config| {
            for receiver in [&inbox, &moody] {
                receiver.subscribe(config).unwrap();
            }
            let artifacts = config.state_dir.with_extension("artifacts");
            if kind == "disk_nearly_full" {
                disk = Some(Disk::mount(&artifacts, "size=2G"));
            }
            config.artifact_dir = Some(artifacts);
            config.tls.listen = Some(([127, 0, 0, 1], 0).into());
            config.policy.strikes_to_ground = Some(1);
            if kind == "drone_idle" {
                config.policy.offline_after = Some(Span::from_secs(24 * 3600));
            }
        });
        let swarm = swarm.await.unwrap();
        let oak = swarm.drone("oak").await.unwrap();
        Self { disk, swarm, clock, oak, inbox, moody }
    }

    fn artifact_dir(&self) -> &Path {
        self.swarm.app.config.artifact_dir()
    }

    /// Sends a heartbeat of oak with changed facts.
    async fn say(&self, change: impl FnOnce(&mut DroneFacts)) {
        // Facts that change again quickly are deferred.
        self.clock.forward(10_000);
        let mut facts = facts();
        change(&mut facts);
        assert!(!self.beat(Some(facts)).await.unwrap().facts_deferred);
    }

    async fn beat(&self, facts: Option<DroneFacts>) -> Result<HeartbeatReply, ClientError> {
        let request = HeartbeatRequest {
            vitals: nothing_free(),
            attempts: Vec::new(),
            draining: false,
            boot_id: "b".into(),
            facts,
            highest_attempt: None,
        };
        self.oak.client.heartbeat(&request).await
    }

    async fn fail_by_itself(&self) {
        let (attempt, _) = self.oak.build_order().await.unwrap();
        let (signature, message) = ("no compiler".to_owned(), "no compiler".to_owned());
        let (class, phase) = (FailureClass::Drone, Phase::Building);
        let failure =
            Failure { class, cause: Some(FailureCause::MissingToolchain), phase, signature, message };
        self.oak.report(attempt, Outcome::Failed { failure }).await.unwrap();
    }

    async fn stored(&self) -> PathBuf {
        self.swarm.app.store.describe(self.swarm.admin.artifacts(None).await.unwrap()[0].digest).into()
    }

    async fn run_and_build(&self) {
        self.swarm.run().await.unwrap();
        self.oak.bring_plan(plan_of(&[pebble()])).await.unwrap();
        self.oak.build().await.unwrap();
    }

    /// Registers a timer with an interval of a minute, as its machine does.
    async fn update_by_timer(&self) {
        let request = TimerRequest { every_ms: 60_000, machine: name("nas") };
        self.swarm.admin.put_timer(&name(PROFILE), &request, &key()).await.unwrap();
    }

    pub async fn make(&self, kind: &str) {
        let Self { swarm, oak, clock, .. } = self;
        let compiler = |version: &str| {
            let toolchain = Toolchain { compiler: version.to_owned(), ..Toolchain::default() };
            Some(Box::new(toolchain))
        };
        match kind {
            "directory_unwritable" => {
                let dir = self.artifact_dir();
                fs::rename(dir, dir.with_extension("away")).unwrap();
                fs::write(dir, "").unwrap();
            }
            "disk_nearly_full" => self.disk.as_ref().unwrap().resize("64M"),
            "certificate_expires" => certify(&swarm.state_dir(), "12"),
            "certificate_expired" => certify(&swarm.state_dir(), "-1"),
            "certificate_unusable" => fs::write(swarm.state_dir().join("tls.crt"), "").unwrap(),
            "sink_fails" => {
                self.moody.answer_with(503);
                swarm.enrol("elm", false).await.unwrap();
                until("it is refused", async || (self.moody.refused() > 0).then_some(())).await;
                clock.forward(10_000);
            }
            "store_damaged" => {
                swarm.planned(oak).await.unwrap();
                oak.build().await.unwrap();
                // Wait, because otherwise publishing may find the problem first.
                let view = async || swarm.admin.profile(&name(PROFILE)).await.unwrap();
                until("it is published", async || (view().await.generation > 0).then_some(())).await;
                flip(&self.stored().await);
                swarm.admin.audit().await.unwrap();
            }
            "record_damaged" => fs::write(swarm.state_dir().join("notify.damaged"), "").unwrap(),
            "signing_key_changed" => {
                fs::write(swarm.state_dir().join("signing-key.previous"), "0A1B\n").unwrap();
            }
            "plan_waits" => {
                swarm.profile().await.unwrap();
                swarm.admin.drain_drone(oak.id, &key()).await.unwrap();
                swarm.run().await.unwrap();
            }
            "run_stands_still" => {
                swarm.planned(oak).await.unwrap();
                swarm.admin.drain_drone(oak.id, &key()).await.unwrap();
            }
            "toolchain_differs" => {
                self.say(|facts| facts.toolchain = compiler("gcc 15")).await;
                // If no other drone has it, the run ends.
                let elm = DroneFacts { toolchain: compiler("gcc 15"), ..facts() };
                swarm.enrol_with("elm", true, elm).await.unwrap();
                swarm.planned(oak).await.unwrap();
                self.say(|facts| facts.toolchain = compiler("gcc 16")).await;
            }
            "processor_lacks" => {
                swarm.profile().await.unwrap();
                let ProfileView { builder, snapshot, source, base, rebuild, publish, .. } =
                    swarm.admin.profile(&name(PROFILE)).await.unwrap();
                let cpu = CpuNeeds { x86_64_level: Some(3), ..CpuNeeds::default() };
                let request = ProfileRequest { builder, snapshot, source, base, rebuild, publish, cpu };
                swarm.admin.put_profile(&name(PROFILE), &request, &key()).await.unwrap();
                // Another drone can make the plan.
                swarm.enrol_with("elm", true, facts()).await.unwrap();
                self.say(|facts| facts.cpu = processor(2)).await;
                swarm.run().await.unwrap();
            }
            "run_failed" => {
                swarm.profile().await.unwrap();
                swarm.run().await.unwrap();
                fail_plans(swarm, oak).await;
            }
            "packages_quarantined" => {
                swarm.planned(oak).await.unwrap();
                quarantine(swarm, oak).await;
            }
            "resolver_refused" => {
                swarm.profile().await.unwrap();
                swarm.run().await.unwrap();
                let problem = PlanProblem {
                    kind: ProblemKind::Other,
                    atoms: vec!["app-misc/moon".to_owned()],
                    message: "there is none".to_owned(),
                    suggestion: None,
                };
                let plan = PlanReport { problems: vec![problem], ..plan_of(&[pebble_at("1.10", "0")]) };
                oak.bring_plan(plan).await.unwrap();
                oak.build().await.unwrap();
            }
            "drone_idle" => {
                swarm.planned(oak).await.unwrap();
                clock.forward(15 * 60_000);
                self.beat(None).await.unwrap();
            }
            "paused" => {
                let request = PauseRequest { for_ms: 3_600_000, reason: "a test".to_owned() };
                swarm.admin.pause(&request, &key()).await.unwrap();
            }
            "timer_silent" => {
                swarm.profile().await.unwrap();
                self.update_by_timer().await;
                clock.forward(2 * 60_000 + 1);
            }
            "channel_held" => {
                swarm.planned(oak).await.unwrap();
                oak.build().await.unwrap();
                let current = RollbackRequest { generation: Some(1) };
                swarm.admin.roll_back(&name(PROFILE), current, &key()).await.unwrap();
            }
            "drones_cut_off" => {
                swarm.drone("elm").await.unwrap();
                clock.forward(10 * 60_000);
            }
            "drone_grounded" => {
                swarm.drone("elm").await.unwrap();
                swarm.planned(oak).await.unwrap();
                self.fail_by_itself().await;
            }
            "drone_struck" => {
                swarm.planned(oak).await.unwrap();
                self.fail_by_itself().await;
            }
            "drone_offline" => clock.forward(10 * 60_000),
            "credential_cloned" => {
                let machine_id = "another".to_owned();
                crate::refused(self.beat(Some(DroneFacts { machine_id, ..facts() })).await);
            }
            "drone_unusable" => self.say(|facts| facts.unusable = vec!["/var/tmp: full".into()]).await,
            "programs_missing" => {
                swarm.profile().await.unwrap();
                self.say(|facts| facts.lacks = vec!["scanelf".into()]).await;
            }
            "delivery_stuck" => {
                swarm.planned(oak).await.unwrap();
                let (attempt, _) = oak.build_order().await.unwrap();
                let stuck = Some(Stuck { for_ms: 180_000, why: "HTTP 413".into() });
                let phase = Phase::Uploading;
                oak.heartbeat(vec![AttemptStatus { attempt, phase, stuck, made_from: None }]).await.unwrap();
            }
            "drone_pending" => drop(swarm.enrol("elm", false).await.unwrap()),
            other => panic!("{other} cannot be made"),
        }
    }

    pub async fn mend(&self, kind: &str) {
        let Self { swarm, oak, clock, .. } = self;
        match kind {
            "directory_unwritable" => {
                let dir = self.artifact_dir();
                fs::remove_file(dir).unwrap();
                fs::rename(dir.with_extension("away"), dir).unwrap();
            }
            "disk_nearly_full" => self.disk.as_ref().unwrap().resize("2G"),
            "certificate_expires" | "certificate_expired" | "certificate_unusable" => {
                certify(&swarm.state_dir(), "400");
            }
            "sink_fails" => {
                self.moody.answer_with(200);
                clock.forward(3_600_000);
            }
            "store_damaged" => {
                flip(&self.stored().await);
                swarm.admin.audit().await.unwrap();
            }
            "record_damaged" => fs::remove_file(swarm.state_dir().join("notify.damaged")).unwrap(),
            "signing_key_changed" => fs::remove_file(swarm.state_dir().join("signing-key.previous")).unwrap(),
            "plan_waits" | "run_stands_still" | "drone_grounded" | "drone_struck" => {
                swarm.admin.resume_drone(oak.id, &key()).await.unwrap();
            }
            "toolchain_differs" => {
                let compiler = "gcc 15".to_owned();
                let toolchain = Toolchain { compiler, ..Toolchain::default() };
                self.say(|facts| facts.toolchain = Some(Box::new(toolchain))).await;
            }
            "processor_lacks" => self.say(|facts| facts.cpu = processor(3)).await,
            "run_failed" | "resolver_refused" => self.run_and_build().await,
            "packages_quarantined" => {
                let all = swarm.admin.packages(&Default::default()).await.unwrap();
                swarm.admin.retry(all[0].id, &key()).await.unwrap();
            }
            "drone_idle" => drop(oak.build_order().await.unwrap()),
            "paused" => swarm.admin.unpause(&key()).await.unwrap(),
            "timer_silent" => self.update_by_timer().await,
            "channel_held" => {
                drop(swarm.admin.promote(&name(PROFILE), Default::default(), &key()).await.unwrap())
            }
            "drones_cut_off" | "drone_offline" | "delivery_stuck" => drop(self.beat(None).await.unwrap()),
            "credential_cloned" => {
                clock.forward(10 * 60_000);
                self.beat(None).await.unwrap();
            }
            "drone_unusable" | "programs_missing" => self.say(|_| ()).await,
            "drone_pending" => {
                let drones = swarm.admin.drones().await.unwrap();
                let elm = drones.iter().find(|drone| drone.name.as_str() == "elm").unwrap();
                swarm.admin.approve_drone(elm.id, &key()).await.unwrap();
            }
            other => panic!("{other} cannot be mended"),
        }
    }

    /// Removes the cause of a condition for which there is no command.
    pub async fn mend_beside(&self, kind: &str) {
        if kind == "store_damaged" {
            flip(&self.stored().await);
        }
    }

    /// What the drone does after the commands were run.
    pub async fn go_on(&self, kind: &str) {
        match kind {
            "run_failed" => {
                self.oak.bring_plan(plan_of(&[pebble()])).await.unwrap();
                self.oak.build().await.unwrap();
            }
            "resolver_refused" => self.run_and_build().await,
            _ => {}
        }
    }

    /// The concerns of a kind, after checking disks and certificates.
    pub async fn concerns(&self, kind: &str) -> Vec<Concern> {
        self.swarm.app.checks.look().await.unwrap();
        let all = self.swarm.admin.status().await.unwrap().concerns;
        all.into_iter().filter(|concern| concern.fact.name() == kind).collect()
    }
}

/// Flips a bit, which damages or repairs a file.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[1000] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Replaces the served certificate by one that is valid for `days` days; with -1, it expired yesterday.
fn certify(state_dir: &Path, days: &str) {
    let [key, certificate] = ["key", "crt"].map(|kind| state_dir.join(format!("tls.{kind}")));
    let openssl = |change: &dyn Fn(&mut Command)| {
        let mut command = Command::new("openssl");
        change(&mut command);
        let made = command.output().expect("openssl is missing: install openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    let positive = days.strip_prefix('-').unwrap_or(days);
    openssl(&|command| {
        command
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
            .args([
                "-subj",
                "/CN=nas",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
                "-days",
                positive,
                "-keyout",
            ])
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
    });
    if positive != days {
        openssl(&|command| {
            command.args(["x509", "-days", days, "-in"]).arg(&certificate).arg("-signkey").arg(&key);
            command.arg("-out").arg(&certificate);
        });
    }
}
