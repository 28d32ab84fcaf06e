//! The text that a kind of builder itself prints around the output of the compilers and tools that it runs.

use std::fmt::Debug;
use swarm_common::{state::Phase, wire::drone::Failure};

/// How to recognise one kind of builder's own output. `starts` are compared with the beginning of lines
/// without their bullet, texts with any part of a line.
#[derive(Debug)]
pub(super) struct Marks {
    /// The character that precedes its messages, followed by a space.
    pub bullet: Option<char>,
    /// Starts of lines at which a phase begins.
    pub phase_starts: &'static [(&'static str, Phase)],
    /// Texts that show that the build itself begins. From then on it has no network, and earlier errors did
    /// not stop it.
    pub builds: &'static [&'static str],
    /// Texts that are never the error.
    pub harmless: &'static [&'static str],
    pub error_starts: &'static [&'static str],
    /// A text after which errors that contain the other text did not matter.
    pub withdrawn: Option<(&'static str, &'static str)>,
    /// Starts of lines that report only that the build failed.
    pub end_starts: &'static [&'static str],
    /// Whether the line is an error message of one of its helpers.
    pub is_trouble: fn(&str) -> bool,
    /// Whether the line reports that the build failed and is followed by the reason.
    pub is_verdict: fn(&str) -> bool,
    /// Whether the reason says only that something failed.
    pub says_nothing: fn(&str) -> bool,
    /// Texts that blame the machine.
    pub drone: &'static [&'static str],
    /// Texts that blame the binary package host or the network. They count only until the build itself
    /// begins.
    pub infra: &'static [&'static str],
    /// Creates a search for failed downloads in a step, which runs until the build itself begins.
    pub downloads: Option<fn() -> Box<dyn Downloads>>,
}

/// Finds a failed download in the output of one step.
pub(super) trait Downloads: Debug + Send + Sync {
    fn see(&mut self, line: &str);

    /// The failure, if no mirror delivered a file. `errors` is the error output to append.
    fn failure(&self, phase: Phase, errors: &str) -> Option<Failure>;
}

impl Marks {
    /// For a kind of builder that prints nothing of its own.
    pub const NONE: Self = Self {
        bullet: None,
        phase_starts: &[],
        builds: &[],
        harmless: &[],
        error_starts: &[],
        withdrawn: None,
        end_starts: &[],
        is_trouble: |_| false,
        is_verdict: |_| false,
        says_nothing: |_| false,
        drone: &[],
        infra: &[],
        downloads: None,
    };

    /// The line without indentation and bullet.
    pub fn bare<'l>(&self, line: &'l str) -> &'l str {
        let line = line.trim();
        let rest = self.bullet.and_then(|bullet| line.strip_prefix(bullet));
        rest.filter(|rest| rest.is_empty() || rest.starts_with(' ')).unwrap_or(line).trim_start()
    }

    /// The phase that begins with this line.
    pub fn phase(&self, line: &str) -> Option<Phase> {
        let line = self.bare(line);
        self.phase_starts.iter().find(|(start, _)| line.starts_with(start)).map(|&(_, phase)| phase)
    }
}
