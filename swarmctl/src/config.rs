//! Where `swarmctl` keeps the orchestrators' addresses and the admin token:
//! `$XDG_CONFIG_HOME/swarmctl/config.toml`, readable by its owner only. Flags win over
//! the environment, which wins over the file.

use crate::failure::Failure;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use swarm_common::{
    client::{Client, Trust, Url, parse_address},
    config::{self, ConfigError, secret},
    fingerprint::{Fingerprint, Pins},
    secret::Secret,
};

/// The file's content.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Addresses of the orchestrators, tried in this order.
    #[serde(default)]
    orchestrators: Vec<String>,
    /// The fingerprints of the certificates that they show.
    #[serde(default, skip_serializing_if = "no_pins")]
    fingerprint: Pins,
    /// A file of the authorities that may sign them instead.
    ca: Option<PathBuf>,
    /// The admin token.
    token: Option<String>,
    /// A file that has it instead.
    token_file: Option<PathBuf>,
}

fn no_pins(pins: &Pins) -> bool {
    pins.0.is_empty()
}

/// What the command line and the environment say.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConnectionArgs {
    /// Address of an orchestrator, such as http://nas:8100; may be repeated
    #[arg(long, global = true, value_name = "URL", env = "SWARM_ORCHESTRATOR", value_delimiter = ',', value_parser = parse_address, help_heading = "Connection")]
    pub orchestrator: Vec<Url>,
    /// Fingerprint of the certificate that it shows, such as sha256:…; may be repeated
    #[arg(
        long,
        global = true,
        value_name = "FINGERPRINT",
        env = "SWARM_FINGERPRINT",
        value_delimiter = ',',
        help_heading = "Connection"
    )]
    pub fingerprint: Vec<Fingerprint>,
    /// File of the authorities that may sign it [default: those that this machine trusts]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "SWARM_CA",
        conflicts_with = "fingerprint",
        help_heading = "Connection"
    )]
    pub ca: Option<PathBuf>,
    /// File that holds the admin token
    #[arg(long, global = true, value_name = "FILE", env = "SWARM_TOKEN_FILE", help_heading = "Connection")]
    pub admin_token_file: Option<PathBuf>,
    /// Configuration file [default: $XDG_CONFIG_HOME/swarmctl/config.toml]
    #[arg(long, global = true, value_name = "FILE", env = "SWARMCTL_CONFIG", help_heading = "Connection")]
    pub config: Option<PathBuf>,
}

/// Whom to ask, and as whom.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The orchestrators.
    pub orchestrators: Vec<Url>,
    /// Whom to believe that it is one.
    pub trust: Trust,
    /// The admin token.
    pub token: Secret,
}

impl ConnectionArgs {
    /// The configuration file.
    ///
    /// # Errors
    /// There is no home directory to keep it in.
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

    /// Whom the command line says to believe.
    #[must_use]
    pub fn trust(&self) -> Trust {
        Trust { pins: Pins(self.fingerprint.clone()), ca: self.ca.clone() }
    }

    /// Puts together whom to ask and as whom.
    ///
    /// # Errors
    /// Nothing says so, or the file is wrong or open to others.
    pub fn connection(&self) -> Result<Connection, Failure> {
        let path = self.path()?;
        let file = match path.try_exists() {
            Ok(false) => File::default(),
            _ => config::parse::<File>(&path, &secret::read_private(&path)?)?,
        };
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
                Err(wrong("`token` is not a token; log in again: `swarmctl login URL`".to_owned()))
            }
            _ => Err(wrong(
                "does not say which orchestrator to ask and as whom; run `swarmctl init` on the \
                 orchestrator's machine, or `swarmctl login URL --token-file FILE` elsewhere"
                    .to_owned(),
            )),
        }
    }
}

impl Connection {
    /// A client of it.
    ///
    /// # Errors
    /// It cannot be set up.
    pub fn client(&self) -> Result<Client, Failure> {
        Ok(Client::with_trust(&self.orchestrators, Some(self.token.clone()), &self.trust)?)
    }

    /// Keeps it in the file at `path`.
    ///
    /// # Errors
    /// The file cannot be written.
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
    fn a_misspelt_key_is_told_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        secret::write_private(&path, "orchestrator = [\"http://nas\"]\n").unwrap();
        let said = args(&path).connection().unwrap_err().to_string();
        assert!(
            said.contains("config.toml:1:1: unknown key `orchestrator`; did you mean `orchestrators`?"),
            "{said}"
        );
    }
}
