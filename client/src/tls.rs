//! Which TLS certificates the client trusts: only the pinned ones, or those signed by a `ca` file, or those
//! that this machine trusts.
//!
//! A pin needs no certificate authority, so a self-signed certificate is as good as any other. Its names and
//! dates do not matter, only that it is the pinned certificate and that the server has its key. The handshake
//! signature, which proves the latter, is always verified.

use super::{ClientError, Tried};
use reqwest::{ClientBuilder, Url};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{
    error::Error,
    fs, io,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};
use swarm_common::{
    causes::with_causes,
    fingerprint::{Fingerprint, Pins},
};

/// Time limit for fetching a certificate.
const LOOK: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// If not empty, the only certificates that are accepted.
    pub pins: Pins,
    /// A PEM file of certificate authorities to trust instead of those that this machine trusts.
    pub ca: Option<PathBuf>,
}

impl Trust {
    /// Checks that these settings are consistent with each other and with the addresses.
    ///
    /// # Errors
    /// A description of the contradiction, with the names of the settings in the configuration.
    pub fn check(&self, addresses: &[Url]) -> Result<(), String> {
        if self.pins.0.is_empty() && self.ca.is_none() {
            return Ok(());
        }
        if !self.pins.0.is_empty() && self.ca.is_some() {
            return Err(
                "both `fingerprint` and `ca` are set; a pinned certificate needs no certificate authority, \
                 remove one"
                    .to_owned(),
            );
        }
        match addresses.iter().find(|address| address.scheme() != "https") {
            None => Ok(()),
            Some(plain) => Err(format!(
                "`{plain}` does not use TLS, so `fingerprint` and `ca` do not apply; use the \
                 orchestrator's https address"
            )),
        }
    }

    /// Applies the trust settings to a client builder.
    pub(super) fn apply(
        &self,
        builder: ClientBuilder,
        addresses: &[Url],
    ) -> Result<ClientBuilder, ClientError> {
        self.check(addresses).map_err(ClientError::Local)?;
        if !self.pins.0.is_empty() {
            let config = Pinned::new(self.pins.clone()).config().map_err(cannot)?;
            return Ok(builder.tls_backend_preconfigured(config));
        }
        if let Some(path) = &self.ca {
            let unusable = |why: String| ClientError::Local(format!("ca: {}: {why}", path.display()));
            let pem = fs::read(path).map_err(|e| unusable(e.to_string()))?;
            let signers =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| unusable(with_causes(&e)))?;
            if signers.is_empty() {
                return Err(unusable("contains no certificate; expected a PEM file".to_owned()));
            }
            return Ok(builder.tls_certs_only(signers));
        }
        if addresses.iter().all(|url| url.scheme() == "http") {
            // A machine without root certificates must be able to use plain HTTP.
            return Ok(builder.tls_certs_only([]));
        }
        Ok(builder)
    }
}

/// The fingerprint of the certificate that an address presents, trusted or not. Only a TLS handshake is sent.
///
/// # Errors
/// The address does not speak TLS.
pub async fn shown_fingerprint(address: &Url) -> Result<Fingerprint, ClientError> {
    let verifier = Pinned::new(Pins::default());
    let shown = verifier.shown.clone();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(verifier.config().map_err(cannot)?)
        .timeout(LOOK)
        .build()
        .map_err(|e| cannot(with_causes(&e)))?;
    // This always fails: without pins, every certificate is rejected.
    let answer = client.head(address.clone()).send().await;
    shown.get().copied().ok_or_else(|| {
        let why = answer.err().map_or_else(|| "sent no certificate".to_owned(), |e| with_causes(&e));
        ClientError::Unreachable { tried: vec![Tried { address: address.clone(), why, untrusted: false }] }
    })
}

fn cannot(why: impl std::fmt::Display) -> ClientError {
    ClientError::Local(format!("cannot set up TLS: {why}"))
}

/// Why a certificate was rejected, and what to do. `None` if that is not the cause of the error.
pub(super) fn refusal(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(TlsError::InvalidCertificate(why)) = error.downcast_ref() {
            return Some(match why {
                CertificateError::Other(OtherError(other)) => other.to_string(),
                why => format!(
                    "this machine does not trust its certificate ({why}); nothing was sent. Pin it with \
                     `fingerprint`, or set `ca` to the file of the certificate authority that signed it"
                ),
            });
        }
        // The `source` of an I/O error skips the error that it wraps.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

/// The certificate is not one of the pinned ones.
#[derive(Debug, thiserror::Error)]
#[error(
    "its certificate {shown} does not match the pinned fingerprint{}; nothing was sent. It was replaced, \
     or the connection is intercepted: compare it with the fingerprint that the orchestrator logs when it \
     starts, and if they match, pin it with `fingerprint`",
    .pinned.0.iter().map(|pin| format!(" ({pin})")).collect::<String>()
)]
struct NotPinned {
    shown: Fingerprint,
    pinned: Pins,
}

/// Accepts only the pinned certificates.
#[derive(Debug)]
struct Pinned {
    pins: Pins,
    provider: Arc<CryptoProvider>,
    /// The first certificate that the server presented.
    shown: Arc<OnceLock<Fingerprint>>,
}

impl Pinned {
    fn new(pins: Pins) -> Self {
        Self { pins, provider: Arc::new(ring::default_provider()), shown: Arc::default() }
    }

    fn config(self) -> Result<ClientConfig, TlsError> {
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let shown = Fingerprint::of_certificate(certificate);
        self.shown.get_or_init(|| shown);
        if self.pins.0.contains(&shown) {
            return Ok(ServerCertVerified::assertion());
        }
        let refusal = NotPinned { shown, pinned: self.pins.clone() };
        Err(CertificateError::Other(OtherError(Arc::new(refusal))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_that_does_not_fit_the_address_is_told() {
        let pins = Pins(vec![Fingerprint::of_certificate(b"x")]);
        let pinned = Trust { pins, ca: None };
        let address = |text| [Url::parse(text).unwrap()];
        assert_eq!(pinned.check(&address("https://nas:8143")), Ok(()));
        assert!(pinned.check(&address("http://nas:8100")).unwrap_err().contains("https"));
        let both = Trust { ca: Some("/x".into()), ..pinned };
        assert!(both.check(&address("https://nas:8143")).unwrap_err().contains("remove one"));
    }

    #[tokio::test]
    async fn what_speaks_no_tls_has_no_certificate_to_look_at() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Url::parse(&format!("https://{}", listener.local_addr().unwrap())).unwrap();
        let server = std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            let (mut socket, _) = listener.accept().unwrap();
            // Read the client's hello, because closing with unread data would reset the response.
            let _greeting = socket.read(&mut [0; 4096]).unwrap();
            socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        });
        assert!(matches!(shown_fingerprint(&address).await, Err(ClientError::Unreachable { .. })));
        server.join().unwrap();
    }
}
