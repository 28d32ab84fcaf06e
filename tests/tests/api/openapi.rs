//! The OpenAPI document.

use serde_json::Value;
use swarm_common::state::*;
use swarm_orchestrator::http::openapi;
use swarm_tests::{
    api::{Document, Swarm},
    tidy::top,
};

#[test]
fn the_committed_document_is_current() {
    let committed = std::fs::read_to_string(top().join("docs/openapi.json")).unwrap_or_default();
    assert!(
        committed == openapi::text(),
        "docs/openapi.json is old: cargo run -p swarm-orchestrator -- --print-openapi > docs/openapi.json"
    );
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    let document = openapi::document();
    let mut open = vec![&document];
    let mut references = 0;
    while let Some(value) = open.pop() {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(target)) = map.get("$ref") {
                    references += 1;
                    let found = document.pointer(target.trim_start_matches('#'));
                    assert!(found.is_some_and(Value::is_object), "{target} leads nowhere");
                }
                open.extend(map.values());
            }
            Value::Array(list) => open.extend(list),
            _ => {}
        }
    }
    assert!(references > 100, "{references}");
}

#[tokio::test]
async fn the_document_is_served() {
    let swarm = Swarm::start().await.unwrap();
    let answer = swarm.raw().await.unwrap().ask("GET /api/v1/openapi.json", &[], b"").await.unwrap();
    assert_eq!(answer.json().unwrap(), openapi::document());
}

#[test]
fn the_documents_words_are_the_wires() {
    let document = Document::new(openapi::document());
    fn words<T: serde::Serialize>(all: &[T]) -> Value {
        serde_json::to_value(all).unwrap()
    }
    for (name, words) in [
        ("PackageState", words(PackageState::ALL)),
        ("DroneState", words(DroneState::ALL)),
        ("Phase", words(Phase::ALL)),
        ("FailureClass", words(FailureClass::ALL)),
        ("FailureCause", words(FailureCause::ALL)),
        ("RunState", words(RunState::ALL)),
        ("RunClass", words(RunClass::ALL)),
        ("Severity", words(Severity::ALL)),
        ("Caller", words(Caller::ALL)),
    ] {
        assert_eq!(document.schema(name)["enum"], words, "{name}");
    }
}
