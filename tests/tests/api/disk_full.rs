//! A full disk under the artifact store, the binary package host or the journal: it is reported, nothing is
//! lost, and work continues without intervention.
//!
//! The disk is a tiny tmpfs. Mounting it requires root; for other users the tests fail.

use crate::{key, refused};
use std::{
    path::{Path, PathBuf},
    process::Command,
};
use swarm_client::Bytes;
use swarm_common::{
    digest::Digest,
    state::RunState,
    wire::{
        admin::EnrolTokenRequest,
        drone::{Outcome, UploadRequest},
    },
};
use swarm_tests::api::{FakeDrone, Swarm, package_file};

/// A small change that can be made any number of times.
const TOKEN: EnrolTokenRequest = EnrolTokenRequest { valid_ms: 60_000, approved: true };

struct TinyDisk {
    at: PathBuf,
}

impl TinyDisk {
    fn mount(at: &Path, bytes: u64) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Self { at: at.to_owned() },
            _ => panic!(
                "a disk that can be filled takes root, mount and tmpfs; run the tests as root: {mounted:?}"
            ),
        }
    }

    /// Fills the disk except for `spare` bytes. Returns the file that occupies the space.
    fn fill(&self, spare: u64) -> PathBuf {
        let space = rustix::fs::statvfs(&self.at).unwrap();
        let free = space.f_bavail * space.f_frsize;
        let path = self.at.join("ballast");
        std::fs::write(&path, vec![0; usize::try_from(free.saturating_sub(spare)).unwrap()]).unwrap();
        path
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.at).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.at.display());
    }
}

// fault: 14
#[tokio::test]
async fn a_full_store_is_507_and_the_same_upload_goes_on_when_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("disk");
    let disk = TinyDisk::mount(&at, 2 << 20);
    let swarm = Swarm::start_with(|config| config.artifact_dir = Some(at.clone())).await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let run = swarm.planned(&drone).await.unwrap();
    let (attempt, order) = drone.build_order().await.unwrap();
    let bytes = Bytes::from(std::fs::read(package_file(&order.targets[0])).unwrap());
    let digest = Digest::of(&bytes);
    let request =
        UploadRequest { digest, size: bytes.len() as u64, target: order.targets[0].id().to_owned() };
    drone.client.begin_upload(attempt, &request).await.unwrap();

    // Full while the bytes arrive.
    let ballast = disk.fill(4096);
    let full = drone.client.upload_piece(attempt, digest, 0, bytes.clone()).await;
    assert_eq!(refused(full), 507);
    let ready = swarm.raw().await.unwrap().ask("GET /readyz", &[], b"").await.unwrap();
    assert_eq!(ready.status, 503);
    std::fs::remove_file(ballast).unwrap();

    // Full when the complete file is signed and stored.
    let offset = drone.client.begin_upload(attempt, &request).await.unwrap().offset;
    let rest = bytes.slice(usize::try_from(offset).unwrap()..);
    let ballast = disk.fill(rest.len() as u64 + 8192);
    assert_eq!(refused(drone.client.upload_piece(attempt, digest, offset, rest).await), 507);
    std::fs::remove_file(ballast).unwrap();

    let status = drone.client.begin_upload(attempt, &request).await.unwrap();
    assert!(status.verified, "{status:?}");
    let reply = drone.report(attempt, Outcome::Built { artifacts: vec![digest] }).await.unwrap();
    assert!(reply.accepted);
    assert_eq!(swarm.admin.run(run).await.unwrap().state, RunState::Succeeded);
    let ready = swarm.raw().await.unwrap().ask("GET /readyz", &[], b"").await.unwrap();
    assert_eq!(ready.status, 200);
    swarm.stop().await.unwrap();
}

#[tokio::test]
async fn a_disk_that_fills_before_publishing_holds_up_nothing_but_publishing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("disk");
    let disk = TinyDisk::mount(&at.join("binhost"), 64 << 10);
    let swarm = Swarm::start_with(|config| config.artifact_dir = Some(at.clone())).await.unwrap();
    let ballast = disk.fill(0);
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    swarm.run().await.unwrap();
    while swarm.app.published.error().is_none() {
        tokio::task::yield_now().await;
    }
    let status = swarm.admin.status().await.unwrap();
    assert!(status.concerns[0].what.contains("no space left"), "{:?}", status.concerns);
    std::fs::remove_file(ballast).unwrap();
    assert!(swarm.app.published.reached(1, std::time::Duration::from_secs(60)).await);
    while swarm.app.published.error().is_some() {
        tokio::task::yield_now().await;
    }
    drone.work().await.unwrap();
    swarm.stop().await.unwrap();
}

// fault: 14
#[tokio::test]
async fn a_full_disk_under_the_journal_is_503_until_there_is_space_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("disk");
    let disk = TinyDisk::mount(&at, 2 << 20);
    let artifacts = folder.path().join("artifacts");
    let swarm = Swarm::start_with(|config| {
        (config.state_dir, config.artifact_dir) = (at.join("state"), Some(artifacts));
    });
    let swarm = swarm.await.unwrap();
    let ballast = disk.fill(0);
    // The journal still has some space in its WAL. After that, one of these changes fails.
    let mut made = Vec::new();
    let stuck = loop {
        let admin = swarm.admin.clone();
        let mut next =
            tokio::spawn(async move { admin.make_enrol_token(&TOKEN, &key()).await.map(|made| made.token) });
        tokio::select! {
            token = &mut next => made.push(token.unwrap().unwrap()),
            () = journal_fails(&swarm) => break next,
        }
    };
    let ready = swarm.raw().await.unwrap().ask("GET /readyz", &[], b"").await.unwrap();
    assert_eq!(ready.status, 503);
    let text = String::from_utf8_lossy(&ready.body);
    assert!(text.contains("no space left for the journal"), "{text}");
    assert_eq!(refused(swarm.admin.make_enrol_token(&TOKEN, &key()).await), 503);
    // Reading still works.
    let status = swarm.admin.status().await.unwrap();
    assert!(status.concerns[0].what.contains("no space left"), "{:?}", status.concerns);

    std::fs::remove_file(ballast).unwrap();
    made.push(stuck.await.unwrap().unwrap());
    let ready = swarm.raw().await.unwrap().ask("GET /readyz", &[], b"").await.unwrap();
    assert_eq!(ready.status, 200);
    let swarm = swarm.restart().await.unwrap();
    for (number, token) in made.iter().enumerate().rev().take(5) {
        FakeDrone::enrol(&swarm.nobody().unwrap(), token, &format!("drone-{number}")).await.unwrap();
    }
    assert_eq!(swarm.admin.audit().await.unwrap().faults, Vec::<String>::new());
    swarm.stop().await.unwrap();
}

async fn journal_fails(swarm: &Swarm) {
    while swarm.app.engine.error().is_none() {
        tokio::task::yield_now().await;
    }
}
