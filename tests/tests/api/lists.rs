//! Pages of lists and entity tags.

use crate::key;
use serde_json::Value;
use swarm_tests::api::{Answer, Swarm, pebble, pebble_at, plan_of};

async fn get(swarm: &Swarm, target: &str, tag: &str) -> Answer {
    let bearer = format!("Bearer {}", &*swarm.admin_token());
    let mut headers = vec![("authorization", bearer.as_str()), ("if-none-match", tag)];
    headers.truncate(if tag.is_empty() { 1 } else { 2 });
    swarm.raw().await.unwrap().ask(&format!("GET /api/v1{target}"), &headers, b"").await.unwrap()
}

/// The ids of the rows.
fn ids(answer: &Answer) -> Vec<String> {
    let rows = answer.json().unwrap();
    let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(id).collect()
}

/// The query of the next page.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("link");
    Some(link.strip_prefix('<')?.strip_suffix(">; rel=\"next\"").unwrap().to_owned())
}

#[tokio::test]
async fn a_new_row_moves_no_other_to_another_page() {
    let swarm = Swarm::start().await.unwrap();
    swarm.profile().await.unwrap();
    for _ in 0..3 {
        let run = swarm.run().await.unwrap();
        swarm.admin.cancel_run(run, &key()).await.unwrap();
    }
    let first = get(&swarm, "/runs?limit=2", "").await;
    assert_eq!((first.status, ids(&first)), (200, vec!["r3".to_owned(), "r2".to_owned()]));
    let query = next(&first).unwrap();
    assert_eq!(query, "?limit=2&cursor=r2");
    swarm.run().await.unwrap();
    let second = get(&swarm, &format!("/runs{query}"), "").await;
    assert_eq!((ids(&second), next(&second)), (vec!["r1".to_owned()], None));

    let all = get(&swarm, "/runs", "").await;
    assert_eq!((ids(&all).len(), next(&all)), (4, None));
    let after_the_last = get(&swarm, "/runs?cursor=r1", "").await;
    assert_eq!((after_the_last.status, ids(&after_the_last)), (200, vec![]));
    for (query, said) in [("limit=0", "from 1"), ("limit=many", "from 1"), ("cursor=r9", "from the start")] {
        let answer = get(&swarm, &format!("/runs?{query}"), "").await;
        let detail = answer.json().unwrap()["detail"].to_string();
        assert!(answer.status == 400 && detail.contains(said), "{query}: {} {detail}", answer.status);
    }
}

#[tokio::test]
async fn the_next_page_keeps_the_filter_of_the_first() {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.profile().await.unwrap();
    swarm.run().await.unwrap();
    drone.bring_plan(plan_of(&[pebble(), pebble_at("1.10", "0")])).await.unwrap();
    let first = get(&swarm, "/packages?limit=1&name=pebble", "").await;
    let query = next(&first).unwrap();
    assert!(query.starts_with("?name=pebble&limit=1&cursor="), "{query}");
    let second = get(&swarm, &format!("/packages{query}"), "").await;
    assert_eq!((ids(&first).len(), ids(&second).len(), next(&second)), (1, 1, None));
    assert_ne!(ids(&first), ids(&second));
    assert_eq!(
        get(&swarm, "/packages?limit=1&nam=x", "").await.status,
        400,
        "a wrong filter is still refused"
    );
}

#[tokio::test]
async fn what_did_not_change_is_answered_with_304_and_no_body() {
    let swarm = Swarm::start().await.unwrap();
    swarm.profile().await.unwrap();
    let list = get(&swarm, "/profiles", "").await;
    let tag = list.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.len() > 60, "{tag}");
    let again = get(&swarm, "/profiles", &tag).await;
    assert_eq!((again.status, again.header("etag"), again.body.len()), (304, tag.as_str(), 0));
    assert_eq!(again.header("cache-control"), "private, no-cache");
    let one = get(&swarm, "/profiles/desk", &tag).await;
    assert_eq!(one.status, 200, "another answer has another tag");
    assert_ne!(one.header("etag"), tag);

    swarm.admin.remove_profile(&swarm_tests::api::name("desk"), &key()).await.unwrap();
    let changed = get(&swarm, "/profiles", &tag).await;
    assert_eq!((changed.status, changed.json().unwrap()), (200, serde_json::json!([])));
    let refused = get(&swarm, "/profiles/desk", "").await;
    assert_eq!((refused.status, refused.header("etag")), (404, ""), "an error has no tag");
}
