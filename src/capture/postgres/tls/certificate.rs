//! What a certificate says: names, dates, signatures.
//!
//! Two things are read here because webpki does not: the common name of a certificate without
//! alternative names, and certificates of version 1. Both come of PostgreSQL's own manual ("Creating
//! Certificates"), and libpq takes them.

use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::SignatureVerificationAlgorithm;
use rustls_pki_types::UnixTime;
use x509_cert::TbsCertificate;
use x509_cert::certificate::Version;
use x509_cert::der::Decode;
use x509_cert::der::Encode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::time::Time;

/// `id-at-commonName`.
const COMMON_NAME: &str = "2.5.4.3";

/// A certificate, decoded.
pub(super) struct Certificate(x509_cert::Certificate);

/// What a certificate says of its dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dates {
    /// It is valid.
    Valid,
    /// Only later.
    NotYet,
    /// No more.
    Expired,
}

impl Certificate {
    /// Decodes it; `None` if it is none.
    pub(super) fn decode(der: &CertificateDer<'_>) -> Option<Self> {
        x509_cert::Certificate::from_der(der).ok().map(Certificate)
    }

    fn content(&self) -> &TbsCertificate {
        self.0.tbs_certificate()
    }

    /// Whether it is older than extensions: it can say nothing of what it may be used for.
    pub(super) fn is_version_1(&self) -> bool {
        self.content().version() == Version::V1 && self.content().extensions().is_none()
    }

    /// Whether it names itself as its issuer.
    pub(super) fn is_self_signed(&self) -> bool {
        self.content().issuer() == self.content().subject()
    }

    /// Compares a moment with its dates.
    pub(super) fn dates(&self, now: UnixTime) -> Dates {
        let seconds = |time: &Time| time.to_unix_duration().as_secs();
        let validity = self.content().validity();
        match now.as_secs() {
            now if now < seconds(&validity.not_before) => Dates::NotYet,
            now if now > seconds(&validity.not_after) => Dates::Expired,
            _ => Dates::Valid,
        }
    }

    /// Whether the issuer that it names is this one, and the signature is that one's.
    pub(super) fn is_signed_by(
        &self,
        issuer: &Certificate,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> bool {
        let Ok(content) = self.content().to_der() else { return false };
        let signature = self.0.signature().raw_bytes();
        let signed_with = body(self.0.signature_algorithm());
        self.content().issuer() == issuer.content().subject()
            && algorithms
                .iter()
                .filter(|algorithm| signed_with.as_deref() == Some(&*algorithm.signature_alg_id()))
                .any(|algorithm| issuer.key_fits(*algorithm, &content, signature))
    }

    /// Whether its key made this signature of a handshake.
    pub(super) fn signed(
        &self,
        algorithms: &WebPkiSupportedAlgorithms,
        scheme: SignatureScheme,
        (message, signature): (&[u8], &[u8]),
    ) -> bool {
        algorithms
            .mapping
            .iter()
            .filter(|(known, _)| *known == scheme)
            .flat_map(|(_, algorithms)| *algorithms)
            .any(|algorithm| self.key_fits(*algorithm, message, signature))
    }

    fn key_fits(
        &self,
        algorithm: &dyn SignatureVerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let key = self.content().subject_public_key_info();
        body(&key.algorithm).as_deref() == Some(&*algorithm.public_key_alg_id())
            && algorithm
                .verify_signature(key.subject_public_key.raw_bytes(), message, signature)
                .is_ok()
    }

    /// Whether it was made for this host, by libpq's rule: an alternative name says so, or there is
    /// none of the host's kind and the common name does.
    pub(super) fn is_for(&self, host: &str) -> bool {
        let address: Option<std::net::IpAddr> = host.parse().ok();
        let bytes = address.map(|address| match address {
            std::net::IpAddr::V4(address) => address.octets().to_vec(),
            std::net::IpAddr::V6(address) => address.octets().to_vec(),
        });
        let mut ask_common_name = true;
        for name in self.alternative_names() {
            let fits = match &name {
                GeneralName::DnsName(name) => {
                    ask_common_name &= address.is_some();
                    matches_name(name.as_str(), host)
                }
                GeneralName::IpAddress(name) => {
                    ask_common_name &= address.is_none();
                    bytes.as_deref() == Some(name.as_bytes())
                }
                _ => false,
            };
            if fits {
                return true;
            }
        }
        ask_common_name && self.common_name().is_some_and(|name| matches_name(&name, host))
    }

    /// The names that it was made for, for people.
    pub(super) fn names(&self) -> Vec<String> {
        let names = self.alternative_names().into_iter().filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
            GeneralName::IpAddress(name) => match *name.as_bytes() {
                [a, b, c, d] => Some(std::net::Ipv4Addr::new(a, b, c, d).to_string()),
                ref bytes => {
                    let octets: [u8; 16] = bytes.try_into().ok()?;
                    Some(std::net::Ipv6Addr::from(octets).to_string())
                }
            },
            _ => None,
        });
        let names: Vec<String> = names.collect();
        if names.is_empty() { self.common_name().into_iter().collect() } else { names }
    }

    fn alternative_names(&self) -> Vec<GeneralName> {
        match self.content().get_extension::<SubjectAltName>() {
            Ok(Some((_, names))) => names.0,
            _ => Vec::new(),
        }
    }

    fn common_name(&self) -> Option<String> {
        let mut attributes = self.content().subject().iter();
        let name = attributes.find(|attribute| attribute.oid.to_string() == COMMON_NAME)?;
        let text = std::str::from_utf8(name.value.value()).ok()?;
        // A name with a zero in it is made to look like another one.
        (!text.contains('\0')).then(|| text.to_owned())
    }

    /// What binds SCRAM to the connection (`tls-server-end-point`): the hash of the certificate by
    /// its own signature's hash, SHA-256 for the older ones. `None` for signatures without a hash,
    /// as Ed25519's. Source: RFC 5929, section 4.1.
    pub(super) fn end_point(&self, der: &[u8]) -> Option<Vec<u8>> {
        let algorithm = self.0.signature_algorithm().oid.to_string();
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
        Some(ring::digest::digest(digest, der).as_ref().to_vec())
    }
}

/// An identifier's DER without its own tag and length, as webpki compares them.
fn body(identifier: &AlgorithmIdentifierOwned) -> Option<Vec<u8>> {
    let der = identifier.to_der().ok()?;
    match der.as_slice() {
        [_sequence, length, body @ ..] if usize::from(*length) == body.len() => Some(body.to_vec()),
        _ => None,
    }
}

/// A pattern may begin with `*.`, which stands for one label.
fn matches_name(pattern: &str, host: &str) -> bool {
    let parent = |host: &str| host.split_once('.').map(|(_, parent)| parent.to_owned());
    pattern.eq_ignore_ascii_case(host)
        || pattern.strip_prefix("*.").is_some_and(|pattern| {
            parent(host).is_some_and(|parent| pattern.eq_ignore_ascii_case(&parent))
        })
}

#[cfg(test)]
mod tests {
    use super::matches_name;

    #[test]
    fn a_star_stands_for_one_label() {
        for (pattern, host, expected) in [
            ("db.example", "DB.Example", true),
            ("*.example", "db.example", true),
            ("*.example", "a.db.example", false),
            ("*.example", "example", false),
            ("*", "db.example", false),
            ("d*.example", "db.example", false),
            ("db.example", "db.example.org", false),
        ] {
            assert_eq!(matches_name(pattern, host), expected, "{pattern} {host}");
        }
    }
}
