//! Where the source is and how to get in.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::capture::postgres::conninfo;
use crate::capture::postgres::conninfo::ConnInfo;
use crate::capture::postgres::conninfo::PasswordFile;
use crate::capture::postgres::conninfo::PasswordFor;
use crate::capture::postgres::require_auth::RequireAuth;
use crate::secret::Secret;

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS only if the server refuses without.
    Allow,
    /// TLS if the server has it.
    Prefer,
    /// TLS, whoever the server is.
    Require,
    /// TLS, and the server's certificate is of a known authority.
    VerifyCa,
    /// The same, and it names the host.
    VerifyFull,
}

impl std::fmt::Display for SslMode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            SslMode::Disable => "disable",
            SslMode::Allow => "allow",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        })
    }
}

/// libpq's `channel_binding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// Where server and TLS allow it.
    Prefer,
    /// Always, or no connection.
    Require,
}

/// libpq's `target_session_attrs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetSession {
    /// Whoever answers.
    Any,
    /// A session that may write by default.
    ReadWrite,
    /// One that may not.
    ReadOnly,
    /// A server that is not in recovery.
    Primary,
    /// A server that is.
    Standby,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// How people and certificates call it: a name, an address, or a socket's folder.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// Where it listens.
    pub place: Place,
    /// The password for it, if one is given.
    pub password: Option<Secret>,
    /// Where it stands otherwise.
    pub password_file: Option<PasswordEntry>,
}

/// A host's entry in a password file, which is read at each connection: the password may have been
/// changed since the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordEntry {
    /// The file; `None` for `~/.pgpass`.
    path: Option<String>,
    /// How the host may stand in it.
    names: Vec<String>,
}

impl PasswordEntry {
    fn password(&self, port: u16, database: &str, user: &str) -> Option<Secret> {
        let file = PasswordFile::read(self.path.as_deref());
        let port = port.to_string();
        let of = |host: &String| file.password(PasswordFor { host, port: &port, database, user });
        self.names.iter().find_map(of).map(Secret::new)
    }
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A name or address, with the host's port.
    Tcp(String),
    /// A Unix socket in the file system.
    Unix(PathBuf),
    /// A Unix socket with a name in Linux' abstract name space, without its leading zero.
    Abstract(String),
}

impl Host {
    /// The password of a role for a database on it, as it stands now.
    pub fn password(&self, database: &str, user: &str) -> Option<Secret> {
        let entry = self.password_file.as_ref();
        let in_file = || entry?.password(self.port, database, user);
        self.password.clone().or_else(in_file)
    }

    /// Whether it is on this machine by nature: never with TLS.
    pub fn is_local(&self) -> bool {
        !matches!(self.place, Place::Tcp(_))
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Host { name, port, place, .. } = self;
        match place {
            Place::Tcp(address) if address != name => {
                write!(formatter, "{name}:{port} ({address})")
            }
            Place::Tcp(_) if name.contains(':') => write!(formatter, "[{name}]:{port}"),
            Place::Tcp(_) => write!(formatter, "{name}:{port}"),
            Place::Unix(path) => write!(formatter, "{}", path.display()),
            Place::Abstract(name) => write!(formatter, "@{name}"),
        }
    }
}

/// Everything about the connection to the source.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// Servers, tried in order.
    pub hosts: Vec<Host>,
    /// Which of them will do.
    pub target: TargetSession,
    /// Role.
    pub user: String,
    /// Database.
    pub database: String,
    /// Whether and how TLS is used; never on Unix sockets.
    pub ssl_mode: SslMode,
    /// TLS starts at once, without asking the server first (PostgreSQL 17 and later).
    pub ssl_direct: bool,
    /// Certificates of known authorities; `system` for the operating system's.
    pub ssl_root_cert: Option<String>,
    /// Lists of certificates that are revoked, in one file.
    pub ssl_crl: Option<PathBuf>,
    /// The same, in a folder.
    pub ssl_crl_dir: Option<PathBuf>,
    /// Whether TLS 1.2 and 1.3 may be used.
    pub ssl_versions: (bool, bool),
    /// Whether the server is told by which name we call it.
    pub ssl_sni: bool,
    /// Our certificate.
    pub ssl_cert: Option<PathBuf>,
    /// Its key.
    pub ssl_key: Option<PathBuf>,
    /// The pass phrase of our certificate's key.
    pub ssl_password: Option<Secret>,
    /// The system's user that a server on a Unix socket has to run as.
    pub require_peer: Option<String>,
    /// By which methods the server may let us in.
    pub require_auth: RequireAuth,
    /// Whether SCRAM is bound to the TLS connection.
    pub channel_binding: ChannelBinding,
    /// How the server's views name us.
    pub application_name: String,
    /// How long one attempt to connect to one host may take.
    pub connect_timeout: Duration,
    /// Command-line options for the session.
    pub options: Option<String>,
    /// What each connection for SQL begins with.
    pub initial_statements: Vec<String>,
}

/// Default time for one attempt: long enough for a slow network, short enough to try the next host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// libpq's 0: no limit. A day stands for it, because sockets take no longer times for granted.
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// libpq's default port.
const PORT: u16 = 5432;

/// Where Debian's and most other packages put the socket, then libpq's own default.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

impl SourceSettings {
    /// Checks parameters and fills in libpq's defaults.
    ///
    /// # Errors
    ///
    /// A parameter's value is not one of its allowed ones.
    pub fn new(info: &ConnInfo, application_name: &str) -> Result<Self, String> {
        let user = match info.get("user") {
            Some(user) => user.to_owned(),
            None => system_user().ok_or("no user given, and the system does not name ours")?,
        };
        let database = info.get("dbname").unwrap_or(&user).to_owned();
        let mut hosts = hosts(info)?;
        give_passwords(&mut hosts, info);
        let timeout = match info.get("connect_timeout") {
            Some(text) => match text.parse::<i64>() {
                Ok(..=0) => FOR_EVER,
                Ok(seconds) => Duration::from_secs(seconds.max(2).unsigned_abs()),
                Err(_) => return Err(wrong("connect_timeout", text, "seconds")),
            },
            None => CONNECT_TIMEOUT,
        };
        let direct = match info.get("sslnegotiation") {
            None | Some("postgres") => false,
            Some("direct") => true,
            Some(text) => return Err(wrong("sslnegotiation", text, "postgres or direct")),
        };
        let settings = SourceSettings {
            hosts,
            target: target(info)?,
            user,
            database,
            ssl_mode: ssl_mode(info)?,
            ssl_direct: direct,
            ssl_root_cert: info.get("sslrootcert").map(str::to_owned),
            ssl_crl: info.get("sslcrl").map(PathBuf::from),
            ssl_crl_dir: info.get("sslcrldir").map(PathBuf::from),
            ssl_versions: ssl_versions(info)?,
            ssl_sni: match info.get("sslsni") {
                None | Some("1") => true,
                Some("0") => false,
                Some(text) => return Err(wrong("sslsni", text, "0 or 1")),
            },
            ssl_cert: info.get("sslcert").map(PathBuf::from),
            ssl_key: info.get("sslkey").map(PathBuf::from),
            ssl_password: info.get("sslpassword").map(Secret::new),
            require_peer: info.get("requirepeer").map(str::to_owned),
            require_auth: match info.get("require_auth") {
                Some(text) => RequireAuth::parse(text)?,
                None => RequireAuth::Any,
            },
            channel_binding: channel_binding(info)?,
            application_name: info.get("application_name").unwrap_or(application_name).to_owned(),
            connect_timeout: timeout,
            initial_statements: Vec::new(),
            options: info.get("options").map(str::to_owned),
        };
        settings.checked()
    }

    /// The same, of this host only: what belongs together must not meet two servers.
    #[must_use]
    pub fn at(&self, host: &Host) -> Self {
        SourceSettings { hosts: vec![host.clone()], ..self.clone() }
    }

    fn checked(self) -> Result<Self, String> {
        let strong = matches!(self.ssl_mode, SslMode::VerifyFull);
        if self.ssl_root_cert.as_deref() == Some("system") && !strong {
            return Err("sslrootcert=system needs sslmode=verify-full".to_owned());
        }
        let tls = !matches!(self.ssl_mode, SslMode::Disable | SslMode::Allow | SslMode::Prefer);
        if self.ssl_direct && !tls {
            return Err("sslnegotiation=direct needs sslmode=require or stronger".to_owned());
        }
        Ok(self)
    }
}

fn wrong(name: &str, found: &str, expected: &str) -> String {
    format!("{} is \"{found}\", expected {expected}", conninfo::named(name))
}

fn ssl_mode(info: &ConnInfo) -> Result<SslMode, String> {
    let default = match info.get("sslrootcert") {
        Some("system") => "verify-full",
        _ => "prefer",
    };
    let text = info.get("sslmode").unwrap_or(default);
    Ok(match text {
        "disable" => SslMode::Disable,
        "allow" => SslMode::Allow,
        "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => {
            let expected = "disable, allow, prefer, require, verify-ca or verify-full";
            return Err(wrong("sslmode", text, expected));
        }
    })
}

/// Whether 1.2 and 1.3 lie between the bounds; older versions are not done here.
fn ssl_versions(info: &ConnInfo) -> Result<(bool, bool), String> {
    let number = |name: &str| match info.get(name) {
        None => Ok(None),
        Some("TLSv1") => Ok(Some(0)),
        Some("TLSv1.1") => Ok(Some(1)),
        Some("TLSv1.2") => Ok(Some(2)),
        Some("TLSv1.3") => Ok(Some(3)),
        Some(text) => Err(wrong(name, text, "TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3")),
    };
    let (least, most) = ("ssl_min_protocol_version", "ssl_max_protocol_version");
    let (low, high) = (number(least)?.unwrap_or(2), number(most)?.unwrap_or(3));
    if high < 2 {
        return Err(wrong(most, info.get(most).unwrap_or_default(), "TLSv1.2 or later"));
    }
    if low > high {
        return Err(wrong(least, info.get(least).unwrap_or_default(), &format!("at most {most}")));
    }
    Ok(((low..=high).contains(&2), (low..=high).contains(&3)))
}

fn channel_binding(info: &ConnInfo) -> Result<ChannelBinding, String> {
    Ok(match info.get("channel_binding").unwrap_or("prefer") {
        "disable" => ChannelBinding::Disable,
        "prefer" => ChannelBinding::Prefer,
        "require" => ChannelBinding::Require,
        text => return Err(wrong("channel_binding", text, "disable, prefer or require")),
    })
}

fn target(info: &ConnInfo) -> Result<TargetSession, String> {
    Ok(match info.get("target_session_attrs").unwrap_or("any") {
        "any" => TargetSession::Any,
        "read-write" => TargetSession::ReadWrite,
        "read-only" => TargetSession::ReadOnly,
        "primary" => TargetSession::Primary,
        "standby" => TargetSession::Standby,
        text => {
            let expected = "any, read-write, read-only, primary or standby";
            return Err(wrong("target_session_attrs", text, expected));
        }
    })
}

/// Hosts, addresses and ports are lists of the same length; one port serves all hosts.
fn hosts(info: &ConnInfo) -> Result<Vec<Host>, String> {
    let list = |name: &str| -> Vec<&str> { info.get(name).unwrap_or("").split(',').collect() };
    let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = if info.get("hostaddr").is_some() { addresses.len() } else { names.len() };
    if info.get("hostaddr").is_some() && info.get("host").is_some() && names.len() != count {
        return Err(format!("{} hosts are given for {count} addresses (hostaddr)", names.len()));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(format!("{} ports are given for {count} hosts", ports.len()));
    }
    let mut hosts = Vec::with_capacity(count);
    for at in 0..count {
        let of = |all: &[&str]| all.get(at).copied().unwrap_or_default().to_owned();
        let port = match ports.get(at).or(ports.first()).copied().unwrap_or_default() {
            "" => PORT,
            text => match text.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(wrong("port", text, "a number from 1 to 65535")),
            },
        };
        hosts.push(host(of(&names), of(&addresses), port)?);
    }
    Ok(hosts)
}

fn host(name: String, address: String, port: u16) -> Result<Host, String> {
    if !address.is_empty() {
        if address.parse::<std::net::IpAddr>().is_err() {
            return Err(wrong("hostaddr", &address, "an IP address"));
        }
        let name = if name.is_empty() { address.clone() } else { name };
        return Ok(Host {
            name,
            port,
            place: Place::Tcp(address),
            password: None,
            password_file: None,
        });
    }
    let socket = |folder: &str| format!("{folder}/.s.PGSQL.{port}");
    let place = if let Some(folder) = name.strip_prefix('@') {
        Place::Abstract(socket(folder))
    } else if name.starts_with('/') {
        Place::Unix(PathBuf::from(socket(name.trim_end_matches('/'))))
    } else if !name.is_empty() {
        Place::Tcp(name.clone())
    } else {
        let found = SOCKET_FOLDERS.iter().find(|folder| Path::new(&socket(folder)).exists());
        let Some(folder) = found else {
            let name = "localhost".to_owned();
            return Ok(Host {
                place: Place::Tcp(name.clone()),
                name,
                port,
                password: None,
                password_file: None,
            });
        };
        let place = Place::Unix(PathBuf::from(socket(folder)));
        return Ok(Host {
            name: (*folder).to_owned(),
            port,
            place,
            password: None,
            password_file: None,
        });
    };
    Ok(Host { name, port, place, password: None, password_file: None })
}

/// The password that is given is everybody's; otherwise each host has its own in the password file.
fn give_passwords(hosts: &mut [Host], info: &ConnInfo) {
    let given = info.get("password");
    for host in hosts {
        if let Some(password) = given {
            host.password = Some(Secret::new(password));
            continue;
        }
        let default_socket = host.is_local() && SOCKET_FOLDERS.contains(&&*host.name);
        // A file that was written for another default folder has localhost for both.
        let localhost = default_socket.then(|| "localhost".to_owned());
        let names = localhost.into_iter().chain([host.name.clone()]).collect();
        let path = info.get("passfile").map(str::to_owned);
        host.password_file = Some(PasswordEntry { path, names });
    }
}

/// The operating system's name for the user of this process.
fn system_user() -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    user_name(std::fs::metadata("/proc/self").ok()?.uid())
}

/// The operating system's name for a user.
pub(super) fn user_name(uid: u32) -> Option<String> {
    let uid = uid.to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::ConnInfo;
    use super::SourceSettings;

    #[test]
    fn a_password_that_changes_in_its_file_is_the_next_connections() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pgpass");
        let info = format!("host=db.example dbname=shop user=cdc passfile={}", path.display());
        let info = ConnInfo::parse(&info).unwrap();
        let settings = SourceSettings::new(&info, "cdc-agent").unwrap();
        let host = settings.hosts.first().unwrap();
        for password in ["before", "after"] {
            fs::write(&path, format!("db.example:5432:shop:cdc:{password}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let found = host.password(&settings.database, &settings.user);
            assert_eq!(found.unwrap().reveal(), password);
        }
        assert!(host.password(&settings.database, "other").is_none());
    }
}
