//! A listener with TLS and SASL.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::process;
use crate::servers::tls::Certificates;

/// The listener that knows only who shows a certificate and a password.
#[derive(Debug)]
pub struct Secure {
    /// `HOST:PORT`.
    pub bootstrap: String,
    /// Authority of the broker's certificate, in PEM.
    pub ca: PathBuf,
    /// A client's certificate and its key in one file, in PEM.
    pub client: PathBuf,
    /// User and password of SASL PLAIN.
    pub login: (&'static str, &'static str),
    /// The broker's certificate and key.
    server: PathBuf,
}

impl Secure {
    pub(super) fn make(dir: &Path) -> Self {
        let certificates = Certificates::generate(dir, "etl");
        let joined = |name: &str, key: &Path, cert: &Path| {
            let text = [key, cert].map(|path| fs::read_to_string(path).expect("it was made"));
            let path = dir.join(name);
            fs::write(&path, text.concat()).expect("the folder is ours");
            path
        };
        Secure {
            bootstrap: format!("127.0.0.1:{}", process::free_port()),
            server: joined("server.pem", &certificates.server_key, &certificates.server_cert),
            client: joined("client.pem", &certificates.client_key, &certificates.client_cert),
            ca: certificates.ca,
            login: ("etl", "pass word;"),
        }
    }

    /// Lines of `server.properties`, after those of the other listeners.
    pub(super) fn properties(&self, (port, controller_port): (u16, u16)) -> String {
        let Secure { bootstrap, ca, server, login: (user, password), .. } = self;
        let plain = format!("PLAINTEXT://127.0.0.1:{port},SECURE://{bootstrap}");
        let store = |store: &str, path: &Path| {
            format!(
                "ssl.{store}.type=PEM\nlistener.name.secure.ssl.{store}.location={}",
                path.display()
            )
        };
        let jaas = format!(
            "plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
             required user_{user}=\"{password}\";"
        );
        let of_listener = [
            store("keystore", server),
            store("truststore", ca),
            "ssl.client.auth=required".to_owned(),
            "sasl.enabled.mechanisms=PLAIN".to_owned(),
            jaas,
        ];
        let mut lines = format!(
            "listeners={plain},CONTROLLER://127.0.0.1:{controller_port}\n\
             advertised.listeners={plain}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,\
             SECURE:SASL_SSL\n"
        );
        for line in of_listener {
            lines.push_str(&format!("listener.name.secure.{line}\n"));
        }
        lines
    }
}
