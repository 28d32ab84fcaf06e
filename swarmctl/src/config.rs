//! The configuration of `swarmctl`: the orchestrators' addresses and the admin token. It is stored in
//! `$XDG_CONFIG_HOME/swarmctl/config.toml`, readable by its owner only. Options override environment
//! variables, which override the file.

use crate::failure::Failure;
use clap::{ArgMatches, parser::ValueSource};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    path::{Path, PathBuf},
};
use swarm_client::{Client, Patience, Trust, Url, parse_address};
use swarm_common::{
    fingerprint::{Fingerprint, Pins},
    secret::Secret,
};
use swarm_daemon::config::{self, ConfigError, secret};

/// The contents of the configuration file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Addresses of the orchestrators, tried in this order.
    #[serde(default)]
    orchestrators: Vec<String>,
    /// Pinned fingerprints of the orchestrators' certificates. Default: none, certificate authorities verify
    /// them.
    #[serde(default, skip_serializing_if = "no_pins")]
    fingerprint: Pins,
    /// A file of certificate authorities to trust. Default: those that this machine trusts.
    ca: Option<PathBuf>,
    /// The admin token. Takes precedence over `token_file`.
    token: Option<String>,
    /// A file with the admin token, relative to the directory of this file.
    token_file: Option<PathBuf>,
}

impl File {
    /// Reads the file. A missing file counts as empty.
    fn read(path: &Path) -> Result<Self, ConfigError> {
        match path.try_exists() {
            Ok(false) => Ok(Self::default()),
            _ => config::parse(path, &secret::read_private(path)?),
        }
    }
}

fn no_pins(pins: &Pins) -> bool {
    pins.0.is_empty()
}

/// What the command line and the environment say.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConnectionArgs {
    /// Address of an orchestrator, such as http://nas:8100; may be repeated
    #[arg(
        long,
        global = true,
        hide = true,
        value_name = "URL",
        env = "SWARM_ORCHESTRATOR",
        value_delimiter = ',',
        value_parser = parse_address
    )]
    pub orchestrator: Vec<Url>,
    /// Fingerprint of the orchestrator's certificate, such as sha256:…; may be repeated
    #[arg(
        long,
        global = true,
        hide = true,
        value_name = "FINGERPRINT",
        env = "SWARM_FINGERPRINT",
        value_delimiter = ','
    )]
    pub fingerprint: Vec<Fingerprint>,
    /// File of the authorities that may sign it [default: those that this machine trusts]
    #[arg(
        long,
        global = true,
        hide = true,
        value_name = "FILE",
        env = "SWARM_CA",
        conflicts_with = "fingerprint"
    )]
    pub ca: Option<PathBuf>,
    /// File that holds the admin token
    #[arg(long, global = true, hide = true, value_name = "FILE", env = "SWARM_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Configuration file [default: $XDG_CONFIG_HOME/swarmctl/config.toml]
    #[arg(long, global = true, hide = true, value_name = "FILE", env = "SWARMCTL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Ids of the options given on the command line. Other values come from the environment.
    #[arg(skip)]
    pub given: Vec<&'static str>,
}

/// Where the value of a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This option on the command line.
    Option(&'static str),
    /// This environment variable.
    Variable(&'static str),
    File(PathBuf),
    /// Nothing sets a value.
    Unset,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(name) | Self::Variable(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Unset => f.write_str("-"),
        }
    }
}

/// A setting in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The name of the option.
    pub name: &'static str,
    /// The values, in order. For the token, only the place where it is stored.
    pub values: Vec<String>,
    pub origin: Origin,
}

/// The orchestrators to connect to, and the credentials.
#[derive(Debug, Clone)]
pub struct Connection {
    pub orchestrators: Vec<Url>,
    pub trust: Trust,
    pub token: Secret,
}

impl ConnectionArgs {
    /// Records which options were given on the command line.
    pub fn note_origins(&mut self, matches: &ArgMatches) {
        let on_line = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let all = ["config", "orchestrator", "fingerprint", "ca", "admin_token_file"];
        self.given = all.into_iter().filter(on_line).collect();
    }

    /// Path of the configuration file.
    ///
    /// # Errors
    /// There is no home directory.
    pub fn path(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.config {
            return Ok(path.clone());
        }
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        absolute("XDG_CONFIG_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".config")))
            .map(|dir| dir.join("swarmctl/config.toml"))
            .ok_or_else(|| {
                Failure::Usage("neither XDG_CONFIG_HOME nor HOME is set; use --config FILE".to_owned())
            })
    }

    /// How to verify certificates according to the command line and the environment.
    #[must_use]
    pub fn trust(&self) -> Trust {
        Trust { pins: Pins(self.fingerprint.clone()), ca: self.ca.clone() }
    }

    /// Every setting with its origin.
    ///
    /// # Errors
    /// There is no home directory, or the file is invalid or readable by others.
    pub fn effective(&self) -> Result<Vec<Setting>, Failure> {
        let path = self.path()?;
        let file = File::read(&path)?;
        let setting = |id: &'static str, option, variable, values: Vec<String>, own: Vec<String>| {
            let origin = match (values.is_empty(), own.is_empty()) {
                (false, _) if self.given.contains(&id) => Origin::Option(option),
                (false, _) => Origin::Variable(variable),
                (true, false) => Origin::File(path.clone()),
                (true, true) => Origin::Unset,
            };
            Setting { name: id, values: if values.is_empty() { own } else { values }, origin }
        };
        let shown = |path: &PathBuf| path.display().to_string();
        let urls =
            self.orchestrator.iter().map(|url| url.as_str().trim_end_matches('/').to_owned()).collect();
        // Another address has another certificate, so the file's trust settings apply only to its own
        // addresses.
        let ours = self.orchestrator.is_empty() && self.trust() == Trust::default();
        let (pins, ca) = if ours { (file.fingerprint.0, file.ca) } else { (Vec::new(), None) };
        let token = match (file.token, &file.token_file) {
            (Some(_), _) => vec![shown(&path)],
            (None, name) => name.iter().map(|name| shown(&path.with_file_name(name))).collect(),
        };
        let text = |pins: &[Fingerprint]| pins.iter().map(ToString::to_string).collect();
        let one = |path: &Option<PathBuf>| path.iter().map(shown).collect();
        let token_file = one(&self.admin_token_file);
        Ok(vec![
            setting("config", "--config", "SWARMCTL_CONFIG", one(&self.config), vec![shown(&path)]),
            setting("orchestrator", "--orchestrator", "SWARM_ORCHESTRATOR", urls, file.orchestrators),
            setting(
                "fingerprint",
                "--fingerprint",
                "SWARM_FINGERPRINT",
                text(&self.fingerprint),
                text(&pins),
            ),
            setting("ca", "--ca", "SWARM_CA", one(&self.ca), one(&ca)),
            setting("admin_token_file", "--admin-token-file", "SWARM_TOKEN_FILE", token_file, token),
        ])
    }

    /// Determines the connection from options, environment and file.
    ///
    /// # Errors
    /// No connection is configured, or the file is invalid or readable by others.
    pub fn connection(&self) -> Result<Connection, Failure> {
        let path = self.path()?;
        let file = File::read(&path)?;
        let wrong = |what: String| Failure::from(ConfigError::Secret { path: path.clone(), what });
        let mut orchestrators = self.orchestrator.clone();
        let mut trust = self.trust();
        if orchestrators.is_empty() {
            if trust == Trust::default() {
                trust = Trust { pins: file.fingerprint.clone(), ca: file.ca.clone() };
            }
            for text in &file.orchestrators {
                orchestrators.push(parse_address(text).map_err(|e| wrong(format!("orchestrators: {e}")))?);
            }
        }
        trust.check(&orchestrators).map_err(&wrong)?;
        let token_file = self.admin_token_file.clone().or_else(|| {
            let dir = path.parent().unwrap_or(Path::new("/"));
            file.token_file.as_ref().filter(|_| file.token.is_none()).map(|name| dir.join(name))
        });
        let token = match (&token_file, &file.token) {
            (Some(path), _) => Some(secret::read_secret(path)?),
            (None, Some(token)) => Some(Secret::new(token)),
            (None, None) => None,
        };
        match (orchestrators.is_empty(), token) {
            (false, Some(token)) if token.is_well_formed() => Ok(Connection { orchestrators, trust, token }),
            (false, Some(_)) => {
                Err(wrong("`token` is invalid; log in again: `swarmctl login URL`".to_owned()))
            }
            _ => Err(wrong(
                "has no orchestrator or no token; run `swarmctl init` on the orchestrator's machine or \
                 `swarmctl login URL --token-file FILE` elsewhere"
                    .to_owned(),
            )),
        }
    }
}

impl Connection {
    /// Creates a client for this connection.
    ///
    /// # Errors
    /// The client cannot be set up.
    pub fn client(&self) -> Result<Client, Failure> {
        let client = Client::with_trust(&self.orchestrators, Some(self.token.clone()), &self.trust)?;
        Ok(client.with_patience(Patience::PERSON))
    }

    /// Saves the connection in the file at `path`.
    ///
    /// # Errors
    /// Writing the file failed.
    pub fn save(&self, path: &Path) -> Result<(), Failure> {
        let file = File {
            orchestrators: self
                .orchestrators
                .iter()
                .map(|url| url.as_str().trim_end_matches('/').to_owned())
                .collect(),
            fingerprint: self.trust.pins.clone(),
            ca: self.trust.ca.clone(),
            token: Some(self.token.expose().to_owned()),
            token_file: None,
        };
        let text = toml::to_string(&file).map_err(|e| Failure::Failed(e.to_string()))?;
        let text = format!("# Written by `swarmctl`; the token gives full control of the swarm.\n{text}");
        Ok(secret::write_private(path, &text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn args(path: &Path) -> ConnectionArgs {
        ConnectionArgs { config: Some(path.to_owned()), ..ConnectionArgs::default() }
    }

    #[test]
    fn a_saved_connection_is_found_again_and_only_if_it_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("swarmctl/config.toml");
        let connection = Connection {
            orchestrators: vec![parse_address("https://nas:8143").unwrap()],
            trust: Trust { pins: Pins(vec![Fingerprint::of_certificate(b"nas")]), ca: None },
            token: Secret::new("t0k"),
        };
        connection.save(&path).unwrap();
        let found = args(&path).connection().unwrap();
        assert_eq!(found.orchestrators, connection.orchestrators);
        assert_eq!(found.token, connection.token);
        assert_eq!(found.trust, connection.trust);

        // Another address has another certificate.
        let elsewhere = ConnectionArgs {
            orchestrator: vec![parse_address("http://127.0.0.1:8100").unwrap()],
            ..args(&path)
        };
        assert_eq!(elsewhere.connection().unwrap().trust, Trust::default());

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let failure = args(&path).connection().unwrap_err();
        assert_eq!(failure.code(), 78);
        assert!(failure.to_string().contains("chmod 600"));
    }

    #[test]
    fn without_a_file_the_way_to_log_in_is_told() {
        let failure = args(Path::new("/nowhere/config.toml")).connection().unwrap_err();
        assert_eq!(failure.code(), 78);
        assert!(failure.to_string().contains("swarmctl init"), "{failure}");
    }

    #[test]
    fn each_setting_has_its_origin_and_the_token_is_not_among_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let pins = Pins(vec![Fingerprint::of_certificate(b"nas")]);
        let pin = pins.0[0].to_string();
        let connection = Connection {
            orchestrators: vec![parse_address("https://nas:8143").unwrap()],
            trust: Trust { pins, ca: None },
            token: Secret::new("t0k"),
        };
        connection.save(&path).unwrap();
        let file = Origin::File(path.clone());
        let of = |args: &ConnectionArgs, name| {
            let settings = args.effective().unwrap();
            assert!(!format!("{settings:?}").contains("t0k"));
            let found = settings.into_iter().find(|setting| setting.name == name).unwrap();
            (found.values, found.origin)
        };
        let mut asked = args(&path);
        assert_eq!(of(&asked, "orchestrator"), (vec!["https://nas:8143".to_owned()], file.clone()));
        assert_eq!(of(&asked, "fingerprint"), (vec![pin], file.clone()));
        assert_eq!(of(&asked, "admin_token_file"), (vec![path.display().to_string()], file));
        assert_eq!(of(&asked, "config").1, Origin::Variable("SWARMCTL_CONFIG"));
        assert_eq!(of(&asked, "ca"), (vec![], Origin::Unset));
        // Another address has another certificate.
        asked.orchestrator = vec![parse_address("http://127.0.0.1:8100").unwrap()];
        asked.given = vec!["orchestrator"];
        let here = vec!["http://127.0.0.1:8100".to_owned()];
        assert_eq!(of(&asked, "orchestrator"), (here, Origin::Option("--orchestrator")));
        assert_eq!(of(&asked, "fingerprint"), (vec![], Origin::Unset));
    }

    #[test]
    fn a_misspelt_key_is_told_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        secret::write_private(&path, "orchestrator = [\"http://nas\"]\n").unwrap();
        let error = args(&path).connection().unwrap_err().to_string();
        assert!(
            error.contains("config.toml:1:1: unknown key `orchestrator`; did you mean `orchestrators`?"),
            "{error}"
        );
    }
}
