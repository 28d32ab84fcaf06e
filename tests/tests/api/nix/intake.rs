//! What is not accepted from a drone: each refusal gives the reason, and nothing is published.

use super::{building, get};
use swarm_client::ClientError;
use swarm_common::{
    id::AttemptId,
    wire::{
        drone::{Outcome, Target},
        nix::base_name,
        plan::PlanPackage,
    },
};
use swarm_tests::api::{FakeDrone, nix::World};

/// Uploads these bytes. Returns why they are refused.
async fn refusal(drone: &FakeDrone, attempt: AttemptId, target: &Target, bytes: Vec<u8>) -> (String, String) {
    let error = match drone.upload_bytes(attempt, target, bytes).await {
        Ok(digest) => {
            let report = drone.report(attempt, Outcome::Built { artifacts: vec![digest] }).await;
            anyhow::Error::from(report.expect_err("it was accepted"))
        }
        Err(error) => error,
    };
    match error.downcast::<ClientError>() {
        Ok(ClientError::Problem(problem)) => {
            (problem.kind.rsplit('/').next().unwrap().to_owned(), problem.detail)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_sound_archive_of_what_was_asked_for_is_refused_with_the_reason() {
    let world = World::new().unwrap();
    let plan = world.plan().await.unwrap();
    let path = |title: &str| {
        let is = |package: &&PlanPackage| package.title() == title;
        match plan.packages.iter().find(is) {
            Some(PlanPackage::Nix(package)) => package.outputs[0].path.clone(),
            other => panic!("{other:?}"),
        }
    };
    let lib = world.archive(&path("lib-1.0")).await.unwrap();
    let prog = world.archive(&path("prog-2.0")).await.unwrap();
    let unpacked = zstd::decode_all(&lib[..]).unwrap();
    let other = [&unpacked[..20], b"2", &unpacked[21..]].concat();
    for (names, bytes, kind, words) in [
        (&["lib-1.0"][..], lib[..lib.len() - 3].to_vec(), "bad-compression", "ends too early"),
        (&["lib-1.0"], unpacked, "bad-compression", "decompress"),
        (&["lib-1.0"], zstd::encode_all(&other[..], 3).unwrap(), "bad-nar", "not a sound NAR"),
        (&["prog-2.0", "lib-1.0"], prog, "missing-reference", "-lib-1.0"),
        (&["seed"], lib.clone(), "wrong-content", "-seed was asked for"),
    ] {
        let (swarm, drone) = building(&plan, names).await;
        let (attempt, order) = drone.build_order().await.unwrap();
        let (is, message) = refusal(&drone, attempt, &order.targets[0], bytes).await;
        assert!(is == kind && message.contains(words), "{names:?}: {is}: {message}");
        assert!(swarm.admin.artifacts(None).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_outputs_that_were_asked_for_are_taken() {
    let world = World::new().unwrap();
    let plan = world.plan().await.unwrap();
    let (_swarm, drone) = building(&plan, &["lib-1.0"]).await;
    let (attempt, order) = drone.build_order().await.unwrap();
    let lib = world.archive(order.targets[0].id()).await.unwrap();
    let Target::Nix(mut other) = order.targets[0].clone() else { panic!("{order:?}") };
    other.path = format!("{}-doc", other.path);
    let refused = drone.upload_bytes(attempt, &other.into(), lib.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("does not build /nix/store/"), "{refused}");
    let digest = drone.upload_bytes(attempt, &order.targets[0], lib).await.unwrap();
    assert!(drone.report(attempt, Outcome::Built { artifacts: vec![digest] }).await.unwrap().accepted);
}

pub(super) fn strings(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in words {
        bytes.extend((word.len() as u64).to_le_bytes());
        bytes.extend(*word);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes
}

/// An archive of a directory whose entries have these names and contents.
fn directory(entries: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut nar = strings(&[b"nix-archive-1", b"(", b"type", b"directory"]);
    for (name, node) in entries {
        nar.extend(strings(&[b"entry", b"(", b"name", name, b"node"]));
        nar.extend(*node);
        nar.extend(strings(&[b")"]));
    }
    nar.extend(strings(&[b")"]));
    nar
}

#[tokio::test(flavor = "multi_thread")]
async fn no_archive_that_is_made_to_do_harm_is_taken() {
    let world = World::new().unwrap();
    let plan = world.plan().await.unwrap();
    let file = strings(&[b"(", b"type", b"regular", b"contents", b"12345", b")"]);
    let link = strings(&[b"(", b"type", b"symlink", b"target", b"/etc", b")"]);
    let below = strings(&[b"(", b"type", b"directory", b")"]);
    let sound = directory(&[(b"a", &file)]);
    let at = sound.windows(5).position(|bytes| bytes == b"12345").unwrap();
    let changed = |at: usize, bytes: &[u8]| {
        let mut nar = sound.clone();
        nar[at..at + bytes.len()].copy_from_slice(bytes);
        nar
    };
    let mut deep = strings(&[b"nix-archive-1"]);
    for _ in 0..10_000 {
        deep.extend(strings(&[b"(", b"type", b"directory", b"entry", b"(", b"name", b"d", b"node"]));
    }
    let long = [b'a'; 256];
    let words = strings(&[b"nix-archive-1", b"(", b"type", b"fifo", b")"]);
    let mut wrong: Vec<String> = Vec::new();
    for (what, nar, kind, reason) in [
        ("a name that leads up", directory(&[(b"..", &file)]), "bad-nar", "named `.` or `..`"),
        ("a name that leads elsewhere", directory(&[(b"../../etc/x", &file)]), "bad-nar", "a slash"),
        ("an absolute name", directory(&[(b"/etc/passwd", &file)]), "bad-nar", "a slash"),
        ("no name", directory(&[(b"", &file)]), "bad-nar", "1 to 255 bytes"),
        ("a long name", directory(&[(&long, &file)]), "bad-nar", "1 to 255 bytes"),
        ("a name twice", directory(&[(b"a", &file), (b"a", &file)]), "bad-nar", "the same name"),
        ("a way through a link", directory(&[(b"a", &link), (b"a", &below)]), "bad-nar", "the same name"),
        ("no order", directory(&[(b"b", &file), (b"a", &file)]), "bad-nar", "not sorted"),
        ("a padding", changed(at + 6, b"!"), "bad-nar", "padding"),
        ("a device", words, "bad-nar", "the type of a node"),
        ("4 GB that are 5 bytes", changed(at - 8, &u64::to_le_bytes(4 << 30)), "bad-nar", "ends too early"),
        (
            "all bytes there are",
            changed(at - 8, &u64::to_le_bytes(u64::MAX)),
            "too-large",
            "exceeds the limit",
        ),
        ("no end of directories", deep, "too-large", "the depth of its directories"),
        ("more behind the end", [&sound[..], b"12345678"].concat(), "bad-nar", "not a sound NAR"),
        ("nothing", Vec::new(), "bad-nar", "ends too early"),
    ] {
        let (swarm, drone) = building(&plan, &["lib-1.0"]).await;
        let (attempt, order) = drone.build_order().await.unwrap();
        let target = &order.targets[0];
        let bytes = zstd::encode_all(&nar[..], 3).unwrap();
        let (is, message) = refusal(&drone, attempt, target, bytes).await;
        if is != kind || !message.contains(reason) {
            wrong.push(format!("{what}: {is}: {message}"));
        }
        assert!(swarm.admin.artifacts(None).await.unwrap().is_empty(), "{what}");
        let narinfo = format!("{}.narinfo", &base_name(target.id())[..32]);
        assert_eq!(get(&swarm, &narinfo, &[]).await.status, 404, "{what}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drone_brings_nothing_for_the_attempt_of_another() {
    let world = World::new().unwrap();
    let plan = world.plan().await.unwrap();
    let (swarm, one) = building(&plan, &["lib-1.0"]).await;
    let two = swarm.nix_drone("two").await.unwrap();
    let (attempt, order) = one.build_order().await.unwrap();
    let lib = world.archive(order.targets[0].id()).await.unwrap();
    let (kind, message) = refusal(&two, attempt, &order.targets[0], lib).await;
    assert_eq!(kind, "not-yours", "{message}");
    assert!(swarm.admin.artifacts(None).await.unwrap().is_empty());
}
