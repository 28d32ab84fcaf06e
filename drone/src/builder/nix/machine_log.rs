//! Nix's machine log (`--log-format internal-json`): one event per line after `@nix `.
//!
//! Output of the builder is shown and searched for errors like the output of any build. Nix's own messages
//! are shown and stored separately, because they only report that a builder failed.

use crate::{
    builder::{
        first_error::{clip, plain},
        log::Log,
    },
    process::Sink,
};
use serde::Deserialize;
use serde_json::Value;
use std::ops::ControlFlow;
use swarm_common::state::Phase;

/// Maximum length of a line that is parsed as an event.
const LONGEST: usize = 1 << 20;
/// Maximum number and length of stored messages.
const MOST_ERRORS: usize = 16;
const ERROR_BYTES: usize = 4096;

/// Kinds of activities and results, from Nix's `logging.hh`.
const COPY: u32 = 100;
const DOWNLOAD: u32 = 101;
const BUILD: u32 = 105;
const SUBSTITUTE: u32 = 108;
const BUILD_LOG_LINE: u32 = 101;
const SET_PHASE: u32 = 104;
const POST_BUILD_LOG_LINE: u32 = 107;

/// Phases of nixpkgs' stdenv after the build itself.
const LAST_PHASES: [&str; 4] = ["installPhase", "fixupPhase", "installCheckPhase", "distPhase"];

/// Most detailed level of messages to show: information.
const INFORMATION: u32 = 3;

#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
enum Event {
    Start {
        #[serde(rename = "type")]
        kind: u32,
        #[serde(default)]
        text: String,
    },
    Result {
        #[serde(rename = "type")]
        kind: u32,
        #[serde(default)]
        fields: Vec<Value>,
    },
    Msg {
        level: u32,
        msg: String,
    },
    #[serde(other)]
    Other,
}

/// What Nix itself reported.
#[derive(Debug, Default)]
pub(super) struct NixReport {
    /// Whether the build began.
    pub begun: bool,
    pub errors: Vec<String>,
}

/// Receives the machine log of one build.
pub(super) struct MachineLog<'l> {
    log: &'l mut Log,
    /// The phase while the builder runs.
    phase: Phase,
    line: Vec<u8>,
    heard: NixReport,
}

impl<'l> MachineLog<'l> {
    /// Receives the log of building one derivation.
    pub fn new(log: &'l mut Log, phase: Phase) -> Self {
        Self { log, phase, line: Vec::new(), heard: NixReport::default() }
    }

    pub fn finish(self) -> NixReport {
        self.heard
    }

    async fn see(&mut self, line: &[u8]) {
        let Some(event) = line.strip_prefix(b"@nix ") else {
            let line = String::from_utf8_lossy(line);
            // Plain errors occur before the format is set, and at the end.
            if let Some(error) = plain(&line).strip_prefix("error:") {
                self.fail(&format!("error:{error}"));
            }
            self.show(&line).await;
            return;
        };
        // Unknown events of a newer Nix are ignored.
        let event = serde_json::from_slice(event).unwrap_or(Event::Other);
        let text = |fields: &[Value]| fields.first().and_then(Value::as_str).unwrap_or_default().to_owned();
        match event {
            Event::Start { kind: BUILD, text } => {
                self.heard.begun = true;
                self.show(&text).await;
                self.log.enter(self.phase).await;
            }
            Event::Start { kind: COPY | DOWNLOAD | SUBSTITUTE, text } if !text.is_empty() => {
                self.show(&text).await;
            }
            Event::Result { kind: BUILD_LOG_LINE | POST_BUILD_LOG_LINE, fields } => {
                let mut line = text(&fields);
                line.push('\n');
                _ = self.log.take(line.as_bytes()).await;
            }
            Event::Result { kind: SET_PHASE, fields } => {
                let phase = text(&fields);
                self.log.say(&phase).await;
                let last = LAST_PHASES.contains(&phase.as_str());
                self.log.enter(if last { Phase::Packaging } else { self.phase }).await;
            }
            Event::Msg { level, msg } if level <= INFORMATION && !msg.contains("'--add-root'") => {
                let msg: Vec<_> = msg.lines().map(|line| plain(line).into_owned()).collect();
                let msg = msg.join("\n");
                self.show(&msg).await;
                if level == 0 {
                    self.fail(&msg);
                }
            }
            _ => {}
        }
    }

    fn fail(&mut self, error: &str) {
        if self.heard.errors.len() < MOST_ERRORS {
            self.heard.errors.push(clip(error, ERROR_BYTES).to_owned());
        }
    }

    async fn show(&mut self, text: &str) {
        self.log.show(format!("{text}\n").as_bytes()).await;
    }
}

impl Sink for MachineLog<'_> {
    async fn take(&mut self, piece: &[u8]) -> ControlFlow<()> {
        for part in piece.split_inclusive(|&byte| byte == b'\n') {
            let room = LONGEST.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.line);
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                self.see(line).await;
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::BuildUpdate;
    use tokio::sync::mpsc::channel;

    async fn hear(text: &str) -> (NixReport, String, Vec<Phase>, Option<String>) {
        let (tx, mut rx) = channel(100);
        let mut log = Log::new(tx, 1 << 20);
        let mut sink = MachineLog::new(&mut log, Phase::Building);
        for piece in text.as_bytes().chunks(7) {
            if sink.take(piece).await.is_break() {
                break;
            }
        }
        let heard = sink.finish();
        let first = log.errors.first().map(str::to_owned);
        let (mut shown, mut phases) = (String::new(), Vec::new());
        while let Ok(note) = rx.try_recv() {
            match note {
                BuildUpdate::Log(bytes) => shown.push_str(&String::from_utf8_lossy(&bytes)),
                BuildUpdate::Phase(phase) => phases.push(phase),
            }
        }
        (heard, shown, phases, first)
    }

    #[tokio::test]
    async fn the_builders_lines_are_searched_and_the_words_of_nix_are_only_shown() {
        let (heard, shown, phases, first) = hear(concat!(
            "@nix {\"action\":\"start\",\"id\":1,\"level\":3,\"text\":\"building 'a'\",\"type\":105,\"fields\":[\"/nix/store/a.drv\",\"\",1,1]}\n",
            "@nix {\"action\":\"result\",\"id\":1,\"type\":104,\"fields\":[\"buildPhase\"]}\n",
            "@nix {\"action\":\"result\",\"id\":1,\"type\":101,\"fields\":[\"x.c:1:2: error: no\"]}\n",
            "@nix {\"action\":\"result\",\"id\":1,\"type\":104,\"fields\":[\"installPhase\"]}\n",
            "@nix {\"action\":\"new in 3.0\",\"id\":1}\n@nix not even JSON\n",
            "@nix {\"action\":\"msg\",\"level\":0,\"msg\":\"\\u001b[31;1merror:\\u001b[0m builder for 'a' failed\"}\n",
            "@nix {\"action\":\"msg\",\"level\":5,\"msg\":\"chatter\"}\n",
        ))
        .await;
        assert!(heard.begun);
        assert_eq!(heard.errors, ["error: builder for 'a' failed"]);
        assert_eq!(phases, [Phase::Building, Phase::Packaging]);
        assert!(shown.contains("x.c:1:2") && shown.contains("--- buildPhase") && !shown.contains("chatter"));
        assert!(first.unwrap().starts_with("x.c:1:2: error: no\n"));
    }
}
