//! What reaches the screen: data on stdout, talk on stderr; text for people or JSON for
//! programs; colour only for a terminal that wants it.
//!
//! Commands render to text in functions without I/O, which tests call with fixed views.

mod log;
mod table;
pub mod text;

pub use log::LogCleaner;
pub use table::{Cell, Table};

use crate::failure::Failure;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use swarm_common::state::{DroneState, PackageState, RunState};

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set or TERM is `dumb`.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How the output is to look.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// JSON and not text.
    pub json: bool,
    /// Colours of stdout.
    pub paint: Paint,
    /// stderr is a terminal where a progress bar can move.
    pub live: bool,
}

impl Output {
    /// Decides by the command line and the environment.
    #[must_use]
    pub fn new(json: bool, color: ColorChoice) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => io::stdout().is_terminal() && !dumb && !unwanted,
        };
        Self { json, paint: Paint::new(color && !json), live: io::stderr().is_terminal() && !dumb && !json }
    }

    /// Prints text or, with `--json`, the value.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn show(&self, value: &impl Serialize, text: impl FnOnce(Paint) -> String) -> Result<(), Failure> {
        if self.json { self.json(value) } else { self.print(&text(self.paint)) }
    }

    /// Prints a value as JSON.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(|e| Failure::Failed(e.to_string()))?;
        self.print(&format!("{}\n", text::clean_json(&text)))
    }

    /// Prints a value as JSON on one line.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn json_line(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|e| Failure::Failed(e.to_string()))?;
        self.print(&format!("{}\n", text::clean_json(&text)))
    }

    /// Prints to stdout as it is.
    ///
    /// # Errors
    /// stdout cannot be written. That its reader is gone ends the command quietly.
    pub fn print(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| match e.kind() {
            // `head` and `grep -q` have read enough; that is no failure of ours.
            io::ErrorKind::BrokenPipe => Failure::Silent(0),
            _ => Failure::Failed(format!("stdout cannot be written: {e}")),
        })
    }

    /// Says something beside the data, on stderr.
    pub fn say(&self, text: &str) {
        // If nobody listens there is nobody to tell.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// What a piece of text is meant to say by its colour. Words say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// A heading.
    Bold,
    /// Beside the point.
    Dim,
    /// As it should be.
    Good,
    /// Under way.
    Busy,
    /// Not as it should be, and may mend itself.
    Warn,
    /// Broken.
    Bad,
}

/// Colours text, or not.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// Colours if `on`.
    #[must_use]
    pub fn new(on: bool) -> Self {
        Self { on }
    }

    /// `text` in a tone.
    #[must_use]
    pub fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Bold => "1",
            Tone::Dim => "2",
            Tone::Good => "32",
            Tone::Busy => "36",
            Tone::Warn => "33",
            Tone::Bad => "31",
        };
        if self.on && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl From<PackageState> for Tone {
    fn from(state: PackageState) -> Self {
        match state {
            PackageState::Received => Self::Good,
            PackageState::Delegated => Self::Busy,
            PackageState::Quarantined => Self::Bad,
            PackageState::Blocked | PackageState::Cancelled => Self::Dim,
            PackageState::Needed => Self::Plain,
        }
    }
}

impl From<DroneState> for Tone {
    fn from(state: DroneState) -> Self {
        match state {
            DroneState::Online => Self::Good,
            DroneState::Pending | DroneState::Draining | DroneState::Offline => Self::Warn,
            DroneState::Grounded | DroneState::Lost => Self::Bad,
        }
    }
}

impl From<RunState> for Tone {
    fn from(state: RunState) -> Self {
        match state {
            RunState::Planning | RunState::Building => Self::Busy,
            RunState::Succeeded => Self::Good,
            RunState::Partial => Self::Warn,
            RunState::Failed => Self::Bad,
            RunState::Cancelled => Self::Dim,
        }
    }
}
