//! `journal migrate`: how to move the journal. It moves while no orchestrator runs, and this
//! program only speaks to one that does; so it says which command does it, and where.

use crate::failure::Failure;

/// The verbs.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// How to move the journal between SQLite and Redis
    Migrate {
        /// Where it is: sqlite:PATH or redis://HOST:PORT
        #[arg(long, value_name = "JOURNAL", default_value = "sqlite:/var/lib/build-swarm/journal.sqlite")]
        from: String,
        /// Where it shall be, in the same form
        #[arg(long, value_name = "JOURNAL")]
        to: String,
    },
}

/// Says how.
///
/// # Errors
/// Always: nothing was moved.
pub fn run(verb: Verb) -> Result<(), Failure> {
    let Verb::Migrate { from, to } = verb;
    Err(Failure::Usage(format!(
        "the journal moves while no orchestrator runs: stop every one of them, then run \
         `swarm-orchestrator journal migrate --from {from} --to {to}` on the orchestrator's machine"
    )))
}
