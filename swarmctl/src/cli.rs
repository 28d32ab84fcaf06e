//! The command line. The arguments of each command are defined next to the command.

use crate::{
    cmd,
    config::ConnectionArgs,
    failure::Failure,
    output::{ColorChoice, Form, Output},
    session::Session,
};
use clap::{CommandFactory, FromArgMatches as _, Parser, Subcommand};
use std::collections::BTreeSet;
use swarm_daemon::version::VERSION;

const EXAMPLES: &str = "\
Examples:
  swarmctl init                                  log in on the orchestrator's machine
  swarmctl status                                show the swarm on one screen
  swarmctl profile add desk --from ./desk --repository /var/db/repos/gentoo
  swarmctl run start desk --wait                 build what has changed and wait for the end
  swarmctl drone list -o wide                    list drones with more columns, at any width
  swarmctl why dev-libs/icu                      explain why a package is not available yet
  swarmctl pause --for 2h                        stop handing out work for two hours
  swarmctl unpause                               end the pause
  swarmctl client setup desk                     print the configuration of a workstation
  swarmctl ready home                            show which NixOS machines can switch to a new system
  swarmctl diff home desk                        show what would change on one of them

Exit codes:
  0   success                  69  no orchestrator answered
  1   failed, or unhealthy     75  temporary failure; try again
  2   invalid command line     77  the token is invalid or lacks permission
  130 interrupted by Ctrl-C    78  invalid configuration

Connection options: `swarmctl help connection`";

/// The options that every command accepts. They are hidden in each command's own help.
const CONNECTION: &str = "\
Options for connecting to an orchestrator

`swarmctl init` and `swarmctl login` write the connection to the configuration file. Every command also
accepts these options. An option takes precedence over its environment variable, which takes precedence
over the file.

  --orchestrator URL          Address of an orchestrator, such as http://nas:8100; may be repeated
                              [env: SWARM_ORCHESTRATOR, separated by commas]
  --fingerprint FINGERPRINT   Fingerprint of the orchestrator's certificate, such as sha256:...; may be repeated
                              [env: SWARM_FINGERPRINT, separated by commas]
  --ca FILE                   File with the certificate authorities to trust
                              [default: this machine's] [env: SWARM_CA]
  --admin-token-file FILE     File with the admin token [env: SWARM_TOKEN_FILE]
  --config FILE               Configuration file [env: SWARMCTL_CONFIG]
                              [default: $XDG_CONFIG_HOME/swarmctl/config.toml, or in ~/.config]

Examples:
  swarmctl config show --origin                             the settings in effect and their origin
  swarmctl --orchestrator http://127.0.0.1:8100 status
  SWARMCTL_CONFIG=~/.config/swarmctl/test.toml swarmctl status
";

/// Control a Build Swarm and show its state
#[derive(Debug, Parser)]
#[command(name = "swarmctl", version = VERSION, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// The command
    #[command(subcommand)]
    pub command: Command,
    /// Output format
    #[arg(
        long,
        short,
        global = true,
        hide_short_help = true,
        value_enum,
        default_value = "text",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    pub output: Form,
    /// Print JSON, as with --output json
    #[arg(long, global = true, hide_short_help = true, help_heading = "Output")]
    pub json: bool,
    /// When to use colours; NO_COLOR is respected
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN",
        help_heading = "Output"
    )]
    pub color: ColorChoice,
    /// Do not ask for confirmation
    #[arg(long, short = 'y', global = true, hide_short_help = true, help_heading = "Output")]
    pub yes: bool,
    /// Never ask, as if there were no terminal
    #[arg(long, global = true, hide_short_help = true, help_heading = "Output")]
    pub no_input: bool,
    /// The orchestrator to connect to
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

impl Cli {
    /// Parses the command line. Exits if it is invalid or asks for help.
    #[must_use]
    pub fn read() -> Self {
        let matches = grammar().get_matches();
        let mut cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        cli.connection.note_origins(&matches);
        cli
    }

    /// The form of the output.
    #[must_use]
    pub fn form(&self) -> Form {
        if self.json { Form::Json } else { self.output }
    }

    /// Executes the command.
    ///
    /// # Errors
    /// The command failed, or what it checked is not healthy.
    pub async fn run(self, output: Output) -> Result<(), Failure> {
        let session = Session { connection: self.connection, output, yes: self.yes, no_input: self.no_input };
        let s = &session;
        match self.command {
            Command::Init(args) => cmd::init::run(s, args).await,
            Command::Login(args) => cmd::login::run(s, args).await,
            Command::Status => cmd::status::run(s).await,
            Command::Run(verb) => cmd::run::run(s, verb).await,
            Command::Schedule(verb) => cmd::schedule::run(s, verb).await,
            Command::Pause(args) => cmd::pause::run(s, args).await,
            Command::Unpause => cmd::pause::end(s).await,
            Command::Queue(args) => cmd::queue::run(s, args).await,
            Command::Why(args) => cmd::why::run(s, args).await,
            Command::History(args) => cmd::history::run(s, args).await,
            Command::Logs(args) => cmd::logs::run(s, args).await,
            Command::Retry(args) => cmd::retry::run(s, args).await,
            Command::Rebuild(args) => cmd::rebuild::run(s, args).await,
            Command::Quarantine(verb) => cmd::quarantine::run(s, verb).await,
            Command::Drone(verb) => cmd::drone::run(s, verb).await,
            Command::Base(verb) => cmd::base::run(s, verb).await,
            Command::Channel(verb) => cmd::channel::run(s, verb).await,
            Command::Profile(verb) => cmd::profile::run(s, verb).await,
            Command::Client(verb) => cmd::client::run(s, verb).await,
            Command::Ready(args) => cmd::ready::run(s, args).await,
            Command::Diff(args) => cmd::diff::run(s, args).await,
            Command::Audit(verb) => cmd::audit::run(s, verb).await,
            Command::Notify(verb) => cmd::notify::run(s, verb).await,
            Command::Events(args) => cmd::events::run(s, args).await,
            Command::Config(verb) => cmd::config::run(s, verb),
            Command::Man(args) => cmd::man::run(&args, grammar()),
            Command::Connection => s.output.print(CONNECTION),
            Command::Completions(args) => cmd::completions::run(s, args, Self::command()),
        }
    }
}

/// The command line, with examples added to each subcommand's help.
#[must_use]
pub fn grammar() -> clap::Command {
    with_examples(Cli::command(), "swarmctl", &[])
}

/// Gives a command without an `after_help` those examples of its parents that use it.
fn with_examples(command: clap::Command, path: &str, above: &[String]) -> clap::Command {
    let text = command.get_after_help().map(ToString::to_string);
    let of_own = |line: &str| {
        line.trim_start()
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with([' ', '`']) || rest.is_empty())
    };
    let lines = text.iter().flat_map(|text| text.lines().map(str::to_owned));
    let mut known: Vec<String> = above.iter().cloned().chain(lines).filter(|line| of_own(line)).collect();
    // The top level explains some examples that a parent repeats: after two spaces comes the explanation.
    let mut seen = BTreeSet::new();
    known.retain(|line| seen.insert(line.trim_start().split("  ").next().map(str::to_owned)));
    let command = match text {
        None if !known.is_empty() => {
            let examples = format!("Examples:\n{}", known.join("\n"));
            command.after_help(examples)
        }
        _ => command,
    };
    command.mut_subcommands(|sub| {
        let path = format!("{path} {}", sub.get_name());
        with_examples(sub, &path, &known)
    })
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Log in on the orchestrator's own machine
    Init(cmd::init::Args),
    /// Log in from another machine with a copy of the admin token
    Login(cmd::login::Args),
    /// Show the swarm on one screen; exits with 1 if something is wrong
    Status,
    /// Start, watch and cancel runs
    #[command(subcommand)]
    Run(cmd::run::Verb),
    /// Manage the schedules that start runs
    #[command(subcommand)]
    Schedule(cmd::schedule::Verb),
    /// Stop handing out work for a while; running builds continue
    Pause(cmd::pause::Args),
    /// End a pause
    Unpause,
    /// List the packages of active runs
    Queue(cmd::queue::Args),
    /// Explain a package's state
    Why(cmd::why::Args),
    /// List the attempts at a package, including those of earlier runs
    History(cmd::history::Args),
    /// Print the log of a build or a plan
    Logs(cmd::logs::Args),
    /// Retry packages
    Retry(cmd::retry::Args),
    /// Rebuild packages in the next run, even if nothing has changed
    Rebuild(cmd::rebuild::Args),
    /// Manage packages that were judged broken
    #[command(subcommand)]
    Quarantine(cmd::quarantine::Verb),
    /// Manage the machines that build packages
    #[command(subcommand)]
    Drone(cmd::drone::Verb),
    /// Manage the root file systems that packages are built in
    #[command(subcommand)]
    Base(cmd::base::Verb),
    /// Manage profiles: what is built, with which configuration, from which repositories
    #[command(subcommand)]
    Profile(cmd::profile::Verb),
    /// Show the channels that workstations install from, promote generations and roll back
    #[command(subcommand)]
    Channel(cmd::channel::Verb),
    /// Set up workstations that install the packages
    #[command(subcommand)]
    Client(cmd::client::Verb),
    /// Show which systems the NixOS machines of a profile can switch to
    Ready(cmd::ready::Args),
    /// Show what changed in the system of a NixOS machine between two generations
    Diff(cmd::diff::Args),
    /// Check the integrity of the journal and all stored files
    #[command(subcommand)]
    Audit(cmd::audit::Verb),
    /// List and test notification sinks
    #[command(subcommand)]
    Notify(cmd::notify::Verb),
    /// Print the events in the journal
    Events(cmd::events::Args),
    /// Show swarmctl's own configuration
    #[command(subcommand)]
    Config(cmd::config::Verb),
    /// Print a completion script for a shell
    Completions(cmd::completions::Args),
    /// Write the manual pages of swarmctl
    #[command(hide = true)]
    Man(cmd::man::Args),
    /// The options for connecting to an orchestrator
    #[command(hide = true, override_help = CONNECTION)]
    Connection,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Args as _;

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
    fn the_options_of_the_connection_stand_under_their_own_topic_and_in_no_other_help() {
        let own = crate::config::ConnectionArgs::augment_args(clap::Command::new("x"));
        for option in own.get_arguments() {
            let long = format!("--{}", option.get_long().unwrap());
            let variable = option.get_env().unwrap().to_str().unwrap();
            assert!(CONNECTION.contains(&long) && CONNECTION.contains(variable), "{long} {variable}");
            for command in [vec!["--help"], vec!["run", "start", "--help"], vec!["status", "-h"]] {
                let arguments = std::iter::once("swarmctl").chain(command);
                let help = Cli::try_parse_from(arguments).unwrap_err().to_string();
                assert!(!help.contains(&long), "{help}");
            }
        }
        for (command, lines) in [("status", 12), ("queue", 20)] {
            let short = Cli::try_parse_from(["swarmctl", command, "-h"]).unwrap_err().to_string();
            assert!(short.lines().count() <= lines, "{short}");
        }
        let topic = Cli::try_parse_from(["swarmctl", "help", "connection"]).unwrap_err().to_string();
        assert!(topic.contains("--admin-token-file"), "{topic}");
    }

    #[test]
    fn every_verb_has_help_with_examples_of_its_own() {
        fn check(command: &clap::Command, path: &str) {
            assert!(command.get_about().is_some(), "{path}");
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples.contains(path), "{path} has no example: {examples}");
            let lines: Vec<_> =
                examples.lines().filter_map(|line| line.trim_start().split("  ").next()).collect();
            let own: BTreeSet<_> = lines.iter().filter(|line| line.starts_with(path)).collect();
            assert_eq!(own.len(), lines.iter().filter(|line| line.starts_with(path)).count(), "{examples}");
            for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
            {
                check(sub, &format!("{path} {}", sub.get_name()));
            }
        }
        check(&grammar(), "swarmctl");
    }
}
