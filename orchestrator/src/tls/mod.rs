//! The certificate that the orchestrator shows and the key that proves it: given by the
//! admin, or made at the first start and kept. What is wrong with them is told before
//! anything is served.
//!
//! Drones and admins pin this certificate, so it is never made anew by itself, not even
//! when it is past its time: that would cut every one of them off. Instead its last day is
//! told ahead (`checks.rs`), and files that were replaced are taken over.

mod self_signed;
mod shown;
mod validity;

pub use shown::Shown;

use crate::{
    config::Config,
    vanished::{self, Vanished},
};
use rustls::{ServerConfig, crypto::ring};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use swarm_common::{config::ConfigError, fingerprint::Fingerprint};

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key's file is missing or open to others.
    #[error(transparent)]
    Key(#[from] ConfigError),
    /// A file does not hold what it should.
    #[error("{}: {what}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The two do not belong together.
    #[error(
        "the key {} does not fit the certificate {} ({why}); give the files that were made together",
        key.display(), certificate.display()
    )]
    Unfit {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the TLS library says.
        why: String,
    },
    /// The one that was made here is gone.
    #[error(transparent)]
    Vanished(#[from] Vanished),
    /// No certificate could be made.
    #[error("no certificate can be made: {0}; are `names` of `[tls]` host names or addresses?")]
    Make(String),
}

/// What is shown to whoever connects.
pub struct Identity {
    /// What TLS is spoken with.
    pub server: Arc<ServerConfig>,
    /// The certificate, which may be renewed.
    pub shown: Arc<Shown>,
    /// What the orchestrator is called in addresses.
    pub name: String,
}

/// Loads certificate and key, or makes them.
///
/// # Errors
/// A file cannot be used, or the two do not belong together.
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

/// Says if another certificate was shown before, and remembers this one.
fn note_replacement(path: &Path, now: Fingerprint) -> Result<(), TlsError> {
    if let Some(before) = vanished::note(path, &now.to_string())? {
        tracing::warn!(before, %now, "the TLS certificate was replaced: drones and admins that pinned the one before need the new fingerprint");
    }
    Ok(())
}

impl TlsError {
    /// Whether it takes a person to change the configuration or a file that it names.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
            }
            Self::Vanished(_) => false,
            Self::Key(_) | Self::Unusable { .. } | Self::Unfit { .. } | Self::Make(_) => true,
        }
    }
}
