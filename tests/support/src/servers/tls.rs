//! Certificates for tests of TLS: a certificate authority, what it signed, and a stranger.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertificateRevocationListParams;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyIdMethod;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::RevokedCertParams;
use rcgen::SerialNumber;

/// Number of the server's certificate.
const SERVER: u64 = 4711;

/// Files in PEM. Keys are readable by their owner only.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority that signed the server's and the client's certificate.
    pub ca: PathBuf,
    /// The server's certificate, for `localhost`, 127.0.0.1 and ::1.
    pub server_cert: PathBuf,
    /// Its key.
    pub server_key: PathBuf,
    /// A certificate like the server's that was valid for a day in the year 2001.
    pub expired_server_cert: PathBuf,
    /// Its key.
    pub expired_server_key: PathBuf,
    /// The authority's list of revoked certificates, which is empty.
    pub nothing_revoked: PathBuf,
    /// One that names the server's certificate.
    pub server_revoked: PathBuf,
    /// One of that kind that was due to be replaced long ago.
    pub outdated_list: PathBuf,
    /// A client's certificate; its common name is the role.
    pub client_cert: PathBuf,
    /// Its key.
    pub client_key: PathBuf,
    /// An authority that signed nothing that is in use.
    pub wrong_ca: PathBuf,
    /// A client's certificate for the same role, signed by the wrong authority.
    pub wrong_client_cert: PathBuf,
    /// Its key.
    pub wrong_client_key: PathBuf,
}

impl Certificates {
    /// Makes them all in a folder.
    ///
    /// # Panics
    ///
    /// If the folder cannot be written.
    pub fn generate(dir: &Path, role: &str) -> Self {
        let authority = Authority::new("cdc-testkit CA");
        let stranger = Authority::new("cdc-testkit stranger");
        let hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let mut server = params("localhost", hosts.clone(), ExtendedKeyUsagePurpose::ServerAuth);
        server.serial_number = Some(SerialNumber::from(SERVER));
        let (server_cert, server_key) = authority.issue(server);
        let (expired_cert, expired_key) = authority.sign_for_the_past("localhost", hosts);
        let (client_cert, client_key) =
            authority.sign(role, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth);
        let (wrong_client_cert, wrong_client_key) =
            stranger.sign(role, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth);
        Self {
            ca: write(dir, "ca.crt", &authority.pem),
            server_cert: write(dir, "server.crt", &server_cert),
            server_key: write(dir, "server.key", &server_key),
            expired_server_cert: write(dir, "expired-server.crt", &expired_cert),
            expired_server_key: write(dir, "expired-server.key", &expired_key),
            nothing_revoked: write(dir, "nothing-revoked.crl", &authority.list(None, 2100)),
            server_revoked: write(dir, "server-revoked.crl", &authority.list(Some(SERVER), 2100)),
            outdated_list: write(dir, "outdated.crl", &authority.list(None, 2002)),
            client_cert: write(dir, "client.crt", &client_cert),
            client_key: write(dir, "client.key", &client_key),
            wrong_ca: write(dir, "wrong-ca.crt", &stranger.pem),
            wrong_client_cert: write(dir, "wrong-client.crt", &wrong_client_cert),
            wrong_client_key: write(dir, "wrong-client.key", &wrong_client_key),
        }
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key can be made");
        let pem = params.self_signed(&key).expect("an authority can be signed").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(
        &self,
        name: &str,
        hosts: Vec<String>,
        usage: ExtendedKeyUsagePurpose,
    ) -> (String, String) {
        self.issue(params(name, hosts, usage))
    }

    fn sign_for_the_past(&self, name: &str, hosts: Vec<String>) -> (String, String) {
        let mut params = params(name, hosts, ExtendedKeyUsagePurpose::ServerAuth);
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 1, 2);
        self.issue(params)
    }

    /// A list of revoked certificates by their numbers, good until this year.
    fn list(&self, revoked: Option<u64>, until: i32) -> String {
        let revoked = revoked.map(|number| RevokedCertParams {
            serial_number: SerialNumber::from(number),
            revocation_time: rcgen::date_time_ymd(2001, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2001, 1, 1),
            next_update: rcgen::date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.into_iter().collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).expect("a list can be signed");
        list.pem().expect("a list has a text")
    }

    fn issue(&self, params: CertificateParams) -> (String, String) {
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("it can be signed");
        (certificate.pem(), key.serialize_pem())
    }
}

fn params(name: &str, hosts: Vec<String>, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::new(hosts).expect("the host names are good");
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![usage];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn write(dir: &Path, name: &str, pem: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, pem).expect("the folder for certificates can be written");
    let mode = if name.ends_with(".key") { 0o600 } else { 0o644 };
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("the file is ours");
    path
}
