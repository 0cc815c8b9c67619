//! TLS as libpq's `sslmode` means it, on rustls with ring.
//!
//! Source: PostgreSQL 18, libpq, "SSL Support".

mod certificate;
mod files;
mod key;
mod verifier;

use std::io;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::ServerName;

use crate::capture::postgres::SourceError;
use crate::capture::postgres::settings::Host;
use crate::capture::postgres::settings::SourceSettings;
use crate::capture::postgres::settings::SslMode;

/// The client's side of TLS for these settings.
///
/// # Errors
///
/// A file is missing or is not what it must be.
pub(super) fn client_config(settings: &SourceSettings) -> Result<Arc<ClientConfig>, SourceError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let (tls12, tls13) = settings.ssl_versions;
    let versions = [(tls12, &rustls::version::TLS12), (tls13, &rustls::version::TLS13)];
    let versions: Vec<&rustls::SupportedProtocolVersion> =
        versions.into_iter().filter(|(wanted, _)| *wanted).map(|(_, version)| version).collect();
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| broken("TLS", &error.to_string()))?;
    let verifier = verifier(settings, algorithms)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match files::identity(settings)? {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| broken("sslcert and sslkey", &error.to_string()))?,
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = settings.ssl_sni;
    if settings.ssl_direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(Arc::new(config))
}

/// libpq looks at the server's certificate whenever it knows authorities, and only the modes that
/// verify insist on knowing some.
fn verifier(
    settings: &SourceSettings,
    algorithms: rustls::crypto::WebPkiSupportedAlgorithms,
) -> Result<verifier::Verifier, SourceError> {
    let authorities = files::authorities(settings)?;
    let insists = matches!(settings.ssl_mode, SslMode::VerifyCa | SslMode::VerifyFull);
    match authorities {
        Some(certificates) => {
            let names = settings.ssl_mode == SslMode::VerifyFull;
            let lists = files::revocations(settings)?;
            let verifier = verifier::Verifier::of(algorithms, certificates, names)
                .map_err(|error| broken("sslrootcert", &error.to_string()))?;
            verifier.refusing(lists).map_err(|error| broken("sslcrl", &error))
        }
        None if insists => Err(SourceError::configuration(
            format!(
                "sslmode={} needs certificates of authorities that are trusted, and neither \
                 sslrootcert nor ~/.postgresql/root.crt gives them",
                settings.ssl_mode
            ),
            "give sslrootcert=FILE, or sslrootcert=system with sslmode=verify-full",
        )),
        None if settings.ssl_crl.is_some() || settings.ssl_crl_dir.is_some() => {
            Err(broken("sslcrl", "it is of no use without sslrootcert"))
        }
        None => Ok(verifier::Verifier::any(algorithms)),
    }
}

/// Name of the server for SNI and verification.
pub(super) fn server_name(host: &Host) -> Result<ServerName<'static>, SourceError> {
    ServerName::try_from(host.name.clone())
        .map_err(|_| broken("host", &format!("\"{}\" is neither a name nor an address", host.name)))
}

/// What binds SCRAM to the connection; `None` if the certificate's signature has no hash.
pub(super) fn server_end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    certificate::Certificate::decode(certificate)?.end_point(certificate)
}

/// What went wrong in a handshake, with what to do. `None` if the line broke, not TLS.
pub(super) fn handshake_failed(host: &Host, error: &io::Error) -> Option<SourceError> {
    let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let hint = match tls {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => {
            "connect by a name that the server's certificate bears (with hostaddr for its address), \
             or choose sslmode=verify-ca"
        }
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "give the certificate of the authority that signed the server's in sslrootcert"
        }
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "renew the server's certificate, and check the clock of this machine",
        rustls::Error::InvalidCertificate(CertificateError::Revoked) => {
            "renew the server's certificate: its authority has revoked it (sslcrl)"
        }
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownRevocationStatus
            | CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. },
        ) => "give a list in sslcrl that is valid and of the authority that signed the server's",
        rustls::Error::AlertReceived(_) => {
            "check that the server's ssl_ca_file knows the authority of our certificate (sslcert), \
             that it is still valid, and sslmode"
        }
        _ => "check sslmode, sslrootcert, sslcert and sslkey against the server's certificate",
    };
    Some(SourceError::configuration(format!("TLS to PostgreSQL at {host} failed: {tls}"), hint))
}

fn broken(what: &str, reason: &str) -> SourceError {
    SourceError::configuration(
        format!("{what} cannot be used for TLS to PostgreSQL: {reason}"),
        "correct the setting or the file",
    )
}
