//! Bases: who may build in which one, and in which of its generations.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by a panic")]

use crate::kit::{Kit, name};
use swarm_common::{
    digest::Digest,
    id::{DroneId, PackageId, RunId},
    state::{FailureClass, PackageState, RunClass},
    wire::{
        admin::{BuilderKind, ProfileRequest},
        base::{Base, BaseRequest, Image},
    },
};
use swarm_core::{Command, Refusal, Reply, base, view};

fn image(text: &str) -> Image {
    Image {
        digest: Digest::of(text.as_bytes()),
        size: 1,
        unpacked_bytes: 1,
        entries: 1,
        machine: "x86_64".into(),
        has_portage: true,
        usr: Default::default(),
    }
}

fn put(base: &str, content: &str, signed_by: Option<&str>) -> Command {
    let image = image(content);
    let signed_by = signed_by.map(str::to_owned);
    let request = BaseRequest { image: image.digest, source: content.into(), signed_by, follow: None };
    Command::PutBase { name: name(base), image, request }
}

fn pin(base: Option<&str>) -> Command {
    let request = ProfileRequest {
        builder: BuilderKind::Portage,
        snapshot: Digest::of(b"snapshot"),
        source: "a test".into(),
        base: base.map(name),
        rebuild: Default::default(),
        publish: Default::default(),
        cpu: Default::default(),
    };
    Command::PutProfile { name: name("desk"), request }
}

fn start(kit: &mut Kit) -> RunId {
    match kit.must(Command::StartRun { profile: name("desk"), class: RunClass::Nightly }) {
        Reply::Run(run) => run,
        other => panic!("{other:?}"),
    }
}

fn is_in(content: &str) -> Base {
    Base::Image { image: image(content), installed: vec![] }
}

#[test]
fn what_failed_in_one_image_of_a_base_is_tried_again_in_another() {
    let mut kit = Kit::new(&["a"]);
    kit.must(put("gentoo", "June", None));
    kit.must(pin(Some("gentoo")));
    kit.run(&["bad-1"], &[]);
    for _ in 0..2 {
        kit.pass(10_000, &[DroneId(1)]);
        let got = kit.claim(DroneId(1)).unwrap();
        kit.fail(DroneId(1), &got, FailureClass::Package, "no libxml2");
    }
    kit.run(&["bad-1"], &[]);
    assert_eq!(kit.state(2), PackageState::Quarantined, "nothing has changed");
    kit.must(put("gentoo", "July", None));
    let refused = kit.send(Command::RetryPackage(PackageId(2))).unwrap_err().to_string();
    assert!(refused.contains("another image than in run r2; `swarmctl run start"), "{refused}");
    assert_eq!(kit.state(2), PackageState::Quarantined, "its run would build it in the old image again");
    kit.run(&["bad-1"], &[]);
    assert_eq!(kit.state(3), PackageState::Needed);
}

#[test]
fn a_run_keeps_the_generation_that_it_began_in() {
    let mut kit = Kit::new(&["one"]);
    let drone = *kit.swarm.drones.keys().next().unwrap();
    kit.must(put("gentoo", "stage3 of June", None));
    kit.must(pin(Some("gentoo")));
    let run = start(&mut kit);
    kit.must(put("gentoo", "stage3 of July", None));
    assert_eq!(kit.claim(drone).unwrap().base, is_in("stage3 of June"));
    kit.must(Command::CancelRun(run));
    start(&mut kit);
    assert_eq!(kit.claim(drone).unwrap().base, is_in("stage3 of July"));
}

#[test]
fn a_drone_that_cannot_use_the_image_gets_neither_its_plan_nor_its_packages_and_status_says_what_can() {
    for images in [None, Some("aarch64".to_owned())] {
        let mut kit = Kit::new(&["one"]);
        let drone = *kit.swarm.drones.keys().next().unwrap();
        kit.swarm.drones.get_mut(&drone).unwrap().facts.images = images;
        kit.must(put("gentoo", "stage3", None));
        kit.must(pin(Some("gentoo")));
        start(&mut kit);
        assert_eq!(kit.claim(drone), None);
        let status = view::status(&kit.swarm, kit.now, kit.now, "1", &[]);
        let concern = status.concerns.iter().find(|concern| concern.what.contains("waits for its plan"));
        assert!(concern.unwrap().next.contains("a drone for x86_64"), "{:?}", status.concerns);
        kit.must(pin(None));
    }
}

#[test]
fn an_image_without_portage_is_no_base() {
    let Command::PutBase { name, image, request } = put("gentoo", "debian", None) else { unreachable!() };
    let image = Image { has_portage: false, ..image };
    let error = Kit::new(&[]).send(Command::PutBase { name, image, request }).unwrap_err();
    assert!(error.to_string().contains("no /usr/bin/emerge"), "{error}");
}

#[test]
fn without_a_base_or_with_the_reserved_one_it_is_the_drones_own() {
    for base in [None, Some("host")] {
        let mut kit = Kit::new(&["one"]);
        let drone = *kit.swarm.drones.keys().next().unwrap();
        kit.must(pin(base));
        start(&mut kit);
        assert_eq!(kit.claim(drone).unwrap().base, Base::Host);
    }
    let error = Kit::new(&[]).send(put("host", "stage3", None)).unwrap_err();
    assert!(error.to_string().contains("drone's own"), "{error}");
}

#[test]
fn a_profile_needs_a_base_that_is_there_and_a_base_that_is_used_stays() {
    let mut kit = Kit::new(&[]);
    assert_eq!(kit.send(pin(Some("gentoo"))), Err(Refusal::UnknownBase(name("gentoo"))));
    kit.must(put("gentoo", "stage3", None));
    kit.must(pin(Some("gentoo")));
    let error = kit.send(Command::RemoveBase(name("gentoo"))).unwrap_err();
    assert!(error.to_string().contains("in use by profile `desk`"), "{error}");
    kit.must(pin(None));
    kit.must(Command::RemoveBase(name("gentoo")));
    assert_eq!(kit.send(Command::RemoveBase(name("gentoo"))), Err(Refusal::UnknownBase(name("gentoo"))));
}

#[test]
fn going_back_uses_the_generation_before_and_never_gives_a_number_twice() {
    let mut kit = Kit::new(&[]);
    let current = |kit: &Kit| {
        let generation = kit.swarm.bases[&name("gentoo")].current().unwrap();
        (generation.number, generation.source.clone())
    };
    kit.must(put("gentoo", "June", None));
    let error = kit.send(Command::RollBackBase(name("gentoo"))).unwrap_err();
    assert!(error.to_string().contains("only generation"), "{error}");
    kit.must(put("gentoo", "July", None));
    kit.must(put("gentoo", "July", None));
    assert_eq!(current(&kit), (2, "July".into()), "the same image is not another generation");
    kit.must(Command::RollBackBase(name("gentoo")));
    assert_eq!(current(&kit), (1, "June".into()));
    kit.must(put("gentoo", "August", None));
    assert_eq!(current(&kit), (3, "August".into()));
}

#[test]
fn a_base_that_was_signed_takes_nothing_unsigned_or_signed_by_others() {
    let mut kit = Kit::new(&[]);
    kit.must(put("gentoo", "June", Some("AAAA")));
    for other in [None, Some("BBBB")] {
        let error = kit.send(put("gentoo", "July", other)).unwrap_err().to_string();
        assert!(error.contains("signed by AAAA"), "{error}");
    }
    kit.must(put("gentoo", "July", Some("AAAA")));
}

#[test]
fn what_a_kept_run_is_built_in_is_needed_although_the_base_is_gone() {
    let mut kit = Kit::new(&[]);
    kit.must(put("gentoo", "June", None));
    kit.must(pin(Some("gentoo")));
    let run = start(&mut kit);
    kit.must(Command::CancelRun(run));
    kit.must(pin(None));
    kit.must(Command::RemoveBase(name("gentoo")));
    assert!(base::needed(&kit.swarm).any(|base| base == is_in("June")));
}
