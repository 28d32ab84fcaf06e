//! The arguments of `profile add --nix` and `profile update --nix`.

use crate::snapshot::nix::NixSources;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use swarm_formats::snapshot::NixUpstream;

/// The default Nix store, which may already contain the inputs of a flake.
const STORE: &str = "/nix/store";

/// What of a source is built by Nix.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Nix")]
pub struct NixArgs {
    /// Build with Nix; --from is then a directory with flake.nix or default.nix, or a Git repository whose
    /// newest commit is fetched: git+https://HOST/PATH?ref=BRANCH&dir=FOLDER
    #[arg(long, conflicts_with_all = ["repository", "base", "rebuild"])]
    pub nix: bool,
    /// Attribute to build, such as `hello` or `tools.x`; in a flake, `packages.x86_64-linux.hello`, or `hello`
    /// for this machine's system; may be repeated
    #[arg(long, value_name = "ATTRIBUTE", requires = "nix")]
    attr: Vec<String>,
    /// NixOS machine to build, by its name in `nixosConfigurations`; may be repeated
    #[arg(long, value_name = "NAME", requires = "nix")]
    host: Vec<String>,
    /// File to evaluate instead of flake.nix or default.nix
    #[arg(long, value_name = "FILE", requires = "nix")]
    file: Option<String>,
    /// String that is passed to the file's function; may be repeated
    #[arg(long, value_name = "NAME=VALUE", requires = "nix", value_parser = pair)]
    arg: Vec<(String, String)>,
    /// Directory with an input of the flake that is not in this machine's Nix store; may be repeated
    #[arg(long, value_name = "NAME=DIR", requires = "nix", value_parser = pair)]
    input: Vec<(String, String)>,
    /// Input whose newest content is locked, instead of the content in flake.lock of the Git repository; may be
    /// repeated
    #[arg(long, value_name = "NAME", requires = "nix")]
    update_input: Vec<String>,
    /// Binary cache whose packages are used instead of building them, with one of its public keys; may be
    /// repeated, also for further keys of a cache
    #[arg(long, value_name = "URL=KEY", requires = "nix", value_parser = pair)]
    upstream: Vec<(String, String)>,
    /// Allow the evaluation to build derivations and read their outputs
    #[arg(long, requires = "nix")]
    allow_import_from_derivation: bool,
}

/// Splits the text at the first `=`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

impl NixArgs {
    /// The sources to make a snapshot of.
    pub fn sources(self, dir: PathBuf, allow_dirty: bool) -> NixSources {
        let mut upstreams: Vec<NixUpstream> = Vec::new();
        for (url, key) in self.upstream {
            match upstreams.iter_mut().find(|known| known.url == url) {
                Some(known) => known.keys.push(key),
                None => upstreams.push(NixUpstream { url, keys: vec![key] }),
            }
        }
        NixSources {
            dir,
            update: self.update_input,
            file: self.file,
            attributes: self.attr,
            hosts: self.host,
            arguments: self.arg.into_iter().collect(),
            upstreams,
            import_from_derivation: self.allow_import_from_derivation,
            inputs: self
                .input
                .into_iter()
                .map(|(name, dir)| (name, PathBuf::from(dir)))
                .collect::<BTreeMap<_, _>>(),
            store: Path::new(STORE).to_owned(),
            allow_dirty,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verb;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    fn parse(args: &[&str]) -> Result<super::NixSources, clap::Error> {
        let all = ["swarmctl", "profile", "add", "x", "--from", "."].into_iter().chain(args.iter().copied());
        match Cli::try_parse_from(all)?.command {
            Command::Profile(Verb::Add { from, .. }) => Ok(from.nix.sources(from.from, from.allow_dirty)),
            _ => unreachable!("another command"),
        }
    }

    #[test]
    fn caches_are_joined_with_their_keys_and_values_may_have_equals_signs() {
        let sources = parse(&[
            "--nix",
            "--attr=a",
            "--attr=b",
            "--arg=x=1=2",
            "--upstream=https://c=k1:AA=",
            "--upstream=https://d=k2:BB=",
            "--upstream=https://c=k3:CC=",
        ])
        .unwrap();
        assert_eq!(sources.attributes, ["a", "b"]);
        assert_eq!(sources.arguments["x"], "1=2");
        let keys: Vec<_> = sources.upstreams.iter().map(|u| (u.url.as_str(), u.keys.join(" "))).collect();
        assert_eq!(keys, [("https://c", "k1:AA= k3:CC=".to_owned()), ("https://d", "k2:BB=".to_owned())]);
    }

    #[test]
    fn options_of_the_two_builders_do_not_mix() {
        for bad in [
            &["--attr", "a"][..],
            &["--nix", "--repository", "r"],
            &["--nix", "--base", "b"],
            &["--nix", "--rebuild", "strict"],
            &["--nix", "--arg", "x"],
            &["--nix", "--upstream", "=x"],
        ] {
            assert_eq!(parse(bad).unwrap_err().exit_code(), 2, "{bad:?}");
        }
    }
}
