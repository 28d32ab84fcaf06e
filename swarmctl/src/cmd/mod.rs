//! The commands, one file each: arguments, requests, and formatting of the answer.

pub mod audit;
pub mod base;
pub mod channel;
pub mod client;
pub mod completions;
pub mod config;
pub mod diff;
pub mod drone;
pub mod events;
#[cfg(test)]
pub mod fixtures;
pub mod init;
pub mod login;
pub mod logs;
pub mod man;
pub mod notify;
pub mod pause;
pub mod profile;
pub mod quarantine;
pub mod queue;
pub mod ready;
pub mod rebuild;
pub mod retry;
pub mod run;
pub mod schedule;
pub mod status;
pub mod why;

use crate::{
    cli::{CONNECTION, Cli, Command},
    failure::Failure,
    output::Output,
    session::Session,
};

/// Executes the command.
///
/// # Errors
/// The command failed, or what it checked is not healthy.
pub async fn run(cli: Cli, output: Output) -> Result<(), Failure> {
    let session = Session { connection: cli.connection, output, yes: cli.yes, no_input: cli.no_input };
    let s = &session;
    match cli.command {
        Command::Init(args) => init::run(s, args).await,
        Command::Login(args) => login::run(s, args).await,
        Command::Status => status::run(s).await,
        Command::Run(verb) => run::run(s, verb).await,
        Command::Schedule(verb) => schedule::run(s, verb).await,
        Command::Pause(args) => pause::run(s, args).await,
        Command::Unpause => pause::end(s).await,
        Command::Queue(args) => queue::run(s, args).await,
        Command::Why(args) => why::run(s, args).await,
        Command::Logs(args) => logs::run(s, args).await,
        Command::Retry(args) => retry::run(s, args).await,
        Command::Rebuild(args) => rebuild::run(s, args).await,
        Command::Quarantine(verb) => quarantine::run(s, verb).await,
        Command::Drone(verb) => drone::run(s, verb).await,
        Command::Base(verb) => base::run(s, verb).await,
        Command::Channel(verb) => channel::run(s, verb).await,
        Command::Profile(verb) => profile::run(s, verb).await,
        Command::Client(verb) => client::run(s, verb).await,
        Command::Ready(args) => ready::run(s, args).await,
        Command::Diff(args) => diff::run(s, args).await,
        Command::Audit(verb) => audit::run(s, verb).await,
        Command::Notify(verb) => notify::run(s, verb).await,
        Command::Events(args) => events::run(s, args).await,
        Command::Config(verb) => config::run(s, verb),
        Command::Man(args) => man::run(&args),
        Command::Connection => s.output.print(CONNECTION),
        Command::Completions(args) => completions::run(s, args),
    }
}
