//! Becoming a drone: the one-time token is exchanged for a credential, which is kept.

use crate::{config::Config, machine};
use std::{path::Path, time::Duration};
use swarm_common::{
    client::{Client, ClientError},
    config::{
        ConfigError,
        secret::{credential, read_secret, write_private},
    },
    secret::Secret,
    wire::drone::EnrolRequest,
};

/// Between two tries while no orchestrator answers.
const PAUSE: Duration = Duration::from_secs(5);

/// Why a drone cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// Something in the configuration is missing or wrong.
    #[error("{0}")]
    Config(String),
    /// A file with a secret cannot be used.
    #[error(transparent)]
    Secret(#[from] ConfigError),
    /// The orchestrator does not take this machine.
    #[error("the orchestrator does not enrol this machine: {0}")]
    Refused(ClientError),
}

/// A client that acts for this drone, which is enrolled first if it is not. Waits for an
/// orchestrator to answer.
///
/// # Errors
/// The configuration lacks what is needed, or the orchestrator refuses.
pub async fn client(config: &Config) -> Result<Client, EnrolError> {
    let (addresses, trust) = (config.addresses().map_err(EnrolError::Config)?, config.trust());
    let connect = |credential| {
        Client::with_trust(&addresses, credential, &trust).map_err(|e| EnrolError::Config(e.to_string()))
    };
    if let Some(given) = credential("drone.credential") {
        return connect(Some(read_secret(&given)?));
    }
    let kept = config.state_dir.join("credential");
    if kept.exists() {
        return connect(Some(read_secret(&kept)?));
    }
    let Some(token_file) = config.token_file.clone().or_else(|| credential("enrol.token")) else {
        return Err(EnrolError::Config(
            "this machine is not enrolled and no token_file is set: make a token with `swarmctl drone token`, \
             put it into a file and name that file in the configuration"
                .into(),
        ));
    };
    let token = read_secret(&token_file)?;
    let credential = enrol(config, &connect(None)?, &token, &kept).await?;
    connect(Some(credential))
}

async fn enrol(config: &Config, client: &Client, token: &Secret, kept: &Path) -> Result<Secret, EnrolError> {
    let name = config.name.clone().or_else(machine::host_name).ok_or_else(|| {
        EnrolError::Config("the host name cannot be a drone's name: set `name` in the configuration".into())
    })?;
    let request = EnrolRequest {
        token: token.expose().to_owned(),
        name: name.clone(),
        facts: machine::facts(&config.profiles, &config.builder, None),
    };
    loop {
        match client.enrol(&request).await {
            Ok(reply) => {
                write_private(kept, &reply.credential)?;
                // The token is used up, so the credential must outlive a power cut.
                let synced = std::fs::File::open(&config.state_dir).and_then(|dir| dir.sync_all());
                if let Err(error) = synced {
                    tracing::warn!(%error, "the state directory cannot be synchronised");
                }
                tracing::info!(drone = %reply.drone, %name, "enrolled");
                return Ok(Secret::new(&reply.credential));
            }
            Err(error) if error.is_transient() || error.status().is_some_and(|status| status >= 500) => {
                tracing::warn!(%error, "not enrolled yet; tried again in {} s", PAUSE.as_secs());
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) if error.is_untrusted() => return Err(EnrolError::Config(error.to_string())),
            Err(error) => return Err(EnrolError::Refused(error)),
        }
    }
}
