//! Every list and text in a request, at its limit and one beyond it: all refusals are of one type and name
//! the limit.

use serde_json::{Value, json};
use swarm_common::wire::drone::DroneFacts;
use swarm_tests::api::{Raw, Swarm, facts};

/// Whose credential a request has.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    Admin,
    Drone,
    Nobody,
}

/// Makes a request with this many of something.
type Body = fn(usize) -> Value;

fn x(count: usize) -> String {
    "x".repeat(count)
}

fn heartbeat(change: impl FnOnce(&mut Value)) -> Value {
    let vitals = json!({"load1": 0.0, "memory_free_bytes": 0, "disk_free_bytes": 0});
    let mut body = json!({"vitals": vitals, "attempts": [], "draining": false, "boot_id": "b"});
    body["facts"] = serde_json::to_value(facts()).unwrap();
    change(&mut body);
    body
}

fn profile(source: String) -> Value {
    json!({"builder": "portage", "snapshot": "0".repeat(64), "source": source})
}

fn base(source: String) -> Value {
    json!({"image": "0".repeat(64), "source": source})
}

fn rows() -> Vec<(&'static str, Who, usize, Body)> {
    use Who::{Admin, Drone, Nobody};
    vec![
        ("POST /claim", Drone, 64, |n| json!({"key": x(n), "wait_ms": 0, "memory_free_bytes": 0})),
        ("POST /heartbeat", Drone, 1000, |n| {
            heartbeat(|b| b["attempts"] = json!(vec![json!({"attempt": "a9", "phase": "building"}); n]))
        }),
        ("POST /heartbeat", Drone, 128, |n| heartbeat(|b| b["facts"]["version"] = json!(x(n)))),
        ("POST /heartbeat", Drone, 128, |n| heartbeat(|b| b["facts"]["machine_id"] = json!(x(n)))),
        ("POST /heartbeat", Drone, 64, |n| heartbeat(|b| b["facts"]["profiles"] = json!(vec!["desk"; n]))),
        ("POST /heartbeat", Drone, 200, |n| {
            heartbeat(|b| b["facts"]["cpu"] = json!({"flags": vec!["avx"; n]}))
        }),
        ("POST /heartbeat", Drone, 128, |n| {
            heartbeat(|b| b["facts"]["toolchain"] = json!({"compiler": x(n)}))
        }),
        ("POST /heartbeat", Drone, 128, |n| heartbeat(|b| b["facts"]["boot_id"] = json!(x(n)))),
        ("POST /heartbeat", Drone, 128, |n| heartbeat(|b| b["facts"]["images"] = json!(x(n)))),
        ("POST /heartbeat", Drone, 128, |n| heartbeat(|b| b["facts"]["nix"] = json!(x(n)))),
        ("POST /heartbeat", Drone, 64, |n| {
            heartbeat(|b| b["facts"]["nix_machine"] = json!({"systems": vec!["s"; n], "features": []}))
        }),
        ("POST /heartbeat", Drone, 64, |n| {
            heartbeat(|b| b["facts"]["nix_machine"] = json!({"systems": [], "features": vec!["f"; n]}))
        }),
        ("POST /heartbeat", Drone, 128, |n| {
            heartbeat(|b| b["facts"]["nix_machine"] = json!({"systems": [x(n)], "features": ["f"]}))
        }),
        ("POST /heartbeat", Drone, 64, |n| heartbeat(|b| b["facts"]["lacks"] = json!(vec!["gpg"; n]))),
        ("POST /heartbeat", Drone, 512, |n| heartbeat(|b| b["facts"]["lacks"] = json!([x(n)]))),
        ("POST /heartbeat", Drone, 64, |n| heartbeat(|b| b["facts"]["unusable"] = json!(vec!["/work"; n]))),
        ("POST /heartbeat", Drone, 512, |n| heartbeat(|b| b["facts"]["unusable"] = json!([x(n)]))),
        // Too large in total, although each one is within its limit.
        ("POST /heartbeat", Drone, 32 << 10, |n| {
            heartbeat(|b| {
                let facts = &mut b["facts"];
                facts["unusable"] = json!(vec![x(512); 60]);
                facts["lacks"] = json!(["", "", "", ""]);
                let known: DroneFacts = serde_json::from_value(facts.clone()).unwrap();
                let rest = n - serde_json::to_vec(&known).unwrap().len();
                facts["lacks"] = json!([x(rest / 4), x(rest / 4), x(rest / 4), x(rest - rest / 4 * 3)]);
            })
        }),
        ("POST /attempts/a1/report", Drone, 1000, |n| {
            let usage = json!({"wall_ms": 0, "cpu_ms": 0, "peak_memory_bytes": 0});
            json!({"outcome": {"kind": "built", "artifacts": vec!["0".repeat(64); n]}, "usage": usage})
        }),
        (
            "POST /enrol",
            Nobody,
            128,
            |n| json!({"token": x(n), "name": "oak", "facts": serde_json::to_value(facts()).unwrap()}),
        ),
        ("POST /enrol-tokens", Admin, 30, |n| json!({"valid_ms": n * 24 * 3600 * 1000})),
        ("PUT /profiles/desk", Admin, 500, |n| profile(x(n))),
        ("PUT /bases/desk", Admin, 500, |n| base(x(n))),
        ("PUT /schedules/desk", Admin, 64, |n| json!({"cron": "0 3 * * *", "zone": x(n)})),
        ("POST /pause", Admin, 200, |n| json!({"for_ms": 1000, "reason": x(n)})),
        ("POST /packages/p1/rebuild", Admin, 200, |n| json!({"reason": x(n)})),
    ]
}

/// Type and text of the refusal; empty if there is none.
async fn ask(raw: &mut Raw, line: &str, headers: &[(&str, &str)], body: &Value) -> (String, String) {
    let (method, path) = line.split_once(' ').unwrap();
    let line = format!("{method} /api/v1{path}");
    let answer = raw.ask(&line, headers, body.to_string().as_bytes()).await.unwrap();
    let problem = answer.json().unwrap_or_default();
    let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    (text("type"), text("detail"))
}

#[tokio::test]
async fn each_structure_one_beyond_its_bound_is_refused_by_a_problem_that_names_the_bound() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let mut wrong = Vec::new();
    for (line, who, most, body) in rows() {
        let bearer = match who {
            Who::Admin => format!("Bearer {}", swarm.admin_token()),
            Who::Drone => format!("Bearer {}", drone.credential),
            Who::Nobody => String::new(),
        };
        let headers = [("authorization", bearer.as_str())];
        let headers = if who == Who::Nobody { &headers[..0] } else { &headers[..] };
        let mut raw = swarm.raw().await.unwrap();
        let (kind, message) = ask(&mut raw, line, headers, &body(most + 1)).await;
        if kind != "/problems/beyond-limit" || !message.contains(&format!("at most {most} ")) {
            wrong.push(format!("{line} beyond {most}: {kind} {message}"));
        }
        let (kind, message) = ask(&mut raw, line, headers, &body(most)).await;
        if kind == "/problems/beyond-limit"
            || kind == "/problems/invalid" && message.contains("does not match the schema")
        {
            wrong.push(format!("{line} at {most}: {kind} {message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let (long, bearer) = (x(129), format!("Bearer {}", swarm.admin_token()));
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", long.as_str())];
    let (kind, message) = ask(&mut swarm.raw().await.unwrap(), "DELETE /pause", &headers, &json!({})).await;
    assert_eq!(kind, "/problems/beyond-limit", "{message}");
}
