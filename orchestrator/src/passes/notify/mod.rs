//! Notifications: a digest at the end of each run, and changes in the list of concerns, sent to the
//! configured sinks.
//!
//! - [`ledger`]: what has been announced and what is pending. [`digest`]: the digest of a run.
//! - [`outbox`]: messages waiting for a [sink](crate::sink).
//! - [`pass`]: detects changes and delivers messages.
//!
//! Notifications are level-triggered: the current concerns are compared with those already
//! announced, which are stored in a file in the state directory. A message is added to that file in
//! the same step that marks it as announced, and is removed when a sink has accepted it. So a
//! restart neither loses nor repeats a message; only a crash between a sink's response and the file
//! update repeats one.

pub mod digest;
pub mod ledger;
pub mod outbox;
pub mod pass;

use crate::{
    config::Notify as Settings,
    engine::Engine,
    own_record::OwnRecord,
    sink::{
        DeliveryError, Sink,
        message::{Kind, Message},
    },
};
use ledger::NotificationLedger;
use std::time::Duration;
use swarm_common::{
    state::Severity,
    wire::{
        concern::ConcernKind,
        notify::{SinkTestView, SinkView},
    },
};
use swarm_daemon::config::ConfigError;
use tokio::sync::{Mutex, Notify};

/// Time limit for one delivery to any sink.
const DELIVERY: Duration = Duration::from_secs(27);

pub struct Notifier {
    engine: Engine,
    window_ms: u64,
    sinks: Vec<Named>,
    record: OwnRecord,
    /// The lock is held while the ledger is changed and written.
    kept: Mutex<Kept>,
    /// A copy of the ledger's state for readers.
    shown: std::sync::Mutex<Vec<SinkView>>,
    posted: Notify,
}

/// The ledger and whether its file is current.
#[derive(Default)]
struct Kept {
    ledger: NotificationLedger,
    /// The file is older than the ledger, because writing failed.
    unwritten: bool,
}

/// A sink with its name.
struct Named {
    name: String,
    sink: Sink,
}

impl Notifier {
    /// Reads the stored ledger, and checks that every secret can be read.
    ///
    /// # Errors
    /// A secret cannot be read.
    pub fn open(engine: Engine, settings: &Settings, record: OwnRecord) -> Result<Self, ConfigError> {
        for sink in &settings.sink {
            sink.secret()?;
        }
        let sinks = named(&settings.sink);
        let names: Vec<String> = sinks.iter().map(|s| s.name.clone()).collect();
        // If the record was damaged, the current concerns are announced again, which is better than silence.
        let mut ledger: NotificationLedger = record.read().unwrap_or_default();
        ledger.keep_sinks(&names);
        let notifier = Self {
            engine,
            window_ms: settings.window.millis(),
            sinks,
            record,
            kept: Mutex::default(),
            shown: std::sync::Mutex::default(),
            posted: Notify::new(),
        };
        notifier.show(&ledger);
        Ok(Self { kept: Mutex::new(Kept { ledger, unwritten: false }), ..notifier })
    }

    /// All sinks and their delivery state.
    #[must_use]
    pub fn list(&self) -> Vec<SinkView> {
        self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// The sinks that cannot be reached.
    #[must_use]
    pub fn concerns(&self) -> Vec<ConcernKind> {
        let troubled = self.list().into_iter().filter(|sink| sink.troubled);
        let line = |sink: SinkView| ConcernKind::SinkFails {
            sink: sink.name,
            waiting: sink.waiting,
            why: sink.failing.unwrap_or_default(),
        };
        troubled.map(line).collect()
    }

    /// Sends a test message to every sink immediately, bypassing the queue.
    pub async fn test(&self) -> Vec<SinkTestView> {
        let lines =
            ["This is a test. Build Swarm sends messages when a run ends or a concern appears.".to_owned()];
        let now = self.engine.now();
        let message = Message::new(now, Kind::Test, Severity::Info, "Build Swarm test notification", &lines);
        let tests = self.sinks.iter().map(|Named { name, sink }| {
            let message = Message { id: now.0, ..message.clone() };
            async move {
                let began = std::time::Instant::now();
                let failure = deliver(sink, &message).await.err().map(|untaken| untaken.why);
                let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                SinkTestView { name: name.clone(), failure, took_ms }
            }
        });
        futures_util::future::join_all(tests).await
    }

    /// The message to send to a sink now, and the last queued message that it covers.
    async fn due(&self, name: &str) -> Option<(Message, u64)> {
        let now = self.engine.now();
        self.kept.lock().await.ledger.outboxes.get(name)?.due(now)
    }

    /// Changes the ledger and writes it. If writing fails, the change remains, and the next change writes
    /// again. A crash in between repeats a message.
    async fn change<R>(&self, change: impl FnOnce(&mut NotificationLedger) -> R) -> Result<R, String> {
        let mut kept = self.kept.lock().await;
        let before = kept.ledger.clone();
        let result = change(&mut kept.ledger);
        self.show(&kept.ledger);
        if before == kept.ledger && !kept.unwritten {
            return Ok(result);
        }
        let (record, ledger) = (self.record.clone(), kept.ledger.clone());
        let written = tokio::task::spawn_blocking(move || record.write(&ledger)).await;
        let failed = match written {
            Ok(written) => written.err().map(|e| e.to_string()),
            Err(error) => Some(error.to_string()),
        };
        kept.unwritten = failed.is_some();
        match failed {
            None => Ok(result),
            Some(why) => Err(why),
        }
    }

    fn show(&self, ledger: &NotificationLedger) {
        let view = |Named { name, sink }: &Named| {
            let outbox = ledger.outboxes.get(name);
            let failing = outbox.and_then(|o| o.failing.as_ref());
            SinkView {
                name: name.clone(),
                minimum: sink.minimum,
                waiting: outbox.map_or(0, |o| o.waiting.len() as u64),
                dropped: outbox.map_or(0, |o| o.dropped),
                delivered_at: outbox.and_then(|o| o.delivered_at),
                failing: failing.map(|f| f.why.clone()),
                failing_since: failing.map(|f| f.since),
                next_try: failing.map(|f| f.next),
                troubled: outbox.is_some_and(|o| o.failing().is_some()),
            }
        };
        let views = self.sinks.iter().map(view).collect();
        *self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = views;
    }
}

/// Names sinks by their displayed address; further sinks with the same address get a number.
fn named(sinks: &[Sink]) -> Vec<Named> {
    let mut named: Vec<Named> = Vec::new();
    for sink in sinks {
        let shown = sink.address.to_string();
        let alike = named.iter().filter(|n| n.sink.address.to_string() == shown).count();
        let name = if alike == 0 { shown } else { format!("{shown}~{}", alike + 1) };
        named.push(Named { name, sink: sink.clone() });
    }
    named
}

async fn deliver(sink: &Sink, message: &Message) -> Result<(), DeliveryError> {
    match tokio::time::timeout(DELIVERY, sink.send(message)).await {
        Ok(sent) => sent,
        Err(_) => Err(format!("no response within {} s", DELIVERY.as_secs()).into()),
    }
}
