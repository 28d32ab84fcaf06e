//! Conditional requests and the Host header according to RFC 9110 (section 13) and RFC 9112 (section 3.2),
//! over both paths for published files: the lane, and the router, which handles requests with a query.

use crate::serving::published;
use std::{fs, os::unix::fs::symlink};
use swarm_tests::api::{Answer, Swarm};

const OLD: &str = "Thu, 01 Jan 1970 00:00:00 GMT";
const LATE: &str = "Fri, 01 Jan 2100 00:00:00 GMT";

/// The responses to a request with these header lines, over each path.
async fn both(swarm: &Swarm, method: &str, file: &str, version: &str, lines: &str) -> [Answer; 2] {
    let mut answers = Vec::new();
    for query in ["", "?"] {
        let mut raw = swarm.raw().await.unwrap();
        raw.send(format!("{method} /binhost/desk/{file}{query} {version}\r\n{lines}\r\n")).await.unwrap();
        answers.push(raw.answer(method == "HEAD").await.unwrap());
    }
    answers.try_into().unwrap()
}

#[tokio::test]
async fn conditions_are_judged_alike_on_both_ways_and_as_the_standard_says() {
    let (swarm, _dir) = published(|_| {}).await;
    for (file, is_weak) in [("Packages", true), ("a/b/small-1-1.gpkg.tar", false)] {
        let [plain, other] = both(&swarm, "GET", file, "HTTP/1.1", "host: s\r\n").await;
        let (tag, date) = (plain.header("etag"), plain.header("last-modified"));
        assert_eq!((tag, date), (other.header("etag"), other.header("last-modified")));
        assert_eq!(tag.starts_with("W/"), is_weak, "{tag}");
        let strong = tag.trim_start_matches("W/");
        // Strong comparison never matches a weak entity tag.
        let (same, part) = if is_weak { (412, 200) } else { (200, 206) };
        for (method, lines, status) in [
            ("GET", format!("if-none-match: {strong}"), 304),
            ("HEAD", format!("if-none-match: {strong}"), 304),
            ("GET", format!("if-none-match: W/{strong}"), 304),
            ("GET", "if-none-match: *".into(), 304),
            ("GET", format!("if-none-match: \"x\", W/\"y\" , {tag}"), 304),
            ("GET", format!("if-none-match: \"x\"\r\nif-none-match: {tag}"), 304),
            ("GET", "if-none-match: \"x\"".into(), 200),
            ("GET", format!("if-none-match: {}", strong.trim_matches('"')), 200),
            ("GET", format!("if-modified-since: {date}"), 304),
            ("GET", format!("if-modified-since: {OLD}"), 200),
            // The entity tag takes precedence.
            ("GET", format!("if-none-match: \"x\"\r\nif-modified-since: {LATE}"), 200),
            ("GET", format!("if-modified-since: {LATE}\r\nif-none-match: \"\u{fc}\""), 200),
            ("GET", format!("if-none-match: {tag}\r\nif-modified-since: {OLD}"), 304),
            ("GET", format!("if-match: {strong}"), same),
            ("HEAD", format!("if-match: \"x\", {strong}"), same),
            ("GET", format!("if-match: W/{strong}"), 412),
            ("GET", "if-match: *".into(), 200),
            ("GET", "if-match: \"x\"".into(), 412),
            ("GET", format!("if-unmodified-since: {date}"), 200),
            ("GET", format!("if-unmodified-since: {OLD}"), 412),
            ("GET", "if-unmodified-since: yesterday".into(), 200),
            ("GET", format!("if-match: *\r\nif-unmodified-since: {OLD}"), 200),
            ("GET", format!("if-match: \"x\"\r\nif-none-match: {tag}"), 412),
            ("GET", "range: bytes=1-2".into(), 206),
            ("HEAD", "range: bytes=1-2".into(), 200),
            ("GET", format!("range: bytes=1-2\r\nif-range: {strong}"), part),
            ("GET", format!("range: bytes=1-2\r\nif-range: W/{strong}"), 200),
            ("GET", "range: bytes=1-2\r\nif-range: \"x\"".into(), 200),
            ("GET", format!("range: bytes=1-2\r\nif-range: {date}"), 206),
            ("GET", format!("range: bytes=1-2\r\nif-range: {OLD}"), 200),
            ("GET", format!("range: bytes=1-2\r\nif-none-match: {tag}"), 304),
        ] {
            let [lane, router] =
                both(&swarm, method, file, "HTTP/1.1", &format!("host: s\r\n{lines}\r\n")).await;
            assert_eq!((lane.status, router.status), (status, status), "{method} {file} {lines}");
            assert_eq!((lane.header("etag"), router.header("etag")), (tag, tag), "{method} {file} {lines}");
            let length = match (method, status) {
                ("HEAD", _) | (_, 304 | 412) => 0,
                (_, 206) => 2,
                _ => plain.body.len(),
            };
            assert_eq!((lane.body.len(), router.body.len()), (length, length), "{method} {file} {lines}");
        }
    }
}

#[tokio::test]
async fn a_request_says_one_host() {
    let (swarm, _dir) = published(|_| {}).await;
    for (version, lines, status) in [
        ("HTTP/1.1", "host: s\r\n", 200),
        ("HTTP/1.1", "Host: [2001:db8::1]:8100\r\n", 200),
        ("HTTP/1.1", "host:\r\n", 200),
        ("HTTP/1.1", "", 400),
        ("HTTP/1.1", "host: s\r\nhost: t\r\n", 400),
        ("HTTP/1.1", "host: s\r\nHOST: s\r\n", 400),
        ("HTTP/1.1", "host: a b\r\n", 400),
        ("HTTP/1.1", "host: a/b\r\n", 400),
        ("HTTP/1.1", "host: me@s\r\n", 400),
        ("HTTP/1.1", "host: \u{fc}\r\n", 400),
        ("HTTP/1.0", "", 200),
        ("HTTP/1.0", "host: s\r\nhost: s\r\n", 400),
    ] {
        let [lane, router] = both(&swarm, "GET", "Packages", version, lines).await;
        assert_eq!((lane.status, router.status), (status, status), "{version} {lines:?}");
        let mut api = swarm.raw().await.unwrap();
        api.send(format!("GET /api/v1/key {version}\r\n{lines}\r\n")).await.unwrap();
        assert_eq!(api.answer(false).await.unwrap().status, status, "{version} {lines:?}");
    }
}

#[tokio::test]
async fn no_link_in_the_published_tree_leads_out_of_it() {
    let (swarm, dir) = published(|_| {}).await;
    let secret = swarm.state_dir().join("admin.token");
    symlink(&secret, dir.join("a/b/absolute-1-1.gpkg.tar")).unwrap();
    symlink("../../../../../admin.token", dir.join("a/b/relative-1-1.gpkg.tar")).unwrap();
    symlink(swarm.state_dir(), dir.join("state")).unwrap();
    fs::write(swarm.state_dir().join("x-1-1.gpkg.tar"), "out").unwrap();
    symlink("small-1-1.gpkg.tar", dir.join("a/b/within-1-1.gpkg.tar")).unwrap();
    assert!(dir.join("a/b/relative-1-1.gpkg.tar").exists(), "the link leads to the token");
    for (file, status) in [
        ("a/b/absolute-1-1.gpkg.tar", 404),
        ("a/b/relative-1-1.gpkg.tar", 404),
        ("state/x-1-1.gpkg.tar", 404),
        ("a/b/within-1-1.gpkg.tar", 200),
    ] {
        let answers = both(&swarm, "GET", file, "HTTP/1.1", "host: s\r\n").await;
        assert_eq!(answers.map(|answer| answer.status), [status; 2], "{file}");
    }
    // A file that was served and is then replaced by a link is not served from memory either.
    let small = dir.join("a/b/small-1-1.gpkg.tar");
    assert_eq!(both(&swarm, "GET", "a/b/small-1-1.gpkg.tar", "HTTP/1.1", "host: s\r\n").await[0].status, 200);
    fs::remove_file(&small).unwrap();
    symlink(&secret, &small).unwrap();
    let answers = both(&swarm, "GET", "a/b/small-1-1.gpkg.tar", "HTTP/1.1", "host: s\r\n").await;
    assert_eq!(answers.map(|answer| answer.status), [404; 2]);
}
