//! Journals that this version and earlier ones wrote, with at least one event of every kind, and the
//! state that each led to. Every later version must read both.
//!
//! `journal-0.jsonl` was written by commit 0ebedc8 and stands alone; each of the others continues the
//! previous one. The files in `tests/data` are never changed. To add a kind of event, a new form of one, or a
//! part of the state, write `journal-N.jsonl`, which continues where the previous journal ends, and run this
//! test: it writes `state-N.json` and fails. If the state is what the events should lead to, commit both.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests may use these.

use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use swarm_common::wire::event::{AnyEventKind, EventView};
use swarm_core::{Event, Policy, Reason, Record, Swarm, invariants, view};

/// Kinds of events that are never journaled.
const TRANSIENT: [&str; 6] =
    ["rollback_found", "stood_still", "drone_seen", "leases_renewed", "drone_waits", "drone_cloned"];

fn file(name: String) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// The lines of a journal, and the file with the resulting state.
type Journal = (Vec<Value>, PathBuf);

fn journal(n: u32) -> Option<Journal> {
    let text = fs::read_to_string(file(format!("journal-{n}.jsonl"))).ok()?;
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Some((lines, file(format!("state-{n}.json"))))
}

/// The journals that continue each other.
fn journals() -> Vec<Journal> {
    (1..).map_while(journal).collect()
}

/// Everything that is saved of a state.
fn saved(swarm: &Swarm) -> Value {
    serde_json::to_value(swarm).unwrap()
}

/// Applies the journals, compares the state after each, and checks the last one.
fn replay(journals: Vec<Journal>) -> Result<(), String> {
    let mut swarm = Swarm::new(Policy::default());
    assert!(!journals.is_empty());
    for (lines, state) in journals {
        for line in lines {
            let record: Record = serde_json::from_value(line).unwrap();
            assert_eq!(record.seq, swarm.seq + 1);
            swarm.apply(&record);
        }
        let Ok(text) = fs::read_to_string(&state) else {
            fs::write(&state, serde_json::to_string(&swarm).unwrap() + "\n").unwrap();
            panic!("wrote {}: commit it if it is right", state.display());
        };
        let then: Swarm = serde_json::from_str(&text).unwrap();
        let (then, mut now) = (saved(&then), saved(&swarm));
        let written: Value = serde_json::from_str(&text).unwrap();
        // Parts that are newer than the file are in the next file.
        now.as_object_mut().unwrap().retain(|part, _| written.get(part).is_some());
        for (part, value) in then.as_object().unwrap().iter().filter(|(part, _)| now.get(part).is_some()) {
            assert_eq!(&now[part], value, "`{part}` is not what {} says", state.display());
        }
    }
    invariants::check(&swarm)
}

#[test]
fn every_journal_leads_to_the_state_that_it_led_to_when_it_was_written() {
    replay(journals()).unwrap();
}

#[test]
fn the_journal_of_an_early_version_leads_to_the_state_that_it_led_to() {
    // That version published generations without recording their content.
    let broken = replay(vec![journal(0).unwrap()]).unwrap_err();
    assert!(broken.ends_with("stable of desk has generations [], and 2 is published"), "{broken}");
}

/// Collects what `written` lacks of `line`, or has with another value.
fn lost(line: &Value, written: &Value, at: &str, out: &mut Vec<String>) {
    match (line, written) {
        (Value::Object(line), Value::Object(written)) => {
            for (name, value) in line {
                lost(value, written.get(name).unwrap_or(&Value::Null), &format!("{at}.{name}"), out);
            }
        }
        (Value::Array(line), Value::Array(written)) if line.len() == written.len() => {
            line.iter().zip(written).for_each(|(line, written)| lost(line, written, at, out));
        }
        // Early versions wrote the edges of a plan as maps.
        (Value::Object(edge), Value::Array(written)) => {
            let letters = [("build", 'b'), ("runtime", 'r'), ("slot_operator", '='), ("satisfied", 's')];
            let is_set = |(name, _): &(&str, char)| edge.get(*name) == Some(&json!(true));
            let kinds: String = letters.into_iter().filter(is_set).map(|(_, letter)| letter).collect();
            let expected = json!([edge["from"], edge["to"], kinds]);
            lost(&expected, &Value::Array(written.clone()), at, out);
        }
        // An early version wrote values that are now omitted.
        (Value::Bool(false), Value::Null) => {}
        _ if line == written => {}
        _ => out.push(format!("{at}: {line} became {written}")),
    }
}

#[test]
fn whatever_is_read_of_a_journal_is_written_again_as_it_was() {
    let all: Vec<Value> = journal(0).into_iter().chain(journals()).flat_map(|(lines, _)| lines).collect();
    assert!(all.len() > 400, "{}", all.len());
    for line in all {
        let record: Record = serde_json::from_value(line.clone()).unwrap();
        let written = serde_json::to_value(&record).unwrap();
        let mut found = Vec::new();
        lost(&line, &written, "", &mut found);
        assert!(found.is_empty(), "{line}: {found:?}");
        assert_eq!(serde_json::from_value::<Record>(written).unwrap(), record);
    }
}

#[test]
fn an_event_in_the_form_of_a_newer_version_is_refused() {
    let event = |version: &str| {
        serde_json::from_str::<Event>(&format!(r#"{{{version}"event":"drone_approved","drone":"d1"}}"#))
    };
    let known = event("").unwrap();
    for version in [r#""version":1,"#, r#""version":2,"#, r#""version":3,"#] {
        assert_eq!(event(version).unwrap(), known);
    }
    let error = event(r#""version":4,"#).unwrap_err().to_string();
    assert!(error.contains("version 4; this one knows up to 3"), "{error}");
    // Earlier versions refuse this one's plans by that field, which they read first.
    let all: Vec<Value> = journals().into_iter().flat_map(|(lines, _)| lines).collect();
    let last = |kind: &str| all.iter().rfind(|line| line["event"]["event"] == kind).unwrap().clone();
    for (kind, version) in [("plan_received", 2), ("run_ended", 3)] {
        let record: Record = serde_json::from_value(last(kind)).unwrap();
        let written = serde_json::to_string(&record.event).unwrap();
        let start = format!(r#"{{"version":{version},"event":"{kind}","#);
        assert!(written.starts_with(&start), "{written}");
    }
}

#[test]
fn every_cause_is_in_a_journal_and_in_the_view_of_its_event() {
    // Serde's error lists the causes that it knows.
    let error = serde_json::from_str::<Reason>(r#"{"cause":"?"}"#).unwrap_err().to_string();
    let known: BTreeSet<&str> = error.split('`').skip(3).step_by(2).collect();
    assert!(known.len() > 40, "{error}");
    let (mut swarm, mut there) = (Swarm::new(Policy::default()), BTreeSet::new());
    for line in journals().into_iter().flat_map(|(lines, _)| lines) {
        let record: Record = serde_json::from_value(line.clone()).unwrap();
        swarm.apply(&record);
        let event = &line["event"];
        let written = [&event["reason"], &event["why"], &event["detail"], &event["outcome"]["skipped"]];
        let cause = written.into_iter().find_map(|reason| reason["cause"].as_str());
        let view = view::event(&record).unwrap().event;
        if event["event"] != "drone_went_offline" {
            assert_eq!(view.cause.as_deref(), cause, "{line}");
        }
        assert!(cause.is_none() || view.reason.is_some_and(|reason| !reason.is_empty()), "{line}");
        there.extend(cause.map(str::to_owned));
    }
    // These have no event of their own.
    there.extend(swarm.packages.values().filter_map(|p| Some(p.reason.as_ref()?.cause()?.to_owned())));
    let tried = swarm.drones.values().flat_map(|drone| &drone.healing.tried);
    there.extend(tried.filter_map(|step| Some(step.detail.as_ref()?.cause()?.to_owned())));
    let missing: Vec<_> = known.into_iter().filter(|cause| !there.contains(*cause)).collect();
    assert!(missing.is_empty(), "add these to the next tests/data/journal-N.jsonl: {missing:?}");
}

#[test]
fn every_event_has_a_view_of_its_kind() {
    for line in journals().into_iter().flat_map(|(lines, _)| lines) {
        let record: Record = serde_json::from_value(line.clone()).unwrap();
        let event = view::event(&record).unwrap_or_else(|| panic!("no view: {line}"));
        let kind = &line["event"]["event"];
        assert!(matches!(event.event.kind, AnyEventKind::Known(_)), "{event:?}");
        assert_eq!(&serde_json::to_value(&event.event.kind).unwrap(), kind);
        // How swarmctl reads what this version sends, and what a version without views sent.
        let sent = serde_json::to_value(&event).unwrap();
        assert_eq!(serde_json::from_value::<EventView>(sent).unwrap(), event);
        let old = serde_json::from_value::<EventView>(line).unwrap();
        assert_eq!((&old.event.kind, old.event.drone), (&event.event.kind, event.event.drone));
        assert_eq!((old.event.package, old.event.attempt), (event.event.package, event.event.attempt));
    }
}

#[test]
fn what_a_newer_version_adds_to_an_event_is_ignored() {
    let (mut plain, mut extended) = (Swarm::new(Policy::default()), Swarm::new(Policy::default()));
    for mut line in journals().into_iter().flat_map(|(lines, _)| lines) {
        plain.apply(&serde_json::from_value(line.clone()).unwrap());
        for object in ["", "/event"] {
            line.pointer_mut(object).unwrap()["of_a_newer_version"] = json!({ "n": [1] });
        }
        extended.apply(&serde_json::from_value(line).unwrap());
    }
    assert!(plain == extended);
}

#[test]
fn every_kind_of_event_is_in_a_journal() {
    // Serde's error lists the kinds that it knows.
    let error = serde_json::from_str::<Event>(r#"{"event":"?"}"#).unwrap_err().to_string();
    let known: BTreeSet<&str> = error.split('`').skip(3).step_by(2).collect();
    assert!(known.len() > 60 && TRANSIENT.iter().all(|kind| known.contains(kind)), "{error}");
    let mut there = BTreeSet::from(TRANSIENT.map(str::to_owned));
    for line in journals().into_iter().flat_map(|(lines, _)| lines) {
        let kind = line["event"]["event"].as_str().unwrap().to_owned();
        assert!(!TRANSIENT.contains(&kind.as_str()), "{kind} is transient");
        there.insert(kind);
    }
    let missing: Vec<_> = known.into_iter().filter(|kind| !there.contains(*kind)).collect();
    assert!(missing.is_empty(), "add these to the next tests/data/journal-N.jsonl: {missing:?}");
}
