//! Connection strings, `PG*` variables and the password file, as libpq reads them.
//!
//! Source: PostgreSQL 18, libpq, "Connection Strings", "Environment Variables", "The Password
//! File".

mod parameters;
mod password_file;
mod service_file;

pub use password_file::PasswordFile;
pub use password_file::PasswordFor;

use std::collections::BTreeMap;
use std::fmt;

use parameters::PARAMETERS;

/// Parameters of a connection by libpq's names; those that are not given are absent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConnInfo {
    parameters: BTreeMap<&'static str, String>,
}

/// A parameter's name with its environment variable, for people: nobody can tell which one a value
/// came from.
pub fn named(name: &str) -> String {
    let known = PARAMETERS.iter().find(|parameter| parameter.name == name);
    match known.map(|parameter| parameter.variable) {
        Some(variable) if !variable.is_empty() => format!("{name} ({variable})"),
        _ => name.to_owned(),
    }
}

impl fmt::Debug for ConnInfo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only: a value may be a password.
        formatter.debug_set().entries(self.parameters.keys()).finish()
    }
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
    ///
    /// # Errors
    ///
    /// A variable asks for what is not done here.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut info = ConnInfo::default();
        for parameter in PARAMETERS.iter().filter(|parameter| !parameter.variable.is_empty()) {
            if let Some(value) = variable(parameter.variable).filter(|value| !value.is_empty()) {
                let taken = info.set(parameter.name, value);
                taken.map_err(|error| format!("{}: {error}", parameter.variable))?;
            }
        }
        Ok(info)
    }

    /// Takes what the service file has for the service that is named here.
    ///
    /// # Errors
    ///
    /// The service is in no file, or its lines cannot be read.
    pub fn service(&self) -> Result<Self, String> {
        match self.get("service") {
            Some(service) => service_file::read(service, self.get("servicefile")),
            None => Ok(ConnInfo::default()),
        }
    }

    /// The parameter's value; one that is empty is as good as none.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Sets a parameter.
    ///
    /// # Errors
    ///
    /// libpq has no such parameter, or the value asks for what is not done here.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> Result<(), String> {
        let parameter = parameters::find(name)?;
        let value = value.into();
        if parameter.take(&value)? {
            self.parameters.insert(parameter.name, value);
        }
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
        // A password may hold a question mark as it is, but no slash.
        let before_path = rest.split('/').next().unwrap_or_default();
        let (credentials, rest) = match before_path.rsplit_once('@') {
            Some((credentials, _)) => {
                (credentials, rest.get(credentials.len() + 1..).unwrap_or_default())
            }
            None => ("", rest),
        };
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (names, ports): (Vec<&str>, Vec<&str>) = hosts.split(',').map(split_port).unzip();
        let any = |all: &[&str]| all.iter().any(|one| !one.is_empty());
        let (names, ports) = (
            if any(&names) { names.join(",") } else { String::new() },
            if any(&ports) { ports.join(",") } else { String::new() },
        );
        for (name, value) in [
            ("user", user),
            ("password", password),
            ("host", &*names),
            ("port", &*ports),
            ("dbname", database),
        ] {
            if !value.is_empty() {
                info.set(name, decoded(value)?)?;
            }
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| "connection string: a parameter after ? has no value".to_owned())?;
            match (decoded(name)?.as_str(), decoded(value)?) {
                // As JDBC's URIs have it.
                ("ssl", value) if value == "true" => info.set("sslmode", "require")?,
                (name, value) => info.set(name, value)?,
            }
        }
        Ok(info)
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
        let info = ConnInfo::parse("postgres://u:a?b@h?ssl=true").unwrap();
        assert_eq!(get(&info, &["password", "host", "sslmode"]), ["a?b", "h", "require"]);
        let info = ConnInfo::parse("host='' user=u sslcompression=0 krbsrvname=x").unwrap();
        assert_eq!(get(&info, &["host", "user", "krbsrvname"]), ["-", "u", "-"]);
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
            ("postgres://u:se?cr@et&x/d?a", "no value"),
            ("password=secret blanks=x", "single quotes"),
            ("sslkeylogfile=x", "not supported"),
            ("gssencmode=require", "only disable or prefer"),
        ] {
            let error = ConnInfo::parse(text).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
            assert!(!error.contains("secr"), "{text}: {error}");
        }
    }
}
