//! Bodies that drones and orchestrators of earlier versions sent, and what this version makes of them.
//!
//! A swarm is updated one machine at a time, so each version must read what any other one sends, and each
//! must find in the answer what it looks for there. The files in `tests/data/wire/1` were recorded when the
//! protocol had the form that they show; the beginning of a file's name, up to the dot, is its type.
//!
//! Recordings are never edited or removed: machines that send them are still in use. A change that adds a
//! field, a kind or a word adds a recording of a body with it, in the folder with the next number (`2`, `3` ...),
//! which holds only what is new. [`every_field_and_word_of_the_protocol_is_in_a_recording`] lists what lacks one. If
//! an old recording cannot be read any more, the change breaks the swarms of users: give the new field a
//! default, or keep the old name beside the new one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Tests may use these.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fmt::Debug, fs, path::Path};
use swarm_common::{
    state::{DroneState, FailureCause, FailureClass, Phase},
    wire::{
        base::{Base, UsrMerge},
        drone::*,
        nix::ContentHash,
        plan::*,
        problem::Problem,
    },
};

/// A recorded body.
struct Recording {
    /// Folder and name, for messages.
    name: String,
    body: Value,
}

/// What this version makes of a body: how it writes it, and how it shows it in a log.
struct Read {
    written: Value,
    shown: String,
}

type Reader = fn(&Value) -> Result<Read, serde_json::Error>;

/// The types of the protocol: the beginning of the files' names, the name in `docs/openapi.json`, and how
/// this version reads one.
const TYPES: [(&str, &str, Reader); 12] = [
    ("enrol-request", "EnrolRequest", read::<EnrolRequest>),
    ("enrol-reply", "EnrolReply", read::<EnrolReply>),
    ("claim-request", "ClaimRequest", read::<ClaimRequest>),
    ("claim-reply", "ClaimReply", read::<ClaimReply>),
    ("heartbeat-request", "HeartbeatRequest", read::<HeartbeatRequest>),
    ("heartbeat-reply", "HeartbeatReply", read::<HeartbeatReply>),
    ("report-request", "ReportRequest", read::<ReportRequest>),
    ("report-reply", "ReportReply", read::<ReportReply>),
    ("upload-request", "UploadRequest", read::<UploadRequest>),
    ("upload-status", "UploadStatus", read::<UploadStatus>),
    ("sign-off-request", "SignOffRequest", read::<SignOffRequest>),
    ("problem", "Problem", read::<Problem>),
];

/// The enumerations of the protocol, whose words are in `words.json`.
const WORDS: [(&str, Reader); 7] = [
    ("ContentHash", read::<ContentHash>),
    ("DroneState", read::<DroneState>),
    ("FailureCause", read::<FailureCause>),
    ("FailureClass", read::<FailureClass>),
    ("Phase", read::<Phase>),
    ("ProblemKind", read::<ProblemKind>),
    ("UsrMerge", read::<UsrMerge>),
];

/// Maps whose keys are data. What a newer version adds there is no field.
const MAPS: [&str; 4] = ["settings", "fields", "strict", "base_provides"];

fn read<T: DeserializeOwned + Serialize + Debug>(body: &Value) -> Result<Read, serde_json::Error> {
    // As a drone or an orchestrator reads it: from text.
    let value: T = serde_json::from_str(&body.to_string())?;
    Ok(Read { written: serde_json::to_value(&value)?, shown: format!("{value:?}") })
}

fn manifest() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All recordings of a type, the oldest first.
fn recordings(kind: &str) -> Vec<Recording> {
    let folder = |n: u32| manifest().join("tests/data/wire").join(n.to_string());
    let mut found = Vec::new();
    for n in (1..).take_while(|n| folder(*n).is_dir()) {
        let mut files: Vec<_> = fs::read_dir(folder(n)).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files {
            let name = file.file_name().unwrap().to_str().unwrap();
            if name.split('.').next() == Some(kind) {
                let body = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
                found.push(Recording { name: format!("{n}/{name}"), body });
            }
        }
    }
    found
}

fn all() -> impl Iterator<Item = (Reader, Recording)> {
    TYPES.into_iter().flat_map(|(kind, _, read)| recordings(kind).into_iter().map(move |r| (read, r)))
}

/// The recorded body of this name in folder 1, read as its type.
fn first<T: DeserializeOwned>(name: &str) -> T {
    let file = manifest().join("tests/data/wire/1").join(format!("{name}.json"));
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Collects what `written` lacks of `recorded`, or has with another value.
fn lost(recorded: &Value, written: &Value, at: &str, out: &mut Vec<String>) {
    match (recorded, written) {
        (Value::Object(recorded), Value::Object(written)) => {
            for (name, value) in recorded {
                let at = format!("{at}.{name}");
                match written.get(name) {
                    Some(written) => lost(value, written, &at, out),
                    None => out.push(format!("{at} is gone")),
                }
            }
        }
        (Value::Array(recorded), Value::Array(written)) if recorded.len() == written.len() => {
            let pairs = recorded.iter().zip(written).enumerate();
            pairs.for_each(|(n, (recorded, written))| lost(recorded, written, &format!("{at}[{n}]"), out));
        }
        _ if recorded == written => {}
        _ => out.push(format!("{at}: {recorded} became {written}")),
    }
}

/// Adds an unknown field to every object.
fn extend(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let fields = map.iter_mut().filter(|(name, _)| !MAPS.contains(&name.as_str()));
            fields.for_each(|(_, value)| extend(value));
            map.insert("of_a_newer_version".into(), json!({ "n": [1] }));
        }
        Value::Array(list) => list.iter_mut().for_each(extend),
        _ => {}
    }
}

#[test]
fn every_recorded_body_is_read_and_every_field_of_it_is_written_again_with_the_same_value() {
    let mut count = 0;
    for (read, Recording { name, body }) in all() {
        let now = read(&body).unwrap_or_else(|error| panic!("{name} cannot be read any more: {error}"));
        let mut found = Vec::new();
        lost(&body, &now.written, "", &mut found);
        assert!(found.is_empty(), "{name}: {found:#?}");
        // What this version writes, it reads as the same.
        assert_eq!(read(&now.written).unwrap().shown, now.shown, "{name}");
        count += 1;
    }
    count += recordings("words").len();
    let folders = fs::read_dir(manifest().join("tests/data/wire")).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    assert_eq!(files.count(), count, "a file is of no known type, or a folder's number does not follow");
    assert!(count > 25, "{count}");
}

#[test]
fn every_recorded_word_is_still_known() {
    for Recording { name, body } in recordings("words") {
        for (kind, words) in body.as_object().unwrap() {
            let (_, read) = WORDS.iter().find(|(known, _)| known == kind).expect(kind);
            for word in words.as_array().unwrap() {
                let now = read(word).unwrap_or_else(|error| panic!("{name}, {kind}: {error}"));
                assert_eq!(&now.written, word, "{name}, {kind}");
            }
        }
    }
}

// fault: 44
#[test]
fn fields_of_a_newer_peer_are_ignored_in_every_request_and_every_answer() {
    for (read, Recording { name, body }) in all() {
        let mut newer = body.clone();
        extend(&mut newer);
        let newer = read(&newer).unwrap_or_else(|error| panic!("{name} of a newer version: {error}"));
        assert_eq!(newer.shown, read(&body).unwrap().shown, "{name}");
    }
}

#[test]
fn recorded_orders_say_what_is_to_be_built() {
    let order = |name: &str| {
        let assignment = first::<ClaimReply>(name).assignment.expect("work");
        let made_from = assignment.made_from();
        let Work::Build(order) = assignment.work else { panic!("{name}: {:?}", assignment.work) };
        (order, assignment.base, made_from)
    };
    let (gentoo, base, made_from) = order("claim-reply.gentoo-build");
    let paths: Vec<String> = gentoo.targets.iter().map(|t| t.portage().unwrap().path()).collect();
    assert_eq!(
        paths,
        ["media-libs/freetype/freetype-2.13.3-2.gpkg.tar", "media-libs/harfbuzz/harfbuzz-11.3.3-1.gpkg.tar"]
    );
    assert_eq!((gentoo.stages.len(), gentoo.dependencies.len()), (3, 3));
    assert_eq!(gentoo.stages[0].use_changes, ["-harfbuzz"]);
    let Base::Image { image, installed } = &base else { panic!("{base:?}") };
    assert_eq!((image.machine.as_str(), installed.len()), ("x86_64", 1));
    let made_from = made_from.unwrap();
    assert_eq!((Some(made_from.key), made_from.base), (gentoo.key, base.digest()));

    let (own, base, made_from) = order("claim-reply.gentoo-build-in-the-own-root");
    assert_eq!((own.key, made_from, base), (None, None, Base::Host), "an older orchestrator sends no key");

    let (nix, base, _) = order("claim-reply.nix-build");
    assert_eq!((nix.targets[0].title(), base), ("hello-2.12.2", Base::Nix));
    assert_eq!(nix.targets[0].nix().unwrap().path, nix.targets[0].id());
    assert_eq!(nix.inputs[1].nar.references.len(), 2);

    let work = |name: &str| first::<ClaimReply>(name).assignment.map(|assignment| assignment.work);
    assert_eq!(work("claim-reply.plan"), Some(Work::Plan));
    assert_eq!(work("claim-reply.base"), Some(Work::Base));
    assert_eq!(work("claim-reply.no-work"), None);
}

#[test]
fn recorded_reports_say_how_the_attempt_ended() {
    let outcome = |name: &str| first::<ReportRequest>(name).outcome;
    let plan = |name: &str| match outcome(name) {
        Outcome::Planned { plan } => plan,
        other => panic!("{name}: {other:?}"),
    };
    let gentoo = plan("report-request.gentoo-plan");
    assert!(gentoo.packages.iter().all(|package| package.portage().is_some()));
    let bound: Vec<_> = gentoo.edges.iter().filter(|edge| edge.slot_operator).collect();
    assert_eq!(bound.iter().map(|edge| (edge.from, edge.to)).collect::<Vec<_>>(), [(1, 0)]);
    assert!(!gentoo.edges[3].build && gentoo.edges[3].runtime, "what is omitted is false");
    let nix = plan("report-request.nix-plan");
    assert!(nix.packages.iter().all(|package| package.nix().is_some()));
    assert_eq!(nix.problems[0].kind, ProblemKind::Evaluation);
    assert_eq!((nix.roots[1].host, nix.available.len()), (true, 2));

    assert!(
        matches!(outcome("report-request.gentoo-build"), Outcome::Built { artifacts } if artifacts.len() == 2)
    );
    assert_eq!(outcome("report-request.base"), Outcome::Based);
    assert!(matches!(outcome("report-request.handed-back"), Outcome::HandedBack { .. }));
    let Outcome::Failed { failure } = outcome("report-request.failure") else { panic!("no failure") };
    assert!(failure.headline().ends_with("error: unknown type name 'foo_t'"), "{failure:?}");
    assert!(first::<Problem>("problem").is("stale-attempt"));
}

/// The schemas of the API.
struct Schemas(Value);

impl Schemas {
    fn of<'s>(&'s self, schema: &'s Value) -> (&'s str, &'s Value) {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let name = reference.rsplit('/').next().unwrap();
                (name, &self.0[name])
            }
            None => ("", schema),
        }
    }

    /// Collects each field that a body of this schema may have, each kind that it may be of, and the words.
    fn fields(&self, schema: &Value, within: &str, out: &mut BTreeSet<String>) {
        let (name, schema) = self.of(schema);
        let within = if name.is_empty() { within } else { name };
        let parts = ["oneOf", "allOf"].into_iter().filter_map(|of| schema[of].as_array()).flatten();
        parts.chain(schema.get("items")).for_each(|part| self.fields(part, within, out));
        let words = schema["enum"].as_array().filter(|_| !name.is_empty()).into_iter().flatten();
        out.extend(words.map(|word| format!("{name} {word}")));
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            let kinds = schema["enum"].as_array().filter(|_| field == "kind").into_iter().flatten();
            out.extend(kinds.map(|kind| format!("{within} {kind}")));
            if out.insert(format!("{within}.{field}")) {
                self.fields(schema, within, out);
            }
        }
    }

    /// Removes from `out` the fields and kinds that a body has.
    fn seen(&self, schema: &Value, body: &Value, within: &str, out: &mut BTreeSet<String>) {
        let (name, schema) = self.of(schema);
        let within = if name.is_empty() { within } else { name };
        let parts = ["oneOf", "allOf"].into_iter().filter_map(|of| schema[of].as_array()).flatten();
        parts.for_each(|part| self.seen(part, body, within, out));
        if let (Some(items), Some(list)) = (schema.get("items"), body.as_array()) {
            list.iter().for_each(|item| self.seen(items, item, within, out));
        }
        out.remove(&format!("{within} {}", body["kind"]));
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(value) = body.get(field).filter(|value| !value.is_null()) {
                out.remove(&format!("{within}.{field}"));
                self.seen(schema, value, within, out);
            }
        }
    }
}

#[test]
fn every_field_and_word_of_the_protocol_is_in_a_recording() {
    let text = fs::read_to_string(manifest().join("../docs/openapi.json")).unwrap();
    let mut api: Value = serde_json::from_str(&text).unwrap();
    let schemas = Schemas(api["components"]["schemas"].take());
    let mut missing = BTreeSet::new();
    for (_, schema, _) in TYPES {
        assert!(schemas.0.get(schema).is_some(), "{schema} is not in docs/openapi.json");
        schemas.fields(&json!({ "$ref": format!("#/{schema}") }), "", &mut missing);
    }
    assert!(missing.len() > 120, "{}", missing.len());
    for (kind, schema, _) in TYPES {
        for recording in recordings(kind) {
            schemas.seen(&json!({ "$ref": format!("#/{schema}") }), &recording.body, "", &mut missing);
        }
    }
    for Recording { body, .. } in recordings("words") {
        for (kind, words) in body.as_object().unwrap() {
            for word in words.as_array().unwrap() {
                missing.remove(&format!("{kind} {word}"));
            }
        }
    }
    assert!(missing.is_empty(), "record bodies with these in tests/data/wire/N: {missing:#?}");
}
