//! Private keys: in PEM form as libpq has them, in DER as a JDBC driver has them, with a pass
//! phrase or without.
//!
//! Source: PostgreSQL 18, libpq, "Client Certificates"; RFC 5958 (PKCS #8), RFC 8018 (PKCS #5).

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::SecretDocument;
use pkcs8::der::pem::PemLabel;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

use crate::secret::Secret;

/// The first byte of everything in DER here: a sequence.
const DER: u8 = 0x30;

/// Whether a file holds DER, not PEM.
pub(super) fn is_der(bytes: &[u8]) -> bool {
    bytes.first() == Some(&DER)
}

/// Whether this is PKCS #12: its version, the first member of the sequence, is 3.
///
/// Source: RFC 7292, section 4.
fn is_pkcs12(der: &[u8]) -> bool {
    let long = der.get(1).filter(|length| **length > 0x80).map_or(0, |length| length & 0x7F);
    der.get(2 + usize::from(long)..).is_some_and(|content| content.starts_with(&[2, 1, 3]))
}

/// The key that a file holds.
///
/// # Errors
///
/// What is wrong with the file, or with the pass phrase.
pub(super) fn read(
    bytes: &[u8],
    pass_phrase: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, String> {
    if is_der(bytes) {
        return match EncryptedPrivateKeyInfoRef::try_from(bytes) {
            Ok(encrypted) => decrypted(&encrypted, pass_phrase),
            Err(_) if is_pkcs12(bytes) => Err("it is a store in the form PKCS #12; take the key \
                 out: openssl pkcs12 -nodes -nocerts -in FILE -out KEY"
                .to_owned()),
            Err(_) => PrivateKeyDer::try_from(bytes.to_vec()).map_err(|_| {
                "it holds no private key in the forms PKCS #8 (encrypted: by PKCS #5 version 2), \
                 PKCS #1 or SEC 1; write it anew: openssl pkcs8 -topk8 -v2 aes-256-cbc -inform DER \
                 -in KEY -out NEW"
                    .to_owned()
            }),
        };
    }
    let text = String::from_utf8_lossy(bytes);
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(old_cipher());
    }
    let begin = format!("-----BEGIN {}-----", EncryptedPrivateKeyInfoRef::PEM_LABEL);
    if let Some(at) = text.find(&begin) {
        let pem = text.get(at..).unwrap_or_default();
        let (_, document) = SecretDocument::from_pem(pem).map_err(|error| error.to_string())?;
        let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes());
        return decrypted(&encrypted.map_err(|error| error.to_string())?, pass_phrase);
    }
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => {
            "it holds no private key in PEM or DER form".to_owned()
        }
        error => error.to_string(),
    })
}

fn decrypted(
    encrypted: &EncryptedPrivateKeyInfoRef<'_>,
    pass_phrase: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, String> {
    use pkcs8::pkcs5::EncryptionScheme;
    if matches!(encrypted.encryption_algorithm, EncryptionScheme::Pbes1(_)) {
        return Err(old_cipher());
    }
    let Some(pass_phrase) = pass_phrase else {
        return Err("it is encrypted, expected its pass phrase in sslpassword or a key without \
                    one"
        .to_owned());
    };
    let key = encrypted
        .decrypt(pass_phrase.reveal())
        .map_err(|error| format!("it is not opened by the pass phrase of sslpassword: {error}"))?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

fn old_cipher() -> String {
    "it is encrypted as before PKCS #5 version 2; write it anew: openssl pkcs8 -topk8 -v2 \
     aes-256-cbc -in KEY -out NEW"
        .to_owned()
}
