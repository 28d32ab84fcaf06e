//! Journals that older versions wrote lead to the same state.
#![allow(clippy::unwrap_used)] // Tests may use this.

use crate::kit::*;
use swarm_common::{
    id::*,
    state::*,
    time::TimeMs,
    wire::{concern::Offline, drone::Rejection},
};
use swarm_core::{Command, Event, Record, Swarm, state::Ending};

fn apply(swarm: &mut Swarm, line: &str) {
    let record: Record = serde_json::from_str(line).unwrap();
    swarm.apply(&record);
}

#[test]
fn a_drone_that_an_older_version_saw_go_is_still_gone_on_purpose() {
    let kit = Kit::new(&["oak", "elm"]);
    let mut old = kit.swarm.clone();
    let (seq, at) = (old.seq, kit.now + 1000);
    for (n, drone, words) in [(1, 1, "signed off: the service stops"), (2, 2, "silent for 75 s")] {
        let line = format!(
            r#"{{"seq":{},"at":{},"event":{{"event":"drone_went_offline","drone":"d{drone}","reason":"{words}"}}}}"#,
            seq + n,
            at.0
        );
        apply(&mut old, &line);
    }
    assert_eq!(old.drones[&DroneId(1)].offline, Some(Offline::SignedOff("the service stops".into())));
    assert_eq!(old.drones[&DroneId(2)].offline, Some(Offline::Silent { ms: 75_000 }));
    assert_eq!([1, 2].map(|id| old.drones[&DroneId(id)].signed_off()), [true, false]);

    let mut new = kit.swarm.clone();
    let whys = [Offline::SignedOff("the service stops".into()), Offline::Silent { ms: 75_000 }];
    for (n, why) in (1..).zip(whys) {
        new.apply(&Record { seq: seq + n, at, event: Event::offline(DroneId(n), why) });
    }
    assert!(old == new, "the same is known of both");
}

#[test]
fn a_state_that_an_older_version_saved_is_read_and_only_silence_is_healed() {
    let mut kit = Kit::new(&["oak", "elm"]);
    kit.must(Command::SignOff { drone: DroneId(1), reason: "power off".into() });
    kit.pass(120_000, &[]);
    let mut saved = serde_json::to_value(&kit.swarm).unwrap();
    for (drone, words) in [("d1", "signed off: power off"), ("d2", "silent for 70 s")] {
        let offline = &mut saved["drones"][drone]["offline"];
        assert!(offline.is_object(), "{offline}");
        *offline = words.into();
    }
    let old: Swarm = serde_json::from_value(saved).unwrap();
    assert_eq!([1, 2].map(|id| old.drones[&DroneId(id)].state()), [DroneState::Offline; 2]);
    assert_eq!([1, 2].map(|id| old.drones[&DroneId(id)].signed_off()), [true, false]);
    assert_eq!(old.drones[&DroneId(2)].healing, kit.swarm.drones[&DroneId(2)].healing);
    assert_ne!(old.drones[&DroneId(2)].healing.silent_since, None::<TimeMs>);
}

#[test]
fn a_rejection_that_an_older_version_recorded_or_saved_in_words_only_is_read() {
    let words = "its SLOT is 1 where 0 was asked for";
    let line = format!(r#"{{"event":"attempt_rejected","attempt":"a3","reason":"{words}"}}"#);
    let event: Event = serde_json::from_str(&line).unwrap();
    let rejection = Rejection { kind: String::new(), reason: words.into() };
    assert_eq!(event, Event::AttemptRejected { attempt: AttemptId(3), rejection: rejection.clone() });
    let saved: Ending = serde_json::from_str(&format!(r#"{{"rejected":"{words}"}}"#)).unwrap();
    assert_eq!(saved, Ending::Rejected(rejection));
}
