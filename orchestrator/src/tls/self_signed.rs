//! A certificate that nobody but its own key signed, for swarms without an authority.
//! The only file that knows the crate which makes certificates.

use super::TlsError;
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use swarm_common::config::secret::write_private;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// It is pinned, so a short life would protect nobody and interrupt everybody.
const TEN_YEARS: Duration = DAY.saturating_mul(3652);

/// The files of the certificate and its key in the state directory, made if they are not
/// there. A key without a certificate is half of an interrupted first start, and replaced.
pub(super) fn keep(state_dir: &Path, names: &[String]) -> Result<(PathBuf, PathBuf), TlsError> {
    let (certificate, key) = (state_dir.join("tls.crt"), state_dir.join("tls.key"));
    if !certificate.exists() {
        let (certificate_pem, key_pem) = make(names).map_err(|e| TlsError::Make(e.to_string()))?;
        write_private(&key, &key_pem)?;
        // Not secret, but its key came first and in the same way: durable, in one step.
        write_private(&certificate, &certificate_pem)?;
        tracing::info!(file = %certificate.display(), ?names, "a TLS certificate was made");
    } else if !key.exists() {
        let what = format!(
            "is there without its key {}: bring the key back, or remove the certificate to have both made anew",
            key.display()
        );
        return Err(TlsError::Unusable { path: certificate, what });
    }
    Ok((certificate, key))
}

fn make(names: &[String]) -> Result<(String, String), rcgen::Error> {
    let own = ["localhost", "127.0.0.1", "::1"].into_iter().map(str::to_owned);
    let names: BTreeSet<String> = names.iter().cloned().chain(own).filter(|name| !name.is_empty()).collect();
    let mut parameters = CertificateParams::new(names.into_iter().collect::<Vec<_>>())?;
    parameters.distinguished_name.push(DnType::CommonName, "Build Swarm orchestrator");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let epoch = date_time_ymd(1970, 1, 1);
    // A day earlier, for machines whose clocks are behind.
    parameters.not_before = epoch + now.saturating_sub(DAY);
    parameters.not_after = epoch + now + TEN_YEARS;
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::{super::validity, *};
    use jiff::{SignedDuration, Timestamp};
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn it_is_made_once_is_valid_for_ten_years_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["nas".to_owned(), "192.168.1.2".to_owned()];
        let (certificate, key) = keep(folder.path(), &names).unwrap();
        let pem = fs::read(&certificate).unwrap();
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let until = validity::last_moment(&CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let left = until.duration_since(Timestamp::now());
        let day = SignedDuration::from_hours(24);
        assert!(left > day * 3650 && left < day * 3653, "{until}");

        keep(folder.path(), &names).unwrap();
        assert_eq!(fs::read(&certificate).unwrap(), pem);
        fs::remove_file(&key).unwrap();
        assert!(keep(folder.path(), &names).unwrap_err().to_string().contains("bring the key back"));
        fs::remove_file(&certificate).unwrap();
        keep(folder.path(), &names).unwrap();
        assert_ne!(fs::read(&certificate).unwrap(), pem);
    }

    #[test]
    fn a_name_that_cannot_be_one_is_refused() {
        assert!(make(&["n\u{e4}s".to_owned()]).is_err());
    }
}
