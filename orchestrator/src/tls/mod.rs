//! The orchestrator's TLS certificate and key: supplied by the administrator, or generated at the
//! first start and kept. Problems with them are reported before anything is served.
//!
//! Drones and administrators pin this certificate, so it is never regenerated automatically, not even when it
//! has expired: that would disconnect all of them. Instead, the expiry is reported in advance (`checks.rs`),
//! and replaced files are loaded at runtime.

mod self_signed;
mod shown;
mod validity;

pub use shown::Shown;

use crate::{
    config::Config,
    missing_state::{self, MissingState},
};
use rustls::{ServerConfig, crypto::ring};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use swarm_common::{
    exit::{EXIT_CONFIG, EXIT_IO},
    fingerprint::Fingerprint,
};
use swarm_daemon::config::ConfigError;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// The key file is missing or accessible to others.
    #[error(transparent)]
    Key(#[from] ConfigError),
    /// A file has invalid content.
    #[error("{}: {what}", path.display())]
    Unusable { path: PathBuf, what: String },
    /// Certificate and key do not match.
    #[error(
        "the key {} does not match the certificate {} ({why})",
        key.display(), certificate.display()
    )]
    Unfit { certificate: PathBuf, key: PathBuf, why: String },
    /// The generated certificate has disappeared.
    #[error(transparent)]
    MissingState(#[from] MissingState),
    /// No certificate could be generated.
    #[error("cannot create a certificate: {0}; `names` of `[tls]` must be host names or addresses")]
    Make(String),
}

pub struct Identity {
    /// The configuration of the TLS server.
    pub server: Arc<ServerConfig>,
    /// The certificate, which can be renewed at runtime.
    pub shown: Arc<Shown>,
    /// The orchestrator's host name in URLs.
    pub name: String,
}

/// Loads certificate and key, or generates them.
///
/// # Errors
/// A file is unusable, or certificate and key do not match.
pub fn load(config: &Config) -> Result<Identity, TlsError> {
    let mut names = config.tls.names.clone();
    names.push(rustix::system::uname().nodename().to_string_lossy().into_owned());
    let (certificate, key) = match (&config.tls.certificate, &config.tls.key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        _ => self_signed::keep(config, &names)?,
    };
    let shown = Arc::new(Shown::open(certificate, key, config.tls_fingerprint_file())?);
    let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Make(e.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(shown.clone());
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    let (file, fingerprint, valid_until) =
        (shown.file().display(), shown.fingerprint(), shown.until().strftime("%F"));
    tracing::info!(%file, %fingerprint, %valid_until, "the TLS certificate");
    Ok(Identity { server: Arc::new(server), shown, name: names.swap_remove(0) })
}

/// Logs if the certificate differs from the previous one, and records it.
fn note_replacement(path: &Path, now: Fingerprint) -> Result<(), TlsError> {
    if let Some(before) = missing_state::note(path, &now.to_string(), None)? {
        tracing::warn!(before, %now, file = %path.display(), "the TLS certificate was replaced, or \
            this file damaged: drones and admins that pinned another one need the new fingerprint");
    }
    Ok(())
}

impl TlsError {
    /// The exit code of an orchestrator that cannot start because of this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // The certificate may be on a disk that is not mounted yet.
            Self::Io { .. } | Self::MissingState(_) => EXIT_IO,
            Self::Key(error) => error.exit_code(),
            Self::Unusable { .. } | Self::Unfit { .. } | Self::Make(_) => EXIT_CONFIG,
        }
    }
}
