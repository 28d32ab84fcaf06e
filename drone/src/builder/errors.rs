//! Finds errors in the output of a build.
//!
//! The first one matters, because the last lines usually report only that something failed.

use super::{
    failure::{of, resource_failure},
    first_error::{FirstError, TEXT_BYTES, clip, plain},
    marks::{Downloads, Marks},
    missing_resource::MissingResource,
};
use swarm_common::{
    state::{FailureClass, Phase},
    wire::drone::Failure,
};

/// Number of last lines to keep.
const LAST_LINES: usize = 20;

/// Messages that blame the machine, in addition to those of [`MissingResource`].
const DRONE: [&str; 2] = ["Read-only file system", "internal compiler error: Segmentation fault"];
/// Messages that blame the network. They count only until the build itself begins.
const INFRA: [&str; 1] = ["Temporary failure in name resolution"];

/// The errors seen in the output of one step.
#[derive(Debug)]
pub(super) struct Errors {
    marks: &'static Marks,
    first: FirstError,
    /// The line in which the builder first reports the failure, and the next line.
    verdict: Vec<String>,
    last: Vec<String>,
    missing: Option<MissingResource>,
    downloads: Option<Box<dyn Downloads>>,
    builds: bool,
    drone: bool,
    infra: bool,
}

fn has(line: &str, any: &[&str]) -> bool {
    any.iter().any(|text| line.contains(text))
}

impl Errors {
    /// Searches the output of a kind of builder.
    pub fn new(marks: &'static Marks) -> Self {
        Self {
            marks,
            first: FirstError::new(marks),
            verdict: Vec::new(),
            last: Vec::new(),
            missing: None,
            downloads: marks.downloads.map(|new| new()),
            builds: false,
            drone: false,
            infra: false,
        }
    }

    /// Processes one line of output.
    pub fn see(&mut self, line: &str) {
        let line = &*plain(line);
        if !self.builds && has(line, self.marks.builds) {
            *self = Self { builds: true, ..Self::new(self.marks) };
        }
        self.first.see(line);
        if let Some((text, error)) = self.marks.withdrawn
            && line.contains(text)
            && self.first().is_some_and(|first| first.contains(error))
        {
            self.first = FirstError::new(self.marks);
        }
        if line.trim().is_empty() {
            return;
        }
        if self.verdict.len() == 1
            || (self.verdict.is_empty() && (self.marks.is_verdict)(self.marks.bare(line)))
        {
            self.verdict.push(clip(line, TEXT_BYTES / 8).to_owned());
        }
        // Later lines usually report consequences.
        self.missing = self.missing.take().or_else(|| MissingResource::in_line(line));
        self.drone |= has(line, &DRONE) || has(line, self.marks.drone);
        if !self.builds {
            self.infra |= has(line, &INFRA) || has(line, self.marks.infra);
            if let Some(downloads) = &mut self.downloads {
                downloads.see(line);
            }
        }
        if self.last.len() == LAST_LINES {
            self.last.remove(0);
        }
        self.last.push(clip(line, 200).to_owned());
    }

    /// The first error and the lines after it; `None` if there was no error.
    pub fn first(&self) -> Option<&str> {
        self.first.text()
    }

    /// The failure that the output describes. Its class is `class` unless the output indicates another one.
    pub fn failure(&self, class: FailureClass, phase: Phase, peak_memory_bytes: u64) -> Failure {
        let message = match self.first() {
            Some(first) => {
                let verdict = self.verdict.iter().filter(|line| !first.contains(line.trim()));
                verdict.fold(first.to_owned(), |text, line| format!("{text}{line}\n"))
            }
            None => format!("it failed without an error message; the last lines were:\n{}", self.last()),
        };
        let downloads = self.downloads.as_ref().filter(|_| !self.builds);
        let download = || downloads.and_then(|downloads| downloads.failure(phase, &message));
        match self.missing.as_ref() {
            Some(missing) => resource_failure(missing, phase, Some(peak_memory_bytes), &message),
            None => download().unwrap_or_else(|| of(self.class().unwrap_or(class), phase, message)),
        }
    }

    /// The class that the output indicates, if any.
    fn class(&self) -> Option<FailureClass> {
        match (self.drone || self.missing.is_some(), self.infra) {
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
        let mut errors = Errors::new(&Marks::NONE);
        text.lines().for_each(|line| errors.see(line));
        errors
    }

    #[test]
    fn what_the_machine_or_the_network_did_is_told_apart() {
        for (text, class) in [
            ("/usr/bin/ld: final link failed: No space left on device", Some(FailureClass::Drone)),
            ("gcc: fatal error: Killed signal terminated program cc1", Some(FailureClass::Drone)),
            ("internal compiler error: Segmentation fault", Some(FailureClass::Drone)),
            ("curl: Temporary failure in name resolution", Some(FailureClass::Infra)),
            ("/x/environment: line 4: frobnicate: command not found", None),
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
