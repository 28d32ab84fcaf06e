//! What a kind of builder prints itself, around the output of the compilers and tools that it runs.

use std::fmt::Debug;
use swarm_common::{state::Phase, wire::drone::Failure};

/// How one kind of builder is recognised in the output of a build. `starts` are compared with lines without
/// their bullet, texts with any part of a line.
#[derive(Debug)]
pub(super) struct Marks {
    /// A character that, followed by a space, precedes its messages.
    pub bullet: Option<char>,
    /// Starts of lines at which a phase begins.
    pub phase_starts: &'static [(&'static str, Phase)],
    /// Texts at which the build itself begins. It has no network, and earlier errors did not stop it.
    pub builds: &'static [&'static str],
    /// Texts that are never the error.
    pub harmless: &'static [&'static str],
    /// Starts of error messages.
    pub error_starts: &'static [&'static str],
    /// Starts of lines that report only that the build failed.
    pub end_starts: &'static [&'static str],
    /// Whether one of its helpers reports an error.
    pub is_trouble: fn(&str) -> bool,
    /// Whether it reports that the build failed, and gives the reason in the next line.
    pub is_verdict: fn(&str) -> bool,
    /// Whether such a reason says only that something failed.
    pub says_nothing: fn(&str) -> bool,
    /// Texts that blame the machine.
    pub drone: &'static [&'static str],
    /// Texts that blame the binary package host or the network, until the build itself begins.
    pub infra: &'static [&'static str],
    /// Looks for failed downloads in a step, until the build itself begins.
    pub downloads: Option<fn() -> Box<dyn Downloads>>,
}

/// Finds a failed download in the output of one step.
pub(super) trait Downloads: Debug + Send + Sync {
    /// Processes one line.
    fn see(&mut self, line: &str);

    /// The resulting failure, if a file was given up. `said` is the error output to append.
    fn failure(&self, phase: Phase, said: &str) -> Option<Failure>;
}

impl Marks {
    /// A kind that prints nothing of its own.
    pub const NONE: Self = Self {
        bullet: None,
        phase_starts: &[],
        builds: &[],
        harmless: &[],
        error_starts: &[],
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
