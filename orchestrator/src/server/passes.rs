//! Starts the passes, each with the handles it needs.

use crate::{
    app::App,
    own_record::OwnRecord,
    passes::{
        Started,
        calendar::Calendar,
        checks::CheckPass,
        gc::{GarbageCollector, GcPass, trust::Trust},
        healer::Healer,
        notify::pass::NotifyPass,
        publisher::Publisher,
        scrub::Scrub,
    },
};
use std::sync::Arc;

/// Starts all passes. They end when the orchestrator stops.
pub(super) fn start(app: &Arc<App>) -> Vec<Started> {
    let (engine, passes, stopping) = (&app.engine, &app.passes, &app.stopping);
    let publisher = Publisher::new(
        engine.clone(),
        app.published.clone(),
        app.binhosts.clone(),
        app.store.clone(),
        app.entries.clone(),
        app.channel_writers.clone(),
    );
    let collector = GarbageCollector {
        engine: engine.clone(),
        live: app.live.subscribe(),
        intake: app.intake.clone(),
        logs: app.logs.clone(),
        store: app.store.clone(),
        snapshots: app.snapshots.clone(),
        images: app.images.clone(),
        binhosts: app.binhosts.clone(),
        writers: app.channel_writers.clone(),
    };
    let trust = Trust::new(engine.clone(), app.config.clock_file());
    let cleaning = GcPass::new(collector, trust, app.config.first_cleaning.duration());
    let scrub = Scrub::new(app.auditor.clone(), engine.clone(), OwnRecord::scrub(&app.config.state_dir));
    let all = app.clone();
    let notifying = NotifyPass::new(app.notifier.clone(), move || all.concerns());
    let mut started = vec![
        passes.start(publisher, stopping),
        passes.start(Healer::new(engine.clone(), app.live.subscribe()), stopping),
        passes.start(cleaning, stopping),
        passes.start(scrub, stopping),
        passes.start(Calendar::new(engine.clone()), stopping),
        passes.start(CheckPass::new(app.checks.clone()), stopping),
    ];
    started.extend(notifying.map(|pass| passes.start(pass, stopping)));
    started
}
