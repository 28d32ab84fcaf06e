//! `completions`: prints a completion script for a shell.

use crate::{failure::Failure, session::Session};
use clap_complete::Shell;
use serde_json::json;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  swarmctl completions bash > /usr/share/bash-completion/completions/swarmctl
  swarmctl completions zsh > ~/.zfunc/_swarmctl
  swarmctl completions fish > ~/.config/fish/completions/swarmctl.fish")]
pub struct Args {
    /// Name of the shell
    shell: Shell,
}

/// Prints the script for this command line.
///
/// # Errors
/// Writing to stdout failed.
pub fn run(session: &Session, args: Args, grammar: clap::Command) -> Result<(), Failure> {
    let script = script(args.shell, grammar);
    session.output.show(&json!({ "shell": args.shell.to_string(), "script": script }), |_| script.clone())
}

fn script(shell: Shell, mut grammar: clap::Command) -> String {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut grammar, "swarmctl", &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory as _;

    #[test]
    fn every_shell_gets_the_verbs() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell, Cli::command());
            for verb in ["status", "quarantine", "completions"] {
                assert!(script.contains(verb), "{shell}: {verb}");
            }
        }
    }
}
