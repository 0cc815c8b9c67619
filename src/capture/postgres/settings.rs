//! Where the source is and how to get in.

use std::path::PathBuf;
use std::time::Duration;

use crate::capture::postgres::conninfo;
use crate::capture::postgres::conninfo::ConnInfo;
use crate::capture::postgres::conninfo::PasswordFor;
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

/// One server address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Name or address, and port.
    Tcp(String, u16),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Tcp(name, port) if name.contains(':') => write!(formatter, "[{name}]:{port}"),
            Host::Tcp(name, port) => write!(formatter, "{name}:{port}"),
            Host::Unix(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// Everything about the connection to the source.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// Servers, tried in order.
    pub hosts: Vec<Host>,
    /// Role.
    pub user: String,
    /// Its password, if one is known.
    pub password: Option<Secret>,
    /// Database.
    pub database: String,
    /// Whether and how TLS is used; never on Unix sockets.
    pub ssl_mode: SslMode,
    /// TLS starts at once, without asking the server first (PostgreSQL 17 and later).
    pub ssl_direct: bool,
    /// Certificates of known authorities; `system` for the operating system's.
    pub ssl_root_cert: Option<String>,
    /// Our certificate.
    pub ssl_cert: Option<PathBuf>,
    /// Its key.
    pub ssl_key: Option<PathBuf>,
    /// Whether SCRAM is bound to the TLS connection.
    pub channel_binding: ChannelBinding,
    /// How the server's views name us.
    pub application_name: String,
    /// How long one attempt to connect to one host may take.
    pub connect_timeout: Duration,
    /// Command-line options for the session.
    pub options: Option<String>,
}

/// Default time for one attempt: long enough for a slow network, short enough to try the next host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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
        let hosts = hosts(info)?;
        let password = match info.get("password") {
            Some(password) => Some(password.to_owned()),
            None => hosts.first().and_then(|host| file_password(info, host, &database, &user)),
        };
        let timeout = match info.get("connect_timeout") {
            Some(text) => match text.parse::<u64>() {
                Ok(0) => Duration::from_secs(86_400),
                Ok(seconds) => Duration::from_secs(seconds.max(2)),
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
            user,
            password: password.map(Secret::new),
            database,
            ssl_mode: ssl_mode(info)?,
            ssl_direct: direct,
            ssl_root_cert: info.get("sslrootcert").map(str::to_owned),
            ssl_cert: info.get("sslcert").map(PathBuf::from),
            ssl_key: info.get("sslkey").map(PathBuf::from),
            channel_binding: channel_binding(info)?,
            application_name: info.get("application_name").unwrap_or(application_name).to_owned(),
            connect_timeout: timeout,
            options: info.get("options").map(str::to_owned),
        };
        settings.checked()
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
    format!("{name} is \"{found}\", expected {expected}")
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

fn channel_binding(info: &ConnInfo) -> Result<ChannelBinding, String> {
    Ok(match info.get("channel_binding").unwrap_or("prefer") {
        "disable" => ChannelBinding::Disable,
        "prefer" => ChannelBinding::Prefer,
        "require" => ChannelBinding::Require,
        text => return Err(wrong("channel_binding", text, "disable, prefer or require")),
    })
}

/// Hosts and ports are lists; one port serves all hosts.
fn hosts(info: &ConnInfo) -> Result<Vec<Host>, String> {
    let names: Vec<&str> = match info.get("hostaddr").or_else(|| info.get("host")) {
        Some(names) => names.split(',').collect(),
        None => vec![""],
    };
    let ports: Vec<&str> = info.get("port").unwrap_or("").split(',').collect();
    if ports.len() > 1 && ports.len() != names.len() {
        return Err(format!("{} ports are given for {} hosts", ports.len(), names.len()));
    }
    let port_of = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or_default();
    let mut hosts = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        let port = match port_of(at) {
            "" => PORT,
            text => text.parse().map_err(|_| wrong("port", text, "a number from 1 to 65535"))?,
        };
        hosts.push(host(name, port));
    }
    Ok(hosts)
}

fn host(name: &str, port: u16) -> Host {
    let socket = |folder: &str| PathBuf::from(folder).join(format!(".s.PGSQL.{port}"));
    if name.starts_with('/') {
        return Host::Unix(socket(name));
    }
    if !name.is_empty() {
        return Host::Tcp(name.to_owned(), port);
    }
    let found = SOCKET_FOLDERS.iter().map(|folder| socket(folder)).find(|path| path.exists());
    found.map_or_else(|| Host::Tcp("localhost".to_owned(), port), Host::Unix)
}

fn file_password(info: &ConnInfo, host: &Host, database: &str, user: &str) -> Option<String> {
    let path = match info.get("passfile") {
        Some(path) => PathBuf::from(path),
        None => std::env::home_dir()?.join(".pgpass"),
    };
    let content = std::fs::read_to_string(&path).ok()?;
    if conninfo::readable_by_others(&path) {
        tracing::warn!(
            path = %path.display(),
            "the password file is not used, because others may read it; chmod 600 mends that"
        );
        return None;
    }
    let (name, port) = match host {
        Host::Tcp(name, port) => (name.clone(), port.to_string()),
        Host::Unix(path) => socket_names(path),
    };
    let wanted = PasswordFor { host: &name, port: &port, database, user };
    conninfo::password_from_file(&content, wanted)
}

/// What the password file calls a socket: `localhost` in a default folder, else the folder.
fn socket_names(path: &std::path::Path) -> (String, String) {
    let folder = path.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    let port = path.extension().map(|port| port.to_string_lossy().into_owned());
    let name = if SOCKET_FOLDERS.contains(&&*folder) { "localhost".to_owned() } else { folder };
    (name, port.unwrap_or_default())
}

/// The operating system's name for the user of this process.
fn system_user() -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let uid = std::fs::metadata("/proc/self").ok()?.uid().to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}
