//! Certificates and keys in files, where libpq looks for them.
//!
//! Source: PostgreSQL 18, libpq, "Client Certificates", "SSL Client File Usage".

use std::io::ErrorKind;
use std::path::Path;
use std::path::PathBuf;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem;
use rustls_pki_types::pem::PemObject;

use crate::capture::postgres::SourceError;
use crate::capture::postgres::settings::SourceSettings;
use crate::capture::postgres::tls::broken;
use crate::capture::postgres::tls::key;
use crate::secret::Secret;

/// Our certificate with those that lead to its authority, and its key.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Who we are; `None` if no certificate is given.
pub(super) fn identity(settings: &SourceSettings) -> Result<Option<Identity>, SourceError> {
    let cert = settings.ssl_cert.clone().or_else(|| default_file("postgresql.crt"));
    let Some(cert) = cert else {
        return match &settings.ssl_key {
            Some(_) => Err(broken("sslkey", "sslcert is not given")),
            None => Ok(None),
        };
    };
    let key = settings.ssl_key.clone().or_else(|| default_file("postgresql.key"));
    let Some(key) = key else { return Err(broken("sslcert", "sslkey is not given")) };
    let chain = certificates(&cert, "sslcert")?;
    Ok(Some((chain, private_key(&key, settings.ssl_password.as_ref())?)))
}

fn private_key(
    path: &Path,
    pass_phrase: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, SourceError> {
    let fail = |reason: &str| broken("sslkey", &format!("{}: {reason}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| fail(&error.to_string()))?;
    if is_open(path) {
        return Err(SourceError::configuration(
            format!("sslkey {} is not used, because others may read it", path.display()),
            format!("run: chmod 600 {}", path.display()),
        ));
    }
    key::read(&bytes, pass_phrase).map_err(|reason| fail(&reason))
}

/// Whether others may read a key, by libpq's rule: root's may be read by a group.
fn is_open(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).is_ok_and(|file| {
        let forbidden = if file.uid() == 0 { 0o037 } else { 0o077 };
        file.mode() & forbidden != 0
    })
}

/// The authorities that are known; `None` if nobody gives any.
pub(super) fn authorities(
    settings: &SourceSettings,
) -> Result<Option<Vec<CertificateDer<'static>>>, SourceError> {
    match settings.ssl_root_cert.as_deref() {
        Some("system") => {
            let native = rustls_native_certs::load_native_certs().certs;
            if native.is_empty() {
                return Err(broken("sslrootcert=system", "the system has no certificates"));
            }
            Ok(Some(native))
        }
        Some(path) => certificates(Path::new(path), "sslrootcert").map(Some),
        None => default_file("root.crt").map(|path| certificates(&path, "sslrootcert")).transpose(),
    }
}

/// Lists of revoked certificates; none if nobody gives any.
///
/// libpq takes a file that is not there for an empty one; ours is refused, because whoever names it
/// relies on it.
pub(super) fn revocations(
    settings: &SourceSettings,
) -> Result<Vec<CertificateRevocationListDer<'static>>, SourceError> {
    let mut lists = Vec::new();
    let file = settings.ssl_crl.clone().or_else(|| default_file("root.crl"));
    if let Some(path) = file {
        read_lists(&path, "sslcrl", &mut lists)?;
    }
    if let Some(folder) = &settings.ssl_crl_dir {
        let fail =
            |error: std::io::Error| broken("sslcrldir", &format!("{}: {error}", folder.display()));
        for entry in std::fs::read_dir(folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            // Named by a hash and a number, as `openssl rehash` does it.
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if ending.strip_prefix('r').is_some_and(|number| number.parse::<u32>().is_ok()) {
                read_lists(&path, "sslcrldir", &mut lists)?;
            }
        }
    }
    Ok(lists)
}

fn read_lists(
    path: &Path,
    setting: &str,
    lists: &mut Vec<CertificateRevocationListDer<'static>>,
) -> Result<(), SourceError> {
    let fail = |reason: &str| broken(setting, &format!("{}: {reason}", path.display()));
    let before = lists.len();
    let found = CertificateRevocationListDer::pem_file_iter(path);
    for list in found.map_err(|error| fail(&error.to_string()))? {
        lists.push(list.map_err(|error| fail(&error.to_string()))?);
    }
    if lists.len() == before {
        return Err(fail("it holds no list of revoked certificates in PEM form"));
    }
    Ok(())
}

fn certificates(path: &Path, setting: &str) -> Result<Vec<CertificateDer<'static>>, SourceError> {
    let fail = |reason: &str| broken(setting, &format!("{}: {reason}", path.display()));
    let said = |error: pem::Error| match error {
        pem::Error::Io(error) if error.kind() == ErrorKind::NotFound => fail("no such file"),
        error => fail(&error.to_string()),
    };
    let bytes = std::fs::read(path).map_err(|error| said(pem::Error::Io(error)))?;
    if key::is_der(&bytes) {
        return Ok(vec![CertificateDer::from(bytes)]);
    }
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if all.is_empty() => Err(fail("it holds no certificate in PEM or DER form")),
        Ok(all) => Ok(all),
        Err(error) => Err(said(error)),
    }
}

/// A file in libpq's folder, if it is there.
fn default_file(name: &str) -> Option<PathBuf> {
    std::env::home_dir()
        .map(|home| home.join(".postgresql").join(name))
        .filter(|path| path.exists())
}
