//! libpq's `require_auth`: by which methods the server may let us in.
//!
//! Source: PostgreSQL 18, libpq, "Parameter Key Words".

use std::fmt;

/// A method of authentication, as the server asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The password in clear text.
    Password,
    /// The password's hash.
    Md5,
    /// SCRAM.
    Scram,
    /// It asks for nothing: it trusts, or TLS or the socket has told it who we are.
    None,
    /// One that is not done here: GSSAPI, SSPI, OAuth.
    Other,
}

/// The methods that are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RequireAuth {
    /// All of them.
    #[default]
    Any,
    /// These.
    Only(Vec<Method>),
    /// All but these.
    Not(Vec<Method>),
}

impl Method {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "password" => Method::Password,
            "md5" => Method::Md5,
            "scram-sha-256" => Method::Scram,
            "none" => Method::None,
            "gss" | "sspi" | "oauth" => Method::Other,
            _ => return None,
        })
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Method::Password => "a password in clear text",
            Method::Md5 => "an md5 hash of the password",
            Method::Scram => "SCRAM",
            Method::None => "nothing",
            Method::Other => "another method",
        })
    }
}

impl RequireAuth {
    /// Reads names separated by commas, all or none of them with `!` before it.
    ///
    /// # Errors
    ///
    /// An unknown name, or a mixture.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |expected: &str| {
            Err(format!("require_auth (PGREQUIREAUTH) is \"{text}\", expected {expected}"))
        };
        let negative = text.trim_start().starts_with('!');
        let mut methods = Vec::new();
        for name in text.split(',').map(str::trim) {
            if name.starts_with('!') != negative {
                return wrong("all methods or none with ! before them");
            }
            match Method::named(name.trim_start_matches('!')) {
                Some(method) => methods.push(method),
                None => {
                    return wrong("password, md5, scram-sha-256, gss, sspi, oauth or none");
                }
            }
        }
        Ok(if negative { RequireAuth::Not(methods) } else { RequireAuth::Only(methods) })
    }

    /// Whether the server may let us in so.
    pub(super) fn allows(&self, method: Method) -> bool {
        match self {
            RequireAuth::Any => true,
            RequireAuth::Only(methods) => methods.contains(&method),
            RequireAuth::Not(methods) => !methods.contains(&method),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_libpq_reads_them() {
        let only = RequireAuth::parse("scram-sha-256, none").unwrap();
        assert!(only.allows(Method::Scram) && only.allows(Method::None));
        assert!(!only.allows(Method::Md5) && !only.allows(Method::Password));
        let not = RequireAuth::parse("!password,!md5").unwrap();
        assert!(not.allows(Method::Scram) && not.allows(Method::None));
        assert!(!not.allows(Method::Md5) && !not.allows(Method::Password));
        assert!(RequireAuth::default().allows(Method::Password));
        for wrong in ["scram", "!md5,password", "", "md5,!password"] {
            assert!(RequireAuth::parse(wrong).is_err(), "{wrong}");
        }
    }
}
