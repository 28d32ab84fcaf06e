//! Problems are shown everywhere: each condition is caused, read in `/readyz`, the status, the metrics and a
//! notification, and resolved, after which it is reported as over.

mod lab;

use futures_util::{FutureExt as _, StreamExt as _, stream};
pub use lab::Lab;
use std::{collections::BTreeSet, fs, panic::AssertUnwindSafe};
use swarm_core::view::stops;
use swarm_orchestrator::metrics;
use swarm_tests::{
    api::{PROFILE, name, until},
    tidy::top,
};

/// The kind of each condition, a part of its text, and its severity.
const CONDITIONS: [(&str, &str, &str); 29] = [
    ("directory_unwritable", ": Not a directory", "critical"),
    ("disk_nearly_full", "is nearly full: 6", "warning"),
    ("certificate_expires", "expires in 11 days", "warning"),
    ("certificate_expired", "tls.crt expired on ", "critical"),
    ("certificate_unusable", "cannot load the TLS certificate", "critical"),
    ("sink_fails", "cannot deliver notifications to ", "critical"),
    ("store_damaged", "stored data is damaged: ", "critical"),
    ("record_damaged", "notify.json was damaged and has been reset: ", "warning"),
    ("signing_key_changed", "the signing key has changed from 0A1B to ", "warning"),
    ("plan_waits", "waits for its plan: no drone", "critical"),
    ("run_stands_still", "of desk is stalled: no drone", "critical"),
    ("toolchain_differs", "its compiler is gcc 16, but the run was planned with gcc 15", "warning"),
    ("processor_lacks", "its processor lacks x86-64-v3", "warning"),
    ("run_failed", "of desk failed: ", "critical"),
    ("packages_quarantined", "dev-libs/pebble-1.2 is quarantined", "warning"),
    ("resolver_refused", "the resolver refused app-misc/moon", "warning"),
    ("drone_idle", "while oak is idle", "critical"),
    ("paused", "a test", "warning"),
    ("timer_silent", "the timer on nas that updates desk has not run for 2 min", "warning"),
    ("channel_held", "the channel of desk is held at generation 1", "warning"),
    ("drones_cut_off", "drones went silent together", "critical"),
    ("drone_grounded", "drone oak is grounded for ", "warning"),
    ("drone_struck", "drone oak has 1 strike but", "warning"),
    ("drone_offline", "drone oak is offline: ", "warning"),
    ("credential_cloned", "another machine uses the credential of drone oak", "critical"),
    ("drone_unusable", "drone oak cannot build: /var/tmp", "warning"),
    ("programs_missing", "drone oak lacks programs to build in its own system: scanelf", "warning"),
    ("delivery_stuck", "drone oak cannot deliver", "critical"),
    ("drone_pending", "drone elm waits for approval", "warning"),
];

/// Kinds without a row above, with the reason. This list may only become shorter.
const EXEMPT: [(&str, &str); 17] = [
    ("journal_unwritable", "a full disk and a Redis that is away: `disk_full`, the suite `redis`"),
    ("journal_rolled_back", "ends with a restart: `restored`"),
    ("publishing_fails", "a full disk: `disk_full`"),
    ("pass_fails", "only a fault of the program ends a pass"),
    ("no_such_machine", "takes a plan of Nix: `nix`"),
    ("upstream_away", "takes an output of Nix: `nix::upstreams`"),
    ("files_collide", "takes two packages with one path: `collisions`"),
    ("run_overdue", "only a calendar that has stopped lets it be: `rules/calendar`"),
    ("run_skipped", "takes a due time while a run is under way: `schedules`, `rules/calendar`"),
    ("no_success", "takes two periods of a schedule: `rules/calendar`"),
    ("candidate_refused", "takes a plan of Nix: `nix::candidates`"),
    ("base_stays", "takes a base that follows: `rules/following`, `e2e/follow`"),
    ("base_waits", "takes a base that follows: `rules/following`"),
    ("drone_lost", "takes a healer that has tried all: the suite `healing`"),
    ("no_profile", "a swarm that is set up, not one that broke: `advice`"),
    ("no_drone", "the same: `advice`"),
    ("unknown", "stands for kinds of other versions: `wire::concern`"),
];

/// Causes a condition, reads it in the four places, and resolves it.
async fn known_until_it_ends((kind, expected, severity): (&str, &str, &str)) {
    let lab = Lab::new(kind).await;
    assert_eq!(lab.concerns(kind).await, [], "{kind}");
    lab.make(kind).await;
    let found = until(kind, async || lab.concerns(kind).await.into_iter().next()).await;
    assert!(found.what.contains(expected) && found.severity.to_string() == severity, "{found:?}");
    assert!(!found.next.is_empty(), "{found:?}");

    let ready = lab.swarm.raw().await.unwrap().ask("GET /readyz", &[], b"").await.unwrap();
    let stops = stops(&found.fact);
    assert_eq!(ready.status, if stops { 503 } else { 200 }, "{kind}");
    let text = String::from_utf8_lossy(&ready.body);
    assert_eq!(text.contains(expected), stops, "{text}");

    let metrics = metrics::text(&lab.swarm.app);
    let line = format!("\nswarm_concern{{kind=\"{kind}\"}} 1\n");
    let none = format!("swarm_concerns{{severity=\"{severity}\"}} 0");
    assert!(metrics.contains("swarm_healthy 0\n") && metrics.contains(&line), "{kind}: {metrics}");
    assert!(!metrics.contains(&none), "{kind}: {metrics}");

    // The message at the end of a run reports some of them.
    let ends_a_run = found.fact.is_covered_by_run_end(&name(PROFILE));
    let words = if ends_a_run { PROFILE } else { expected };
    until(&format!("a notification of {kind}"), async || {
        lab.inbox.taken().iter().any(|post| post.text("text").contains(words)).then_some(())
    })
    .await;

    let before = lab.inbox.taken().len();
    lab.mend(kind).await;
    until(&format!("{kind} ends"), async || lab.concerns(kind).await.is_empty().then_some(())).await;
    assert!(!metrics::text(&lab.swarm.app).contains(&format!("swarm_concern{{kind=\"{kind}\"}}")));
    if ends_a_run {
        return;
    }
    until(&format!("a notification that {kind} is resolved"), async || {
        lab.inbox.taken()[before..].iter().any(|p| p.text("text").contains("resolved")).then_some(())
    })
    .await;
}

// fault: 59, 64
#[tokio::test]
async fn each_condition_is_told_in_all_four_places_and_so_is_its_end() {
    // A few at a time, because each one mostly waits.
    let all = stream::iter(CONDITIONS).map(|condition| async move {
        let held = AssertUnwindSafe(known_until_it_ends(condition)).catch_unwind().await;
        held.err().map(|_| condition.0)
    });
    let broken: Vec<&str> = all.buffer_unordered(4).filter_map(std::future::ready).collect().await;
    assert!(broken.is_empty(), "{broken:?}");
}

/// The values that the OpenAPI document lists for `kind`.
pub fn kinds_of(schema: &str) -> BTreeSet<String> {
    let document = fs::read_to_string(top().join("docs/openapi.json")).unwrap();
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let variants = document["components"]["schemas"][schema]["oneOf"].as_array().unwrap();
    let kind =
        |variant: &serde_json::Value| variant["properties"]["kind"]["enum"][0].as_str().map(str::to_owned);
    variants.iter().map(|variant| kind(variant).unwrap()).collect()
}

#[test]
fn every_kind_of_concern_has_a_row_or_a_reason_to_have_none() {
    let kinds = kinds_of("ConcernKind");
    let rows = CONDITIONS.iter().map(|(kind, ..)| *kind);
    let exempt = EXEMPT.iter().map(|(kind, _)| *kind);
    let known: Vec<&str> = rows.chain(exempt).collect();
    assert_eq!(known.iter().map(|&kind| kind.to_owned()).collect::<BTreeSet<_>>(), kinds);
    assert_eq!(known.len(), kinds.len(), "a kind has two rows");
    assert!(EXEMPT.iter().all(|(_, why)| !why.is_empty()));
}
