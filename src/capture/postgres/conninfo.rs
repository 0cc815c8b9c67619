//! Connection strings, `PG*` variables and the password file, as libpq reads them.
//!
//! Source: PostgreSQL 18, libpq, "Connection Strings", "Environment Variables", "The Password
//! File".

use std::collections::BTreeMap;
use std::path::Path;

/// libpq's parameters that are understood here, with their environment variables.
const PARAMETERS: &[(&str, &str)] = &[
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("dbname", "PGDATABASE"),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("application_name", "PGAPPNAME"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("options", "PGOPTIONS"),
];

/// Parameters of a connection by libpq's names; those that are not given are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnInfo {
    parameters: BTreeMap<&'static str, String>,
}

impl ConnInfo {
    /// Reads a URI (`postgres://…`) or pairs of key and value.
    ///
    /// # Errors
    ///
    /// What is wrong with the string; never its password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri =
            ["postgresql://", "postgres://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        match uri {
            Some(rest) => Self::parse_uri(rest),
            None => Self::parse_pairs(text),
        }
    }

    /// Takes what the environment has.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut info = ConnInfo::default();
        for (name, environment) in PARAMETERS {
            if let Some(value) = variable(environment).filter(|value| !value.is_empty()) {
                info.parameters.insert(name, value);
            }
        }
        info
    }

    /// The parameter's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// Sets a parameter.
    ///
    /// # Errors
    ///
    /// libpq's parameter is not known here.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> Result<(), String> {
        let Some((known, _)) = PARAMETERS.iter().find(|(known, _)| *known == name) else {
            let nearest = PARAMETERS
                .iter()
                .map(|(known, _)| *known)
                .max_by(|a, b| {
                    strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b))
                })
                .unwrap_or_default();
            return Err(format!(
                "connection parameter \"{name}\" is not known; the nearest is \"{nearest}\""
            ));
        };
        self.parameters.insert(known, value.into());
        Ok(())
    }

    /// Takes from `lower` what is absent here.
    #[must_use]
    pub fn or(mut self, lower: ConnInfo) -> Self {
        for (name, value) in lower.parameters {
            self.parameters.entry(name).or_insert(value);
        }
        self
    }

    fn parse_uri(rest: &str) -> Result<Self, String> {
        let mut info = ConnInfo::default();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => {
                let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
                info.set_decoded("user", user)?;
                info.set_decoded("password", password)?;
                hosts
            }
            None => authority,
        };
        let (names, ports): (Vec<&str>, Vec<&str>) = hosts.split(',').map(split_port).unzip();
        if names.iter().any(|name| !name.is_empty()) {
            info.set_decoded("host", &names.join(","))?;
        }
        if ports.iter().any(|port| !port.is_empty()) {
            info.set_decoded("port", &ports.join(","))?;
        }
        info.set_decoded("dbname", database)?;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("connection string: \"{pair}\" has no value"))?;
            info.set_decoded(&decoded(name)?, value)?;
        }
        Ok(info)
    }

    fn set_decoded(&mut self, name: &str, value: &str) -> Result<(), String> {
        if value.is_empty() {
            return Ok(());
        }
        self.set(name, decoded(value)?)
    }

    fn parse_pairs(text: &str) -> Result<Self, String> {
        let mut info = ConnInfo::default();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (name, after) = rest.split_once('=').ok_or_else(|| {
                "connection string: expected name=value pairs or a URI".to_owned()
            })?;
            let (value, after) = pair_value(after.trim_start())?;
            info.set(name.trim_end(), value)?;
            rest = after.trim_start();
        }
        Ok(info)
    }
}

/// Host and port of one element of an authority; brackets around an IPv6 address are taken off.
fn split_port(element: &str) -> (&str, &str) {
    match element.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((address, after)) => (address, after.strip_prefix(':').unwrap_or_default()),
        None => element.rsplit_once(':').unwrap_or((element, "")),
    }
}

/// A value with or without single quotes, backslashes resolved; and what follows it.
fn pair_value(text: &str) -> Result<(String, &str), String> {
    let (quoted, text) = match text.strip_prefix('\'') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some((_, escaped)) => value.push(escaped),
                None => return Err("connection string: ends in a backslash".to_owned()),
            },
            '\'' if quoted => return Ok((value, text.get(at + 1..).unwrap_or_default())),
            ' ' | '\t' | '\n' if !quoted => {
                return Ok((value, text.get(at..).unwrap_or_default()));
            }
            _ => value.push(character),
        }
    }
    if quoted {
        Err("connection string: a quote is not closed".to_owned())
    } else {
        Ok((value, ""))
    }
}

/// Resolves `%XX`.
fn decoded(text: &str) -> Result<String, String> {
    let wrong = || "connection string: expected two hexadecimal digits after %".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit =
            || rest.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(wrong);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high << 4 | low).unwrap_or_default());
    }
    String::from_utf8(bytes).map_err(|_| "connection string: not UTF-8 after %".to_owned())
}

/// What a line of the password file is matched against.
#[derive(Clone, Copy, Debug)]
pub struct PasswordFor<'a> {
    /// Host name; `localhost` for the default socket folder.
    pub host: &'a str,
    /// Port.
    pub port: &'a str,
    /// Database.
    pub database: &'a str,
    /// User.
    pub user: &'a str,
}

/// The password that the content of a password file has for a connection.
pub fn password_from_file(content: &str, wanted: PasswordFor<'_>) -> Option<String> {
    content.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = password_fields(line);
        let [host, port, database, user, password] = fields.as_slice() else { return None };
        let matches = |field: &str, value: &str| field == "*" || field == value;
        let found = matches(host, wanted.host)
            && matches(port, wanted.port)
            && matches(database, wanted.database)
            && matches(user, wanted.user);
        found.then(|| password.clone())
    })
}

/// Splits a line at colons; `\:` and `\\` stand for themselves. The password keeps later colons.
fn password_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let last = fields.len() == 5;
        match character {
            '\\' => fields.last_mut().into_iter().for_each(|field| field.extend(characters.next())),
            ':' if !last => fields.push(String::new()),
            _ => fields.last_mut().into_iter().for_each(|field| field.push(character)),
        }
    }
    fields
}

/// Whether others may read the file, in which case it is not used.
pub fn readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(info: &ConnInfo, names: &[&str]) -> Vec<String> {
        names.iter().map(|name| info.get(name).unwrap_or("-").to_owned()).collect()
    }

    #[test]
    fn reads_uris_and_pairs_alike() {
        let names = ["user", "password", "host", "port", "dbname", "sslmode"];
        for text in [
            "postgres://us%40er:p%3Aw@db.example:5433/shop?sslmode=require",
            "postgresql://us%40er:p%3Aw@db.example:5433/shop?sslmode=require",
            r"user=us@er password='p:w' host=db.example port = 5433 dbname=shop sslmode=require",
        ] {
            let info = ConnInfo::parse(text).unwrap();
            assert_eq!(
                get(&info, &names),
                ["us@er", "p:w", "db.example", "5433", "shop", "require"]
            );
        }
        let info = ConnInfo::parse("postgres://[::1]:5432,h2/d?host=/tmp").unwrap();
        assert_eq!(get(&info, &["host", "port"]), ["/tmp", "5432,"]);
        assert_eq!(get(&ConnInfo::parse("postgres://").unwrap(), &["host", "user"]), ["-", "-"]);
        assert_eq!(
            get(&ConnInfo::parse(r"password='a\'b\\c'").unwrap(), &["password"]),
            [r"a'b\c"]
        );
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for (text, message) in [
            ("postgres://h/d?sslmod=x", "nearest is \"sslmode\""),
            ("hots=x", "nearest is \"host\""),
            ("password='x", "not closed"),
            ("plain", "expected name=value"),
            ("postgres://u%4/d", "two hexadecimal"),
        ] {
            let error = ConnInfo::parse(text).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn finds_the_first_matching_line_of_a_password_file() {
        let content = "# comment\nother:*:*:*:no\n*:5432:sh\\:op:me:pa:ss\\\\word\n*:*:*:*:last\n";
        let wanted = PasswordFor { host: "h", port: "5432", database: "sh:op", user: "me" };
        assert_eq!(password_from_file(content, wanted).as_deref(), Some("pa:ss\\word"));
        let other = PasswordFor { user: "you", ..wanted };
        assert_eq!(password_from_file(content, other).as_deref(), Some("last"));
    }
}
