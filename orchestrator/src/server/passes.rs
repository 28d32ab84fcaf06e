//! Starts the passes, each with the handles that it needs.

use crate::{
    app::App,
    passes::{
        calendar, checks,
        healer::Healer,
        leftovers::Leftovers,
        notify,
        publisher::{Caches, Publisher},
        scrub::Scrub,
    },
};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// A started pass, with its name in logs.
pub(super) type Started = (&'static str, JoinHandle<()>);

/// Starts all passes. They end when the orchestrator stops.
pub(super) fn start(app: &Arc<App>) -> Vec<Started> {
    let (engine, passes, stopping) = (&app.engine, &app.passes, &app.stopping);
    let caches = Caches {
        keys: app.nix_keys.clone(),
        listings: app.listings.clone(),
        logs: app.logs.clone(),
        upstreams: app.upstreams.clone(),
    };
    let publisher = Publisher::new(
        engine.clone(),
        app.published.clone(),
        passes.clone(),
        app.binhosts.clone(),
        app.store.clone(),
        app.entries.clone(),
        caches,
    );
    let healer = Healer::new(engine.clone(), passes.clone(), app.live.subscribe());
    let leftovers = Leftovers {
        engine: engine.clone(),
        passes: passes.clone(),
        live: app.live.subscribe(),
        intake: app.intake.clone(),
        logs: app.logs.clone(),
        store: app.store.clone(),
        entries: app.entries.clone(),
        listings: app.listings.clone(),
        snapshots: app.snapshots.clone(),
        images: app.images.clone(),
        binhosts: app.binhosts.clone(),
        nix_keys: app.nix_keys.clone(),
    };
    let scrub = Scrub {
        auditor: app.auditor.clone(),
        engine: engine.clone(),
        passes: passes.clone(),
        record: app.config.state_dir.join("scrub.json"),
    };
    let calendar = calendar::run(engine.clone(), passes.clone(), stopping.clone());
    let all = app.clone();
    let troubles = move || all.troubles();
    let notifier = notify::pass::run(app.notifier.clone(), passes.clone(), troubles, stopping.clone());
    let checks = app.checks.clone().run(stopping.clone());
    vec![
        when_leading(app, "publisher", publisher.run(stopping.clone())),
        when_leading(app, "healer", healer.run(stopping.clone())),
        when_leading(app, "leftovers", leftovers.run(stopping.clone())),
        when_leading(app, "scrub", scrub.run(stopping.clone())),
        when_leading(app, "schedule", calendar),
        when_leading(app, "notifier", notifier),
        (checks::NAME, passes.spawn(checks::NAME, checks)),
    ]
}

/// Runs a pass only once this orchestrator leads, because commands are taken only then.
fn when_leading(app: &App, name: &'static str, pass: impl Future<Output = ()> + Send + 'static) -> Started {
    let (engine, stopping) = (app.engine.clone(), app.stopping.clone());
    let task = app.passes.spawn(name, async move {
        tokio::select! {
            () = engine.leading() => pass.await,
            () = stopping.cancelled() => {}
        }
    });
    (name, task)
}
