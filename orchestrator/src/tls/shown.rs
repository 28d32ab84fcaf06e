//! The served certificate, and its renewal at runtime.

use super::{TlsError, note_replacement, validity};
use jiff::Timestamp;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};
use swarm_common::{digest::Digest, fingerprint::Fingerprint};
use swarm_daemon::config::secret::read_private;

/// A certificate with its key, as last loaded from the files.
#[derive(Debug)]
pub struct Shown {
    certificate: PathBuf,
    key: PathBuf,
    /// File that records which certificate was served last.
    noted: PathBuf,
    pair: RwLock<Pair>,
}

#[derive(Debug, Clone)]
struct Pair {
    certified: Arc<CertifiedKey>,
    fingerprint: Fingerprint,
    until: Timestamp,
    /// Digest of certificate and key file, to detect changes.
    digest: Digest,
}

impl Shown {
    pub(super) fn open(certificate: PathBuf, key: PathBuf, noted: PathBuf) -> Result<Self, TlsError> {
        let pair = read(&certificate, &key, None)?.ok_or_else(|| TlsError::Make("no files".into()))?;
        note_replacement(&noted, pair.fingerprint)?;
        Ok(Self { certificate, key, noted, pair: RwLock::new(pair) })
    }

    #[cfg(test)]
    pub(crate) fn of_this_machine(dir: &Path) -> Result<Self, TlsError> {
        let config = crate::config::Config { state_dir: dir.to_owned(), ..Default::default() };
        let (certificate, key) = super::self_signed::keep(&config, &["nas".to_owned()])?;
        Self::open(certificate, key, dir.join("noted"))
    }

    #[must_use]
    pub fn file(&self) -> &Path {
        &self.certificate
    }

    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.pair().fingerprint
    }

    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.pair().until
    }

    /// Loads the files if they have changed. Open connections are not affected.
    ///
    /// # Errors
    /// The files are unusable; the previous certificate stays in use.
    pub fn renew(&self) -> Result<(), TlsError> {
        let Some(pair) = read(&self.certificate, &self.key, Some(self.pair().digest))? else {
            return Ok(());
        };
        note_replacement(&self.noted, pair.fingerprint)?;
        let (fingerprint, valid_until) = (pair.fingerprint, pair.until.strftime("%F"));
        tracing::info!(file = %self.certificate.display(), %fingerprint, %valid_until, "loaded a renewed \
            TLS certificate");
        *self.pair.write().unwrap_or_else(PoisonError::into_inner) = pair;
        Ok(())
    }

    fn pair(&self) -> Pair {
        self.pair.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.pair().certified)
    }
}

/// Reads the files. Returns `None` if their digest is `current`.
fn read(certificate: &Path, key: &Path, current: Option<Digest>) -> Result<Option<Pair>, TlsError> {
    let unusable = |path: &Path, what: String| TlsError::Unusable { path: path.to_owned(), what };
    let io = |source| TlsError::Io { path: certificate.to_owned(), source };
    let pem = fs::read(certificate).map_err(io)?;
    let secret = read_private(key)?;
    let digest = Digest::of(&[&pem, secret.as_bytes()].concat());
    if current == Some(digest) {
        return Ok(None);
    }
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|e| unusable(certificate, format!("is not a PEM file: {e}")))?;
    let Some(first) = chain.first() else {
        return Err(unusable(certificate, "contains no certificate; expected a PEM file".into()));
    };
    let fingerprint = Fingerprint::of_certificate(first);
    let until = validity::last_moment(first)
        .ok_or_else(|| unusable(certificate, "contains a certificate without an expiry date".into()))?;
    let secret = PrivateKeyDer::from_pem_slice(secret.as_bytes())
        .map_err(|e| unusable(key, format!("contains no usable private key: {e}")))?;
    let unfit = |why: rustls::Error| TlsError::Unfit {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        why: why.to_string(),
    };
    let certified = CertifiedKey::from_der(chain, secret, &ring::default_provider()).map_err(unfit)?;
    Ok(Some(Pair { certified: Arc::new(certified), fingerprint, until, digest }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewed_files_are_taken_over_and_ones_that_do_not_fit_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let shown = Shown::of_this_machine(dir.path()).unwrap();
        let before = shown.fingerprint();
        shown.renew().unwrap();
        assert_eq!(shown.fingerprint(), before);

        let other = tempfile::tempdir().unwrap();
        let renewed = Shown::of_this_machine(other.path()).unwrap();
        fs::copy(&renewed.certificate, &shown.certificate).unwrap();
        assert!(matches!(shown.renew(), Err(TlsError::Unfit { .. })), "its key is still the old one");
        assert_eq!(shown.fingerprint(), before);
        fs::copy(&renewed.key, &shown.key).unwrap();
        shown.renew().unwrap();
        assert_eq!(shown.fingerprint(), renewed.fingerprint());
    }
}
