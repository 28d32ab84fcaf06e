//! Telling people: one digest of each run at its end, and changes of what is wrong, to the
//! sinks that the configuration names.
//!
//! - [`book`]: what was told and is to be told. [`digest`]: what a run's end tells.
//! - [`outbox`], [`message`]: what waits for a sink, and its form.
//! - [`sink`]: where to, with [`ntfy`], [`webhook`], [`mail`] behind it.
//! - [`pass`]: looks at the state, and delivers.
//!
//! Level-triggered: what is wrong now is compared with what was told, which is kept in a
//! file of the state directory. A message goes into that file in the same step in which
//! it counts as told, and leaves it when a sink has taken it. So a restart neither loses
//! nor repeats; only a crash between a sink's answer and the file repeats one message.

pub mod book;
pub mod digest;
mod http;
mod mail;
pub mod message;
mod ntfy;
pub mod outbox;
pub mod pass;
pub mod sink;
mod webhook;

use crate::{artifact::disk::DiskError, engine::Engine};
use book::Book;
use message::{Kind, Message};
use outbox::Untaken;
use sink::{Settings, Sink};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use swarm_common::{
    config::{ConfigError, secret::write_private},
    state::Severity,
    wire::notify::{SinkTestView, SinkView},
};
use swarm_core::view::Trouble;
use tokio::sync::{Mutex, Notify};

/// The longest that one delivery may take, whatever is behind it.
const DELIVERY: Duration = Duration::from_secs(27);

/// What every delivery and every question about them shares.
pub struct Notifier {
    engine: Engine,
    window_ms: u64,
    sinks: Vec<Named>,
    file: PathBuf,
    /// Held while it is changed and written.
    kept: Mutex<Kept>,
    /// As the book stands, for those who only look.
    shown: std::sync::Mutex<Vec<SinkView>>,
    /// Something waits.
    posted: Notify,
}

/// The book and its file.
#[derive(Default)]
struct Kept {
    book: Book,
    /// The file is older than the book.
    unwritten: bool,
}

/// A sink and what it is called.
struct Named {
    name: String,
    sink: Sink,
}

impl Notifier {
    /// Reads what was told before, and checks that every secret can be read.
    ///
    /// # Errors
    /// A secret cannot be read.
    pub fn open(engine: Engine, settings: &Settings, file: &Path) -> Result<Self, ConfigError> {
        for sink in &settings.sink {
            sink.secret()?;
        }
        let sinks = named(&settings.sink);
        let names: Vec<String> = sinks.iter().map(|s| s.name.clone()).collect();
        let mut book = read(file);
        book.keep_sinks(&names);
        let notifier = Self {
            engine,
            window_ms: settings.window_ms,
            sinks,
            file: file.to_owned(),
            kept: Mutex::default(),
            shown: std::sync::Mutex::default(),
            posted: Notify::new(),
        };
        notifier.show(&book);
        Ok(Self { kept: Mutex::new(Kept { book, unwritten: false }), ..notifier })
    }

    /// Every sink and how it does.
    #[must_use]
    pub fn list(&self) -> Vec<SinkView> {
        self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Which sinks cannot be reached.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        let troubled = self.list().into_iter().filter(|sink| sink.troubled);
        let line = |sink: SinkView| {
            let what = format!("{}: {}", trouble_of(&sink.name), sink.failing.unwrap_or_default());
            let next =
                format!("{} wait and are tried again by themselves; `swarmctl notify test`", sink.waiting);
            Trouble::new(what, next)
        };
        troubled.map(line).collect()
    }

    /// Sends a test to every sink, at once and past what waits.
    pub async fn test(&self) -> Vec<SinkTestView> {
        let lines = ["This is a test. Real messages come when a run ends or something is wrong.".to_owned()];
        let now = self.engine.now();
        let message = Message::new(now, Kind::Test, Severity::Info, "Build Swarm can reach you here", &lines);
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

    /// What is to be sent to a sink now, and up to which message that reaches.
    async fn due(&self, name: &str) -> Option<(Message, u64)> {
        let now = self.engine.now();
        self.kept.lock().await.book.outboxes.get(name)?.due(now)
    }

    /// Changes the book and writes it. What was changed holds even if it could not be
    /// written, which the next change tries again; after a crash something is then repeated.
    async fn change<R>(&self, change: impl FnOnce(&mut Book) -> R) -> Result<R, String> {
        let mut kept = self.kept.lock().await;
        let before = kept.book.clone();
        let result = change(&mut kept.book);
        self.show(&kept.book);
        if before == kept.book && !kept.unwritten {
            return Ok(result);
        }
        let text = serde_json::to_string(&kept.book).map_err(|e| e.to_string())?;
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || write_private(&file, &text)).await;
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

    fn show(&self, book: &Book) {
        let view = |Named { name, sink }: &Named| {
            let outbox = book.outboxes.get(name);
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
                troubled: outbox.is_some_and(|o| o.trouble().is_some()),
            }
        };
        let views = self.sinks.iter().map(view).collect();
        *self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = views;
    }
}

/// The signature of the concern that a sink cannot be reached.
fn trouble_of(name: &str) -> String {
    format!("notifications to {name} fail")
}

/// Sinks are called as they are shown; of several alike the later ones are numbered.
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

async fn deliver(sink: &Sink, message: &Message) -> Result<(), Untaken> {
    match tokio::time::timeout(DELIVERY, sink.send(message)).await {
        Ok(sent) => sent,
        Err(_) => Err(format!("no answer within {} s", DELIVERY.as_secs()).into()),
    }
}

/// What was told before. A file that cannot be used is put aside: then what is wrong now is
/// told once more, which is better than silence.
fn read(file: &Path) -> Book {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Book::default(),
        Err(source) => {
            let error = DiskError::new("read", file, source);
            tracing::error!(%error, "what was told before is not known; it may be told again");
            return Book::default();
        }
    };
    serde_json::from_str(&text).unwrap_or_else(|error| {
        let aside = file.with_extension("damaged");
        let kept = std::fs::rename(file, &aside);
        tracing::error!(%error, ?kept, aside = %aside.display(), "what was told before is damaged; it may be told again");
        Book::default()
    })
}
