//! Two machines with one credential, as after cloning a disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::kit::{self, Kit};
use swarm_common::{
    id::DroneId,
    wire::drone::{DroneFacts, HeartbeatRequest, Vitals},
};
use swarm_core::{Command, Refusal, Reply, view};

const OAK: DroneId = DroneId(1);

fn beat(kit: &mut Kit, machine_id: Option<&str>, boot_id: &str) -> Result<Reply, Refusal> {
    let own = kit.swarm.drones[&OAK].facts.clone();
    let facts = machine_id.map(|id| DroneFacts { machine_id: id.into(), boot_id: boot_id.into(), ..own });
    let (vitals, boot_id) = (Vitals::default(), boot_id.to_owned());
    let request =
        HeartbeatRequest { vitals, attempts: vec![], draining: false, boot_id, facts, highest_attempt: None };
    kit.send(Command::Heartbeat { drone: OAK, request })
}

fn concerns(kit: &Kit) -> Vec<String> {
    let all = view::status(&kit.swarm, kit.now, kit.now, "0", &[]).concerns.into_iter().map(|c| c.what);
    all.filter(|what| what.starts_with("another machine uses the credential of drone oak")).collect()
}

// fault: 53
#[test]
fn a_machine_is_known_by_its_id_and_by_the_boots_that_it_left_behind() {
    let mut kit = Kit::new(&["oak"]);
    for (what, machine_id, boot_id, refused) in [
        ("as it enrolled", Some("oak"), "1", None),
        ("what tells no facts", None, "1", None),
        ("a machine without an id", Some(""), "1", None),
        ("a reboot", Some("oak"), "2", None),
        (
            "a clone with an id of its own",
            Some("elm"),
            "2",
            Some("the machine ID of oak is oak, that of this one is elm"),
        ),
        ("that clone, started anew", Some("elm"), "7", Some("machine ID")),
        ("another reboot", Some("oak"), "3", None),
        ("the machine that was cloned, id and all", Some("oak"), "2", Some("is taken back after 1 min 50 s")),
        ("the same without facts", None, "1", Some("is taken back after 1 min 40 s")),
        ("a drone that knows no boot id", None, "", None),
        ("the one that is heard", Some("oak"), "3", None),
        ("an older one of it", None, "1", Some("which is another machine (oak has rebooted since, but this")),
        ("the one that is heard, again", Some("oak"), "3", None),
    ] {
        // Changes in quick succession are deferred.
        kit.now = kit.now + 10_000;
        let seq = kit.swarm.seq;
        match (beat(&mut kit, machine_id, boot_id), refused) {
            (Ok(Reply::Heartbeat(reply)), None) => {
                assert_eq!(reply.name.unwrap(), kit::name("oak"), "{what}")
            }
            (
                Err(
                    ref error @ (Refusal::OtherMachine { ref sign, .. }
                    | Refusal::EarlierBoot { ref sign, .. }),
                ),
                Some(words),
            ) => {
                let message = error.to_string();
                assert!(message.contains(words) && message.contains("drone `oak`"), "{what}: {message}");
                // As the handler does.
                kit.must(Command::NoteClone { drone: OAK, sign: sign.clone() });
                assert_eq!(kit.swarm.seq, seq, "{what}: it was journaled");
            }
            (answer, _) => panic!("{what}: {answer:?}"),
        }
        assert_eq!(kit.swarm.drones[&OAK].facts.machine_id, "oak", "{what}");
    }
}

/// Sends a heartbeat with this boot ID after some milliseconds. Returns whether it is accepted; `None` if the
/// decision is deferred. A refusal is recorded, as the handler does.
fn taken(kit: &mut Kit, boot_id: &str, after_ms: u64) -> Option<bool> {
    kit.now = kit.now + after_ms;
    match beat(kit, Some("oak"), boot_id) {
        Ok(_) => Some(kit.swarm.drones[&OAK].facts.boot_id == boot_id),
        Err(Refusal::EarlierBoot { sign, .. }) => {
            kit.must(Command::NoteClone { drone: OAK, sign });
            None
        }
        Err(Refusal::OtherMachine { .. }) => Some(false),
        Err(other) => panic!("{other:?}"),
    }
}

/// The boot ID recurs although there is one machine: a container whose host changes and changes back, or a
/// virtual machine that returns to a saved state.
// fault: 53
#[test]
fn an_earlier_boot_is_taken_back_when_the_newer_one_has_been_silent_for_two_offline_periods() {
    let mut kit = Kit::new(&["oak"]);
    let patience = 2 * kit.swarm.policy.offline_after_ms;
    for boot in ["1", "2"] {
        assert_eq!(taken(&mut kit, boot, 15_000), Some(true), "{boot} is new");
    }
    for boot in ["1", "2"] {
        let mut silent = 15_000;
        while taken(&mut kit, boot, 15_000).is_none() {
            assert_eq!(concerns(&kit).len(), 1, "{boot}");
            silent += 15_000;
        }
        assert!(silent > patience && silent <= patience + 15_000, "{boot} was taken back after {silent} ms");
        assert_eq!(concerns(&kit), Vec::<String>::new(), "{boot} is not another machine");
        assert_eq!(taken(&mut kit, boot, 15_000), Some(true), "{boot}");
        assert_eq!(kit.swarm.drones[&OAK].former_boots.iter().filter(|former| *former == boot).count(), 0);
    }
    // A drone that only claims proves nothing about the newer boot.
    assert_eq!(taken(&mut kit, "1", 15_000), None);
    kit.claim(OAK);
    assert_eq!(taken(&mut kit, "1", 15_000), None);
    // Both send heartbeats alternately.
    assert_eq!(taken(&mut kit, "2", 1_000), Some(true));
    assert_eq!(taken(&mut kit, "1", 14_000), Some(false));
    // After a start, no drone has been heard yet.
    let live = &mut kit.swarm.live;
    (live.started_at, live.beaten, live.cloned) = (kit.now, Default::default(), Default::default());
    assert_eq!(taken(&mut kit, "1", 1_000), None);
    assert_eq!(taken(&mut kit, "1", patience), Some(true));
}

#[test]
fn a_refused_machine_is_a_concern_as_long_as_it_asks_and_fills_no_journal() {
    let mut kit = Kit::new(&["oak"]);
    assert_eq!(concerns(&kit), Vec::<String>::new());
    let seq = kit.swarm.seq;
    for _ in 0..100 {
        let Err(Refusal::OtherMachine { sign, .. }) = beat(&mut kit, Some("elm"), "9") else {
            panic!("taken")
        };
        kit.must(Command::NoteClone { drone: OAK, sign });
        kit.now = kit.now + 15_000;
    }
    assert_eq!(kit.swarm.seq, seq);
    let reported = concerns(&kit);
    assert!(
        matches!(&reported[..], [one] if one.contains("oak is oak, that of this one is elm")),
        "{reported:?}"
    );
    kit.now = kit.now + 10 * 60 * 1000;
    assert_eq!(concerns(&kit), Vec::<String>::new());
}
