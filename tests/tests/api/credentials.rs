//! Every route in the OpenAPI document, called with credentials that must be refused.

use crate::key;
use serde_json::Value;
use swarm_tests::api::{Answer, Raw, Swarm};

/// A route: its method, its path with IDs filled in, and its roles.
struct Route {
    line: String,
    admin: bool,
    drone: bool,
    open: bool,
}

fn routes() -> Vec<Route> {
    let document = swarm_orchestrator::http::openapi::document();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let digest = "0".repeat(64);
            let mut path = path.clone();
            for (parameter, value) in [
                ("{attempt}", "a1"),
                ("{run}", "r1"),
                ("{package}", "p1"),
                ("{drone}", "d1"),
                ("{name}", "desk"),
                ("{query}", "pebble"),
                ("{digest}", digest.as_str()),
                ("{known}", digest.as_str()),
                ("{number}", "1"),
            ] {
                path = path.replace(parameter, value);
            }
            assert!(!path.contains('{'), "{path} has a parameter that this test does not know");
            let security = operation["security"].as_array().unwrap();
            let is_for = |role: &str| security.iter().any(|s: &Value| s.get(role).is_some());
            routes.push(Route {
                line: format!("{} {path}", method.to_uppercase()),
                admin: is_for("admin"),
                drone: is_for("drone"),
                open: security.is_empty(),
            });
        }
    }
    routes
}

async fn ask(swarm: &Swarm, route: &Route, credential: Option<&str>) -> Answer {
    let bearer = credential.map(|c| format!("Bearer {c}"));
    let headers: Vec<(&str, &str)> = bearer.iter().map(|b| ("authorization", b.as_str())).collect();
    let mut raw: Raw = swarm.raw().await.unwrap();
    raw.ask(&route.line, &headers, b"").await.unwrap()
}

// fault: 30
#[tokio::test]
async fn every_route_refuses_what_is_not_its_role_and_nothing_changes() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let revoked = swarm.drone("gone").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    swarm.admin.remove_drone(revoked.id, &key()).await.unwrap();
    let before = swarm.app.engine.read(|state| (state.seq, state.clone()));
    let admin = swarm.admin_token();
    let routes = routes();
    assert!(routes.len() > 30, "{}", routes.len());
    for route in routes.iter().filter(|route| !route.open) {
        for (credential, expected) in [
            (None, 401),
            (Some("nonsense"), 401),
            (Some(""), 401),
            (Some(revoked.credential.as_str()), 401),
            (Some(drone.credential.as_str()), if route.drone { 0 } else { 403 }),
            (Some(admin.as_str()), if route.admin { 0 } else { 403 }),
        ] {
            if expected == 0 {
                continue;
            }
            let answer = ask(&swarm, route, credential).await;
            assert_eq!(answer.status, expected, "{} with {credential:?}", route.line);
            assert_eq!(answer.header("content-type"), "application/problem+json", "{}", route.line);
            assert_eq!(answer.header("www-authenticate").is_empty(), expected != 401, "{}", route.line);
        }
    }
    let after = swarm.app.engine.read(|state| (state.seq, state.clone()));
    assert_eq!(before, after);
}

#[tokio::test]
async fn only_enrolment_the_key_and_the_document_are_open() {
    let mut open: Vec<String> = routes().into_iter().filter(|r| r.open).map(|r| r.line).collect();
    open.sort();
    assert_eq!(open, ["GET /api/v1/key", "GET /api/v1/openapi.json", "POST /api/v1/enrol"]);
}

#[tokio::test]
async fn another_scheme_than_bearer_is_no_credential() {
    let swarm = Swarm::start().await.unwrap();
    let value = format!("Basic {}", swarm.admin_token());
    let headers = [("authorization", value.as_str())];
    let answer = swarm.raw().await.unwrap().ask("GET /api/v1/status", &headers, b"").await.unwrap();
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn the_admins_token_is_a_private_file_and_survives_a_restart() {
    use std::os::unix::fs::PermissionsExt as _;
    let swarm = Swarm::start().await.unwrap();
    let file = swarm.state_dir().join("admin.token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let token = swarm.admin_token();
    let swarm = swarm.restart().await.unwrap();
    assert_eq!(swarm.admin_token(), token);
}
