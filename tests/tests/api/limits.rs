//! Requests that are too large, incomplete or slow. Tests always wait for the other end to close, never for a
//! time.

use crate::refused;
use swarm_common::wire::drone::Outcome;
use swarm_daemon::config::{Size, Span};
use swarm_orchestrator::config::Config;
use swarm_tests::api::{Swarm, limit_plan};

/// Limits that are short enough for a test and long enough for a busy machine.
fn impatient(config: &mut Config) {
    config.limits.header_timeout = Span::from_secs(5);
    config.limits.body_idle_timeout = Span::from_secs(2);
}

#[tokio::test]
async fn a_body_larger_than_its_route_takes_is_refused_before_it_comes() {
    let swarm = Swarm::start().await.unwrap();
    let mut raw = swarm.raw().await.unwrap();
    let head = format!(
        "POST /api/v1/runs HTTP/1.1\r\nhost: s\r\nauthorization: Bearer {}\r\ncontent-length: 99999999\r\n\r\n",
        swarm.admin_token()
    );
    raw.send(head).await.unwrap();
    let answer = raw.answer(false).await.unwrap();
    assert_eq!(answer.status, 413);
    raw.closed().await.unwrap();
}

#[tokio::test]
async fn who_goes_on_sending_a_refused_body_still_reads_why_it_was_refused() {
    let plain = Swarm::start().await.unwrap();
    let mut raw = plain.raw().await.unwrap();
    let head = format!(
        "POST /api/v1/runs HTTP/1.1\r\nhost: s\r\nauthorization: Bearer {}\r\ncontent-length: 99999999\r\n\r\n",
        plain.admin_token()
    );
    raw.send(head).await.unwrap();
    for _ in 0..64 {
        raw.send(vec![b' '; 256 * 1024]).await.unwrap();
    }
    let problem = raw.answer(false).await.unwrap().json().unwrap();
    assert_eq!(problem["type"], "/problems/too-large", "{problem}");
}

#[tokio::test]
async fn a_body_that_does_not_tell_its_length_is_cut_off_at_the_limit() {
    let swarm = Swarm::start().await.unwrap();
    let mut raw = swarm.raw().await.unwrap();
    let head = format!(
        "POST /api/v1/runs HTTP/1.1\r\nhost: s\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n",
        swarm.admin_token()
    );
    raw.send(head).await.unwrap();
    let piece = format!("{:x}\r\n{}\r\n", 64 * 1024, " ".repeat(64 * 1024));
    for _ in 0..17 {
        // The other end may close before everything is sent.
        if raw.send(&piece).await.is_err() {
            break;
        }
    }
    assert_eq!(raw.answer(false).await.unwrap().status, 413);
    raw.closed().await.unwrap();
}

#[tokio::test]
async fn a_plan_may_be_larger_than_other_requests_but_not_endless() {
    let swarm = Swarm::start_with(|config| config.limits.plan_size = Size::from_mib(2)).await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    swarm.run().await.unwrap();
    let attempt = drone.work().await.unwrap().attempt;
    let too_large = Outcome::Planned { plan: limit_plan(2 << 20) };
    assert_eq!(refused(drone.report(attempt, too_large).await), 413);
}

#[tokio::test]
async fn a_report_of_endless_strings_is_refused_while_it_comes_and_a_malformed_one_is_told_so() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let bearer = format!("Bearer {}", drone.credential);
    let headers = [("authorization", bearer.as_str())];
    let begun = r#"{"usage":{"wall_ms":0,"cpu_ms":0,"peak_memory_bytes":0},"outcome":{"kind":"built","#;
    for (body, status, kind) in [
        (format!("{begun}\"x\":[{}", r#""","#.repeat(1_600_000)), 422, "/problems/beyond-limit"),
        (format!("{begun}\"artifacts\":7}}}}{}", " ".repeat(4 << 20)), 422, "/problems/invalid"),
        (format!("{begun}]{}", " ".repeat(4 << 20)), 400, "/problems/bad-request"),
        (begun.to_owned(), 400, "/problems/bad-request"),
    ] {
        let mut raw = swarm.raw().await.unwrap();
        let answer = raw.ask("POST /api/v1/attempts/a1/report", &headers, body.as_bytes()).await.unwrap();
        let problem = answer.json().unwrap();
        assert_eq!((answer.status, problem["type"].as_str()), (status, Some(kind)), "{problem}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_closes_the_connection() {
    let swarm = Swarm::start_with(impatient).await.unwrap();
    let mut halves = Vec::new();
    for half in ["", "GET /healthz HT", "GET /healthz HTTP/1.1\r\nhost: s\r\nx-half: "] {
        let mut raw = swarm.raw().await.unwrap();
        raw.send(half).await.unwrap();
        halves.push(raw);
    }
    for mut raw in halves {
        raw.closed().await.unwrap();
    }
}

// fault: 10
#[tokio::test]
async fn a_body_that_does_not_come_is_told_so_and_the_connection_closed() {
    let swarm = Swarm::start_with(impatient).await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    let mut slow = Vec::new();
    for (path, credential) in [
        ("POST /api/v1/enrol", String::new()),
        ("POST /api/v1/runs", swarm.admin_token()),
        ("POST /api/v1/claim", drone.credential.clone()),
    ] {
        let mut raw = swarm.raw().await.unwrap();
        let head = format!(
            "{path} HTTP/1.1\r\nhost: s\r\nauthorization: Bearer {credential}\r\ncontent-length: 50\r\n\r\n{{"
        );
        raw.send(head).await.unwrap();
        slow.push((path, raw));
    }
    for (path, mut raw) in slow {
        assert_eq!(raw.answer(false).await.unwrap().status, 408, "{path}");
        raw.closed().await.unwrap();
    }
}

// fault: 9
#[tokio::test]
async fn many_half_requests_keep_nobody_else_from_being_served() {
    let swarm = Swarm::start_with(|config| {
        impatient(config);
        config.limits.connections = 32;
    })
    .await
    .unwrap();
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut raw = swarm.raw().await.unwrap();
        raw.send("GET /healthz HTTP/1.1\r\nx: ").await.unwrap();
        slow.push(raw);
    }
    swarm.admin.status().await.unwrap();
    for mut raw in slow {
        raw.closed().await.unwrap();
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let swarm = Swarm::start().await.unwrap();
    let mut raw = swarm.raw().await.unwrap();
    let endless = format!("GET /healthz HTTP/1.1\r\nhost: s\r\nx: {}", "y".repeat(4 << 20));
    // The other end answers or closes long before everything has arrived.
    if raw.send(endless).await.is_ok() {
        assert!(raw.answer(false).await.is_ok_and(|answer| answer.status == 431));
    }
    raw.closed().await.unwrap();
    let mut raw = swarm.raw().await.unwrap();
    raw.send(format!("GET /healthz HTTP/1.1\r\nhost: s\r\n{}\r\n", "x: y\r\n".repeat(200))).await.unwrap();
    assert_eq!(raw.answer(false).await.unwrap().status, 431);
}
