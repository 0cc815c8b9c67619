//! Whom the HTTP port answers: a browser must not be used against whoever runs it.
//!
//! A page of anybody's can make a browser send requests here, and with a name of its own that it
//! lets point to this machine it could read the answers. So a request has to name, as its host, an
//! address of this machine, and may come from a page of this very port only.
//!
//! Source: RFC 9110, 7.2 Host; RFC 6454, 7 The HTTP Origin Header Field.

use std::net::IpAddr;
use std::net::SocketAddr;

use axum::http::HeaderMap;
use axum::http::Uri;
use axum::http::Version;
use axum::http::header::HOST;
use axum::http::header::ORIGIN;

/// Names and addresses that the port is asked by.
#[derive(Clone, Debug)]
pub struct Hosts {
    bound: IpAddr,
    /// More of them, without ports, in lower case.
    names: Vec<String>,
}

impl Hosts {
    /// Of a port that is bound to this address; `names` are more that it is known by.
    pub fn new(bound: SocketAddr, names: &[String]) -> Self {
        let names = names.iter().map(|name| host_of(name)).collect();
        Hosts { bound: bound.ip(), names }
    }

    /// Why a request is not answered.
    ///
    /// # Errors
    ///
    /// Its host is none of ours, or a page of somebody else's has sent it.
    pub fn check(&self, version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        let mut hosts: Vec<&str> = Vec::new();
        for value in headers.get_all(HOST) {
            hosts.push(value.to_str().map_err(|_| "the Host cannot be read".to_owned())?);
        }
        hosts.extend(uri.authority().map(axum::http::uri::Authority::as_str));
        let needs_host = version > Version::HTTP_10;
        if hosts.is_empty() && needs_host || headers.get_all(HOST).iter().count() > 1 {
            return Err("a request has one Host".to_owned());
        }
        if !hosts.iter().all(|host| self.is_ours(host)) {
            return Err(
                "this port is asked by an address of this machine or as localhost; http.hosts \
                 takes more names"
                    .to_owned(),
            );
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        let own = |origin: &str| {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            authority.is_some_and(|authority| {
                hosts.iter().any(|host| host.eq_ignore_ascii_case(authority))
                    || self.names.contains(&host_of(authority))
            })
        };
        if origins.all(|origin| origin.to_str().is_ok_and(own)) && !comes_from_elsewhere(headers) {
            return Ok(());
        }
        Err("a page of another origin has sent this request; http.hosts takes its host".to_owned())
    }

    fn is_ours(&self, host: &str) -> bool {
        let host = host_of(host);
        if host == "localhost" || self.names.contains(&host) {
            return true;
        }
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        literal.parse::<IpAddr>().is_ok_and(|address| {
            let address = address.to_canonical();
            // No name that somebody else owns can stand for an address.
            address.is_loopback()
                || address == self.bound.to_canonical()
                || self.bound.is_unspecified()
        })
    }
}

/// What a browser says of requests that a page has made, whether or not it names the page; links
/// that a person follows are no such.
fn comes_from_elsewhere(headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| {
        headers.get(name).is_some_and(|found| found.as_bytes() == value.as_bytes())
    };
    let foreign = is("sec-fetch-site", "cross-site") || is("sec-fetch-site", "same-site");
    foreign && !headers.contains_key(ORIGIN) && !is("sec-fetch-mode", "navigate")
}

/// A host without its port, in lower case.
fn host_of(authority: &str) -> String {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use axum::http::HeaderName;
    use axum::http::HeaderValue;
    use axum::http::Uri;
    use axum::http::Version;

    use super::Hosts;

    fn check(bound: &str, headers: &[(&'static str, &str)]) -> Result<(), String> {
        let hosts = Hosts::new(bound.parse().unwrap(), &["Warehouse.example".to_owned()]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        hosts.check(Version::HTTP_11, &Uri::from_static("/metrics"), &map)
    }

    #[test]
    fn hosts_are_addresses_of_this_machine() {
        for host in [
            "localhost",
            "LOCALHOST:8384",
            "localhost.",
            "127.0.0.1:8384",
            "127.9.9.9",
            "[::1]:8384",
            "[::ffff:127.0.0.1]",
            "10.0.0.7:8384",
            "warehouse.example",
            "WAREHOUSE.example:1",
        ] {
            assert_eq!(check("10.0.0.7:8384", &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8384",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.8",
            "evil@localhost.example",
            "[2001:db8::1]",
            "0x7f.1",
            "",
        ] {
            assert!(check("10.0.0.7:8384", &[("host", host)]).is_err(), "{host}");
        }
        assert_eq!(check("0.0.0.0:8384", &[("host", "10.0.0.8")]), Ok(()));
        assert!(check("0.0.0.0:8384", &[("host", "evil.example")]).is_err());
    }

    #[test]
    fn a_request_has_one_host() {
        assert!(check("127.0.0.1:1", &[]).is_err());
        assert!(check("127.0.0.1:1", &[("host", "localhost"), ("host", "evil.example")]).is_err());
        let hosts = Hosts::new("127.0.0.1:1".parse().unwrap(), &[]);
        let none = HeaderMap::new();
        let path = Uri::from_static("/health/live");
        assert_eq!(hosts.check(Version::HTTP_10, &path, &none), Ok(()), "a simple health check");
        let foreign = Uri::from_static("http://evil.example/metrics");
        let mut local = HeaderMap::new();
        local.insert("host", HeaderValue::from_static("localhost"));
        assert!(hosts.check(Version::HTTP_11, &foreign, &local).is_err());
    }

    #[test]
    fn pages_of_others_are_refused() {
        let from = |more: &[(&'static str, &str)]| {
            let mut headers = vec![("host", "localhost:8384")];
            headers.extend(more);
            check("127.0.0.1:8384", &headers)
        };
        assert_eq!(from(&[("origin", "http://localhost:8384")]), Ok(()));
        assert_eq!(from(&[("origin", "https://warehouse.example")]), Ok(()));
        assert_eq!(from(&[("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(
            from(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]),
            Ok(())
        );
        for origin in ["http://evil.example", "http://localhost:3000", "null", "localhost:8384"] {
            assert!(from(&[("origin", origin)]).is_err(), "{origin}");
        }
        assert!(from(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]).is_err());
    }
}
