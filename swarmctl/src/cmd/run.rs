//! `run`: starts, shows, watches and cancels runs.

mod show;
mod watch;

use super::{
    effects::{self, DryRun},
    status::progress,
};
use crate::{
    failure::Failure,
    output::{
        Cell, Paint, Table,
        text::{clean, moment, now, span},
    },
    session::Session,
};
use show::show;
use std::str::FromStr;
use swarm_common::{
    id::RunId,
    name::Name,
    state::RunClass,
    wire::{admin::StartRunRequest, view::RunView},
};
use watch::watch;

/// Verbs of `run`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:
  swarmctl run start desk --wait
  swarmctl run list
  swarmctl run show r7
  swarmctl run watch r7
  swarmctl run cancel r7 --dry-run
  swarmctl run cancel r7")]
pub enum Verb {
    /// Start a run, which builds what has changed in a profile
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
    /// Show the progress of a run and what could not be planned
    Show {
        /// Id of the run, such as r7
        run: RunId,
    },
    /// Cancel a run; the packages it has received are kept
    Cancel {
        /// Id of the run, such as r7
        run: RunId,
        /// Whether to only show what would change
        #[command(flatten)]
        dry: DryRun,
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
        Verb::Cancel { run, dry } => {
            if dry.dry_run {
                return session.would(&effects::run_cancelled(&client.run(run).await?));
            }
            session.ask(&format!("Cancel {run}? Its running builds will be discarded."))?;
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
    if paint.wide {
        table.widen(&["REUSED", "HELD", "SNAPSHOT", "REASON"]);
    }
    for run in runs {
        let took = run.ended_at.unwrap_or_else(now).since(run.started_at);
        let cells = [
            run.id.to_string().into(),
            run.profile.as_str().into(),
            run.class.word().into(),
            Cell::toned(run.state.into(), run.state),
            moment(run.started_at).into(),
            span(took).into(),
            progress(run).into(),
        ];
        let more = paint.wide.then(|| {
            let reason = clean(run.reason.as_deref().unwrap_or_default());
            let snapshot = run.snapshot.short();
            [run.reused.to_string(), run.held.to_string(), snapshot, reason].map(Cell::from)
        });
        table.row(cells.into_iter().chain(more.into_iter().flatten()));
    }
    table.render(paint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::fixtures;

    #[test]
    fn the_newest_run_under_way_is_watched() {
        let mut over = fixtures::run();
        over.id = RunId(9);
        over.state = swarm_common::state::RunState::Succeeded;
        assert_eq!(newest_under_way(&[over.clone(), fixtures::run()]).unwrap(), RunId(7));
        assert_eq!(newest_under_way(&[over]).unwrap_err().code(), 1);
    }
}
