//! TLS as libpq's `sslmode` means it, on rustls with ring.
//!
//! Source: PostgreSQL 18, libpq, "SSL Support".

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::RootCertStore;
use rustls::SignatureScheme;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::ServerName;
use rustls_pki_types::UnixTime;
use rustls_pki_types::pem::PemObject;
use x509_cert::der::Decode;

use crate::capture::postgres::SourceError;
use crate::capture::postgres::settings::SourceSettings;
use crate::capture::postgres::settings::SslMode;

/// The client's side of TLS for these settings.
///
/// # Errors
///
/// A file is missing or is not what it must be.
pub(super) fn client_config(settings: &SourceSettings) -> Result<Arc<ClientConfig>, SourceError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| broken("TLS", &error.to_string()))?;
    let verifier = verifier(settings, provider)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match client_certificate(settings)? {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| broken("sslcert and sslkey", &error.to_string()))?,
        None => builder.with_no_client_auth(),
    };
    if settings.ssl_direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(Arc::new(config))
}

/// Name of the server for SNI and verification.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, SourceError> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| broken("host", "it is neither a DNS name nor an address"))
}

/// What binds SCRAM to the connection (`tls-server-end-point`): the hash of the server's
/// certificate by its own signature's hash, SHA-256 for the older ones. `None` for signatures
/// without a hash, as Ed25519's. Source: RFC 5929, section 4.1.
pub(super) fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    let algorithm = parsed.signature_algorithm.oid.to_string();
    let digest = match algorithm.as_str() {
        // md5, sha1, sha256 with RSA; sha1, sha256 with ECDSA.
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.113549.1.1.11" => {
            &ring::digest::SHA256
        }
        "1.2.840.10045.4.1" | "1.2.840.10045.4.3.2" => &ring::digest::SHA256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => &ring::digest::SHA384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => &ring::digest::SHA512,
        _ => return None,
    };
    Some(ring::digest::digest(digest, certificate).as_ref().to_vec())
}

fn broken(what: &str, reason: &str) -> SourceError {
    SourceError::configuration(
        format!("{what} cannot be used for TLS to PostgreSQL: {reason}"),
        "correct the setting or the file",
    )
}

/// libpq's default folder.
fn default_file(name: &str) -> Option<PathBuf> {
    std::env::home_dir()
        .map(|home| home.join(".postgresql").join(name))
        .filter(|path| path.exists())
}

fn client_certificate(
    settings: &SourceSettings,
) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, SourceError> {
    let cert = settings.ssl_cert.clone().or_else(|| default_file("postgresql.crt"));
    let key = settings.ssl_key.clone().or_else(|| default_file("postgresql.key"));
    match (cert, key) {
        (Some(cert), Some(key)) => {
            let chain = certificates(&cert, "sslcert")?;
            let key = PrivateKeyDer::from_pem_file(&key)
                .map_err(|error| broken("sslkey", &format!("{}: {error}", key.display())))?;
            Ok(Some((chain, key)))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(broken("sslcert", "sslkey is not given")),
        (None, Some(_)) if settings.ssl_key.is_some() => {
            Err(broken("sslkey", "sslcert is not given"))
        }
        (None, Some(_)) => Ok(None),
    }
}

fn certificates(path: &Path, setting: &str) -> Result<Vec<CertificateDer<'static>>, SourceError> {
    let fail = |reason: String| broken(setting, &format!("{}: {reason}", path.display()));
    let all: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| fail(error.to_string()))?.collect();
    match all {
        Ok(all) if all.is_empty() => Err(fail("it holds no certificate".to_owned())),
        Ok(all) => Ok(all),
        Err(error) => Err(fail(error.to_string())),
    }
}

/// Which authorities are known; `None` if none is given.
fn root_certificates(settings: &SourceSettings) -> Result<Option<RootCertStore>, SourceError> {
    let mut store = RootCertStore::empty();
    match settings.ssl_root_cert.as_deref() {
        Some("system") => {
            let native = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(native.certs);
            if store.is_empty() {
                return Err(broken("sslrootcert=system", "the system has no certificates"));
            }
        }
        given => {
            let path = given.map(PathBuf::from).or_else(|| default_file("root.crt"));
            let Some(path) = path else { return Ok(None) };
            for certificate in certificates(&path, "sslrootcert")? {
                store.add(certificate).map_err(|error| {
                    broken("sslrootcert", &format!("{}: {error}", path.display()))
                })?;
            }
        }
    }
    Ok(Some(store))
}

fn verifier(
    settings: &SourceSettings,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, SourceError> {
    let verifies = matches!(settings.ssl_mode, SslMode::VerifyCa | SslMode::VerifyFull);
    // With a root certificate, libpq takes require for verify-ca.
    let given = settings.ssl_root_cert.is_some() && settings.ssl_mode == SslMode::Require;
    if !verifies && !given {
        return Ok(Arc::new(AnyServer { provider }));
    }
    let Some(store) = root_certificates(settings)? else {
        return Err(SourceError::configuration(
            format!("sslmode {:?} needs certificates of known authorities", settings.ssl_mode),
            "give sslrootcert=FILE, or sslrootcert=system with sslmode=verify-full",
        ));
    };
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
        .build()
        .map_err(|error| broken("sslrootcert", &error.to_string()))?;
    if settings.ssl_mode == SslMode::VerifyFull {
        Ok(inner)
    } else {
        Ok(Arc::new(AnyName { inner }))
    }
}

/// `require`: encrypted, with whoever answers.
#[derive(Debug)]
struct AnyServer {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// `verify-ca`: a certificate of a known authority, whatever name it bears.
#[derive(Debug)]
struct AnyName {
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        ) {
            // The name is looked at last, after the chain has been found good.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
