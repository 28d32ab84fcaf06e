//! Finds the errors in the output of a build.
//!
//! The first one matters, because the last lines usually report only that something failed.

use super::{
    failure::{for_want, of},
    fetch::Fetch,
    first::{First, TEXT_BYTES, clip, is_verdict, plain},
    lack::Lack,
};
use swarm_common::{
    state::{FailureClass, Phase},
    wire::drone::Failure,
};

/// Number of last lines that are kept.
const LAST_LINES: usize = 20;

/// Output that blames the machine, apart from a [`Lack`].
const DRONE: [&str; 3] =
    ["Read-only file system", "internal compiler error: Segmentation fault", "emerge: not found"];
/// Output that blames the binary package host or the network. It is ignored once a build has started,
/// since a build has no network.
const INFRA: [&str; 5] = [
    "Error fetching binhost package info",
    "Fetch failed for",
    "Fetcher exited with a failure",
    "Temporary failure in name resolution",
    "failed Size verification",
];
/// Output that marks the start of a build.
const BUILDS: [&str; 2] = [">>> Unpacking source", ">>> Compiling source"];

/// The errors seen in the output of one step.
#[derive(Debug, Default)]
pub(super) struct Errors {
    first: First,
    /// The line in which Portage first reports the failure, and the line after it.
    verdict: Vec<String>,
    last: Vec<String>,
    lack: Option<Lack>,
    fetch: Fetch,
    builds: bool,
    drone: bool,
    infra: bool,
}

fn has(line: &str, any: &[&str]) -> bool {
    any.iter().any(|text| line.contains(text))
}

impl Errors {
    /// Processes one line of output.
    pub fn see(&mut self, line: &str) {
        let line = &*plain(line);
        if !self.builds && has(line, &BUILDS) {
            // Errors before this point did not stop the build.
            *self = Self { builds: true, ..Self::default() };
        }
        self.first.see(line);
        if line.trim().is_empty() {
            return;
        }
        if self.verdict.len() == 1 || (self.verdict.is_empty() && is_verdict(line)) {
            self.verdict.push(clip(line, TEXT_BYTES / 8).to_owned());
        }
        // Later lines are usually consequences.
        self.lack = self.lack.take().or_else(|| Lack::in_line(line));
        self.drone |= has(line, &DRONE);
        if !self.builds {
            self.infra |= has(line, &INFRA);
            self.fetch.see(line);
        }
        if self.last.len() == LAST_LINES {
            self.last.remove(0);
        }
        self.last.push(clip(line, 200).to_owned());
    }

    /// The first error and the lines after it, if there was one.
    pub fn first(&self) -> Option<&str> {
        self.first.text()
    }

    /// The failure that the output describes. Its class is `class` unless the output points to
    /// another one.
    pub fn failure(&self, class: FailureClass, phase: Phase, peak_memory_bytes: u64) -> Failure {
        let message = match self.first() {
            Some(first) => {
                let verdict = self.verdict.iter().filter(|line| !first.contains(line.trim()));
                verdict.fold(first.to_owned(), |text, line| format!("{text}{line}\n"))
            }
            None => format!("it failed without a word of why; the last lines were:\n{}", self.last()),
        };
        let fetch = || if self.builds { None } else { self.fetch.failure(phase, &message) };
        match self.lack.as_ref() {
            Some(lack) => for_want(lack, phase, Some(peak_memory_bytes), &message),
            None => fetch().unwrap_or_else(|| of(self.class().unwrap_or(class), phase, message)),
        }
    }

    /// The class that the output points to, if any.
    fn class(&self) -> Option<FailureClass> {
        match (self.drone || self.lack.is_some(), self.infra) {
            (true, _) => Some(FailureClass::Drone),
            (_, true) => Some(FailureClass::Infra),
            _ => None,
        }
    }

    /// The last lines, for output without a recognised error.
    pub fn last(&self) -> String {
        self.last.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Errors {
        let mut errors = Errors::default();
        text.lines().for_each(|line| errors.see(line));
        errors
    }

    #[test]
    fn the_first_error_of_the_compiler_counts_not_the_last_words_of_portage() {
        let errors = seen(
            "cc -c x.c\nx.c: In function 'main':\nx.c:3:5: error: unknown type name 'foo'\n  3 | foo\nx.c:9:1: error: late\n * ERROR: a/b-1::r failed (compile phase):\n",
        );
        let failure = of(FailureClass::Package, Phase::Building, errors.first().unwrap().into());
        assert_eq!(failure.signature, "x.c:N:N: error: unknown type name 'foo'");
        assert!(failure.message.contains("late"));
        assert_eq!(errors.class(), None);
        let failure = errors.failure(FailureClass::Package, Phase::Building, 0);
        assert!(failure.message.ends_with(" * ERROR: a/b-1::r failed (compile phase):"));
    }

    #[test]
    fn what_the_machine_or_the_network_did_is_told_apart() {
        for (text, class) in [
            ("/usr/bin/ld: final link failed: No space left on device", Some(FailureClass::Drone)),
            ("gcc: fatal error: Killed signal terminated program cc1", Some(FailureClass::Drone)),
            ("internal compiler error: Segmentation fault", Some(FailureClass::Drone)),
            ("/x/environment: line 4: frobnicate: command not found", None),
            (" * Fetch failed for 'app-misc/x-1', Log file:", Some(FailureClass::Infra)),
            (">>> Unpacking source...\ncurl: Temporary failure in name resolution", None),
            ("x.c:1:1: error: no", None),
        ] {
            assert_eq!(seen(text).class(), class, "{text}");
        }
    }

    #[test]
    fn what_is_kept_of_an_output_is_bounded_and_never_cut_within_a_character() {
        let errors = seen(&format!("error: {}\n{}", "é".repeat(9000), "after\n".repeat(100)));
        assert!(errors.first().unwrap().len() <= TEXT_BYTES);
        assert!(errors.last().len() < TEXT_BYTES * 2);
    }
}
