//! The notifying pass: compares what is wrong with what was told, and delivers.
//!
//! Looking is one task and delivering another for each sink, so that a sink that does not
//! answer holds up neither the others nor anything else.

use super::{
    Named, Notifier,
    book::{self, Book, Change},
    deliver,
    digest::digest,
    message::Message,
    trouble_of,
};
use crate::app::App;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use swarm_common::{id::RunId, time::TimeMs, wire::view::Concern};
use swarm_core::{Swarm, view};
use tokio::task::JoinSet;

/// What it is called in the list of passes.
const NAME: &str = "notifier";

/// From one look to the next, and from one look into an outbox to the next.
const TICK: Duration = Duration::from_secs(1);

/// A delivery that is under way when the orchestrator stops gets this long.
const LAST: Duration = Duration::from_secs(5);

/// Passes until the orchestrator stops.
pub async fn run(app: Arc<App>) {
    if app.notifier.sinks.is_empty() {
        return;
    }
    let mut deliveries = JoinSet::new();
    for at in 0..app.notifier.sinks.len() {
        let app = app.clone();
        deliveries.spawn(async move { serve(&app, at).await });
    }
    while !app.stopping.is_cancelled() {
        match look(&app).await {
            Ok(told) => app.passes.note(NAME, told),
            Err(why) => app.passes.fail(NAME, format!("what was told cannot be kept: {why}")),
        }
        tokio::select! {
            () = app.stopping.cancelled() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
    while let Some(ended) = deliveries.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "the delivery of notifications broke off");
        }
    }
}

/// One look. Gives what it told, in a few words.
async fn look(app: &App) -> Result<String, String> {
    let (notifier, now, wall) = (&app.notifier, app.engine.now(), app.engine.wall());
    let troubles = app.troubles();
    let (present, over, seq) =
        app.engine.read(|swarm| (view::concerns(swarm, now, wall, &troubles), ended(swarm), swarm.seq));
    // A run has ended when that is journaled. What is wrong is told even if nothing can be.
    let is_journaled = *app.engine.committed().borrow() >= seq;
    let told = notifier.change(|book| {
        let mut told = Vec::new();
        let runs = if is_journaled { book.ended(&over) } else { Vec::new() };
        for run in runs {
            app.engine.read(|swarm| tell_end(&notifier.sinks, book, swarm, now, run, &present));
            told.push(format!("the end of {run}"));
        }
        let changes = book.look(now, &present, notifier.window_ms);
        if !changes.is_empty() {
            told.push(format!("{} changes", changes.len()));
            post(&notifier.sinks, book, |sink| of_sink(now, sink, &changes));
        }
        told.join(", ")
    });
    let told = told.await?;
    if !told.is_empty() {
        notifier.posted.notify_waiters();
    }
    Ok(if told.is_empty() { told } else { format!("told {told}") })
}

/// Every ended run and when it ended.
fn ended(swarm: &Swarm) -> BTreeMap<RunId, TimeMs> {
    let over = swarm.runs.iter().filter(|(_, run)| run.state.is_over());
    over.filter_map(|(&id, run)| Some((id, run.ended_at?))).collect()
}

/// Posts a run's digest; what that says needs no telling of its own.
fn tell_end(sinks: &[Named], book: &mut Book, swarm: &Swarm, now: TimeMs, run: RunId, present: &[Concern]) {
    let Some(message) = digest(swarm, now, run) else { return };
    if let Some(run) = swarm.runs.get(&run) {
        book.told_otherwise(now, &view::of_outcome(&run.profile), present);
    }
    post(sinks, book, |sink| (message.severity >= sink.sink.minimum).then(|| message.clone()));
}

/// The changes that a sink is told: not those that matter too little to it, nor that it
/// cannot be reached itself.
fn of_sink(now: TimeMs, Named { name, sink }: &Named, changes: &[Change]) -> Option<Message> {
    let own = trouble_of(name);
    let wanted = |c: &&Change| c.concern.severity >= sink.minimum && c.concern.signature != own;
    let changes: Vec<&Change> = changes.iter().filter(wanted).collect();
    book::compose(now, &changes)
}

fn post(sinks: &[Named], book: &mut Book, of: impl Fn(&Named) -> Option<Message>) {
    for sink in sinks {
        if let Some(message) = of(sink) {
            book.post(&sink.name, message);
        }
    }
}

/// Delivers what waits for one sink, until the orchestrator stops.
async fn serve(app: &App, at: usize) {
    let notifier: &Notifier = &app.notifier;
    let Some(Named { name, sink }) = notifier.sinks.get(at) else { return };
    while !app.stopping.is_cancelled() {
        let Some((message, up_to)) = notifier.due(name).await else {
            tokio::select! {
                () = app.stopping.cancelled() => {}
                () = notifier.posted.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
            continue;
        };
        let sent = tokio::select! {
            sent = deliver(sink, &message) => sent,
            // It stays in the outbox for the next start.
            () = cut_off(app) => return,
        };
        if let Err(untaken) = &sent {
            tracing::warn!(
                sink = name,
                why = untaken.why,
                "a notification was not delivered; it is tried again"
            );
        }
        let now = app.engine.now();
        let noted = notifier.change(|book| {
            let outbox = book.outboxes.entry(name.clone()).or_default();
            match sent {
                Ok(()) => outbox.delivered(now, up_to),
                Err(why) => outbox.failed(now, why),
            }
        });
        if let Err(why) = noted.await {
            tracing::warn!(why, "what was delivered cannot be kept; after a restart it may come again");
        }
    }
}

async fn cut_off(app: &App) {
    app.stopping.cancelled().await;
    tokio::time::sleep(LAST).await;
}
