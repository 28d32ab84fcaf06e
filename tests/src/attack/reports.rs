//! Attacks with the requests of a hostile drone: plans ([`super::plans`]), and all other reports with
//! malformed, huge or unexpected content.

use super::{
    Dice, plans,
    prey::{PATIENCE, Prey},
    tally::{Due, Said, Tally},
};
use crate::api::{facts, pebble, plan_of};
use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use swarm_common::{
    digest::Digest,
    id::AttemptId,
    wire::{
        drone::{Outcome, ReportRequest, Usage},
        plan::PlanReport,
    },
};
use swarm_orchestrator::config::Limits;
use tokio::time::timeout;

/// One of this many requests is an odd plan.
const PLANS: usize = 12;

/// Attacks until `until`: with each kind of plan once, if time permits, and then at random.
///
/// # Errors
/// A valid request is refused.
pub async fn attack(
    prey: &mut Prey,
    dice: &mut Dice,
    until: Instant,
    scale: u32,
    tally: &mut Tally,
) -> Result<()> {
    let mut large = plans::large(scale);
    large.extend(plans::too_large());
    let odd = plans::odd_ones();
    let mut attempt = prey.plan_to_make().await?;
    for (what, due, make) in large.iter().chain(&odd).take_while(|_| Instant::now() < until) {
        attempt = bring(prey, attempt, (what, *due), &make(), tally).await?;
    }
    prey.read_all(tally).await;
    while Instant::now() < until || tally.inputs == 0 {
        if dice.below(PLANS) == 0 {
            let (what, due, make) = &odd[dice.below(odd.len())];
            attempt = bring(prey, attempt, (what, *due), &make(), tally).await?;
        } else if say(prey, dice, attempt, tally).await? {
            attempt = prey.plan_to_make().await?;
        }
    }
    prey.end_runs().await?;
    prey.read_all(tally).await;
    Ok(())
}

/// Reports a plan. Returns the attempt that is open afterwards.
async fn bring(
    prey: &Prey,
    attempt: AttemptId,
    (what, due): (&str, Due),
    plan: &PlanReport,
    tally: &mut Tally,
) -> Result<AttemptId> {
    let request = ReportRequest::new(Outcome::Planned { plan: plan.clone() }, Usage::default());
    let body = serde_json::to_vec(&request)?;
    let due = if body.len() as u64 > Limits::default().plan_size.bytes() { Due::Refused } else { due };
    let credential = &prey.hostile.credential;
    let path = format!("/attempts/{attempt}/report");
    let (answer, took) = prey.send(Method::POST, &path, credential, &[], body).await;
    tally.judge(format!("a plan: {what}"), due, &answer, took);
    tally.took_for_plan(what, took);
    if answer.is_ok() { prey.plan_to_make().await } else { Ok(attempt) }
}

/// A random valid request of a drone. The first value says whether the liar sends it.
fn sound(attempt: AttemptId, dice: &mut Dice) -> (bool, String, Value) {
    let report = |outcome: Value| json!({"outcome": outcome, "usage": Usage::default()});
    let of = |what: &str| format!("/attempts/{attempt}/{what}");
    let digest = Digest::of(b"x");
    let vitals = json!({"load1": 0.5, "memory_free_bytes": 1, "disk_free_bytes": 1});
    let facts = serde_json::to_value(facts()).unwrap_or_default();
    match dice.below(9) {
        0 => (true, "/claim".into(), json!({"key": "k", "wait_ms": 0, "memory_free_bytes": 1})),
        1 => (
            true,
            "/heartbeat".into(),
            json!({"vitals": vitals, "attempts": [{"attempt": attempt, "phase": "building"}],
                "draining": false, "boot_id": "b", "facts": facts}),
        ),
        2 => (true, "/sign-off".into(), json!({"reason": "stopped"})),
        3 => (true, "/enrol".into(), json!({"token": "enrol-x", "name": "oak", "facts": facts})),
        4 => (false, of("uploads"), json!({"digest": digest, "size": 7, "cpv": "dev-libs/pebble-1.2"})),
        5 => (false, of("report"), report(json!({"kind": "built", "artifacts": [digest]}))),
        6 => (false, of("report"), report(json!({"kind": "handed_back", "reason": "stopped"}))),
        7 => {
            let failure = json!({"class": "package", "phase": "building", "signature": "s", "message": "m"});
            (false, of("report"), report(json!({"kind": "failed", "failure": failure})))
        }
        _ => {
            let plan = plan_of(&[pebble(), crate::api::pebble_at("1.10", "0")]);
            (false, of("report"), report(json!({"kind": "planned", "plan": plan})))
        }
    }
}

/// Sends an invalid request. Returns whether it ended the attempt.
async fn say(prey: &Prey, dice: &mut Dice, attempt: AttemptId, tally: &mut Tally) -> Result<bool> {
    let (lies, path, mut value) = sound(attempt, dice);
    let body = if dice.below(3) == 0 {
        spoil(dice, value.to_string().into_bytes())
    } else {
        (0..=dice.below(2)).for_each(|_| change(dice, &mut value));
        value.to_string().into_bytes()
    };
    let due = match serde_json::from_slice::<Value>(&body) {
        Ok(_) => Due::Either,
        Err(_) => Due::Refused,
    };
    let credential = if lies { &prey.liar.credential } else { &prey.hostile.credential };
    let shown: String = String::from_utf8_lossy(&body).chars().take(200).collect();
    let patience = if path == "/claim" { Duration::from_millis(500) } else { PATIENCE };
    let sent = timeout(patience, prey.send(Method::POST, &path, credential, &[], body)).await;
    let (answer, took) = sent.unwrap_or((Said::Nothing("nothing came".into()), patience));
    // A claim may stay open for as long as it requests.
    if path == "/claim" && matches!(answer, Said::Nothing(_)) {
        return Ok(false);
    }
    if let Said::Nothing(why) = &answer {
        tally.wrong(format!("{path} got no answer: {why}: {shown}"));
    }
    tally.judge(format!("{path} {shown}"), due, &answer, took);
    // This includes an attempt that was lost with its answer or given to the liar.
    Ok(!lies && (answer.is_ok() || matches!(answer, Said::Status(404 | 409, _))))
}

/// Changes a random part of a value to something invalid.
fn change(dice: &mut Dice, value: &mut Value) {
    let deeper = dice.below(4) > 0;
    let inner = match value {
        Value::Object(map) if deeper => {
            let n = dice.below(map.len().max(1));
            map.values_mut().nth(n)
        }
        Value::Array(list) if deeper => {
            let n = dice.below(list.len().max(1));
            list.get_mut(n)
        }
        _ => None,
    };
    match inner {
        Some(inner) => change(dice, inner),
        None => *value = hostile(dice, value),
    }
}

fn hostile(dice: &mut Dice, was: &Value) -> Value {
    let texts =
        ["", "\0", "\u{1b}]0;x\u{7}", "\u{9b}31m", "a\nb", "\u{202e}", "../../x", "-1", "a0", "d1", "𝔘"];
    match dice.below(16) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => json!(u64::MAX),
        4 => json!(i64::MIN),
        5 => json!(1e308),
        6 => json!(0.5),
        7 => json!("x".repeat(1 << dice.below(20))),
        8 => json!(vec![was.clone(); 1 << dice.below(11)]),
        9 => json!(vec![0; 1 << dice.below(16)]),
        10 => (0..100).fold(was.clone(), |inner, _| json!([inner])),
        11 => json!({"unknown": was}),
        12 => {
            let mut map = was.as_object().cloned().unwrap_or_default();
            map.insert("unknown".into(), json!(1));
            Value::Object(map)
        }
        13 => {
            let mut map = was.as_object().cloned().unwrap_or_default();
            let key = map.keys().nth(dice.below(map.len().max(1))).cloned().unwrap_or_default();
            map.remove(&key);
            Value::Object(map)
        }
        _ => json!(texts[dice.below(texts.len())]),
    }
}

/// Corrupts the serialised form of a value.
fn spoil(dice: &mut Dice, mut text: Vec<u8>) -> Vec<u8> {
    let at = dice.below(text.len());
    match dice.below(9) {
        0 => text.truncate(at),
        1 => text[at] = dice.byte(),
        2 => text.insert(at, dice.byte()),
        3 => text = b"[".repeat(1 << dice.below(18)),
        4 => text = b"{\"a\":".repeat(1 << dice.below(15)),
        5 => text.splice(0..0, *b"\xef\xbb\xbf").for_each(drop),
        6 => text.extend(b"{}"),
        7 => {
            let number = dice.of(&["1e999", "-", "01", "NaN", "9".repeat(5000).as_str()]).to_owned();
            text.splice(at..at, number.into_bytes()).for_each(drop);
        }
        _ => {
            let again = text[1..].to_vec();
            text.truncate(text.len() - 1);
            text.push(b',');
            text.extend(again);
        }
    }
    text
}
