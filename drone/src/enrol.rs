//! Enrolment: exchanges a one-time token for a credential that the drone chooses itself.

use crate::{config::Config, fitness, machine};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use swarm_client::{Client, ClientError, Fate, Stage};
use swarm_common::{
    digest::Digest,
    exit::{EXIT_CONFIG, EXIT_IO, EXIT_REFUSED},
    secret::Secret,
    wire::drone::EnrolRequest,
};
use swarm_daemon::{
    config::{
        ConfigError,
        secret::{credential, read_secret, write_private},
    },
    supervisor::Supervisor,
};

/// First delay between attempts to enrol; doubles with each attempt up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_secs(1);

/// Maximum delay between attempts to enrol.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long a drone keeps trying to enrol although the orchestrator refuses it: an orchestrator whose disk is
/// not mounted yet, or whose journal is being restored, does not know the token.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Why a drone cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The configuration is incomplete or wrong.
    #[error("{0}")]
    Config(String),
    /// A file with a secret cannot be used.
    #[error(transparent)]
    Secret(#[from] ConfigError),
    /// The orchestrator rejected the enrolment.
    #[error("the orchestrator rejected the enrolment: {0}")]
    Refused(ClientError),
    /// No random bytes are available for a credential.
    #[error("cannot create a credential: {0}")]
    Random(getrandom::Error),
}

impl EnrolError {
    /// The exit code of a drone that ends because of this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => EXIT_CONFIG,
            Self::Secret(error) => error.exit_code(),
            Self::Refused(_) => EXIT_REFUSED,
            Self::Random(_) => EXIT_IO,
        }
    }
}

pub enum Start {
    /// The drone is enrolled; the client has its credential.
    Enrolled(Client),
    /// Not enrolled yet: a client without a credential, and the token.
    New(Client, Secret),
}

/// Determines whether the drone is enrolled, without network access.
///
/// # Errors
/// The configuration is invalid, or a file that it names cannot be read.
pub fn start(config: &Config) -> Result<Start, EnrolError> {
    let (addresses, trust) = (config.addresses().map_err(EnrolError::Config)?, config.trust());
    let connect = |credential| {
        Client::with_trust(&addresses, credential, &trust).map_err(|e| EnrolError::Config(e.to_string()))
    };
    let kept = config.state_dir.join("credential");
    let given = credential("drone.credential").or_else(|| kept.exists().then_some(kept));
    if let Some(given) = given {
        return Ok(Start::Enrolled(connect(Some(read_secret(&given)?))?));
    }
    let Some(token_file) = config.token_file.clone().or_else(|| credential("enrol.token")) else {
        return Err(EnrolError::Config(
            "this machine is not enrolled and token_file is not set: create a token with `swarmctl drone \
             token`, put it into a file and set token_file to it"
                .into(),
        ));
    };
    Ok(Start::New(connect(None)?, read_secret(&token_file)?))
}

/// Returns a client with the drone's credential, enrolling the drone first if necessary. Waits until
/// an orchestrator answers, and tells `supervisor` what it is waiting for.
///
/// # Errors
/// The orchestrator has rejected the drone for as long as `patience`, or the credential cannot be
/// stored.
pub async fn client(
    config: &Config,
    start: Start,
    supervisor: &Supervisor,
    patience: Duration,
) -> Result<Client, EnrolError> {
    match start {
        Start::Enrolled(client) => Ok(client),
        Start::New(nobody, token) => {
            let credential = enrol(config, &nobody, &token, supervisor, patience).await?;
            Ok(nobody.with_credential(credential))
        }
    }
}

/// Enrols with a credential chosen by the drone. The credential is stored before it is sent, so that the same
/// request can be repeated after a lost answer or a power failure.
async fn enrol(
    config: &Config,
    client: &Client,
    token: &Secret,
    supervisor: &Supervisor,
    patience: Duration,
) -> Result<Secret, EnrolError> {
    let name = config.name.clone().or_else(machine::host_name).ok_or_else(|| {
        EnrolError::Config("the host name is not a valid drone name: set `name` in the configuration".into())
    })?;
    let [kept, tried] = ["credential", "credential.tried"].map(|file| config.state_dir.join(file));
    let credential = credential_to_try(&tried)?;
    let request = EnrolRequest {
        token: token.expose().to_owned(),
        name: name.clone(),
        facts: machine::facts(&config.profiles, &config.builder, None, fitness::Found::default()),
        credential_hash: Some(Digest::of(credential.expose().as_bytes())),
    };
    let mut pause = PAUSE;
    let mut refused: Option<Instant> = None;
    loop {
        match client.enrol(&request).await {
            Ok(reply) => {
                let taken = std::fs::rename(&tried, &kept)
                    .and_then(|()| std::fs::File::open(&config.state_dir)?.sync_all());
                taken.map_err(|source| ConfigError::Unwritable { path: kept, source })?;
                tracing::info!(drone = %reply.drone, %name, "enrolled");
                return Ok(credential);
            }
            Err(error) => {
                match error.fate(Stage::Enrolling) {
                    Fate::Config => return Err(EnrolError::Config(error.to_string())),
                    Fate::Refused if refused.get_or_insert_with(Instant::now).elapsed() >= patience => {
                        return Err(EnrolError::Refused(error));
                    }
                    Fate::Refused | Fate::Passing => {}
                }
                let asked = error.retry_after().unwrap_or_default().min(LONGEST_PAUSE);
                tracing::warn!(%error, "not enrolled yet, retrying in {} s", pause.max(asked).as_secs());
                supervisor.status(&format!("not enrolled yet: {error}"));
                tokio::time::sleep(pause.max(asked)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// The credential of an earlier enrolment that was not answered, or a new one.
fn credential_to_try(tried: &Path) -> Result<Secret, EnrolError> {
    if tried.exists() {
        return Ok(read_secret(tried)?);
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(EnrolError::Random)?;
    let made = format!("drone-{}", Digest::of(&bytes));
    write_private(tried, &made)?;
    Ok(Secret::new(&made))
}
