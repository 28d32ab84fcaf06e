//! Output: data on stdout, messages on stderr; text for people or JSON for programs; colours only
//! on a terminal that supports them.
//!
//! Commands render to text in functions without I/O, which tests call with fixed views.

mod log;
pub mod progress;
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

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// Text; tables fit the terminal.
    Text,
    /// Text; tables have more columns and are not cut.
    Wide,
    /// JSON.
    Json,
}

/// How output is formatted.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// Whether to print JSON instead of text.
    pub json: bool,
    /// Colours for stdout.
    pub paint: Paint,
    /// Whether stderr is a terminal that can show a progress bar.
    pub live: bool,
}

impl Output {
    /// Determines the format from the command line and the environment.
    #[must_use]
    pub fn new(form: Form, color: ColorChoice) -> Self {
        let (json, wide) = (form == Form::Json, form == Form::Wide);
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => io::stdout().is_terminal() && !dumb && !unwanted,
        };
        let width = rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
        let width = width.filter(|columns| *columns > 0 && !wide);
        let paint = Paint::new(color && !json).within(width).widened(wide);
        Self { json, paint, live: io::stderr().is_terminal() && !dumb && !json }
    }

    /// Prints text or, with `--json`, the value as JSON.
    ///
    /// # Errors
    /// Writing to stdout failed.
    pub fn show(&self, value: &impl Serialize, text: impl FnOnce(Paint) -> String) -> Result<(), Failure> {
        if self.json { self.json(value) } else { self.print(&text(self.paint)) }
    }

    /// Prints a value as JSON.
    ///
    /// # Errors
    /// Writing to stdout failed.
    pub fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(|e| Failure::Failed(e.to_string()))?;
        self.print(&format!("{}\n", text::clean_json(&text)))
    }

    /// Prints a value as JSON on one line.
    ///
    /// # Errors
    /// Writing to stdout failed.
    pub fn json_line(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|e| Failure::Failed(e.to_string()))?;
        self.print(&format!("{}\n", text::clean_json(&text)))
    }

    /// Prints text to stdout unchanged.
    ///
    /// # Errors
    /// Writing to stdout failed. If the reader has closed the pipe, the command ends silently.
    pub fn print(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| match e.kind() {
            // `head` and `grep -q` have read enough. That is not a failure.
            io::ErrorKind::BrokenPipe => Failure::Silent(0),
            _ => Failure::Failed(format!("cannot write to stdout: {e}")),
        })
    }

    /// Prints a message to stderr.
    pub fn say(&self, text: &str) {
        // There is no way to report that stderr is closed.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// The meaning of a piece of text, shown as a colour. The text alone conveys it as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// No special meaning.
    #[default]
    Plain,
    /// A heading.
    Bold,
    /// Less important.
    Dim,
    /// Healthy.
    Good,
    /// In progress.
    Busy,
    /// A problem that may resolve itself.
    Warn,
    Bad,
}

/// Adapts text to its destination: colours it, if enabled, and knows the terminal's width.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    on: bool,
    /// Columns of the terminal. `None` if stdout is not a terminal.
    width: Option<usize>,
    /// Whether tables have their additional columns.
    pub wide: bool,
}

impl Paint {
    #[must_use]
    pub fn new(on: bool) -> Self {
        Self { on, width: None, wide: false }
    }

    /// Limits tables to the columns of a terminal.
    #[must_use]
    pub fn within(self, width: Option<usize>) -> Self {
        Self { width, ..self }
    }

    /// Gives tables their additional columns.
    #[must_use]
    pub fn widened(self, wide: bool) -> Self {
        Self { wide, ..self }
    }

    /// `text` in the colour of a tone.
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
