//! `run`: starts, shows, watches and cancels runs.

use super::{status::progress, watch::watch};
use crate::{
    failure::Failure,
    output::{
        Cell, Paint, Table, Tone,
        text::{clean, clean_lines, moment, now, span},
    },
    session::Session,
};
use std::str::FromStr;
use swarm_common::{
    id::RunId,
    name::Name,
    state::{PackageState, RunClass},
    wire::{admin::StartRunRequest, plan::ProblemKind, view::RunView},
};

/// Verbs of `run`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:
  swarmctl run start desk --wait
  swarmctl run list
  swarmctl run show r7
  swarmctl run watch r7
  swarmctl run cancel r7")]
pub enum Verb {
    /// Start a run, which builds what is new in a profile
    Start {
        /// Name of the profile
        profile: Name,
        /// Priority: interactive, security or nightly
        #[arg(long, default_value = "interactive", value_parser = RunClass::from_str)]
        class: RunClass,
        /// Wait until the run ends; exits with 1 unless every package was received
        #[arg(long, short)]
        wait: bool,
    },
    /// List all runs, newest first
    List,
    /// Show a run's progress and what Portage's resolver refused
    Show {
        /// Id of the run, such as r7
        run: RunId,
    },
    /// Cancel a run; the packages it has received are kept
    Cancel {
        /// Id of the run, such as r7
        run: RunId,
    },
    /// Watch a run until it ends; exits with 1 unless every package was received
    Watch {
        /// Id of the run, such as r7 [default: the newest active one]
        run: Option<RunId>,
    },
}

/// Starts, shows, watches or cancels a run.
///
/// # Errors
/// There is no such run or profile, or the orchestrator refused or did not answer.
/// [`Failure::Silent`] if a watched run did not succeed.
pub async fn run(session: &Session, verb: Verb) -> Result<(), Failure> {
    let client = session.client()?;
    match verb {
        Verb::Start { profile, class, wait } => {
            let request = StartRunRequest { profile, class };
            let reply = session.change(async |key| client.start_run(&request, key).await).await?;
            if wait {
                session.output.say(&format!("Started {}", reply.run));
                return watch(session, &client, reply.run).await;
            }
            session.output.show(&reply, |_| {
                format!("Started run {0}; watch it with `swarmctl run watch {0}`\n", reply.run)
            })
        }
        Verb::List => {
            let runs = client.runs().await?;
            session.output.show(&runs, |paint| match runs.is_empty() {
                true => "No runs; start one with `swarmctl run start PROFILE`.\n".to_owned(),
                false => list(&runs, paint),
            })
        }
        Verb::Show { run } => {
            let run = client.run(run).await?;
            session.output.show(&run, |paint| show(&run, paint))
        }
        Verb::Cancel { run } => {
            session.ask(&format!("Cancel {run}? What its drones are building is lost."))?;
            session.change(async |key| client.cancel_run(run, key).await).await?;
            let run = client.run(run).await?;
            session.output.show(&run, |_| format!("{} is {}\n", run.id, run.state))
        }
        Verb::Watch { run } => {
            let run = match run {
                Some(run) => run,
                None => newest_under_way(&client.runs().await?)?,
            };
            watch(session, &client, run).await
        }
    }
}

fn newest_under_way(runs: &[RunView]) -> Result<RunId, Failure> {
    runs.iter()
        .filter(|run| !run.state.is_over())
        .map(|run| run.id)
        .max()
        .ok_or_else(|| Failure::Failed("no run is active; `swarmctl run list` shows ended runs".to_owned()))
}

fn list(runs: &[RunView], paint: Paint) -> String {
    let mut table = Table::new(&["RUN", "PROFILE", "CLASS", "STATE", "STARTED", "TOOK", "RECEIVED"]);
    for run in runs {
        let took = run.ended_at.unwrap_or_else(now).since(run.started_at);
        table.row([
            run.id.to_string().into(),
            run.profile.as_str().into(),
            run.class.word().into(),
            Cell::toned(run.state.into(), run.state),
            moment(run.started_at).into(),
            span(took).into(),
            progress(run).into(),
        ]);
    }
    table.render(paint)
}

/// Whether the problems of a run's plan are those of Nix and not of a resolver.
pub(super) fn is_nix(run: &RunView) -> bool {
    run.problems.iter().all(|problem| problem.kind == ProblemKind::Evaluation)
}

/// Formats a run with all details.
pub(super) fn show(run: &RunView, paint: Paint) -> String {
    let mut out = format!(
        "{} of {} is {}: {}\n",
        paint.tone(Tone::Bold, &run.id.to_string()),
        run.profile,
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

    #[test]
    fn the_newest_run_under_way_is_watched() {
        let mut over = fixtures::run();
        over.id = RunId(9);
        over.state = swarm_common::state::RunState::Succeeded;
        assert_eq!(newest_under_way(&[over.clone(), fixtures::run()]).unwrap(), RunId(7));
        assert_eq!(newest_under_way(&[over]).unwrap_err().code(), 1);
    }
}
