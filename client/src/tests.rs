//! Tests the client against sockets that send fixed bytes: how it handles responses that a correct
//! orchestrator never sends. Correct responses are tested with the real orchestrator.

use super::*;
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use swarm_common::{
    digest::Digest, id::AttemptId, secret::Secret, wire::drone::ClaimRequest, wire::view::KeyView,
};

/// A server that answers one request with `answer`. The handle returns the request that it received.
fn answers_once(answer: String) -> (Url, JoinHandle<String>) {
    let (url, received) = answers_in_turn(vec![answer]);
    (url, std::thread::spawn(move || received.recv().unwrap()))
}

/// A server that answers one request with each of `answers` and then refuses connections. An empty answer
/// closes the connection without a response. The receiver gets the requests.
fn answers_in_turn(answers: Vec<String>) -> (Url, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let (received, requests) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut socket, _) = listener.accept().unwrap();
            received.send(request(&mut socket)).unwrap();
            socket.write_all(answer.as_bytes()).unwrap();
        }
    });
    (url, requests)
}

fn request(socket: &mut TcpStream) -> String {
    let mut got = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let n = socket.read(&mut piece).unwrap();
        got.extend_from_slice(&piece[..n]);
        let text = String::from_utf8_lossy(&got);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length =
            head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap_or(0);
        if n == 0 || body.len() >= length {
            return String::from_utf8(got).unwrap();
        }
    }
}

fn answer(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn key_json() -> String {
    serde_json::to_string(&KeyView { fingerprint: "AB".into(), public_key: "k".into(), nix: Vec::new() })
        .unwrap()
}

fn nobody() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap()
}

fn client(urls: &[Url]) -> Client {
    Client::new(urls, Some(Secret::new("s3cret"))).unwrap()
}

#[tokio::test]
async fn the_next_address_is_asked_when_one_is_silent_and_is_asked_first_from_then_on() {
    let (url, sent) = answers_once(answer("200 OK", &key_json()));
    let client = client(&[nobody(), url.clone()]);
    assert_eq!(client.key().await.unwrap().fingerprint, "AB");
    assert_eq!(client.address(), &url);
    let sent = sent.join().unwrap();
    assert!(sent.starts_with("GET /api/v1/key HTTP/1.1\r\n"), "{sent}");
    assert!(sent.contains("authorization: Bearer s3cret"), "{sent}");
    assert!(sent.contains("x-request-id: "), "{sent}");
}

#[tokio::test]
async fn a_standby_and_a_proxy_that_does_not_reach_its_own_are_passed_over() {
    for status in ["503 Service Unavailable", "502 Bad Gateway", "504 Gateway Time-out"] {
        let (standby, _) = answers_once(answer(status, ""));
        let (leader, _) = answers_once(answer("200 OK", &key_json()));
        assert!(client(&[standby, leader]).key().await.is_ok(), "{status}");
    }
}

#[tokio::test]
async fn the_leader_that_a_standby_names_is_asked_next_if_it_is_one_of_ours() {
    let (leader, _) = answers_once(answer("200 OK", &key_json()));
    let hint = |to: &Url| answer(&format!("503 Service Unavailable\r\nlocation: {to}"), "");
    let (standby, _) = answers_once(hint(&leader));
    let (other, not_asked) = answers_once(answer("200 OK", "{}"));
    assert!(client(&[standby, other, leader]).key().await.is_ok());
    assert!(!not_asked.is_finished());

    let (stranger, not_asked) = answers_once(answer("200 OK", &key_json()));
    let (standby, _) = answers_once(hint(&stranger));
    assert_eq!(client(&[standby, nobody()]).key().await.unwrap_err().status(), None);
    assert!(!not_asked.is_finished());
}

#[tokio::test]
async fn when_nobody_answers_every_address_is_named() {
    let urls = [nobody(), nobody()];
    let error = client(&urls).status().await.unwrap_err();
    let message = error.to_string();
    assert!(error.is_transient());
    for url in urls {
        assert!(message.contains(url.as_str().trim_end_matches('/')), "{message}");
    }
    assert!(message.contains("Connection refused"), "{message}");
}

#[tokio::test]
async fn a_problem_document_becomes_a_problem() {
    let body = r#"{"type":"/problems/no-such-run","title":"There is no such run","status":404,"detail":"r9 was never started"}"#;
    let (url, _) = answers_once(answer("404 Not Found\r\ncontent-type: application/problem+json", body));
    let error = client(&[url]).status().await.unwrap_err();
    assert_eq!(error.status(), Some(404));
    assert_eq!(error.to_string(), "r9 was never started");
}

#[tokio::test]
async fn an_answer_of_something_else_is_a_protocol_error_that_shows_it() {
    for (head, body, transient, expected) in [
        ("200 OK", "<html>router login</html>", false, "has another version"),
        (
            "404 Not Found",
            "nginx",
            false,
            "HTTP 404 from a proxy or another server in between; check the address",
        ),
        ("401 Unauthorized", "log in", false, "HTTP 401 from a proxy or another server in between: `log in`"),
        ("413 Request Entity Too Large", "nginx", false, "client_max_body_size"),
        (
            "502 Bad Gateway",
            "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<hr><center>nginx/1.22.1</center>\r\n",
            true,
            "or timed out: `502 Bad Gateway nginx/1.22.1`",
        ),
        ("504 Gateway Time-out", "", true, "or timed out"),
        // The media type alone makes this a problem document.
        (
            "503 Service Unavailable",
            r#"{"type":"x","title":"x","status":503,"detail":"x"}"#,
            true,
            "HTTP 503",
        ),
    ] {
        let (url, _) = answers_once(answer(head, body));
        let error = client(&[url]).status().await.unwrap_err();
        assert!(matches!(error, ClientError::Protocol { .. }) && error.status().is_none(), "{error:?}");
        assert_eq!((error.is_transient(), error.is_passing()), (transient, true), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_our_credential() {
    let (target, _thread) = answers_once(answer("200 OK", &key_json()));
    let (url, _) = answers_once(answer(&format!("307 Temporary Redirect\r\nlocation: {target}"), ""));
    let error = client(&[url]).key().await.unwrap_err();
    assert!(error.to_string().contains("redirected to"), "{error}");
}

#[tokio::test]
async fn bytes_that_do_not_fit_on_tell_where_to_go_on() {
    let attempt = AttemptId(3);
    let conflict = || answer("409 Conflict\r\nupload-offset: 41", "");
    let (url, sent) = answers_once(conflict());
    let got = client(&[url]).append_log(attempt, 99, Bytes::from_static(b"tail")).await.unwrap();
    assert_eq!(got, LogAppend::StandsAt(41));
    assert!(sent.join().unwrap().starts_with("POST /api/v1/attempts/a3/log?offset=99 "));

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    std::fs::write(&file, b"0123456789").unwrap();
    let (url, sent) = answers_once(conflict());
    let got = client(&[url]).upload_file(attempt, Digest::of(b""), &file, 4).await.unwrap();
    assert_eq!((got.offset, got.verified), (41, false));
    let sent = sent.join().unwrap();
    assert!(sent.contains("upload-offset: 4\r\n") && sent.contains("content-length: 6\r\n"), "{sent}");
    assert!(sent.ends_with("\r\n\r\n456789"), "{sent}");
}

#[tokio::test]
async fn a_change_that_may_have_arrived_is_repeated_only_if_that_is_harmless() {
    // The first orchestrator reads the request and closes the connection without a response.
    let claim = ClaimRequest { key: "k".into(), wait_ms: 0, memory_free_bytes: 0 };
    let (dead, _) = answers_once(String::new());
    let (alive, _) = answers_once(answer("200 OK", r#"{"assignment":null,"reason":"idle"}"#));
    assert!(client(&[dead, alive]).claim(&claim).await.is_ok());

    let (dead, _) = answers_once(String::new());
    let enrol = swarm_common::wire::drone::EnrolRequest {
        credential_hash: None,
        token: "t".into(),
        name: "d".parse().unwrap(),
        facts: swarm_common::wire::drone::DroneFacts::default(),
    };
    let error = client(&[dead.clone(), nobody()]).enrol(&enrol).await.unwrap_err();
    let ClientError::Unreachable { tried } = error else { panic!("{error:?}") };
    assert_eq!(tried.iter().map(|t| &t.address).collect::<Vec<_>>(), [&dead]);
}

#[tokio::test]
async fn what_is_sent_again_depends_on_the_answer_and_on_what_a_repetition_would_do() {
    // Columns: the first answer, and whether a read and an enrolment with only a token are sent again after
    // it.
    let table = [
        ("", true, false),
        ("408 Request Timeout", true, false),
        ("425 Too Early", true, false),
        ("429 Too Many Requests", true, true),
        ("429 Too Many Requests\r\nretry-after: 1", true, true),
        ("429 Too Many Requests\r\nretry-after: 60", false, false),
        ("500 Internal Server Error", true, false),
        ("502 Bad Gateway", true, false),
        ("503 Service Unavailable", true, true),
        ("504 Gateway Timeout", true, false),
        ("200 OK", false, false),
        ("400 Bad Request", false, false),
        ("401 Unauthorized", false, false),
        ("404 Not Found", false, false),
        ("409 Conflict", false, false),
        ("413 Payload Too Large", false, false),
        ("501 Not Implemented", false, false),
        ("507 Insufficient Storage", false, false),
    ];
    let rows = table.map(|(head, read, enrolled)| async move {
        for patience in [Patience::PERSON, Patience::NONE] {
            let server = || {
                let first = if head.is_empty() { String::new() } else { answer(head, "{}") };
                let (url, requests) = answers_in_turn(vec![first, answer("200 OK", &key_json())]);
                (client(&[url]).with_patience(patience), requests)
            };
            let is_sent_again = |again| if again && patience != Patience::NONE { 2 } else { 1 };
            let (patient, requests) = server();
            let got = patient.key().await;
            assert_eq!(requests.try_iter().count(), is_sent_again(read), "{head}");
            assert_eq!(got.is_ok(), is_sent_again(read) == 2, "{head}: {got:?}");
            let (patient, requests) = server();
            let enrol = swarm_common::wire::drone::EnrolRequest {
                credential_hash: None,
                token: "t".into(),
                name: "d".parse().unwrap(),
                facts: swarm_common::wire::drone::DroneFacts::default(),
            };
            assert!(patient.enrol(&enrol).await.is_err());
            assert_eq!(requests.try_iter().count(), is_sent_again(enrolled), "{head}, enrolling");
        }
    });
    futures_util::future::join_all(rows).await;
}

#[tokio::test]
async fn a_request_is_sent_again_when_the_server_asks_and_within_bounds() {
    let busy = |head: &str| answer(&format!("503 Service Unavailable{head}"), "");
    let patient = |url| client(&[url]).with_patience(Patience::PERSON);
    let (url, requests) = answers_in_turn(vec![busy("\r\nretry-after: 2"), answer("200 OK", &key_json())]);
    let began = Instant::now();
    assert!(patient(url).key().await.is_ok());
    assert!(began.elapsed() >= Duration::from_secs(2) && requests.try_iter().count() == 2);

    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\nconnection: close\r\n\r\n{".to_owned();
    let (url, requests) = answers_in_turn(vec![cut, answer("200 OK", &key_json())]);
    assert!(patient(url).key().await.is_ok() && requests.try_iter().count() == 2);

    let (url, requests) = answers_in_turn(vec![busy(""); 20]);
    let error = patient(url).key().await.unwrap_err();
    assert!(error.is_transient() && (2..=5).contains(&requests.try_iter().count()), "{error}");
    let error = patient(nobody()).key().await.unwrap_err();
    assert!(matches!(&error, ClientError::Unreachable { tried } if tried.len() == 1), "{error}");
}

#[tokio::test]
async fn an_upload_that_was_cut_goes_on_where_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    std::fs::write(&file, b"0123456789").unwrap();
    let conflict = answer("409 Conflict\r\nupload-offset: 8", "");
    let (url, requests) = answers_in_turn(vec![String::new(), conflict]);
    let client = client(&[url]).with_patience(Patience::PERSON);
    let got = client.upload_file(AttemptId(3), Digest::of(b""), &file, 4).await.unwrap();
    assert_eq!((got.offset, got.verified), (8, false));
    let requests: Vec<String> = requests.try_iter().collect();
    let is_whole = |r: &String| r.contains("upload-offset: 4\r\n") && r.ends_with("\r\n\r\n456789");
    assert!(requests.len() == 2 && requests.iter().all(is_whole), "{requests:?}");
}
