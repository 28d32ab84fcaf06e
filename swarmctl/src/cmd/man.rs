//! `man`: writes the manual pages of `swarmctl` and its subcommands.

use crate::failure::Failure;
use std::path::{Path, PathBuf};

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  swarmctl man /usr/local/share/man/man1")]
pub struct Args {
    /// Directory for the pages; it is created if it does not exist
    dir: PathBuf,
}

/// Writes the pages of this command line.
///
/// # Errors
/// Writing to the directory failed.
pub fn run(args: &Args, grammar: clap::Command) -> Result<(), Failure> {
    write(&args.dir, grammar).map_err(|e| Failure::Failed(format!("{}: {e}", args.dir.display())))
}

fn write(dir: &Path, grammar: clap::Command) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(grammar, dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page_with_its_options_and_examples() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("man1"), crate::cli::grammar()).unwrap();
        for (page, texts) in [
            ("swarmctl.1", ["\\-\\-json", "swarmctl run start desk"]),
            ("swarmctl-run-start.1", ["\\-\\-wait", "swarmctl run start desk"]),
            ("swarmctl-drone-token.1", ["\\-\\-valid", "swarmctl drone token"]),
        ] {
            let page = std::fs::read_to_string(dir.path().join("man1").join(page)).unwrap();
            assert!(page.contains(".TH ") && texts.iter().all(|text| page.contains(text)), "{page}");
        }
    }
}
