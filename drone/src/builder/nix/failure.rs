//! Determines the cause of a failed build with Nix.

use super::machine_log::NixReport;
use crate::builder::{
    Stop,
    errors::Errors,
    failure::{made, of},
    first_error::{TEXT_BYTES, clip, plain},
};
use swarm_common::{
    state::{FailureCause, FailureClass, Phase},
    wire::drone::Failure,
};
use swarm_formats::nix::serve::BuildStatus;

/// Nix's message about an input that is not in the store.
pub(super) const NO_INPUT: &str = "does not exist, and substitution is disabled";
/// Nix's message about an output with another hash than the derivation says.
const OTHER_HASH: &str = "hash mismatch";

/// Nix's messages, from several versions, about a derivation that this machine cannot build.
const NOT_HERE: [&str; 3] = ["' is required to build '", "Required system: ", "Required features: "];

/// The failure of a build that ended like this. `None` if Nix itself failed.
pub(super) fn failure(
    status: Option<BuildStatus>,
    heard: &NixReport,
    errors: &Errors,
    phase: Phase,
    peak_memory_bytes: u64,
) -> Failure {
    let nix_error = heard.errors.join("\n");
    let with_last = |what: &str| format!("{what}\nthe last lines were:\n{}", errors.last());
    match status {
        Some(BuildStatus::TimedOut) => {
            of(FailureClass::Timeout, phase, with_last(&format!("stopped: {}", short(&nix_error))))
        }
        _ if nix_error.contains(OTHER_HASH) => {
            made(FailureClass::Infra, Some(FailureCause::SourceMismatch), phase, &short(&nix_error))
        }
        _ if nix_error.contains(NO_INPUT) => of(FailureClass::Infra, Phase::Preparing, short(&nix_error)),
        _ if NOT_HERE.iter().any(|text| nix_error.contains(text)) => {
            of(FailureClass::Drone, phase, short(&nix_error))
        }
        Some(BuildStatus::NotDeterministic | BuildStatus::OutputRejected) => {
            of(FailureClass::Package, phase, short(&nix_error))
        }
        Some(BuildStatus::Failed)
            if nix_error.contains("failed due to signal 9") || errors.first().is_some() =>
        {
            errors.failure(FailureClass::Package, phase, peak_memory_bytes)
        }
        Some(BuildStatus::Other) if nix_error.contains("failed with exit code") => {
            let failure = errors.failure(FailureClass::Infra, phase, peak_memory_bytes);
            match failure.cause {
                Some(_) => failure,
                None => {
                    let message = with_end(&nix_error, errors);
                    made(FailureClass::Infra, Some(FailureCause::SourceMissing), phase, &message)
                }
            }
        }
        Some(BuildStatus::Failed) => {
            let message = with_end(&nix_error, errors);
            // The output shows no known error, but it may show a missing resource.
            let class = errors.failure(FailureClass::Package, phase, peak_memory_bytes).class;
            of(class, phase, message)
        }
        _ => of(FailureClass::Drone, phase, short(&nix_error)),
    }
}

/// Ends the attempt with a failure.
pub(super) fn stop(class: FailureClass, phase: Phase, message: String) -> Stop {
    Stop::Failed(of(class, phase, message))
}

/// How the builder ended, and the last lines that it printed.
fn with_end(nix_error: &str, errors: &Errors) -> String {
    let last = errors.last();
    match last.lines().last() {
        None | Some("") => short(nix_error),
        Some(end) => format!("{end} ({})\nthe last lines were:\n{last}", ending(nix_error)),
    }
}

/// How the builder ended, in Nix's words: `failed with exit code 3`.
fn ending(nix_error: &str) -> &str {
    let at = ["failed with exit code", "failed due to signal"].iter().find_map(|text| nix_error.find(text));
    let end = at.map_or("the builder failed", |at| &nix_error[at..]);
    end.split(['\n', ';', '.']).next().unwrap_or(end)
}

/// Nix's message without the parts that every error has.
fn short(nix_error: &str) -> String {
    let nix_error = nix_error.trim().trim_start_matches("error: ").trim();
    if nix_error.is_empty() { "Nix failed without an error message".into() } else { nix_error.to_owned() }
}

/// The error in the output of a Nix program, without escape sequences, warnings and advice. Its first line
/// says what is wrong.
pub(super) fn error(output: &str) -> String {
    let lines: Vec<_> = output.lines().map(plain).collect();
    let noise = ["warning:", "(use '--show-trace'", "GC Warning:", "trace:", "• ", "    'path:"];
    let is_noise = |line: &str| noise.iter().any(|start| line.starts_with(start));
    let from = lines.iter().position(|line| line.starts_with("error:")).unwrap_or(0);
    let kept: Vec<&str> = lines[from..].iter().map(|line| &**line).filter(|line| !is_noise(line)).collect();
    let text = kept.join("\n");
    let text = text.trim();
    // Newer versions print the trace first and the error last.
    let last = kept.iter().rev().find_map(|line| line.trim().strip_prefix("error: "));
    let headline = last.unwrap_or_default().trim();
    let message = match text.strip_prefix("error: ") {
        Some(rest) => rest.to_owned(),
        None if headline.is_empty() => text.to_owned(),
        None => format!("{headline}\n{text}"),
    };
    if message.is_empty() {
        return "Nix failed without an error message".into();
    }
    clip(&message, TEXT_BYTES).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::marks::Marks;
    use BuildStatus::*;

    fn heard(error: &str) -> NixReport {
        NixReport { begun: true, errors: vec![error.into()] }
    }

    fn judged(status: BuildStatus, error: &str, output: &str) -> Failure {
        let mut errors = Errors::new(&Marks::NONE);
        output.lines().for_each(|line| errors.see(line));
        failure(Some(status), &heard(error), &errors, Phase::Building, 0)
    }

    #[test]
    fn a_builder_that_prints_no_known_error_is_told_by_its_last_line() {
        let error = "error: builder for '/nix/store/x-a.drv' failed with exit code 3";
        let failure = judged(Failed, error, "start\nboom\n");
        assert_eq!(failure.class, FailureClass::Package);
        assert_eq!(failure.headline(), "boom (failed with exit code 3)");
        assert!(failure.message.ends_with("start\nboom"), "{}", failure.message);
        let newer =
            "error: Cannot build '/nix/store/x-a.drv'.\n       Reason: builder failed with exit code 3.\n";
        assert_eq!(judged(Failed, newer, "boom").headline(), "boom (failed with exit code 3)");
        let failure = judged(Failed, error, "");
        assert_eq!(failure.headline(), "builder for '/nix/store/x-a.drv' failed with exit code 3");
    }

    #[test]
    fn the_end_of_a_build_tells_whose_fault_it_is() {
        let failure = judged(Failed, "error: builder failed", "x.c:3:1: error: no\nmore\n");
        assert_eq!(failure.headline(), "x.c:3:1: error: no");
        let failure = judged(Failed, "error: builder failed", "cc: No space left on device");
        assert_eq!(failure.cause, Some(FailureCause::DiskFull));
        let failure = judged(TimedOut, "error: building of 'a' timed out after 2 seconds", "tick");
        assert_eq!((failure.class, failure.message.contains("tick")), (FailureClass::Timeout, true));
        let failure =
            judged(OutputRejected, "error: hash mismatch in fixed-output derivation 'a':\n got: b", "");
        assert_eq!(failure.cause, Some(FailureCause::SourceMismatch));
        assert_eq!(
            judged(NotDeterministic, "error: may not be deterministic", "").class,
            FailureClass::Package
        );
        let error = "error: dependency '/nix/store/x-a' of '/nix/store/x-b.drv' does not exist, and substitution is disabled";
        assert_eq!(judged(Other, error, "").class, FailureClass::Infra);
        assert_eq!(judged(Other, "error: a 'riscv' is required", "").class, FailureClass::Drone);
        let newer = "error: Cannot build 'x'.\n       Reason: missing system features\n       Required features: {kvm}";
        assert_eq!(judged(Failed, newer, "").class, FailureClass::Drone);
        // This builder had network access: another drone may reach the mirror.
        let error = "error: builder for '/nix/store/x-a.drv' failed with exit code 1";
        let failure = judged(Other, error, "wget: 503 Service Unavailable");
        assert_eq!((failure.class, failure.cause), (FailureClass::Infra, Some(FailureCause::SourceMissing)));
        assert!(failure.headline().starts_with("wget: 503"), "{}", failure.headline());
    }

    #[test]
    fn an_error_of_evaluation_begins_with_what_is_wrong() {
        let old = "warning: x\n\u{1b}[31;1merror:\u{1b}[0m it is broken\n(use '--show-trace' to show detailed location information)\n";
        assert_eq!(error(old), "it is broken");
        let new = "error:\n       … while calling the 'throw' builtin\n         at /tmp/source/default.nix:3:4:\n\n       error: it is broken\n";
        assert!(error(new).starts_with("it is broken\nerror:\n"), "{}", error(new));
        assert_eq!(error(""), "Nix failed without an error message");
    }
}
