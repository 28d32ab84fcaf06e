//! What Prometheus reads, checked by Prometheus' own promtool, and the alerts and the dashboard made of it.

use serde_json::Value;
use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Command, Output, Stdio},
};
use swarm_tests::{
    api::{Answer, Swarm},
    tidy::top,
};

/// Runs the real promtool. If it is not available, `scripts/promtool` says what is missing.
fn promtool(arguments: &[&str], input: &str) -> Output {
    let found = Command::new(top().join("scripts/promtool")).output().unwrap();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let program = String::from_utf8(found.stdout).unwrap();
    let mut child = Command::new(program.trim())
        .args(arguments)
        .current_dir(top().join("examples/prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[track_caller]
fn content(output: &Output) {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
}

async fn scrape(swarm: &Swarm, token: Option<&str>) -> Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer.iter().map(|b| ("authorization", b.as_str())).collect();
    swarm.raw().await.unwrap().ask("GET /metrics", &headers, b"").await.unwrap()
}

fn metrics_token(swarm: &Swarm) -> String {
    std::fs::read_to_string(swarm.state_dir().join("metrics.token")).unwrap().trim().to_owned()
}

// fault: 46
#[tokio::test]
async fn the_state_is_told_in_numbers_that_promtool_has_no_fault_to_find_with() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    let token = metrics_token(&swarm);
    let answer = scrape(&swarm, Some(&token)).await;
    assert_eq!((answer.status, answer.header("content-type").split(';').next()), (200, Some("text/plain")));
    let text = String::from_utf8(answer.body).unwrap();
    for line in [
        "swarm_build_info{version=\"0.1.0\"} 1",
        "swarm_packages{state=\"needed\"} 1",
        "swarm_drones{state=\"online\"} 1",
        "swarm_runs{state=\"building\"} 1",
        "swarm_connections_turned_away_total{of=\"stranger\"} 0",
        "swarm_pause_until_timestamp_seconds 0",
        "swarm_schedules_overdue 0",
        "swarm_engine_commands 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    // A second connection is opened if the first one is still in use.
    let drones = text.lines().find_map(|l| l.strip_prefix("swarm_connections{of=\"drone\"} ")).unwrap();
    assert_ne!(drones, "0");
    let age = text.lines().find_map(|l| l.strip_prefix("swarm_oldest_needed_age_seconds ")).unwrap();
    assert!((0.0..60.0).contains(&age.parse::<f64>().unwrap()), "{age}");
    content(&promtool(&["check", "metrics"], &text));

    drone.build().await.unwrap();
    crate::binhost::generation(&swarm, 1).await;
    let text = String::from_utf8(scrape(&swarm, Some(&token)).await.body).unwrap();
    assert!(text.contains("swarm_last_success_timestamp_seconds{profile=\"desk\"} 1"), "{text}");
    let value = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
    assert!(value("swarm_artifact_bytes ").parse::<u64>().unwrap() > 1000);
    assert_eq!(value("swarm_generation{profile=\"desk\"} "), "1");
    assert_eq!(value("swarm_packages{state=\"needed\"} "), "0");
    content(&promtool(&["check", "metrics"], &text));
}

#[tokio::test]
async fn only_the_metrics_token_and_the_admins_read_metrics_and_the_former_nothing_else() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let (token, admin) = (metrics_token(&swarm), swarm.admin_token());
    for (credential, status) in [
        (None, 401),
        (Some("x"), 401),
        (Some(&*drone.credential), 401),
        (Some(&*token), 200),
        (Some(&*admin), 200),
    ] {
        assert_eq!(scrape(&swarm, credential).await.status, status, "{credential:?}");
    }
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let answer = swarm.raw().await.unwrap().ask("GET /api/v1/status", &headers, b"").await.unwrap();
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn the_alerts_hold_their_tests_and_they_and_the_dashboard_ask_for_nothing_that_is_not_told() {
    content(&promtool(&["check", "rules", "alerts.yml"], ""));
    content(&promtool(&["test", "rules", "alerts_test.yml"], ""));
    let swarm = Swarm::start_with(|config| {
        let sink = swarm_daemon::config::parse("s".as_ref(), "url = \"ntfy://127.0.0.1:1/x\"").unwrap();
        config.notify.sink.push(sink);
    });
    let swarm = swarm.await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    // Its approval is a concern, and `swarm_concern` exists.
    swarm.enrol("slow", false).await.unwrap();
    drone.build().await.unwrap();
    let answer = scrape(&swarm, Some(&metrics_token(&swarm))).await;
    let text = String::from_utf8(answer.body).unwrap();
    let exported: BTreeSet<&str> =
        text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let alerts = std::fs::read_to_string(top().join("examples/prometheus/alerts.yml")).unwrap();
    let panels = queries(&dashboard()).join("\n");
    for (text, least) in [(alerts, 8), (panels, 15)] {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let asked: BTreeSet<&str> = words.filter(|word| word.starts_with("swarm_")).collect();
        assert!(asked.len() >= least, "{asked:?}");
        assert!(asked.is_subset(&exported), "not exported: {:?}", asked.difference(&exported));
    }
}

fn dashboard() -> Value {
    let text = std::fs::read_to_string(top().join("examples/grafana/build-swarm.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// All that the dashboard asks Prometheus for: of its panels, annotations and variables.
fn queries(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let own = fields.iter().filter(|(name, _)| ["expr", "query"].contains(&name.as_str()));
            let own = own.filter_map(|(_, text)| Some(text.as_str()?.to_owned()));
            own.chain(fields.values().flat_map(queries)).collect()
        }
        Value::Array(items) => items.iter().flat_map(queries).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn promtool_reads_each_query_of_the_dashboard_and_no_panels_overlap() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let rules: String = queries(&dashboard["panels"])
        .iter()
        .map(|query| format!("      - record: x\n        expr: {}\n", serde_json::json!(query)))
        .collect();
    assert!(rules.lines().count() >= 2 * panels.len());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yml");
    std::fs::write(&file, format!("groups:\n  - name: x\n    rules:\n{rules}")).unwrap();
    content(&promtool(&["check", "rules", "--lint=none", file.to_str().unwrap()], ""));

    let mut taken = BTreeSet::new();
    for panel in panels {
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            assert!(x < 24, "{}: wider than the grid", panel["title"]);
            assert!((at("y")..at("y") + at("h")).all(|y| taken.insert((x, y))), "{}", panel["title"]);
        }
    }
}
