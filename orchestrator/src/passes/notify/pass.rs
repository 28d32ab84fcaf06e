//! The notification pass: compares the current concerns with the announced ones, and delivers
//! messages.
//!
//! Detection runs in one task and delivery in a separate task per sink, so that a sink that does
//! not respond delays nothing else.

use super::{
    Named, Notifier, deliver,
    digest::digest,
    ledger::{self, Change, ClockMoves, NotificationLedger, RunEnd},
};
use crate::{
    passes::{Context, Pass, Report, every},
    sink::message::Message,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use swarm_common::{
    id::RunId,
    time::TimeMs,
    wire::concern::{Concern, ConcernKind},
};
use swarm_core::{
    Swarm,
    state::{Live, Run},
    view,
};
use tokio::{task::JoinSet, time::Interval};
use tokio_util::sync::CancellationToken;

/// Interval between checks for changes, and between checks of an outbox.
const TICK: Duration = Duration::from_secs(1);

/// How long deliveries may continue when the orchestrator stops.
const LAST: Duration = Duration::from_secs(5);

/// The notification pass. `F` returns the problems of this process.
pub struct NotifyPass<F> {
    notifier: Arc<Notifier>,
    reported: F,
    timer: Interval,
    /// One task per sink, once the pass has begun.
    deliveries: JoinSet<()>,
}

impl<F: Fn() -> Vec<ConcernKind> + Send + 'static> NotifyPass<F> {
    /// Notifies the sinks. Returns `None` if there are none.
    #[must_use]
    pub fn new(notifier: Arc<Notifier>, reported: F) -> Option<Self> {
        let some = !notifier.sinks.is_empty();
        some.then(|| Self { notifier, reported, timer: every(TICK), deliveries: JoinSet::new() })
    }
}

impl<F: Fn() -> Vec<ConcernKind> + Send + 'static> Pass for NotifyPass<F> {
    const NAME: &'static str = "notifier";

    async fn wake(&mut self) {
        self.timer.tick().await;
    }

    async fn run_once(&mut self, cx: &Context) -> Report {
        if self.deliveries.is_empty() {
            for at in 0..self.notifier.sinks.len() {
                let (notifier, stopping) = (self.notifier.clone(), cx.stopping.clone());
                self.deliveries.spawn(async move { serve(&notifier, at, &stopping).await });
            }
        }
        let reported = (self.reported)();
        let looked = look(&self.notifier, &reported).await;
        looked.map_err(|why| format!("cannot save the notification state: {why}"))
    }

    async fn end(mut self) {
        while let Some(ended) = self.deliveries.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "the notification task panicked");
            }
        }
    }
}

/// Checks for changes once. Returns a short description of what was announced.
async fn look(notifier: &Notifier, reported: &[ConcernKind]) -> Result<String, String> {
    let engine = &notifier.engine;
    let (now, wall) = (engine.now(), engine.wall());
    let (present, over, moves) =
        engine.read(|swarm| (view::concerns(swarm, now, wall, reported), ended(swarm), moves(swarm)));
    let sent = notifier.change(|ledger| {
        ledger.follow(moves);
        let mut sent = Vec::new();
        for run in ledger.ended(&over) {
            engine.read(|swarm| tell_end(&notifier.sinks, ledger, swarm, now, run, &present));
            sent.push(format!("the end of {run}"));
        }
        let changes = ledger.look(now, &present, notifier.window_ms);
        if !changes.is_empty() {
            sent.push(format!("{} changes", changes.len()));
            post(&notifier.sinks, ledger, |sink| of_sink(now, sink, &changes));
        }
        sent.join(", ")
    });
    let sent = sent.await?;
    if !sent.is_empty() {
        notifier.posted.notify_waiters();
    }
    Ok(if sent.is_empty() { sent } else { format!("sent {sent}") })
}

fn ended(swarm: &Swarm) -> BTreeMap<RunId, RunEnd> {
    let over = swarm.runs.iter().filter(|(_, run)| run.state.is_over());
    let end = |(&id, run): (&RunId, &Run)| {
        let reopened = swarm.live.reopened.get(&id).copied().unwrap_or(0);
        Some((id, RunEnd { at: run.ended_at?, reopened }))
    };
    over.filter_map(end).collect()
}

fn moves(swarm: &Swarm) -> ClockMoves {
    let Live { started_at, set_by_ms, stood_still_ms, .. } = swarm.live;
    ClockMoves { started_at, set_by_ms, stood_still_ms }
}

/// Queues a run's digest. The concerns that it covers are not announced separately.
fn tell_end(
    sinks: &[Named],
    ledger: &mut NotificationLedger,
    swarm: &Swarm,
    now: TimeMs,
    run: RunId,
    present: &[Concern],
) {
    let Some(message) = digest(swarm, now, run) else { return };
    if let Some(run) = swarm.runs.get(&run) {
        ledger.mark_announced(now, |fact| fact.is_covered_by_run_end(&run.profile), present);
    }
    post(sinks, ledger, |sink| (message.severity >= sink.sink.minimum).then(|| message.clone()));
}

/// The changes for a sink, without those below its minimum severity, and without the concern that this sink
/// is unreachable.
fn of_sink(now: TimeMs, Named { name, sink }: &Named, changes: &[Change]) -> Option<Message> {
    let own = |fact: &ConcernKind| matches!(fact, ConcernKind::SinkFails { sink, .. } if sink == name);
    let is_relevant = |c: &&Change| c.concern.severity >= sink.minimum && !own(&c.concern.fact);
    let changes: Vec<&Change> = changes.iter().filter(is_relevant).collect();
    ledger::compose(now, &changes)
}

fn post(sinks: &[Named], ledger: &mut NotificationLedger, of: impl Fn(&Named) -> Option<Message>) {
    for sink in sinks {
        if let Some(message) = of(sink) {
            ledger.post(&sink.name, message);
        }
    }
}

/// Delivers the messages of one sink until the orchestrator stops.
async fn serve(notifier: &Notifier, at: usize, stopping: &CancellationToken) {
    let Some(Named { name, sink }) = notifier.sinks.get(at) else { return };
    while !stopping.is_cancelled() {
        let Some((message, up_to)) = notifier.due(name).await else {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = notifier.posted.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
            continue;
        };
        let sent = tokio::select! {
            sent = deliver(sink, &message) => sent,
            // The message stays in the outbox for the next start.
            () = cut_off(stopping) => return,
        };
        if let Err(untaken) = &sent {
            tracing::warn!(sink = name, why = untaken.why, "cannot deliver a notification, will retry");
        }
        let now = notifier.engine.now();
        let noted = notifier.change(|ledger| {
            let outbox = ledger.outboxes.entry(name.clone()).or_default();
            match sent {
                Ok(()) => outbox.delivered(now, up_to),
                Err(why) => outbox.failed(now, why),
            }
        });
        if let Err(why) = noted.await {
            tracing::warn!(
                why,
                "cannot save the notification state; notifications may be repeated after a \
                 restart"
            );
        }
    }
}

async fn cut_off(stopping: &CancellationToken) {
    stopping.cancelled().await;
    tokio::time::sleep(LAST).await;
}
