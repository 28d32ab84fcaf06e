//! The command line's grammar. Each verb's own arguments are beside the verb.

use crate::{cmd, config::ConnectionArgs, output::ColorChoice};
use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  swarmctl init                                  log in on the orchestrator's machine
  swarmctl status                                the swarm on one screen
  swarmctl profile add desk --from ./desk --repository /var/db/repos/gentoo
  swarmctl run start desk --wait                 build what is new, and watch
  swarmctl why dev-libs/icu                      why is it not there yet?
  swarmctl client setup desk                     what a workstation needs

Exit codes:
  0   as it should be          69  no orchestrator answered
  1   failed, or not healthy   75  not now; try again
  2   wrong command line       77  the token is unknown or not enough
  130 stopped with control-C   78  wrong configuration";

/// Tells a Build Swarm what to do, and says how it is
#[derive(Debug, Parser)]
#[command(name = "swarmctl", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// Print JSON for programs
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// When to use colour: auto, always or never; NO_COLOR is heeded
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN",
        help_heading = "Output"
    )]
    pub color: ColorChoice,
    /// Say yes to every question
    #[arg(long, short = 'y', global = true, help_heading = "Output")]
    pub yes: bool,
    /// Whom to ask
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Log in on the orchestrator's machine, with the token it wrote there
    Init(cmd::init::Args),
    /// Log in from elsewhere, with a copy of the token
    Login(cmd::login::Args),
    /// The swarm on one screen; exit code 1 if something is wrong
    Status,
    /// Start, watch and cancel runs
    #[command(subcommand)]
    Run(cmd::run::Verb),
    /// When runs start by themselves
    #[command(subcommand)]
    Schedule(cmd::schedule::Verb),
    /// Hand out no work for a while; builds under way go on
    Pause(cmd::pause::Args),
    /// Hand out work again
    Unpause,
    /// The packages of the runs under way
    Queue(cmd::queue::Args),
    /// Why a package is in the state that it is in
    Why(cmd::why::Args),
    /// The log of a package's build
    Logs(cmd::logs::Args),
    /// Let packages be tried again
    Retry(cmd::retry::Args),
    /// Have the next run rebuild packages, whether or not anything about them has changed
    Rebuild(cmd::rebuild::Args),
    /// Packages that were judged broken
    #[command(subcommand)]
    Quarantine(cmd::quarantine::Verb),
    /// The machines that build
    #[command(subcommand)]
    Drone(cmd::drone::Verb),
    /// The root file systems that packages are built in
    #[command(subcommand)]
    Base(cmd::base::Verb),
    /// What is built, from which configuration and repositories
    #[command(subcommand)]
    Profile(cmd::profile::Verb),
    /// The workstations that install what was built
    #[command(subcommand)]
    Client(cmd::client::Verb),
    /// Whether journal and artifacts are whole
    #[command(subcommand)]
    Audit(cmd::audit::Verb),
    /// How people are told, and whether that works
    #[command(subcommand)]
    Notify(cmd::notify::Verb),
    /// Where the journal is
    #[command(subcommand)]
    Journal(cmd::journal::Verb),
    /// What has happened
    Events(cmd::events::Args),
    /// Completions for a shell
    Completions(cmd::completions::Args),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_misspelt_verb_is_answered_with_the_right_one() {
        let error = Cli::try_parse_from(["swarmctl", "statsu"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("'status'"), "{error}");
    }

    #[test]
    fn wrong_values_are_refused_with_what_is_right() {
        for (args, want) in [
            (vec!["queue", "--state", "broken"], "quarantined"),
            (vec!["run", "show", "12"], "r12"),
            (vec!["run", "start", "Desk"], "a-z"),
            (vec!["login", "nas:8100", "--token-file", "-"], "http://nas:8100"),
            (vec!["drone", "token", "--valid", "soon"], "30min"),
        ] {
            let error = Cli::try_parse_from(std::iter::once("swarmctl").chain(args)).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(want), "{error}");
        }
    }

    #[test]
    fn every_verb_has_help() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some() || command.get_name() == "help", "{}", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
