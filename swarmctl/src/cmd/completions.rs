//! `completions`: prints a completion script for a shell.

use crate::{cli::Cli, failure::Failure, session::Session};
use clap::CommandFactory;
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

/// Prints the script.
///
/// # Errors
/// Writing to stdout failed.
pub fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let script = script(args.shell);
    session.output.show(&json!({ "shell": args.shell.to_string(), "script": script }), |_| script.clone())
}

fn script(shell: Shell) -> String {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "swarmctl", &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_the_verbs() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for verb in ["status", "quarantine", "completions"] {
                assert!(script.contains(verb), "{shell}: {verb}");
            }
        }
    }
}
