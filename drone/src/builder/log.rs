//! The output of a build, which is forwarded up to a limit and searched for phases and errors.
//!
//! Output beyond the limit is not forwarded, but it is still searched, because the error is usually at the
//! end of a long log. Memory use is constant.

use super::{BuildUpdate, errors::Errors, marks::Marks};
use crate::process::Sink;
use std::ops::ControlFlow;
use swarm_common::state::Phase;
use tokio::sync::mpsc::Sender;

/// Number of bytes of a line to search.
const LINE_BYTES: usize = 4096;

#[derive(Debug)]
pub(super) struct Log {
    notes: Sender<BuildUpdate>,
    left: u64,
    limit: u64,
    phase: Phase,
    line: Vec<u8>,
    marks: &'static Marks,
    /// Errors in the output of the current step.
    pub errors: Errors,
}

impl Log {
    pub fn new(notes: Sender<BuildUpdate>, limit: u64) -> Self {
        Self {
            notes,
            left: limit,
            limit,
            phase: Phase::Assigned,
            line: Vec::new(),
            marks: &Marks::NONE,
            errors: Errors::new(&Marks::NONE),
        }
    }

    /// Sets the kind of builder whose output follows, starting with the next step.
    pub fn expect(&mut self, marks: &'static Marks) {
        self.marks = marks;
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Begins a step and forgets the errors of the previous one.
    pub fn begin(&mut self) {
        self.line.clear();
        self.errors = Errors::new(self.marks);
    }

    /// Reports a phase if it differs from the current one.
    pub async fn enter(&mut self, phase: Phase) {
        if self.phase != phase {
            self.phase = phase;
            // If the receiver is gone, the build is ended by its token, not here.
            let _ = self.notes.send(BuildUpdate::Phase(phase)).await;
        }
    }

    /// Adds a message of the drone to the log.
    pub async fn say(&mut self, text: &str) {
        self.show(format!("--- {text}\n").as_bytes()).await;
    }

    /// Forwards output without searching it.
    pub async fn show(&mut self, piece: &[u8]) {
        if self.left == 0 {
            return;
        }
        let fits = usize::try_from(self.left).unwrap_or(usize::MAX).min(piece.len());
        self.left -= fits as u64;
        let mut bytes = piece[..fits].to_vec();
        if fits < piece.len() || self.left == 0 {
            self.left = 0;
            let note = format!("\n--- the log is cut here, after {} bytes; the build goes on\n", self.limit);
            bytes.extend_from_slice(note.as_bytes());
        }
        let _ = self.notes.send(BuildUpdate::Log(bytes)).await;
    }

    /// Processes the lines that end in this piece. Returns the phase that they indicate.
    fn watch(&mut self, piece: &[u8]) -> Option<Phase> {
        let mut phase = None;
        for part in piece.split_inclusive(|b| *b == b'\n') {
            let room = LINE_BYTES.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.line);
                phase = self.see(String::from_utf8_lossy(&line).trim_end()).or(phase);
            }
        }
        phase
    }

    fn see(&mut self, line: &str) -> Option<Phase> {
        self.errors.see(line);
        self.marks.phase(line)
    }
}

impl Sink for Log {
    async fn take(&mut self, piece: &[u8]) -> ControlFlow<()> {
        let phase = self.watch(piece);
        self.show(piece).await;
        if let Some(phase) = phase {
            self.enter(phase).await;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::{Receiver, channel};

    fn text(rx: &mut Receiver<BuildUpdate>) -> (String, Vec<Phase>) {
        let (mut log, mut phases) = (Vec::new(), Vec::new());
        while let Ok(note) = rx.try_recv() {
            match note {
                BuildUpdate::Log(bytes) => log.extend(bytes),
                BuildUpdate::Phase(phase) => phases.push(phase),
            }
        }
        (String::from_utf8_lossy(&log).into_owned(), phases)
    }

    // fault: 33
    #[tokio::test]
    async fn the_log_is_cut_at_its_limit_and_says_so_once() {
        let (tx, mut rx) = channel(100);
        let mut log = Log::new(tx, 10);
        for _ in 0..20 {
            assert!(log.take(b"1234567\n").await.is_continue());
        }
        assert!(log.take(b"x.c:1:2: error: late\n").await.is_continue());
        let (text, _) = text(&mut rx);
        assert!(text.starts_with("1234567\n12\n---"), "{text}");
        assert_eq!(text.matches("cut here, after 10 bytes").count(), 1);
        assert!(log.errors.first().unwrap().contains("late"), "what is cut off is still watched");
    }

    // fault: 33
    #[tokio::test]
    async fn a_gigabyte_in_one_line_takes_no_memory() {
        let (tx, mut rx) = channel(100);
        let mut log = Log::new(tx, 1000);
        let piece = vec![0xff; 64 * 1024];
        for _ in 0..16 * 1024 {
            assert!(log.take(&piece).await.is_continue());
        }
        assert!(log.line.capacity() <= 2 * LINE_BYTES);
        assert!(text(&mut rx).0.contains("cut here"));
    }

    #[tokio::test]
    async fn phases_are_read_from_the_output_even_in_pieces() {
        let (tx, mut rx) = channel(100);
        static MARKS: Marks = Marks {
            phase_starts: &[("> fetch", Phase::Fetching), ("> unpack", Phase::Building)],
            ..Marks::NONE
        };
        let mut log = Log::new(tx, 1 << 20);
        log.expect(&MARKS);
        log.begin();
        for piece in ["> fet", "ch a\n", "> unpack\n> unp", "ack more\n"] {
            assert!(log.take(piece.as_bytes()).await.is_continue());
        }
        assert_eq!(text(&mut rx).1, [Phase::Fetching, Phase::Building]);
    }
}
