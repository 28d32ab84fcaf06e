//! The two paths for published files over plain HTTP: the lane, and the HTTP library, which handles requests
//! with a query. Clients cannot distinguish them.

use crate::{patient, stops_at_once};
use std::{fs, path::PathBuf};
use swarm_daemon::config::Span;
use swarm_orchestrator::config::Config;
use swarm_tests::api::{Answer, PROFILE, Swarm, name};

/// More bytes than fit into the sockets' buffers.
const LARGE: usize = 24_000_000;

/// A swarm with a published index of ten bytes, a small package and a large one, which are in the returned
/// folder.
pub async fn published(change: impl FnOnce(&mut Config)) -> (Swarm, PathBuf) {
    let swarm = Swarm::start_with(change).await.unwrap();
    swarm.profile().await.unwrap();
    let dir = swarm.app.binhosts.stable(&name(PROFILE));
    fs::create_dir_all(dir.join("a/b")).unwrap();
    fs::write(dir.join("Packages"), b"0123456789").unwrap();
    fs::write(dir.join("a/b/small-1-1.gpkg.tar"), vec![7; 5000]).unwrap();
    let large: Vec<u8> = (0..LARGE).map(|n| (n / 7) as u8).collect();
    fs::write(dir.join("a/b/large-1-1.gpkg.tar"), large).unwrap();
    (swarm, dir)
}

/// The parts of a response that a client sees.
fn seen(answer: &Answer) -> (u16, Vec<String>, &[u8]) {
    // The length of a 304 response means nothing, and the library sends a wrong one.
    let length = if answer.status == 304 { "" } else { "content-length" };
    let names = [length, "content-range", "content-type", "cache-control", "last-modified", "etag"];
    let mut headers: Vec<String> = names.map(|name| format!("{name}: {}", answer.header(name))).to_vec();
    headers.push(format!("{} {}", answer.header("accept-ranges"), answer.header("date").len()));
    (answer.status, headers, &answer.body)
}

#[tokio::test]
async fn both_ways_give_the_same_answers() {
    let (swarm, _dir) = published(|_| {}).await;
    let epoch = "Thu, 01 Jan 1970 00:00:00 GMT";
    let (mut short, mut long) = (swarm.raw().await.unwrap(), swarm.raw().await.unwrap());
    for file in
        ["Packages", "a/b/small-1-1.gpkg.tar", "a/b/large-1-1.gpkg.tar", "a/b/none-1-1.gpkg.tar", "x", ""]
    {
        for headers in [
            &[][..],
            &[("range", "bytes=3-6")],
            &[("range", "bytes=-4")],
            &[("range", "bytes=4999999999-")],
            &[("range", "bytes=3-6"), ("if-range", epoch)],
            &[("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT")],
            &[("if-modified-since", epoch), ("user-agent", "Gentoo Portage/3")],
        ] {
            for method in ["GET", "HEAD"] {
                let line = format!("{method} /binhost/desk/{file}");
                let one = short.ask(&line, headers, b"").await.unwrap();
                let other = long.ask(&format!("{line}?"), headers, b"").await.unwrap();
                assert!(
                    seen(&one) == seen(&other),
                    "{line} {headers:?}: {:?} {:?}",
                    one.headers,
                    other.headers
                );
                // Only requests through the library get request IDs.
                assert!(one.header("x-request-id").is_empty() && !other.header("x-request-id").is_empty());
            }
        }
    }
}

#[tokio::test]
async fn a_connection_may_ask_for_packages_and_for_the_api_in_turn_and_ahead() {
    let (swarm, _dir) = published(|_| {}).await;
    let mut raw = swarm.raw().await.unwrap();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: s\r\n\r\n");
    let index = "/binhost/desk/Packages";
    raw.send([get(index), get(index), get("/healthz"), get(index)].concat()).await.unwrap();
    for expected in [Some(&b"0123456789"[..]), Some(b"0123456789"), None, Some(b"0123456789")] {
        let answer = raw.answer(false).await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(expected.is_none_or(|bytes| bytes == answer.body));
    }
    raw.send(format!("GET {index} HTTP/1.1\r\nhost: s\r\nconnection: close\r\n\r\n")).await.unwrap();
    assert_eq!(raw.answer(false).await.unwrap().body, b"0123456789");
    raw.closed().await.unwrap();
}

#[tokio::test]
async fn a_kept_connection_sees_an_index_as_soon_as_it_is_renamed_into_place() {
    let (swarm, dir) = published(|_| {}).await;
    let mut raw = swarm.raw().await.unwrap();
    for n in 0..200 {
        let text = format!("{n:010}");
        fs::write(dir.join("Packages.new"), &text).unwrap();
        fs::rename(dir.join("Packages.new"), dir.join("Packages")).unwrap();
        for _ in 0..2 {
            let answer = raw.ask("GET /binhost/desk/Packages", &[], b"").await.unwrap();
            assert_eq!(answer.body, text.as_bytes());
        }
    }
}

#[tokio::test]
async fn a_silent_connection_is_closed_and_one_that_waits_does_not_hold_up_a_stop() {
    let (swarm, _dir) = published(|config| config.limits.header_timeout = Span::from_secs(3)).await;
    let mut silent = Vec::new();
    for half in ["GET /binhost/", "GET /binhost/desk/Packages HTTP/1.1\r\nhost: s\r\nx-half: "] {
        let mut raw = swarm.raw().await.unwrap();
        raw.send(half).await.unwrap();
        silent.push(raw);
    }
    for mut raw in silent {
        raw.closed().await.unwrap();
    }
    let (swarm, _dir) = published(patient).await;
    let mut raw = swarm.raw().await.unwrap();
    raw.ask("GET /binhost/desk/Packages", &[], b"").await.unwrap();
    stops_at_once(swarm).await;
    raw.closed().await.unwrap();
}

#[tokio::test]
async fn a_download_under_way_ends_before_the_orchestrator_stops() {
    let (swarm, _dir) = published(|_| {}).await;
    let mut raw = swarm.raw().await.unwrap();
    raw.send("GET /binhost/desk/a/b/large-1-1.gpkg.tar HTTP/1.1\r\nhost: s\r\n\r\n").await.unwrap();
    // Earlier requests on the same threads have been answered, so this one has begun and its socket is full.
    let mut other = swarm.raw().await.unwrap();
    other.ask("GET /binhost/desk/Packages", &[], b"").await.unwrap();
    raw.begun().await.unwrap();
    let (stopped, answer) = tokio::join!(swarm.stop(), raw.answer(false));
    stopped.unwrap();
    let body = answer.unwrap().body;
    assert!(body.len() == LARGE && body.iter().enumerate().all(|(n, byte)| *byte == (n / 7) as u8));
}

#[tokio::test]
async fn a_file_that_is_cut_off_breaks_the_answer_off() {
    let (swarm, dir) = published(|_| {}).await;
    for path in ["a/b/large-1-1.gpkg.tar", "a/b/large-1-1.gpkg.tar?"] {
        let file = fs::File::options().write(true).open(dir.join("a/b/large-1-1.gpkg.tar")).unwrap();
        file.set_len(LARGE as u64).unwrap();
        let mut raw = swarm.raw().await.unwrap();
        raw.send(format!("GET /binhost/desk/{path} HTTP/1.1\r\nhost: s\r\n\r\n")).await.unwrap();
        raw.begun().await.unwrap();
        file.set_len(0).unwrap();
        let error = raw.answer(false).await.unwrap_err();
        assert!(error.to_string().contains("broke off"), "{path}: {error:#}");
    }
}

#[tokio::test]
async fn clients_that_take_nothing_do_not_hold_up_others() {
    let (swarm, _dir) = published(|_| {}).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut raw = swarm.raw().await.unwrap();
        raw.send("GET /binhost/desk/a/b/large-1-1.gpkg.tar HTTP/1.1\r\nhost: s\r\n\r\n").await.unwrap();
        raw.begun().await.unwrap();
        slow.push(raw);
    }
    let mut raw = swarm.raw().await.unwrap();
    assert_eq!(raw.ask("GET /binhost/desk/Packages", &[], b"").await.unwrap().body, b"0123456789");
    assert_eq!(swarm.admin.artifacts(None).await.unwrap(), []);
}
