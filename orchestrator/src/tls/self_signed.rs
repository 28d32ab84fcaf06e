//! Self-signed certificates, for swarms without a certificate authority. This is the only file that depends
//! on the crate that generates certificates.

use super::{MissingState, TlsError, validity};
use crate::config::Config;
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use swarm_daemon::config::secret::write_private;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The certificate is pinned, so a short lifetime would add no protection but cause outages.
const TEN_YEARS: Duration = DAY.saturating_mul(3652);

/// The files of the certificate and its key in the state directory; generates them if they never existed. A
/// key without a certificate was left by an interrupted first start and is replaced.
pub(super) fn keep(config: &Config, names: &[String]) -> Result<(PathBuf, PathBuf), TlsError> {
    let (certificate, key) = (config.state_dir.join("tls.crt"), config.state_dir.join("tls.key"));
    if let Some(gone) = [&certificate, &key].into_iter().find(|path| matches!(path.try_exists(), Ok(false))) {
        let trace =
            [config.tls_fingerprint_file(), certificate.clone()].into_iter().find(|path| path.exists());
        if let Some(trace) = trace {
            let missing = MissingState {
                what: "the TLS certificate's file",
                path: gone.clone(),
                trace: format!("{} exists, so drones and admins may have pinned it", trace.display()),
                cost: "to create both again, which each of them must then pin",
            };
            missing.unless(config.accept_new)?;
        }
        let (certificate_pem, key_pem) = make(names).map_err(|e| TlsError::Make(e.to_string()))?;
        write_private(&key, &key_pem)?;
        // Not secret, but written in the same way as the key: durably and atomically.
        write_private(&certificate, &certificate_pem)?;
        tracing::info!(file = %certificate.display(), ?names, "created a TLS certificate");
    }
    if !is_whole(&certificate)? {
        let what = "was changed or damaged, as it is not signed by itself: restore it from a backup, or remove it \
            and start once with --accept-new to have another one made. For one of your own set `certificate` of \
            `[tls]`";
        return Err(TlsError::Unusable { path: certificate, what: what.into() });
    }
    Ok((certificate, key))
}

/// Whether a certificate's self-signature is valid. Detects damage that still parses; other damage is
/// reported where the certificate is loaded.
fn is_whole(path: &Path) -> Result<bool, TlsError> {
    let pem = fs::read(path).map_err(|source| TlsError::Io { path: path.to_owned(), source })?;
    let Ok(certificate) = CertificateDer::from_pem_slice(&pem) else { return Ok(true) };
    let Some(until) = validity::last_moment(&certificate) else { return Ok(true) };
    let mut roots = RootCertStore::empty();
    if roots.add(certificate.clone()).is_err() {
        return Ok(false);
    }
    let make = |error: &dyn std::fmt::Display| TlsError::Make(error.to_string());
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = verifier.build().map_err(|error| make(&error))?;
    // Ignore whether the certificate is valid at present.
    let at =
        UnixTime::since_unix_epoch(Duration::from_secs(until.as_second().try_into().unwrap_or_default()));
    let name = ServerName::try_from("localhost").map_err(|error| make(&error))?;
    Ok(verifier.verify_server_cert(&certificate, &[], &name, &[], at).is_ok())
}

fn make(names: &[String]) -> Result<(String, String), rcgen::Error> {
    let own = ["localhost", "127.0.0.1", "::1"].into_iter().map(str::to_owned);
    let names: BTreeSet<String> = names.iter().cloned().chain(own).filter(|name| !name.is_empty()).collect();
    let mut parameters = CertificateParams::new(names.into_iter().collect::<Vec<_>>())?;
    parameters.distinguished_name.push(DnType::CommonName, "Build Swarm orchestrator");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let epoch = date_time_ymd(1970, 1, 1);
    // A day earlier, for machines whose clocks are slow.
    parameters.not_before = epoch + now.saturating_sub(DAY);
    parameters.not_after = epoch + now + TEN_YEARS;
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::{super::Shown, *};
    use jiff::{SignedDuration, Timestamp};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn it_is_made_once_is_valid_for_ten_years_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["nas".to_owned(), "192.168.1.2".to_owned()];
        let config = Config { state_dir: folder.path().into(), ..Config::default() };
        let (certificate, key) = keep(&config, &names).unwrap();
        let pem = fs::read(&certificate).unwrap();
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let until = validity::last_moment(&CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let left = until.duration_since(Timestamp::now());
        let day = SignedDuration::from_hours(24);
        assert!(left > day * 3650 && left < day * 3653, "{until}");

        keep(&config, &names).unwrap();
        assert_eq!(fs::read(&certificate).unwrap(), pem);
        fs::remove_file(&key).unwrap();
        let error = keep(&config, &names).unwrap_err().to_string();
        assert!(error.contains("tls.key is missing") && error.contains("tls.crt exists"), "{error}");
        assert_eq!(fs::read(&certificate).unwrap(), pem);
        keep(&Config { accept_new: true, ..config }, &names).unwrap();
        assert_ne!(fs::read(&certificate).unwrap(), pem);
    }

    #[test]
    fn no_changed_character_makes_another_certificate_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { state_dir: folder.path().into(), ..Config::default() };
        let open = || {
            let (certificate, key) = keep(&config, &["nas".to_owned()])?;
            Shown::open(certificate, key, folder.path().join("noted"))
        };
        let whole = open().unwrap().fingerprint();
        for name in ["tls.crt", "tls.key"] {
            let file = folder.path().join(name);
            let text = fs::read(&file).unwrap();
            for at in 0..text.len() {
                let mut changed = text.clone();
                changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
                fs::write(&file, &changed).unwrap();
                if let Ok(shown) = open() {
                    assert_eq!(shown.fingerprint(), whole, "{name}, character {at}");
                }
            }
            fs::write(&file, &text).unwrap();
        }
        assert_eq!(open().unwrap().fingerprint(), whole);
    }

    #[test]
    fn a_name_that_cannot_be_one_is_refused() {
        assert!(make(&["n\u{e4}s".to_owned()]).is_err());
    }
}
