//! Whether a server is the one that was meant, as libpq's `sslmode` asks.

use std::sync::Arc;

use rustls::CertificateError;
use rustls::DigitallySignedStruct;
use rustls::Error;
use rustls::RootCertStore;
use rustls::SignatureScheme;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::ParsedCertificate;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::ServerName;
use rustls_pki_types::UnixTime;

use crate::capture::postgres::tls::certificate::Certificate;
use crate::capture::postgres::tls::certificate::Dates;

/// Looks at the server's certificate.
#[derive(Debug)]
pub(super) struct Verifier {
    algorithms: WebPkiSupportedAlgorithms,
    /// `None`: any server will do.
    trusted: Option<Trusted>,
}

/// Whom the certificate must come from.
#[derive(Debug)]
struct Trusted {
    store: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
    /// Looks chains up in lists of what is revoked, if any are given.
    webpki: Option<Arc<WebPkiServerVerifier>>,
    /// It must name the host too.
    names: bool,
}

impl Verifier {
    /// Of any server.
    pub(super) fn any(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Verifier { algorithms, trusted: None }
    }

    /// Of servers that these authorities know, and if `names` that bear the host's name.
    ///
    /// # Errors
    ///
    /// None of them is a certificate that can be read.
    pub(super) fn of(
        algorithms: WebPkiSupportedAlgorithms,
        certificates: Vec<CertificateDer<'static>>,
        names: bool,
    ) -> Result<Self, Error> {
        let mut store = RootCertStore::empty();
        let (added, _) = store.add_parsable_certificates(certificates.iter().cloned());
        if added == 0 {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        let trusted = Trusted { store, certificates, webpki: None, names };
        Ok(Verifier { algorithms, trusted: Some(trusted) })
    }

    /// The same, but for certificates that these lists name, or that no list covers.
    ///
    /// # Errors
    ///
    /// One of them is no list that can be read.
    pub(super) fn refusing(
        mut self,
        revocations: Vec<CertificateRevocationListDer<'static>>,
    ) -> Result<Self, String> {
        let Some(trusted) = self.trusted.as_mut().filter(|_| !revocations.is_empty()) else {
            return Ok(self);
        };
        let provider = Arc::new(crypto::ring::default_provider());
        let roots = Arc::new(trusted.store.clone());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .with_crls(revocations)
            .enforce_revocation_expiration()
            .build()
            .map_err(|error| error.to_string())?;
        trusted.webpki = Some(verifier);
        Ok(self)
    }

    /// Whether a handshake's signature was made by the key of a certificate that webpki cannot
    /// read.
    fn old_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Option<Result<HandshakeSignatureValid, Error>> {
        let certificate = Certificate::decode(certificate).filter(Certificate::is_version_1)?;
        let both = (message, signature.signature());
        let good = certificate.signed(&self.algorithms, signature.scheme, both);
        Some(if good {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::BadSignature))
        })
    }
}

impl Trusted {
    fn check(
        &self,
        algorithms: &WebPkiSupportedAlgorithms,
        (certificate, intermediates): (&CertificateDer<'_>, &[CertificateDer<'_>]),
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let decoded = Certificate::decode(certificate).ok_or(CertificateError::BadEncoding)?;
        self.check_revocation((certificate, intermediates), &decoded, host, now)?;
        if self.certificates.iter().any(|known| **known == **certificate) {
            // It vouches for itself, as a self-signed one does.
            in_time(&decoded, now)?;
        } else if decoded.is_version_1() {
            in_time(&decoded, now)?;
            let mut issuers = self.certificates.iter().filter_map(Certificate::decode);
            if !issuers.any(|issuer| decoded.is_signed_by(&issuer, algorithms.all)) {
                return Err(CertificateError::UnknownIssuer.into());
            }
        } else {
            let parsed = ParsedCertificate::try_from(certificate)?;
            let roots = &self.store;
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                roots,
                intermediates,
                now,
                algorithms.all,
            )
            .map_err(|error| match decoded.is_self_signed() {
                // webpki has another word for it if it could be an authority's.
                true => CertificateError::UnknownIssuer.into(),
                false => error,
            })?;
        }
        if self.names && !decoded.is_for(&host.to_str()) {
            return Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                expected: host.to_owned(),
                presented: decoded.names(),
            }));
        }
        Ok(())
    }
}

impl Trusted {
    fn check_revocation(
        &self,
        (certificate, intermediates): (&CertificateDer<'_>, &[CertificateDer<'_>]),
        decoded: &Certificate,
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(webpki) = &self.webpki else { return Ok(()) };
        let itself = self.certificates.iter().any(|known| **known == **certificate);
        if itself || decoded.is_version_1() {
            // webpki cannot look these up; to let them pass would be to forget the lists.
            return Err(CertificateError::UnknownRevocationStatus.into());
        }
        match webpki.verify_server_cert(certificate, intermediates, host, &[], now) {
            // The name is looked at last, and by a rule of our own.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(()),
            result => result.map(drop),
        }
    }
}

fn in_time(certificate: &Certificate, now: UnixTime) -> Result<(), Error> {
    match certificate.dates(now) {
        Dates::Valid => Ok(()),
        Dates::NotYet => Err(CertificateError::NotValidYet.into()),
        Dates::Expired => Err(CertificateError::Expired.into()),
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(trusted) = &self.trusted {
            trusted.check(&self.algorithms, (end_entity, intermediates), server_name, now)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.old_signature(message, cert, dss)
            .unwrap_or_else(|| crypto::verify_tls12_signature(message, cert, dss, &self.algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // TLS 1.3 has no signatures of this kind.
        let old = matches!(
            dss.scheme,
            SignatureScheme::RSA_PKCS1_SHA256
                | SignatureScheme::RSA_PKCS1_SHA384
                | SignatureScheme::RSA_PKCS1_SHA512
        );
        let ours = if old { None } else { self.old_signature(message, cert, dss) };
        ours.unwrap_or_else(|| crypto::verify_tls13_signature(message, cert, dss, &self.algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
