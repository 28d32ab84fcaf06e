//! The OpenAPI document is correct: a client generated from it talks to the real server, and every response
//! conforms to it.

use crate::bases::{pack, root};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs};
use swarm_common::{
    digest::Digest,
    wire::drone::{Assignment, Work},
};
use swarm_orchestrator::http::openapi;
use swarm_tests::api::{
    Content, Document, Operation, Swarm, facts, package_for, pebble, pebble_at, plan_of, snapshot,
};

/// The body of a request.
enum Sent {
    Nothing,
    Json(Value),
    Bytes(Vec<u8>),
}

/// A client that knows only the document.
struct Reader<'s> {
    swarm: &'s Swarm,
    document: Document,
    operations: Vec<Operation>,
    /// Operations done so far, by method and path.
    done: BTreeSet<String>,
    faults: Vec<String>,
}

impl<'s> Reader<'s> {
    fn new(swarm: &'s Swarm) -> Self {
        let document = Document::new(openapi::document());
        let operations = document.operations();
        Self { swarm, document, operations, done: BTreeSet::new(), faults: Vec::new() }
    }

    /// Calls an operation, such as `GET /runs/{run}?x=y`, with these values for the path.
    async fn call(
        &mut self,
        line: &str,
        values: &[(&str, &str)],
        credential: &str,
        sent: Sent,
    ) -> (u16, Value) {
        let (method, target) = line.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = format!("/api/v1{path}");
        let found = self.operations.iter().find(|one| one.method == method && one.path == path);
        let operation = found.unwrap_or_else(|| panic!("{line} is not in the document")).clone();
        let body = match (&sent, &operation.takes) {
            (Sent::Nothing, _) => Vec::new(),
            (Sent::Bytes(bytes), _) => bytes.clone(),
            (Sent::Json(value), Content::Json(schema)) => {
                self.faults.extend(self.document.faults(schema, value, &format!("{line}: what is sent")));
                serde_json::to_vec(value).unwrap()
            }
            (Sent::Json(_), _) => panic!("{line} takes no JSON, says the document"),
        };
        let filled = values
            .iter()
            .fold(path.clone(), |path, (name, value)| path.replace(&format!("{{{name}}}"), value));
        assert!(!filled.contains('{'), "{filled} has a parameter without a value");
        let target = if query.is_empty() { filled } else { format!("{filled}?{query}") };
        let bearer = format!("Bearer {credential}");
        let mut headers = vec![("upload-offset", "0"), ("authorization", bearer.as_str())];
        headers.truncate(if credential.is_empty() { 1 } else { 2 });
        let mut raw = self.swarm.raw().await.unwrap();
        let answer = raw.ask(&format!("{method} {target}"), &headers, &body).await.unwrap();

        let kind = answer.header("content-type").to_owned();
        let mut wrong = |what: String| self.faults.push(format!("{line} ({}): {what}", answer.status));
        if answer.status != 200 {
            let problem = answer.json().unwrap_or_default();
            if kind != "application/problem+json" || problem["status"] != answer.status {
                wrong(format!("is no problem but {kind}: {}", String::from_utf8_lossy(&answer.body)));
            }
            let schema = self.document.schema("Problem");
            self.faults.extend(self.document.faults(schema, &problem, &format!("{line}: the problem")));
            return (answer.status, problem);
        }
        self.done.insert(format!("{method} {}", path.trim_start_matches("/api/v1")));
        match &operation.gives {
            Content::Nothing if answer.body.is_empty() => (200, Value::Null),
            Content::Nothing => {
                wrong(format!(
                    "gives {}, and nothing by the document",
                    String::from_utf8_lossy(&answer.body)
                ));
                (200, Value::Null)
            }
            Content::Bytes(wanted) => {
                if !kind.starts_with(wanted.as_str()) {
                    wrong(format!("gives {kind}, and {wanted} by the document"));
                }
                (200, Value::Null)
            }
            Content::Json(schema) => {
                if kind != "application/json" {
                    wrong(format!("gives {kind}"));
                }
                let value = answer.json().unwrap_or_default();
                self.faults.extend(self.document.faults(schema, &value, line));
                (200, value)
            }
        }
    }

    /// Calls an operation that must succeed.
    async fn get(&mut self, line: &str, values: &[(&str, &str)], credential: &str, sent: Sent) -> Value {
        let (status, value) = self.call(line, values, credential, sent).await;
        assert_eq!(status, 200, "{line}: {value}");
        value
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn usage() -> Value {
    json!({ "wall_ms": 1, "cpu_ms": 1, "peak_memory_bytes": 1 })
}

/// A client that does the work of a drone, knowing only the document.
struct Worker {
    credential: String,
    claims: u32,
}

impl Worker {
    async fn claim(&mut self, reader: &mut Reader<'_>) -> Assignment {
        self.claims += 1;
        let request =
            json!({ "key": self.claims.to_string(), "wait_ms": 5000, "memory_free_bytes": 1_u64 << 30 });
        let reply = reader.get("POST /claim", &[], &self.credential, Sent::Json(request)).await;
        serde_json::from_value(reply["assignment"].clone()).unwrap_or_else(|error| panic!("{error}: {reply}"))
    }

    async fn report(&self, reader: &mut Reader<'_>, attempt: &str, outcome: Value) -> Value {
        let request = json!({ "outcome": outcome, "usage": usage() });
        let at = [("attempt", attempt)];
        reader.get("POST /attempts/{attempt}/report", &at, &self.credential, Sent::Json(request)).await
    }

    /// Claims the next build and logs a line.
    async fn build(&mut self, reader: &mut Reader<'_>) -> (String, swarm_common::wire::drone::BuildOrder) {
        let assignment = self.claim(reader).await;
        let Work::Build(order) = assignment.work else { panic!("{assignment:?}") };
        let attempt = assignment.attempt.to_string();
        let line = "POST /attempts/{attempt}/log?offset=0";
        reader.get(line, &[("attempt", &attempt)], &self.credential, Sent::Bytes(b"one\n".to_vec())).await;
        (attempt, order)
    }

    async fn fail(&mut self, reader: &mut Reader<'_>) {
        let (attempt, _) = self.build(reader).await;
        let failure = json!({ "class": "package", "phase": "building", "signature": "e", "message": "e" });
        self.report(reader, &attempt, json!({ "kind": "failed", "failure": failure })).await;
    }

    async fn deliver(&mut self, reader: &mut Reader<'_>) -> String {
        let (attempt, order) = self.build(reader).await;
        let mut artifacts = Vec::new();
        for target in &order.targets {
            let bytes = package_for(target);
            let digest = Digest::of(&bytes).to_string();
            let request =
                json!({ "digest": digest, "size": bytes.len(), "target": target.portage().unwrap().cpv });
            let at = [("attempt", attempt.as_str()), ("digest", digest.as_str())];
            reader.get("POST /attempts/{attempt}/uploads", &at, &self.credential, Sent::Json(request)).await;
            let line = "PATCH /attempts/{attempt}/uploads/{digest}";
            reader.get(line, &at, &self.credential, Sent::Bytes(bytes)).await;
            artifacts.push(digest);
        }
        self.report(reader, &attempt, json!({ "kind": "built", "artifacts": artifacts })).await;
        attempt
    }
}

/// Operations that this test does not complete, with the reason.
const NOT_DONE: [(&str, &str); 2] = [
    (
        "GET /snapshots/{digest}/since/{known}",
        "needs two snapshots that have much in common; see snapshots.rs",
    ),
    ("POST /drones/{drone}/confirm-reboot", "needs a drone that healing wants to reboot; see healing"),
];

#[tokio::test]
async fn every_answer_of_a_nights_work_is_as_the_document_says() {
    let swarm = Swarm::start_with(|config| {
        config.policy.package_failures = Some(1);
        let sink = swarm_daemon::config::parse("s".as_ref(), "url = \"ntfy://127.0.0.1:1/x\"").unwrap();
        config.notify.sink.push(sink);
    });
    let swarm = swarm.await.unwrap();
    let admin = swarm.admin_token();
    let mut reader = Reader::new(&swarm);
    let reader = &mut reader;

    let request = json!({ "valid_ms": 60_000, "approved": false });
    let token = text(&reader.get("POST /enrol-tokens", &[], &admin, Sent::Json(request)).await["token"]);
    let request = json!({ "token": token, "name": "one", "facts": facts() });
    let enrolled = reader.get("POST /enrol", &[], "", Sent::Json(request)).await;
    let (drone, credential) = (text(&enrolled["drone"]), text(&enrolled["credential"]));
    let mut worker = Worker { credential: credential.clone(), claims: 0 };
    for verb in ["approve", "drain", "resume", "protect", "unprotect"] {
        let line = format!("POST /drones/{{drone}}/{verb}");
        reader.get(&line, &[("drone", &drone)], &admin, Sent::Nothing).await;
    }
    let heartbeat = json!({
        "vitals": { "load1": 0.5, "memory_free_bytes": 1, "disk_free_bytes": 1 },
        "attempts": [], "draining": false, "boot_id": "b", "facts": facts(),
    });
    reader.get("POST /heartbeat", &[], &credential, Sent::Json(heartbeat)).await;

    let folder = tempfile::tempdir().unwrap();
    let (digest, archive) = snapshot(&folder.path().join("snapshot")).unwrap();
    let snapshot = [("digest", digest.to_string())];
    let snapshot = snapshot.each_ref().map(|(name, value)| (*name, value.as_str()));
    reader.get("PUT /snapshots/{digest}", &snapshot, &admin, Sent::Bytes(fs::read(archive).unwrap())).await;
    reader.get("GET /snapshots/{digest}", &snapshot, &credential, Sent::Nothing).await;
    let desk = [("name", "desk")];
    let request = json!({ "builder": "portage", "snapshot": digest, "source": "a test" });
    reader.get("PUT /profiles/{name}", &desk, &admin, Sent::Json(request)).await;
    let (den, candidate) = ([("name", "den")], json!({ "snapshot": digest, "source": "another" }));
    let request = json!({ "builder": "nix", "snapshot": digest, "source": "a test" });
    reader.get("PUT /profiles/{name}", &den, &admin, Sent::Json(request)).await;
    reader.get("PUT /profiles/{name}/candidate", &den, &admin, Sent::Json(candidate)).await;
    let request = json!({ "source": "another", "why": "it is away" });
    reader.get("POST /profiles/{name}/candidate/failure", &den, &admin, Sent::Json(request)).await;
    let timer = json!({ "every_ms": 86_400_000, "machine": "nas" });
    reader.get("PUT /profiles/{name}/timer", &den, &admin, Sent::Json(timer)).await;
    reader.get("GET /profiles/{name}", &den, &admin, Sent::Nothing).await;
    reader.get("DELETE /profiles/{name}/timer", &den, &admin, Sent::Nothing).await;
    let request = json!({ "cron": "30 3 * * *", "zone": "Europe/Berlin" });
    reader.get("PUT /schedules/{name}", &desk, &admin, Sent::Json(request)).await;

    let gentoo = [("name", "gentoo")];
    for content in ["June", "July"] {
        root(&folder.path().join(content), content);
        let (image, archive) = pack(&folder.path().join(content));
        let named = image.to_string();
        let at = [("digest", named.as_str())];
        reader.get("PUT /images/{digest}", &at, &admin, Sent::Bytes(fs::read(archive).unwrap())).await;
        reader.get("GET /images/{digest}", &at, &credential, Sent::Nothing).await;
        let request = json!({ "image": image, "source": "a test" });
        reader.get("PUT /bases/{name}", &gentoo, &admin, Sent::Json(request)).await;
    }
    reader.get("GET /bases/{name}", &gentoo, &admin, Sent::Nothing).await;
    reader.get("POST /bases/{name}/rollback", &gentoo, &admin, Sent::Nothing).await;
    reader.get("PUT /bases/{name}/follow", &gentoo, &admin, Sent::Json(json!({ "follow": false }))).await;

    let request = || Sent::Json(json!({ "profile": "desk", "class": "nightly" }));
    let run = text(&reader.get("POST /runs", &[], &admin, request()).await["run"]);
    let planning = worker.claim(reader).await.attempt.to_string();
    let line = "POST /attempts/{attempt}/log?offset=0";
    reader.get(line, &[("attempt", &planning)], &credential, Sent::Bytes(b"plan\n".to_vec())).await;
    let plan = json!({ "kind": "planned", "plan": plan_of(&[pebble(), pebble_at("1.10", "0")]) });
    worker.report(reader, &planning, plan).await;
    let built = worker.deliver(reader).await;
    // The second package fails until somebody has fixed it.
    worker.fail(reader).await;
    reads(reader, &admin, &run, &built, "p2").await;
    let broken = [("package", "p2")];
    reader
        .get("POST /packages/{package}/release", &broken, &admin, Sent::Json(json!({ "verdict": "retry" })))
        .await;
    worker.fail(reader).await;
    reader.get("POST /packages/{package}/retry", &broken, &admin, Sent::Nothing).await;
    worker.deliver(reader).await;
    let request_again = Sent::Json(json!({ "dependants": true, "reason": "miscompiled" }));
    reader.get("POST /packages/{package}/rebuild", &[("package", "p1")], &admin, request_again).await;
    reads(reader, &admin, &run, &built, "p1").await;

    let pause = json!({ "for_ms": 60_000, "reason": "a test" });
    reader.get("POST /pause", &[], &admin, Sent::Json(pause)).await;
    reads(reader, &admin, &run, &built, "p1").await;
    reader.get("DELETE /pause", &[], &admin, Sent::Nothing).await;
    let second = text(&reader.get("POST /runs", &[], &admin, request()).await["run"]);
    reader.get("POST /runs/{run}/cancel", &[("run", &second)], &admin, Sent::Nothing).await;
    reader.get("POST /notify/test", &[], &admin, Sent::Nothing).await;
    reads(reader, &admin, &second, &built, "p1").await;

    let request = Sent::Json(json!({ "generation": 1 }));
    reader.get("POST /channels/{name}/rollback", &desk, &admin, request).await;
    let first = [("name", "desk"), ("number", "1")];
    reader.get("GET /channels/{name}/generations/{number}", &first, &admin, Sent::Nothing).await;
    let request = Sent::Json(json!({ "note": "before an upgrade" }));
    reader.get("PUT /channels/{name}/generations/{number}/pin", &first, &admin, request).await;
    reader.get("GET /channels/{name}", &desk, &admin, Sent::Nothing).await;
    reader.get("DELETE /channels/{name}/generations/{number}/pin", &first, &admin, Sent::Nothing).await;
    reader.get("POST /channels/{name}/promote", &desk, &admin, Sent::Json(json!({}))).await;

    reader.get("POST /sign-off", &[], &credential, Sent::Json(json!({ "reason": "bedtime" }))).await;
    reader.get("DELETE /schedules/{name}", &desk, &admin, Sent::Nothing).await;
    reader.get("DELETE /profiles/{name}", &desk, &admin, Sent::Nothing).await;
    reader.get("DELETE /bases/{name}", &gentoo, &admin, Sent::Nothing).await;
    reader.get("DELETE /drones/{drone}", &[("drone", &drone)], &admin, Sent::Nothing).await;

    assert!(reader.faults.is_empty(), "{}", reader.faults.join("\n"));
    let all =
        reader.operations.iter().map(|one| format!("{} {}", one.method, one.path.replace("/api/v1", "")));
    let left: BTreeSet<String> = all.filter(|one| !reader.done.contains(one)).collect();
    assert_eq!(left.iter().map(String::as_str).collect::<Vec<_>>(), NOT_DONE.map(|(line, _)| line));
}

/// Calls all operations that read.
async fn reads(reader: &mut Reader<'_>, admin: &str, run: &str, attempt: &str, package: &str) {
    let artifacts = reader.get("GET /artifacts", &[], admin, Sent::Nothing).await;
    let digest = text(&artifacts[0]["digest"]);
    let values = [
        ("run", run),
        ("attempt", attempt),
        ("package", package),
        ("name", "desk"),
        ("query", package),
        ("digest", digest.as_str()),
    ];
    for line in [
        "/status",
        "/runs",
        "/runs/{run}",
        "/packages",
        "/packages/{package}",
        "/packages/{package}/log",
        "/attempts/{attempt}/log",
        "/why/{query}",
        "/history/{query}",
        "/drones",
        "/profiles",
        "/profiles/{name}",
        "/bases",
        "/channels",
        "/channels/{name}",
        "/schedules",
        "/artifacts?profile=desk",
        "/artifacts/{digest}",
        "/notify",
        "/key",
        "/audit",
        "/openapi.json",
        "/events",
    ] {
        reader.get(&format!("GET {line}"), &values, admin, Sent::Nothing).await;
    }
    if run == "r1" {
        reader.get("GET /runs/{run}/log", &values, admin, Sent::Nothing).await;
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_a_problem_and_the_least_that_is_documented_is_understood() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let admin = swarm.admin_token();
    let mut reader = Reader::new(&swarm);
    let zeros = "0".repeat(64);
    let nobodys = [
        ("attempt", "a999"),
        ("run", "r999"),
        ("package", "p999"),
        ("drone", "d999"),
        ("name", "nobody"),
        ("query", "nobody"),
        ("number", "9"),
        ("digest", zeros.as_str()),
        ("known", zeros.as_str()),
    ];
    for operation in reader.operations.clone() {
        let line = format!("{} {}", operation.method, operation.path.trim_start_matches("/api/v1"));
        let sent = || match &operation.takes {
            Content::Nothing => Sent::Nothing,
            Content::Json(schema) => Sent::Json(Document::new(openapi::document()).least(schema)),
            Content::Bytes(_) => Sent::Bytes(b"x".to_vec()),
        };
        let line = if line == "POST /attempts/{attempt}/log" { format!("{line}?offset=0") } else { line };
        let credential = match operation.roles.first().map(String::as_str) {
            Some("admin") => admin.as_str(),
            Some(_) => drone.credential.as_str(),
            None => "",
        };
        let (status, answer) = reader.call(&line, &nobodys, credential, sent()).await;
        let detail = answer["detail"].as_str().unwrap_or_default();
        assert!(!detail.contains("does not match the schema") && status != 400, "{line}: {answer}");
        assert!(status < 500, "{line}: {answer}");
        if !operation.roles.is_empty() {
            assert_eq!(reader.call(&line, &nobodys, "", sent()).await.0, 401, "{line}");
            assert_eq!(reader.call(&line, &nobodys, "nonsense", sent()).await.0, 401, "{line}");
        }
    }
    assert!(reader.faults.is_empty(), "{}", reader.faults.join("\n"));
}
