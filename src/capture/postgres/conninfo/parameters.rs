//! libpq's connection parameters and what becomes of each here.
//!
//! Source: PostgreSQL 18, libpq, "Parameter Key Words", "Environment Variables".

/// One of libpq's parameters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    /// Its name in connection strings and service files.
    pub(super) name: &'static str,
    /// Its environment variable; empty if it has none.
    pub(super) variable: &'static str,
    /// What becomes of it.
    pub(super) effect: Effect,
}

/// What becomes of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// As in libpq.
    Used,
    /// It changes nothing for us, whatever its value.
    None,
    /// Only these values are taken: they ask for what is done anyway.
    Fixed(&'static [&'static str]),
    /// It would be wrong to leave it out silently.
    Refused,
}

use Effect::Fixed;
use Effect::None;
use Effect::Refused;
use Effect::Used;

const fn parameter(name: &'static str, variable: &'static str, effect: Effect) -> Parameter {
    Parameter { name, variable, effect }
}

/// All of libpq's parameters.
pub(super) const PARAMETERS: &[Parameter] = &[
    parameter("host", "PGHOST", Used),
    parameter("hostaddr", "PGHOSTADDR", Used),
    parameter("port", "PGPORT", Used),
    parameter("user", "PGUSER", Used),
    parameter("password", "PGPASSWORD", Used),
    parameter("passfile", "PGPASSFILE", Used),
    parameter("dbname", "PGDATABASE", Used),
    parameter("service", "PGSERVICE", Used),
    parameter("servicefile", "PGSERVICEFILE", Used),
    parameter("target_session_attrs", "PGTARGETSESSIONATTRS", Used),
    parameter("connect_timeout", "PGCONNECT_TIMEOUT", Used),
    parameter("application_name", "PGAPPNAME", Used),
    parameter("options", "PGOPTIONS", Used),
    parameter("channel_binding", "PGCHANNELBINDING", Used),
    parameter("sslmode", "PGSSLMODE", Used),
    parameter("sslnegotiation", "PGSSLNEGOTIATION", Used),
    parameter("sslrootcert", "PGSSLROOTCERT", Used),
    parameter("sslcert", "PGSSLCERT", Used),
    parameter("sslkey", "PGSSLKEY", Used),
    parameter("sslpassword", "", Used),
    parameter("sslcrl", "PGSSLCRL", Used),
    parameter("sslcrldir", "PGSSLCRLDIR", Used),
    parameter("sslsni", "PGSSLSNI", Used),
    parameter("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION", Used),
    parameter("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION", Used),
    parameter("require_auth", "PGREQUIREAUTH", Used),
    parameter("requirepeer", "PGREQUIREPEER", Used),
    // Every session speaks UTF-8, in the replication mode that its purpose asks for.
    parameter("client_encoding", "PGCLIENTENCODING", None),
    parameter("replication", "", None),
    parameter("fallback_application_name", "", None),
    // Sockets are watched by probes and limits of our own.
    parameter("keepalives", "", None),
    parameter("keepalives_idle", "", None),
    parameter("keepalives_interval", "", None),
    parameter("keepalives_count", "", None),
    parameter("tcp_user_timeout", "", None),
    // They matter for GSSAPI, which is refused when the server asks for it.
    parameter("krbsrvname", "PGKRBSRVNAME", None),
    parameter("gsslib", "PGGSSLIB", None),
    parameter("gssdelegation", "PGGSSDELEGATION", Fixed(&["0"])),
    parameter("gssencmode", "PGGSSENCMODE", Fixed(&["disable", "prefer"])),
    parameter("sslcompression", "PGSSLCOMPRESSION", Fixed(&["0"])),
    parameter("sslcertmode", "PGSSLCERTMODE", Fixed(&["allow"])),
    parameter("min_protocol_version", "PGMINPROTOCOLVERSION", Fixed(&["3.0"])),
    parameter("max_protocol_version", "PGMAXPROTOCOLVERSION", Fixed(&["3.0"])),
    parameter("load_balance_hosts", "PGLOADBALANCEHOSTS", Fixed(&["disable"])),
    parameter("sslkeylogfile", "", Refused),
    parameter("scram_client_key", "", Refused),
    parameter("scram_server_key", "", Refused),
    parameter("oauth_issuer", "", Refused),
    parameter("oauth_client_id", "", Refused),
    parameter("oauth_client_secret", "", Refused),
    parameter("oauth_scope", "", Refused),
];

/// A name below this likeness to a known one is not what somebody meant.
const LIKENESS_MIN: f64 = 0.8;

/// The parameter of that name.
///
/// # Errors
///
/// There is none. The message repeats a name only if it resembles a known one: what stands where a
/// name should be may be the rest of a password that lacks its quotes.
pub(super) fn find(name: &str) -> Result<&'static Parameter, String> {
    if let Some(known) = PARAMETERS.iter().find(|known| known.name == name) {
        return Ok(known);
    }
    let likeness = |known: &&Parameter| strsim::jaro_winkler(name, known.name);
    let nearest = PARAMETERS
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .filter(|known| likeness(known) >= LIKENESS_MIN);
    Err(match nearest {
        Some(known) => format!(
            "connection parameter \"{name}\" is not known; the nearest is \"{}\"",
            known.name
        ),
        Option::None => "a connection parameter is not one of libpq's; a value with blanks needs \
                         single quotes, and %, @, / and ? in a URI are written as %25, %40, %2F, %3F"
            .to_owned(),
    })
}

impl Parameter {
    /// Whether its value is to be kept.
    ///
    /// # Errors
    ///
    /// The value asks for what is not done here.
    pub(super) fn take(&self, value: &str) -> Result<bool, String> {
        match self.effect {
            Used => Ok(true),
            None => Ok(false),
            Fixed(_) | Refused if value.is_empty() => Ok(false),
            Fixed(values) if values.contains(&value) => Ok(false),
            Fixed(values) => Err(format!(
                "connection parameter {}: only {} is supported",
                self.name,
                values.join(" or ")
            )),
            Refused => Err(format!(
                "connection parameter {} of libpq is not supported: leave it out",
                self.name
            )),
        }
    }
}
