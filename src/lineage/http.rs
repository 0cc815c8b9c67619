//! Events posted to a server.

use std::io::Write;

use ureq::tls::RootCerts;
use ureq::tls::TlsConfig;

use crate::lineage::HttpSettings;
use crate::lineage::transport::Transport;
use crate::secret::Secret;

/// What the Java client says that it sends, and wants.
const JSON: &str = "application/json; charset=UTF-8";

/// Characters of an answer that are shown when it is a refusal.
const SHOWN: usize = 200;

/// One connection at a time, kept open between events.
pub(super) struct Http {
    settings: HttpSettings,
    /// The URL without what may be a secret: a user's name and password, and the query.
    shown: String,
    agent: ureq::Agent,
}

impl Http {
    /// Connects with the first event only.
    pub(super) fn new(settings: &HttpSettings) -> Self {
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(settings.timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("cdc-agent/", env!("CARGO_PKG_VERSION")));
        if settings.url.starts_with("https:") {
            config = config.tls_config(tls());
        }
        let shown = shown(&settings.url);
        Http { settings: settings.clone(), shown, agent: config.build().into() }
    }
}

fn shown(url: &str) -> String {
    let address = url.split_once('?').map_or(url, |(address, _)| address);
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}/{path}")
}

/// The system's authorities, as for every other connection.
fn tls() -> TlsConfig {
    let native = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<_> =
        native.iter().map(|der| ureq::tls::Certificate::from_der(der).to_owned()).collect();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    TlsConfig::builder()
        .root_certs(RootCerts::from(roots))
        .unversioned_rustls_crypto_provider(provider)
        .build()
}

impl Transport for Http {
    fn send(&mut self, event: String) -> Result<(), String> {
        let HttpSettings { url, api_key, headers, gzip, .. } = &self.settings;
        let mut request = self.agent.post(url);
        for (name, value) in headers {
            request = request.header(name, value.reveal());
        }
        request = request.header("Accept", JSON).header("Content-Type", JSON);
        if let Some(key) = api_key.as_ref().map(Secret::reveal) {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let shown = &self.shown;
        let answer = if *gzip {
            request.header("Content-Encoding", "gzip").send(compressed(&event)?)
        } else {
            request.send(event)
        };
        let mut answer = answer.map_err(|error| format!("{shown}: {error}"))?;
        let status = answer.status();
        // Read to its end, so that the connection can be used again.
        let body = answer.body_mut().read_to_string().unwrap_or_default();
        if status.is_success() {
            return Ok(());
        }
        let body: String = body.chars().take(SHOWN).collect();
        Err(format!("{shown} answered {status}: {body}"))
    }
}

fn compressed(event: &str) -> Result<Vec<u8>, String> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let written = encoder.write_all(event.as_bytes()).and_then(|()| encoder.finish());
    written.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn what_is_told_of_a_url_is_no_secret() {
        for (url, expected) in [
            ("http://h:5000/a/b", "http://h:5000/a/b"),
            ("https://user:s3cret@h/api?token=s3cret", "https://h/api"),
            ("http://[::1]:80", "http://[::1]:80/"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}
