//! `openlineage.yml`: the settings of OpenLineage's own client.
//!
//! Source: openlineage-java 1.31.0, its transports and its variables of the environment.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Map;
use serde_json::Value;

use crate::lineage::HttpSettings;
use crate::lineage::KafkaTransportSettings;
use crate::lineage::TransportSettings;
use crate::secret::Secret;

/// What the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Where events go.
    pub transport: TransportSettings,
    /// Facets that are left out.
    pub disabled_facets: Vec<String>,
    /// Top-level members that nothing here does what they ask.
    pub unused: Vec<String>,
}

/// What the Java client would do with a member that we do not.
const UNUSED: &[&str] = &["circuitBreaker", "metrics"];

/// Where events are posted if the URL has no path and no endpoint is given.
const ENDPOINT: &str = "/api/v1/lineage";

/// `timeoutInMillis` if it is not given.
const TIMEOUT_MILLIS: u64 = 5000;

/// A class of the Java client that is the same as `api_key`.
const API_KEY_CLASS: &str = "io.openlineage.client.transports.ApiKeyTokenProvider";

/// Members of `transport` that variables of the environment may give.
const VARIABLES: &[(&str, &str)] = &[
    ("TYPE", "type"),
    ("URL", "url"),
    ("ENDPOINT", "endpoint"),
    ("TIMEOUT_IN_MILLIS", "timeoutInMillis"),
    ("AUTH", "auth"),
    ("HEADERS", "headers"),
    ("URL_PARAMS", "urlParams"),
    ("COMPRESSION", "compression"),
    ("LOCATION", "location"),
    ("TOPIC_NAME", "topicName"),
    ("MESSAGE_KEY", "messageKey"),
    ("PROPERTIES", "properties"),
];

impl Client {
    /// From the file's text.
    ///
    /// # Errors
    ///
    /// What was found and what was expected.
    pub fn parse(yaml: &str) -> Result<Self, String> {
        let value: Value =
            serde_saphyr::from_str(yaml).map_err(|error| format!("it is no YAML: {error}"))?;
        Self::of_value(&value)
    }

    /// From `OPENLINEAGE__TRANSPORT` and `OPENLINEAGE__TRANSPORT__*`, which the Java client asks if
    /// there is no file; `None` if there are none.
    ///
    /// # Errors
    ///
    /// What was found and what was expected.
    pub fn of_environment(get: impl Fn(&str) -> Option<String>) -> Option<Result<Self, String>> {
        let get = |rest: &str| get(&format!("OPENLINEAGE__TRANSPORT{rest}"));
        // What is no JSON is text.
        let value = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
        let mut transport = match get("").map(value) {
            Some(Value::Object(members)) => members,
            _ => Map::new(),
        };
        for (variable, member) in VARIABLES {
            if let Some(text) = get(&format!("__{variable}")) {
                transport.insert((*member).to_owned(), value(text));
            }
        }
        for (variable, member) in [("TYPE", "type"), ("API_KEY", "apiKey")] {
            let Some(text) = get(&format!("__AUTH__{variable}")) else { continue };
            let auth = transport.entry("auth").or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(auth) = auth {
                auth.insert(member.to_owned(), Value::String(text));
            }
        }
        if transport.is_empty() {
            return None;
        }
        Some(Self::of_value(&serde_json::json!({ "transport": transport })))
    }

    /// One that sends nothing.
    pub fn nowhere() -> Self {
        Client {
            transport: TransportSettings::Nowhere,
            disabled_facets: Vec::new(),
            unused: Vec::new(),
        }
    }

    fn of_value(value: &Value) -> Result<Self, String> {
        let Some(transport) = value.get("transport").and_then(Value::as_object) else {
            return Err("transport is missing: expected at least transport: type: http, console, \
                        file or kafka"
                .to_owned());
        };
        let unused = UNUSED.iter().filter(|name| value.get(**name).is_some());
        Ok(Client {
            transport: transport_settings(transport)?,
            disabled_facets: disabled_facets(value.get("facets")),
            unused: unused.map(|name| (*name).to_owned()).collect(),
        })
    }
}

fn transport_settings(members: &Map<String, Value>) -> Result<TransportSettings, String> {
    let kind = text(members, "type")?.unwrap_or_default();
    Ok(match kind.to_lowercase().as_str() {
        "console" => TransportSettings::Console,
        "file" => TransportSettings::File(PathBuf::from(required(members, "location")?)),
        "http" => TransportSettings::Http(http(members)?),
        "kafka" => TransportSettings::Kafka(KafkaTransportSettings {
            topic: required(members, "topicName")?,
            key: text(members, "messageKey")?,
            properties: pairs(members, "properties")?,
        }),
        _ => {
            return Err(format!(
                "transport.type: found \"{kind}\", expected http, console, file or kafka; send to \
                 one of these and pass events on from there"
            ));
        }
    })
}

fn http(members: &Map<String, Value>) -> Result<HttpSettings, String> {
    if members.contains_key("sslContext") {
        return Err(
            "transport.sslContext is a Java key store, which is not read here: servers are \
                    checked against the system's authorities; for a client's certificate post to a \
                    proxy that has it"
                .to_owned(),
        );
    }
    let timeout = match members.get("timeoutInMillis") {
        None | Some(Value::Null) => TIMEOUT_MILLIS,
        Some(value) => value.as_u64().filter(|millis| *millis > 0).ok_or_else(|| {
            format!("transport.timeoutInMillis: found {value}, expected a number from 1")
        })?,
    };
    let gzip = match text(members, "compression")?.as_deref() {
        None => false,
        Some("gzip") => true,
        Some(other) => {
            return Err(format!("transport.compression: found \"{other}\", expected gzip"));
        }
    };
    Ok(HttpSettings {
        url: url(members)?,
        timeout: Duration::from_millis(timeout),
        api_key: api_key(members)?,
        headers: pairs(members, "headers")?,
        gzip,
    })
}

/// The URL with the endpoint, if it has no path itself, and with the parameters.
fn url(members: &Map<String, Value>) -> Result<String, String> {
    let given = required(members, "url")?;
    let rest = given.strip_prefix("http://").or_else(|| given.strip_prefix("https://"));
    let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.starts_with('/')) else {
        // It may hold a password.
        return Err("transport.url: expected http://HOST:PORT or https://HOST:PORT".to_owned());
    };
    let (address, query) = given.split_once('?').map_or((given.as_str(), ""), |parts| parts);
    let has_path = rest
        .split_once('?')
        .map_or(rest, |(address, _)| address)
        .trim_end_matches('/')
        .contains('/');
    let endpoint = text(members, "endpoint")?.filter(|endpoint| !endpoint.trim().is_empty());
    let mut url = match (has_path, endpoint) {
        (true, None) => address.to_owned(),
        (true, Some(endpoint)) => {
            return Err(format!(
                "transport.url has a path, and transport.endpoint is \"{endpoint}\": give one"
            ));
        }
        (false, endpoint) => {
            let endpoint = endpoint.unwrap_or_else(|| ENDPOINT.to_owned());
            format!("{}/{}", address.trim_end_matches('/'), endpoint.trim_start_matches('/'))
        }
    };
    let mut parameters: Vec<String> =
        Some(query.to_owned()).filter(|query| !query.is_empty()).into_iter().collect();
    for (name, value) in pairs(members, "urlParams")? {
        let name = name.replace("url.param.", "");
        parameters.push(format!("{}={}", escaped(&name), escaped(value.reveal())));
    }
    if !parameters.is_empty() {
        url.push('?');
        url.push_str(&parameters.join("&"));
    }
    Ok(url)
}

/// Percent-encoded for a query.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The key, by the client's name for it and by the one that Debezium's manual shows.
fn api_key(members: &Map<String, Value>) -> Result<Option<Secret>, String> {
    let auth = match members.get("auth") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(auth)) => auth,
        Some(_) => return Err("transport.auth: expected type: api_key and apiKey: KEY".to_owned()),
    };
    let kind = text(auth, "type")?.unwrap_or_default();
    if kind != "api_key" && kind != API_KEY_CLASS {
        return Err(format!(
            "transport.auth.type: found \"{kind}\", expected api_key; other ways to sign in are \
             Java classes: give transport.headers what the server wants"
        ));
    }
    let key = ["apiKey", "api_key"].iter().find_map(|name| text(auth, name).transpose());
    match key.transpose()? {
        Some(key) => Ok(Some(Secret::new(key))),
        None => Err("transport.auth.apiKey is missing".to_owned()),
    }
}

/// Names of facets whose member `disabled` is true, and those of the list.
fn disabled_facets(facets: Option<&Value>) -> Vec<String> {
    let is_true = |value: &Value| {
        value.as_bool().unwrap_or_else(|| value.as_str().is_some_and(|t| t == "true"))
    };
    let mut names = Vec::new();
    for (name, value) in facets.and_then(Value::as_object).into_iter().flatten() {
        if name == "disabledFacets" {
            let listed = value.as_object().into_iter().flatten();
            names.extend(listed.filter(|(_, on)| is_true(on)).map(|(name, _)| name.clone()));
        } else if value.get("disabled").is_some_and(is_true) {
            names.push(name.clone());
        }
    }
    names
}

fn required(members: &Map<String, Value>, name: &str) -> Result<String, String> {
    let found = text(members, name)?.filter(|text| !text.is_empty());
    found.ok_or_else(|| format!("transport.{name} is missing"))
}

/// A member as text; numbers and truth values are taken as they are written.
fn text(members: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(value @ (Value::Bool(_) | Value::Number(_))) => Ok(Some(value.to_string())),
        Some(_) => Err(format!("{name}: expected text")),
    }
}

fn pairs(members: &Map<String, Value>, name: &str) -> Result<Vec<(String, Secret)>, String> {
    let members = match members.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(members)) => members,
        Some(_) => return Err(format!("transport.{name}: expected NAME: VALUE")),
    };
    members
        .keys()
        .map(|key| {
            let value = text(members, key).map_err(|error| format!("transport.{name}.{error}"))?;
            Ok((key.clone(), Secret::new(value.unwrap_or_default())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http_of(yaml: &str) -> Result<HttpSettings, String> {
        match Client::parse(yaml)?.transport {
            TransportSettings::Http(http) => Ok(http),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn urls_are_put_together_as_the_java_client_does() {
        for (members, expected) in [
            ("url: 'http://h:5000'", "http://h:5000/api/v1/lineage"),
            ("url: 'https://h:5000/'", "https://h:5000/api/v1/lineage"),
            ("url: 'http://h', endpoint: e/f", "http://h/e/f"),
            ("url: 'http://h', endpoint: /e", "http://h/e"),
            ("url: 'http://h/given'", "http://h/given"),
            ("url: 'http://h/given?a=1', urlParams: {b: 2 3}", "http://h/given?a=1&b=2%203"),
            ("url: 'http://h?a=1'", "http://h/api/v1/lineage?a=1"),
        ] {
            let http = http_of(&format!("transport: {{type: http, {members}}}")).unwrap();
            assert_eq!(http.url, expected, "{members}");
        }
    }

    #[test]
    fn a_file_says_what_is_wrong_with_it() {
        for (members, expected) in [
            ("type: http, url: 'ftp://h'", "transport.url: expected http://HOST:PORT"),
            ("type: http, url: 'http://h', timeoutInMillis: soon", "found \"soon\""),
            ("type: http, url: 'http://h', compression: br", "found \"br\", expected gzip"),
            ("type: http, url: 'http://h', auth: {type: jwt}", "found \"jwt\", expected api_key"),
            ("type: http, url: 'http://h', auth: {type: api_key}", "transport.auth.apiKey"),
            ("type: http, url: 'http://h', sslContext: {}", "Java key store"),
            ("type: http, url: 'http://h', headers: [a]", "transport.headers: expected NAME"),
            ("type: file", "transport.location is missing"),
            ("type: kafka", "transport.topicName is missing"),
            ("type: composite", "found \"composite\", expected http, console, file or kafka"),
            ("url: 'http://h'", "found \"\", expected http"),
        ] {
            let found = Client::parse(&format!("transport: {{{members}}}")).unwrap_err();
            assert!(found.contains(expected), "{members}: {found}");
        }
    }

    #[test]
    fn members_that_nothing_here_does_are_named() {
        let yaml = "transport: {type: console}\ncircuitBreaker: {type: static}\nfacets:\n  \
                    disabledFacets: {a: true, b: false}\n  c: {disabled: 'true'}\n";
        let client = Client::parse(yaml).unwrap();
        assert_eq!(client.unused, ["circuitBreaker"]);
        assert_eq!(client.disabled_facets, ["a", "c"]);
    }

    #[test]
    fn the_environment_is_a_file_in_pieces() {
        let variables = [
            ("OPENLINEAGE__TRANSPORT__TYPE", "http"),
            ("OPENLINEAGE__TRANSPORT__URL", "http://h"),
            ("OPENLINEAGE__TRANSPORT__TIMEOUT_IN_MILLIS", "7"),
            ("OPENLINEAGE__TRANSPORT__AUTH__TYPE", "api_key"),
            ("OPENLINEAGE__TRANSPORT__AUTH__API_KEY", "123"),
            ("OPENLINEAGE__TRANSPORT__HEADERS", "{\"A\": \"b\"}"),
        ];
        let get = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let client = Client::of_environment(get).unwrap().unwrap();
        let expected = HttpSettings {
            url: "http://h/api/v1/lineage".to_owned(),
            timeout: Duration::from_millis(7),
            api_key: Some(Secret::new("123")),
            headers: vec![("A".to_owned(), Secret::new("b"))],
            gzip: false,
        };
        assert_eq!(client.transport, TransportSettings::Http(expected));
        assert!(Client::of_environment(|_| None).is_none());
    }
}
