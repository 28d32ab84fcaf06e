//! The certificate that the orchestrator shows and the key that proves it: given by the
//! admin, or made at the first start and kept. What is wrong with them is told before
//! anything is served.
//!
//! Drones and admins pin this certificate, so it is never made anew by itself, not even
//! when it is past its time: that would cut every one of them off. Instead its last day
//! and a replacement are told at every start.

mod self_signed;
mod validity;

use crate::{
    config::Config,
    vanished::{self, Vanished},
};
use jiff::{SignedDuration, Timestamp};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};
use swarm_common::{
    config::{ConfigError, secret::read_private},
    fingerprint::Fingerprint,
};

/// A certificate that ends sooner is warned of.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

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
    /// The certificate's fingerprint.
    pub fingerprint: Fingerprint,
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
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Io { path, source }
    };
    let unusable = |path: &Path, what: String| TlsError::Unusable { path: path.to_owned(), what };
    let pem = fs::read(&certificate).map_err(io(&certificate))?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|e| unusable(&certificate, format!("is no PEM file: {e}")))?;
    let Some(first) = chain.first() else {
        return Err(unusable(&certificate, "holds no certificate; it should be a PEM file".into()));
    };
    let fingerprint = Fingerprint::of_certificate(first);
    let until = validity::last_moment(first)
        .ok_or_else(|| unusable(&certificate, "holds a certificate without an end of its time".into()))?;
    let secret = read_private(&key)?;
    let secret = PrivateKeyDer::from_pem_slice(secret.as_bytes())
        .map_err(|e| unusable(&key, format!("holds no usable private key: {e}")))?;
    let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Make(e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|e| TlsError::Unfit { certificate: certificate.clone(), key, why: e.to_string() })?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    tell(&certificate, fingerprint, until);
    note_replacement(&config.tls_fingerprint_file(), fingerprint)?;
    Ok(Identity { server: Arc::new(server), fingerprint, name: names.swap_remove(0) })
}

/// Says what is shown and until when.
fn tell(certificate: &Path, fingerprint: Fingerprint, until: Timestamp) {
    let (file, left) = (certificate.display(), until.duration_since(Timestamp::now()));
    let valid_until = until.strftime("%F");
    if left.is_negative() {
        tracing::warn!(%file, %fingerprint, %valid_until, "the TLS certificate is past its time: who pinned it goes on, others refuse it; put a new one in its place");
    } else if left < SOON {
        tracing::warn!(%file, %fingerprint, %valid_until, "the TLS certificate ends soon");
    } else {
        tracing::info!(%file, %fingerprint, %valid_until, "the TLS certificate");
    }
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
