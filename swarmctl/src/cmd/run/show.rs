//! `run show`: formats a run with all details.

use super::super::status::progress;
use crate::output::{
    Paint, Tone,
    text::{clean, clean_lines, moment, span},
};
use swarm_common::{
    state::{PackageState, RunState},
    wire::{plan::ProblemKind, view::RunView},
};

/// Whether the plan's problems come from Nix rather than from Portage's resolver.
pub(super) fn is_nix(run: &RunView) -> bool {
    run.problems.iter().all(|problem| problem.kind == ProblemKind::Evaluation)
}

/// The verb before the state, with a space, if the state needs one.
fn verb(state: RunState) -> &'static str {
    match state {
        RunState::Planning | RunState::Building | RunState::Partial => "is ",
        RunState::Cancelled => "was ",
        RunState::Succeeded | RunState::Failed => "",
    }
}

/// Formats a run with all details.
pub(super) fn show(run: &RunView, paint: Paint) -> String {
    let mut out = format!(
        "{} of {} {}{}: {}\n",
        paint.tone(Tone::Bold, &run.id.to_string()),
        run.profile,
        verb(run.state),
        paint.tone(run.state.into(), run.state.word()),
        progress(run)
    );
    if let Some(reason) = &run.reason {
        out.push_str(&format!("  {}\n", clean(reason)));
    }
    let mut line = format!(
        "  class {}, from snapshot {}, started {}",
        run.class,
        run.snapshot.short(),
        moment(run.started_at)
    );
    if let Some(end) = run.ended_at {
        line.push_str(&format!(", took {}", span(end.since(run.started_at))));
    } else if let Some(eta) = run.eta {
        line.push_str(&format!(", done around {}", moment(eta)));
    }
    out.push_str(&line);
    out.push('\n');
    if !run.problems.is_empty() {
        out.push_str(if is_nix(run) { "\nFailed to evaluate:\n" } else { "\nRejected by the resolver:\n" });
    }
    for problem in &run.problems {
        out.push_str(&format!("  {} {}\n", paint.tone(Tone::Warn, "!"), clean(&problem.atoms.join(", "))));
        for line in clean_lines(&problem.message).lines() {
            out.push_str(&format!("    {line}\n"));
        }
        if let Some(suggestion) = &problem.suggestion {
            out.push_str("    Suggested change to the bundle's etc/portage:\n");
            for line in clean_lines(suggestion).lines() {
                out.push_str(&format!("      {line}\n"));
            }
        }
    }
    if run.counts.get(&PackageState::Quarantined).is_some_and(|&n| n > 0) {
        out.push_str(&format!(
            "\nList failed packages: swarmctl queue --run {} --state quarantined\n",
            run.id
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::fixtures;

    #[test]
    fn a_run_shows_what_the_resolver_refused_and_where_to_look() {
        let text = show(&fixtures::run(), Paint::new(false));
        assert!(text.starts_with("r7 of desk is building: 12 of 20, 1 delegated"), "{text}");
        assert!(text.contains("  ! app-text/typeset\n    needs\\u{1b}[31m fonts\n"), "{text}");
        assert!(text.contains("      package.use: >=media-libs/typefont-1 shaper\n"), "{text}");
        assert!(text.contains("swarmctl queue --run r7 --state quarantined"), "{text}");
        let mut run = fixtures::run();
        run.problems[0].kind = ProblemKind::Evaluation;
        assert!(show(&run, Paint::new(false)).contains("\nFailed to evaluate:\n  ! "));
    }
}
