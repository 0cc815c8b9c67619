//! Goal: the agent gets into PostgreSQL where libpq does, as libpq does, and nowhere else.
//!
//! Method: a case is a connection string with its environment and files. psql, which is libpq, is
//! asked first and has to do what the case says. Then the agent runs with the same until it
//! streams; the server's own views say whether both of its kinds of connection (the walsender's and
//! that of ordinary SQL) are there, and encrypted as they should be. Where it must not get in, exit
//! status and message are looked at, and that nothing was left behind.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that ends at the first surprise, and says what it leaves out"
)]

#[path = "cli/invocation.rs"]
mod invocation;

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use cdc_agent::capture::postgres::SourceSettings;
use cdc_agent::capture::postgres::Sql;
use cdc_agent::capture::postgres::conninfo::ConnInfo;
use cdc_testkit::process;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::servers::postgres::PostgresOptions;
use cdc_testkit::servers::postgres::bin_dir;

use invocation::Invocation;
use invocation::SECRET;

/// The version that every case runs against.
const VERSION: u32 = 15;

/// Roles, and how `pg_hba.conf` lets each in; the superuser is let in without TLS only.
const ACCESS: &[&str] = &[
    "hostssl all only_tls all trust",
    "host all only_tls all reject",
    "hostnossl all only_plain all trust",
    "host all only_plain all reject",
    "hostssl all tls_by_password all scram-sha-256",
    "host all tls_by_password all trust",
    "all all scram all scram-sha-256",
    "all all md5 all md5",
    "all all cleartext all password",
    "hostssl all postgres all cert",
    "hostssl all somebody_else all cert",
    "host all somebody_else all reject",
    "local all peer_of_nobody peer",
    "local all root peer",
];

/// What the agent needs in each database: a publication that is not its own, so that no case reads a
/// table or changes what the next one finds.
const SCHEMA: &str = "CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION captured FOR TABLE t";

/// A password that has to be encoded in a URI, quoted in pairs and prepared for SCRAM.
fn password() -> String {
    format!("{SECRET}:@/?#&% '\\½ü")
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// How a case ends.
#[derive(Clone, Copy, Debug)]
enum Outcome<'a> {
    /// In, encrypted.
    Tls,
    /// In, in clear text.
    Plain,
    /// Not in: exit status, and parts of the message.
    Refused(i32, &'a [&'a str]),
}

use Outcome::Plain;
use Outcome::Refused;
use Outcome::Tls;

/// A server with the roles of [`ACCESS`].
struct Server {
    postgres: Postgres,
}

impl Server {
    fn with(options: PostgresOptions) -> Self {
        let mut options = options.setting("log_connections", "on");
        for line in ACCESS {
            options = match line.strip_prefix("all ") {
                Some(rest) => options.hba(&format!("host {rest}")).hba(&format!(
                    "local {}",
                    rest.replace(" all ", " ").replacen("all", "all ", 1)
                )),
                None => options.hba(line),
            };
        }
        let postgres = Postgres::with(options);
        let password = password().replace('\'', "''");
        let mut sql = SCHEMA.to_owned();
        for role in [
            "anybody",
            "only_tls",
            "only_plain",
            "tls_by_password",
            "scram",
            "md5",
            "cleartext",
            "somebody_else",
            "picky",
        ] {
            let encryption = if role == "md5" { "md5" } else { "scram-sha-256" };
            sql.push_str(&format!(
                "; SET password_encryption = '{encryption}'; \
                 CREATE ROLE {role} LOGIN REPLICATION PASSWORD '{password}'"
            ));
        }
        postgres.execute("postgres", &sql);
        Self { postgres }
    }

    fn port(&self) -> u16 {
        self.postgres.port()
    }

    /// Key=value pairs for a role, over TCP.
    fn pairs(&self, role: &str, more: &str) -> String {
        format!("host=127.0.0.1 port={} dbname=postgres user={role} {more}", self.port())
    }

    /// Whether the agent's connections with this name are encrypted: of each kind, `true`, `false`.
    fn connections(&self, application_name: &str) -> String {
        let sql = format!(
            "SELECT string_agg(DISTINCT a.backend_type || ' ' || s.ssl, ', ' \
             ORDER BY a.backend_type || ' ' || s.ssl) \
             FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) \
             WHERE a.application_name = '{application_name}'"
        );
        self.postgres.query_one("postgres", &sql).unwrap_or_default()
    }

    /// One case, given by its connection string; psql is asked too.
    #[track_caller]
    fn check(&self, dsn: &str, expected: Outcome<'_>) {
        self.check_with(dsn, expected, |invocation| invocation);
    }

    /// The same with an environment and files.
    #[track_caller]
    fn check_with(
        &self,
        dsn: &str,
        expected: Outcome<'_>,
        prepare: impl FnOnce(Invocation) -> Invocation,
    ) {
        let invocation = prepare(Invocation::new(""));
        ask_psql(&invocation, dsn, expected);
        self.check_agent(invocation, dsn, expected);
    }

    /// A case that psql of this version knows nothing of, or where we are stricter on purpose.
    #[track_caller]
    fn check_alone(
        &self,
        dsn: &str,
        expected: Outcome<'_>,
        prepare: impl FnOnce(Invocation) -> Invocation,
    ) {
        self.check_agent(prepare(Invocation::new("")), dsn, expected);
    }

    #[track_caller]
    fn check_agent(&self, invocation: Invocation, dsn: &str, expected: Outcome<'_>) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("case_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut invocation = invocation
            .argument("--slot")
            .argument(&name)
            .argument("--to=file:out")
            .argument("--state=state")
            .argument("--http=none")
            .argument("--publication=captured")
            .argument("--topic-prefix=p")
            .set("snapshot.mode", "no_data")
            .set("application.name", &name)
            // A pause between attempts would be the only sign of one that should not have failed.
            .set("log.level", "trace");
        if !dsn.is_empty() {
            invocation = invocation.dsn(dsn);
        }
        let (encrypted, clear) =
            ("client backend true, walsender true", "client backend false, walsender false");
        match expected {
            Refused(code, parts) => {
                let invocation = invocation.set("startup.timeout.ms", "200");
                let ended = invocation.run().expect(code, parts);
                assert!(!ended.path("state").exists(), "state was stored:\n{}", ended.stderr);
            }
            Tls | Plain => {
                let mut running = invocation.start();
                running.wait_streaming();
                let found = self.connections(&name);
                let expected = if matches!(expected, Tls) { encrypted } else { clear };
                assert_eq!(found, expected, "{dsn}");
                let ended = running.terminate().expect(0, &[]);
                assert!(!ended.stderr.contains("trying again"), "{dsn}:\n{}", ended.stderr);
            }
        }
        let slots = format!("FROM pg_replication_slots WHERE slot_name = '{name}'");
        process::wait_until(invocation::PATIENCE, "the walsender to let go of the slot", || {
            let active = format!("SELECT 1 {slots} AND active");
            self.postgres.query_one("postgres", &active).is_none()
        });
        let drop_slot = format!("SELECT pg_drop_replication_slot(slot_name) {slots}");
        let slot = self.postgres.query_one("postgres", &drop_slot);
        let expected = !matches!(expected, Refused(..));
        assert_eq!(slot.is_some(), expected, "a slot was left behind, or is missing: {dsn}");
    }
}

/// libpq has to do what the case says.
#[track_caller]
fn ask_psql(invocation: &Invocation, dsn: &str, expected: Outcome<'_>) {
    let Some(psql) = psql() else {
        println!("skipped: no psql of PostgreSQL {VERSION}, so that libpq is not asked");
        return;
    };
    let mut command = invocation.surroundings(&psql);
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    command.args(["-X", "-w", "-A", "-t", "-c", sql]);
    if !dsn.is_empty() {
        command.args(["-d", dsn]);
    }
    let output = command.output().expect("psql can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    let found = match (output.status.success(), output.stdout.as_slice()) {
        (true, b"t\n") => "in with TLS",
        (true, b"f\n") => "in without TLS",
        (false, _) => "refused",
        (true, other) => panic!("psql printed {other:?}"),
    };
    let expected = match expected {
        Tls => "in with TLS",
        Plain => "in without TLS",
        // By the server, or for a reason that libpq has itself.
        Refused(..) => "refused",
    };
    assert_eq!(found, expected, "libpq's answer to {dsn}: {said}");
}

fn psql() -> Option<PathBuf> {
    bin_dir(VERSION).map(|bin| bin.join("psql")).filter(|psql| psql.exists())
}

/// A server with TLS, on IPv4, IPv6 and Unix sockets.
fn with_tls() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let name = format!("cdc-testkit-{}", std::process::id());
        let options = PostgresOptions::new(VERSION).tls().ipv6().abstract_socket(&name);
        Server::with(options.setting("max_replication_slots", "60"))
    })
}

/// A server without.
fn without_tls() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::with(PostgresOptions::new(VERSION)))
}

/// Parameters that verify, with the authority of the server's certificate.
fn verifying(server: &Server, mode: &str) -> String {
    let ca = server.postgres.certificates().ca.display().to_string();
    format!("sslmode={mode} sslrootcert={ca}")
}

const NO_TLS: &[&str] = &["does not offer TLS, and sslmode=", "ssl = on"];
const NO_ENTRY: &[&str] = &["does not let role", "pg_hba.conf", "28000"];

#[test]
fn sslmode_without_verification_means_what_libpq_means() {
    let no_entry = Refused(77, NO_ENTRY);
    let server = with_tls();
    for (mode, anybody, only_tls, only_plain) in [
        ("disable", Plain, no_entry, Plain),
        ("allow", Plain, Tls, Plain),
        ("prefer", Tls, Tls, Plain),
        ("require", Tls, Tls, no_entry),
    ] {
        let mode = format!("sslmode={mode}");
        server.check(&server.pairs("anybody", &mode), anybody);
        server.check(&server.pairs("only_tls", &mode), only_tls);
        server.check(&server.pairs("only_plain", &mode), only_plain);
    }
    // The default is prefer.
    server.check(&server.pairs("anybody", ""), Tls);
    server.check(&server.pairs("anybody", "sslmode=required"), Refused(78, &["sslmode"]));
    // Another method for the other way, and the password is for one of them only.
    let wrong = format!("sslmode=prefer password={SECRET}-not");
    server.check(&server.pairs("tls_by_password", &wrong), Plain);

    let server = without_tls();
    for (mode, expected) in [
        ("disable", Plain),
        ("allow", Plain),
        ("prefer", Plain),
        ("require", Refused(78, NO_TLS)),
        ("verify-ca", Refused(78, NO_TLS)),
        ("verify-full", Refused(78, NO_TLS)),
    ] {
        let verifying = verifying(with_tls(), mode);
        server.check(&server.pairs("anybody", &verifying), expected);
    }
    server.check(&server.pairs("only_tls", "sslmode=prefer"), no_entry);
}

#[test]
fn the_servers_certificate_is_verified_as_the_mode_says() {
    let server = with_tls();
    let certificates = server.postgres.certificates();
    let (ca, wrong_ca) = (certificates.ca.display(), certificates.wrong_ca.display());
    let unknown = Refused(78, &["TLS to PostgreSQL at", "UnknownIssuer", "sslrootcert"]);
    for mode in ["verify-ca", "verify-full"] {
        server.check(&server.pairs("anybody", &verifying(server, mode)), Tls);
        // An entry for clear text is of no use.
        let no_entry = Refused(77, NO_ENTRY);
        server.check(&server.pairs("only_plain", &verifying(server, mode)), no_entry);
        let wrong = format!("sslmode={mode} sslrootcert={wrong_ca}");
        server.check(&server.pairs("anybody", &wrong), unknown);
        let needs = Refused(78, &[mode, "~/.postgresql/root.crt", "give sslrootcert=FILE"]);
        server.check(&server.pairs("anybody", &format!("sslmode={mode}")), needs);
        let missing = Refused(78, &["sslrootcert", "/no/such/file", "no such file"]);
        let no_file = format!("sslmode={mode} sslrootcert=/no/such/file");
        server.check(&server.pairs("anybody", &no_file), missing);
        // libpq's own place for it.
        let mode = format!("sslmode={mode}");
        server.check_with(&server.pairs("anybody", &mode), Tls, |invocation| {
            invocation.copy(".postgresql/root.crt", &certificates.ca, 0o644)
        });
        server.check_with(&server.pairs("anybody", &mode), unknown, |invocation| {
            invocation.copy(".postgresql/root.crt", &certificates.wrong_ca, 0o644)
        });
    }
    // An authority that is known is used by the modes that do not ask for one.
    let wrong = format!("sslrootcert={wrong_ca}");
    server.check(&server.pairs("anybody", &format!("sslmode=require {wrong}")), unknown);
    server.check(&server.pairs("anybody", &format!("sslmode=prefer {wrong}")), Plain);
    server.check(&server.pairs("only_tls", &format!("sslmode=prefer {wrong}")), {
        Refused(77, &["UnknownIssuer", "without TLS, PostgreSQL at", "pg_hba.conf"])
    });
    // A name beside the address: for the certificate, not for the connection.
    let other = format!("host=other.example hostaddr=127.0.0.1 sslrootcert={ca}");
    let rest = format!("port={} dbname=postgres user=anybody", server.port());
    let not_for = Refused(
        78,
        &["not valid for name \"other.example\"", "localhost", "127.0.0.1", "sslmode=verify-ca"],
    );
    server.check(&format!("{other} {rest} sslmode=verify-full"), not_for);
    server.check(&format!("{other} {rest} sslmode=verify-ca"), Tls);
    let local = format!("host=localhost hostaddr=127.0.0.1 sslrootcert={ca} {rest}");
    server.check(&format!("{local} sslmode=verify-full"), Tls);
    // The system's authorities do not know this one. libpq has the word from 16 on.
    let system = server.pairs("anybody", "sslrootcert=system");
    server.check_alone(&system, unknown, |invocation| invocation);
    let weak = server.pairs("anybody", "sslrootcert=system sslmode=require");
    server.check_alone(&weak, Refused(78, &["sslmode=verify-full"]), |invocation| invocation);
}

/// Certificates as the manual of PostgreSQL makes them ("Creating Certificates"): of version 1, or
/// their own authority, with a common name only; made by OpenSSL in a folder of the server's.
fn make_certificates(server: &Server) -> PathBuf {
    let dir = server.postgres.socket_dir().to_path_buf();
    let script = "set -e
        openssl req -new -x509 -days 2 -nodes -out self.crt -keyout self.key -subj /CN=db.example
        openssl req -new -nodes -out root.csr -keyout root.key -subj /CN=root
        printf '[v3_ca]\nbasicConstraints=critical,CA:true\n' > ca.cnf
        openssl x509 -req -in root.csr -days 2 -extfile ca.cnf -extensions v3_ca \
            -signkey root.key -out root.crt
        openssl req -new -nodes -out old.csr -keyout old.key -subj /CN=db.example
        openssl x509 -req -in old.csr -days 2 -CA root.crt -CAkey root.key -CAcreateserial \
            -out old.crt
        openssl req -new -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -out ec.csr \
            -keyout ec.key -subj /CN=*.example
        openssl x509 -req -in ec.csr -days 2 -CA root.crt -CAkey root.key -CAcreateserial \
            -out ec.crt
        chmod 600 *.key; chmod 644 *.crt";
    let output = Command::new("sh").args(["-c", script]).current_dir(&dir).output();
    let output = output.expect("a shell can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl: {said}");
    for name in ["self.key", "old.key", "ec.key"] {
        server.postgres.own(&dir.join(name));
    }
    dir
}

#[test]
fn certificates_that_libpq_takes_are_taken() {
    let server = Server::with(PostgresOptions::new(VERSION).tls());
    let dir = make_certificates(&server);
    let show = |certificate: &Path, key: &Path| {
        server.postgres.set("ssl_key_file", &key.display().to_string());
        server.postgres.set("ssl_cert_file", &certificate.display().to_string());
        // A session may tell of a reload that the postmaster has not finished, but not of the next.
        server.postgres.set("work_mem", &format!("{}kB", 1024 + process::free_port()));
    };
    let rest = format!("hostaddr=127.0.0.1 port={} dbname=postgres user=anybody", server.port());
    for (name, authority) in [("self", "self"), ("old", "root"), ("ec", "root")] {
        show(&dir.join(format!("{name}.crt")), &dir.join(format!("{name}.key")));
        let root = format!("sslrootcert={}", dir.join(format!("{authority}.crt")).display());
        server.check(&format!("host=db.example {rest} sslmode=require"), Tls);
        server.check(&format!("host=db.example {rest} {root} sslmode=verify-ca"), Tls);
        server.check(&format!("host=db.example {rest} {root} sslmode=verify-full"), Tls);
        let not_for = Refused(78, &["not valid for name \"db.other\"", "example"]);
        server.check(&format!("host=db.other {rest} {root} sslmode=verify-full"), not_for);
        let wrong = server.postgres.certificates().wrong_ca.display().to_string();
        let unknown = Refused(78, &["UnknownIssuer"]);
        server.check(&format!("{rest} sslmode=verify-ca sslrootcert={wrong}"), unknown);
        let bound = format!("password={} channel_binding=require", quoted(&password()));
        let rest = rest.replace("anybody", "scram");
        server.check(&format!("host=db.example {rest} sslmode=require {bound}"), Tls);
    }
    let certificates = server.postgres.certificates();
    server.postgres.own(&certificates.expired_server_key);
    show(&certificates.expired_server_cert, &certificates.expired_server_key);
    let expired = Refused(78, &["certificate expired", "renew the server's certificate"]);
    server.check(&server.pairs("anybody", &verifying(&server, "verify-ca")), expired);
    server.check(&server.pairs("anybody", &verifying(&server, "verify-full")), expired);
    server.check(&server.pairs("anybody", "sslmode=require"), Tls);
}

#[test]
fn client_certificates_are_shown_and_their_keys_kept() {
    let server = with_tls();
    let certificates = server.postgres.certificates();
    let own = |cert: &Path, key: &Path| {
        format!("sslmode=require sslcert={} sslkey={}", cert.display(), key.display())
    };
    let good = own(&certificates.client_cert, &certificates.client_key);
    server.check(&server.pairs("postgres", &good), Tls);
    let none = Refused(77, &["requires a valid client certificate", "28000"]);
    server.check(&server.pairs("postgres", "sslmode=require"), none);
    // The certificate's name is another's.
    let other = Refused(77, &["does not let role \"somebody_else\" in", "certificate"]);
    server.check(&server.pairs("somebody_else", &good), other);
    // Signed by an authority that the server does not know.
    let stranger = own(&certificates.wrong_client_cert, &certificates.wrong_client_key);
    let unknown = Refused(78, &["received fatal alert", "ssl_ca_file"]);
    server.check(&server.pairs("postgres", &stranger), unknown);
    server.check(&server.pairs("anybody", &stranger), unknown);
    // Somebody who is let in without one.
    server.check(&server.pairs("anybody", &good), Tls);
    // The key of another certificate.
    let mixed = own(&certificates.client_cert, &certificates.wrong_client_key);
    server.check(&server.pairs("postgres", &mixed), Refused(78, &["sslcert and sslkey"]));
    let half = format!("sslmode=require sslcert={}", certificates.client_cert.display());
    server.check(&server.pairs("postgres", &half), Refused(78, &["sslkey is not given"]));

    // libpq's own places for them.
    let files =
        |mode: u32| {
            move |invocation: Invocation| {
                invocation
                    .copy(".postgresql/postgresql.crt", &certificates.client_cert, 0o644)
                    .copy(".postgresql/postgresql.key", &certificates.client_key, mode)
            }
        };
    let require = server.pairs("postgres", "sslmode=require");
    server.check_with(&require, Tls, files(0o600));
    server.check_with(&require, Refused(78, &["others may read it", "chmod 600"]), files(0o644));
    server.check_with(&require, Refused(78, &["others may read it", "chmod 600"]), files(0o604));
    // Without TLS nobody looks at them.
    server.check_with(&server.pairs("anybody", "sslmode=disable"), Plain, files(0o644));

    // A group may read root's key, as Debian's ssl-cert has it; nobody else's.
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|file| {
        use std::os::unix::fs::MetadataExt;
        file.uid() == 0
    });
    let open = Refused(78, &["others may read it"]);
    server.check_with(&require, if is_root { Tls } else { open }, files(0o640));
}

/// The client's certificate and key in other forms: in DER, with pass phrases; made by OpenSSL in a
/// folder of the server's.
fn make_client_forms(server: &Server) -> PathBuf {
    let dir = server.postgres.socket_dir().join("forms");
    std::fs::create_dir_all(&dir).expect("the folder can be made");
    let certificates = server.postgres.certificates();
    let script = format!(
        "set -e
        cp {key} plain.key; cp {cert} own.crt
        openssl x509 -in own.crt -outform DER -out own.der
        openssl x509 -in {authority} -outform DER -out root.der
        openssl pkcs8 -topk8 -nocrypt -in plain.key -outform DER -out pkcs8.der
        openssl ec -in plain.key -outform DER -out sec1.der
        openssl ec -in plain.key -aes128 -passout pass:{SECRET} -out traditional.key
        encrypt() {{ openssl pkcs8 -topk8 -in plain.key -passout pass:{SECRET} \"$@\"; }}
        encrypt -v2 aes-256-cbc -out aes.key
        encrypt -v2 aes-128-cbc -v2prf hmacWithSHA512 -outform DER -out aes.pk8
        encrypt -scrypt -out scrypt.key
        encrypt -v1 PBE-SHA1-3DES -outform DER -out old.pk8
        openssl pkcs12 -export -in own.crt -inkey plain.key -passout pass:{SECRET} -out own.p12
        chmod 600 *",
        key = certificates.client_key.display(),
        cert = certificates.client_cert.display(),
        authority = certificates.ca.display(),
    );
    let output = Command::new("sh").args(["-c", &script]).current_dir(&dir).output();
    let output = output.expect("a shell can be started");
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    dir
}

#[test]
fn keys_with_a_pass_phrase_are_opened_by_sslpassword() {
    let server = with_tls();
    let dir = make_client_forms(server);
    let own = |key: &str, more: &str| {
        let (cert, key) = (dir.join("own.crt"), dir.join(key));
        let more = format!("sslcert={} sslkey={} {more}", cert.display(), key.display());
        server.pairs("postgres", &format!("sslmode=require {more}"))
    };
    let opened = format!("sslpassword={SECRET}");
    for key in ["aes.key", "scrypt.key"] {
        server.check(&own(key, &opened), Tls);
        let closed = Refused(78, &[key, "it is encrypted", "sslpassword"]);
        server.check(&own(key, ""), closed);
        let wrong = Refused(78, &[key, "not opened by the pass phrase of sslpassword"]);
        server.check(&own(key, "sslpassword=wrong"), wrong);
    }
    // A pass phrase that is not needed is not looked at.
    server.check(&own("plain.key", &opened), Tls);
    for key in ["pkcs8.der", "sec1.der"] {
        server.check_alone(&own(key, ""), Tls, |invocation| invocation);
    }
    // As a JDBC driver has them.
    server.check_alone(&own("aes.pk8", &opened), Tls, |invocation| invocation);
    let (cert, root) = (dir.join("own.der"), dir.join("root.der"));
    let der =
        own("aes.pk8", &opened).replace("own.crt", "own.der").replace("=require", "=verify-ca");
    let der = format!("{der} sslrootcert={}", root.display());
    assert!(der.contains(&cert.display().to_string()));
    server.check_alone(&der, Tls, |invocation| invocation);
    // What is not opened says how to make a key that is.
    for key in ["traditional.key", "old.pk8"] {
        let old = Refused(78, &[key, "openssl pkcs8 -topk8 -v2"]);
        server.check_alone(&own(key, &opened), old, |invocation| invocation);
    }
    let pkcs12 = Refused(78, &["own.p12", "openssl pkcs12 -nodes"]);
    server.check_alone(&own("own.p12", &opened), pkcs12, |invocation| invocation);
}

#[test]
fn every_method_of_authentication_takes_the_right_password_only() {
    let server = with_tls();
    let right = format!("password={}", quoted(&password()));
    let wrong = format!("password={SECRET}-not");
    let none = Refused(77, &["asks for the password of role", "none is given", "PGPASSWORD"]);
    for role in ["scram", "md5", "cleartext"] {
        for (mode, outcome) in [("disable", Plain), ("require", Tls)] {
            let pairs = |more: &str| server.pairs(role, &format!("sslmode={mode} {more}"));
            server.check(&pairs(&right), outcome);
            let refused = [&*format!("does not let role \"{role}\" in"), "28P01", "PGPASSWORD"];
            server.check(&pairs(&wrong), Refused(77, &refused));
            server.check(&pairs(""), none);
        }
    }
    let nobody = Refused(77, &["role \"nobody_at_all\" does not exist", "CREATE ROLE"]);
    server.check(&server.pairs("nobody_at_all", ""), nobody);
}

/// What the agent's own connections say, beside the state of TLS.
#[test]
fn names_and_options_reach_both_kinds_of_connection() {
    let server = with_tls();
    for (name, more, variables) in [
        ("of_the_string", "application_name=of_the_string", &[("PGAPPNAME", "of_nobody")][..]),
        ("of_the_variable", "", &[("PGAPPNAME", "of_the_variable")]),
        ("cdc-agent", "", &[]),
    ] {
        let slot = format!("named_{}", name.replace('-', "_"));
        let mut invocation = Invocation::new("--to=file:out --state=state --http=none")
            .argument("--publication=captured")
            .argument("--topic-prefix=p")
            .argument(format!("--slot={slot}"))
            .set("snapshot.mode", "no_data")
            .dsn(server.pairs("anybody", more))
            .variable("PGOPTIONS", "-c work_mem=4321kB -c search_path=elsewhere");
        for (variable, value) in variables {
            invocation = invocation.variable(variable, value);
        }
        let mut running = invocation.start();
        running.wait_streaming();
        let sql = format!(
            "SELECT string_agg(a.application_name, ' ' ORDER BY a.application_name) \
             FROM pg_replication_slots s JOIN pg_stat_activity w ON w.pid = s.active_pid \
             JOIN pg_stat_activity a ON a.client_addr = w.client_addr AND a.usename = w.usename \
             WHERE s.slot_name = '{slot}' AND a.application_name = w.application_name"
        );
        let found = server.postgres.query_one("postgres", &sql);
        assert_eq!(found, Some(format!("{name} {name}")), "{more} {variables:?}");
        running.terminate().expect(0, &[]);
        server.postgres.execute("postgres", &format!("SELECT pg_drop_replication_slot('{slot}')"));
    }
    // An option that the session would not start with shows that it reaches the server.
    let bad = server.pairs("anybody", "options='-c work_mem=nonsense'");
    server.check(&bad, Refused(78, &["invalid value for parameter \"work_mem\"", "PGOPTIONS"]));
    let escaped = server.pairs("anybody", r"options='-c application_name=a\\ b'");
    server.check(&escaped, Tls);
}

#[test]
fn require_auth_names_the_methods_that_will_do() {
    let server = with_tls();
    let right = format!("password={}", quoted(&password()));
    let not = |what: &'static str| -> [&'static str; 2] { [what, "and require_auth forbids it"] };
    let (clear, md5, scram, nothing) =
        (not("a password in clear"), not("an md5 hash"), not("for SCRAM"), not("for nothing"));
    for (role, allowed, expected) in [
        ("scram", "scram-sha-256", Tls),
        ("scram", "md5,scram-sha-256", Tls),
        ("scram", "md5", Refused(77, &scram)),
        ("scram", "!scram-sha-256", Refused(77, &scram)),
        ("md5", "md5", Tls),
        ("md5", "!password,!none", Tls),
        ("md5", "scram-sha-256", Refused(77, &md5)),
        ("cleartext", "password", Tls),
        ("cleartext", "!password", Refused(77, &clear)),
        ("cleartext", "scram-sha-256", Refused(77, &clear)),
        ("anybody", "none", Tls),
        ("anybody", "scram-sha-256,none", Tls),
        ("anybody", "scram-sha-256", Refused(77, &nothing)),
        ("anybody", "gss", Refused(77, &nothing)),
        ("anybody", "everything", Refused(78, &["require_auth", "scram-sha-256, gss"])),
        ("anybody", "md5,!none", Refused(78, &["require_auth", "all methods or none with !"])),
    ] {
        let dsn = server.pairs(role, &format!("require_auth={allowed} {right}"));
        server.check_alone(&dsn, expected, |invocation| invocation);
    }
}

#[test]
fn certificates_that_are_revoked_are_refused() {
    let server = with_tls();
    let certificates = server.postgres.certificates();
    let own = |list: &Path| format!("sslcrl={}", list.display());
    let revoked = Refused(78, &["certificate: Revoked", "its authority has revoked it (sslcrl)"]);
    for mode in ["verify-ca", "verify-full", "require"] {
        let pairs =
            |more: &str| server.pairs("only_tls", &format!("{} {more}", verifying(server, mode)));
        server.check(&pairs(&own(&certificates.nothing_revoked)), Tls);
        server.check(&pairs(&own(&certificates.server_revoked)), revoked);
        let outdated = Refused(78, &["expired", "give a list in sslcrl that is valid"]);
        server.check(&pairs(&own(&certificates.outdated_list)), outdated);
        server.check_with(&pairs(""), Tls, |invocation| {
            invocation.copy(".postgresql/root.crl", &certificates.nothing_revoked, 0o644)
        });
        server.check_with(&pairs(""), revoked, |invocation| {
            invocation.copy(".postgresql/root.crl", &certificates.server_revoked, 0o644)
        });
    }
    // A folder, as `openssl rehash` leaves it.
    let hash = Command::new("openssl")
        .args(["crl", "-noout", "-hash", "-in"])
        .arg(&certificates.server_revoked)
        .output()
        .expect("openssl is installed");
    let name = format!("lists/{}.r0", String::from_utf8_lossy(&hash.stdout).trim());
    let folder = server.pairs("anybody", &verifying(server, "verify-ca"));
    let folder = format!("{folder} sslcrldir=lists");
    server.check_with(&folder, revoked, |invocation| {
        invocation.copy(&name, &certificates.server_revoked, 0o644)
    });
    server.check_with(&folder, Tls, |invocation| {
        invocation.copy(&name, &certificates.nothing_revoked, 0o644)
    });
    // libpq leaves these out without a word.
    for more in ["sslcrl=no/such.crl", "sslcrldir=no/such"] {
        let dsn = server.pairs("anybody", &format!("{} {more}", verifying(server, "verify-ca")));
        let missing = Refused(78, &["sslcrl", "no/such", "No such file"]);
        server.check_alone(&dsn, missing, |invocation| invocation);
    }
    let alone = server.pairs("anybody", &format!("sslmode=require {}", own(&certificates.ca)));
    server.check_alone(&alone, Refused(78, &["without sslrootcert"]), |invocation| invocation);
}

/// A session that our own connection has begun is carried on by tokio-postgres, through buffers of
/// TLS that are much smaller than what goes through them, and from several threads at once.
#[test]
fn much_goes_through_a_session_that_was_handed_over() {
    const BYTES: i32 = 3_000_000;
    let server = with_tls();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    for mode in ["disable", "require"] {
        let info = ConnInfo::parse(&server.pairs("anybody", &format!("sslmode={mode}")));
        let settings = SourceSettings::new(&info.expect("it is good"), "much").expect("they are");
        let sql = Sql::open(&settings, runtime.handle()).expect("it connects");
        let answers = std::thread::scope(|scope| {
            let threads = ["a", "b", "c"].map(|letter| {
                let sql = &sql;
                scope.spawn(move || {
                    let given = letter.repeat(usize::try_from(BYTES).expect("it is positive"));
                    let text = "SELECT length($1), md5($1) = md5(repeat($2, $3)), repeat($2, $3)";
                    let row = sql.query_one(text, &[&given, &letter, &BYTES]);
                    let row = row.unwrap_or_else(|error| panic!("{error}: {:?}", sql.ended()));
                    let same = row.get::<_, &str>(2) == given;
                    (row.get::<_, i32>(0), row.get::<_, bool>(1), same)
                })
            });
            threads.map(|thread| thread.join().expect("no panic"))
        });
        assert_eq!(answers, [(BYTES, true, true); 3], "{mode}");
        // Its end is told, and why.
        let pid: i32 = sql.query_one("SELECT pg_backend_pid()", &[]).expect("an answer").get(0);
        server.postgres.execute("postgres", &format!("SELECT pg_terminate_backend({pid})"));
        process::wait_until(invocation::PATIENCE, "the end to be told", || sql.ended().is_some());
        assert!(sql.ended().is_some_and(|ended| ended.shutdown), "{:?}", sql.ended());
    }
}

/// The socket tells the server who we are.
#[test]
fn peers_are_known_by_their_socket() {
    let server = with_tls();
    let socket = server.postgres.socket_dir().display().to_string();
    let me = String::from_utf8(Command::new("id").arg("-un").output().expect("id").stdout);
    let me = me.expect("a name").trim().to_owned();
    server.postgres.execute(
        "postgres",
        &format!(
            "CREATE ROLE {me} LOGIN REPLICATION; CREATE ROLE peer_of_nobody LOGIN REPLICATION"
        ),
    );
    let dsn = |more: &str| format!("host={socket} port={} dbname=postgres {more}", server.port());
    server.check(&dsn("user=peer_of_nobody"), Refused(77, &["Peer authentication failed"]));
    server.check(&dsn(&format!("user={me}")), Plain);
    // Nobody says who we are: the system does.
    server.check(&dsn(""), Plain);
}

#[test]
fn scram_is_bound_to_tls_as_channel_binding_says() {
    let server = with_tls();
    let right = format!("password={}", quoted(&password()));
    for (role, mode, binding, expected) in [
        ("scram", "require", "require", Tls),
        ("scram", "require", "prefer", Tls),
        ("scram", "require", "disable", Tls),
        ("scram", "prefer", "require", Tls),
        ("scram", "disable", "prefer", Plain),
        ("scram", "disable", "disable", Plain),
        ("scram", "disable", "require", Refused(77, &["channel_binding=require"])),
        ("md5", "require", "prefer", Tls),
        ("md5", "require", "require", Refused(77, &["channel_binding=require"])),
        ("cleartext", "require", "require", Refused(77, &["channel_binding=require"])),
        ("anybody", "require", "require", Refused(77, &["channel_binding=require"])),
        ("scram", "require", "maybe", Refused(78, &["channel_binding", "disable, prefer or"])),
    ] {
        let more = format!("sslmode={mode} channel_binding={binding} {right}");
        server.check(&server.pairs(role, &more), expected);
    }
}

#[test]
fn connection_strings_are_read_as_libpq_reads_them() {
    let server = with_tls();
    let (port, raw) = (server.port(), password());
    let secret = encoded(&raw);
    let socket = server.postgres.socket_dir().display().to_string();
    let encoded_socket = encoded(&socket);
    let name = format!("@cdc-testkit-{}", std::process::id());
    for (dsn, expected) in [
        // URIs.
        (format!("postgres://scram:{secret}@127.0.0.1:{port}/postgres"), Tls),
        (format!("postgresql://scr%61m:{secret}@127.0.0.1:{port}/postgr%65s"), Tls),
        (format!("postgres://scram:{SECRET}@127.0.0.1:{port}/postgres?password={secret}"), Tls),
        (format!("postgres://127.0.0.1:{port}/postgres?user=anybody&sslmode=disable"), Plain),
        (format!("postgres://127.0.0.1/postgres?user=anybody&port={port}&ssl=true"), Tls),
        (format!("postgres://anybody@/postgres?host=127.0.0.1&port={port}"), Tls),
        (format!("postgres://anybody@{encoded_socket}:{port}/postgres"), Plain),
        (format!("postgres:///postgres?user=anybody&port={port}&host={encoded_socket}"), Plain),
        (format!("postgres://anybody@[::1]:{port}/postgres"), Tls),
        // Pairs.
        (format!("  host = 127.0.0.1   port='{port}' dbname=postgres user=anybody "), Tls),
        (format!("host='127.0.0.1' port={port} dbname='postgres'user=anybody"), Tls),
        (format!("hostaddr=127.0.0.1 port={port} dbname=postgres user=anybody"), Tls),
        (format!("hostaddr=::1 port={port} dbname=postgres user=anybody"), Tls),
        (format!("host={socket} port={port} dbname=postgres user=anybody"), Plain),
        (format!("host={socket}/ port={port} dbname=postgres user=anybody"), Plain),
        (format!("host={name} port={port} dbname=postgres user=anybody"), Plain),
        // TLS is never asked for on a Unix socket.
        (
            format!("host={socket} port={port} dbname=postgres user=anybody sslmode=verify-full"),
            Plain,
        ),
        (format!("host={name} port={port} dbname=postgres user=only_plain"), Plain),
        // What changes nothing is taken, what would be left out is refused.
        (
            server.pairs("anybody", "keepalives_idle=5 gssencmode=disable client_encoding=LATIN1"),
            Tls,
        ),
        // Wrong ones.
        (format!("postgres://u%4@127.0.0.1:{port}/postgres"), Refused(78, &["string", "after %"])),
        (server.pairs("anybody", "sslmod=disable"), Refused(78, &["\"sslmod\"", "\"sslmode\""])),
        (format!("host=127.0.0.1 port={port} user='anybody"), Refused(78, &["not closed"])),
        (server.pairs("anybody", "connect_timeout=soon"), Refused(78, &["seconds"])),
        ("host=127.0.0.1 port=70000 user=anybody".to_owned(), Refused(78, &["1 to 65535"])),
        (format!("hostaddr=localhost port={port} user=anybody"), Refused(78, &["IP address"])),
        (
            format!("host={socket} port=1 dbname=postgres user=anybody"),
            Refused(69, &["cannot connect", ".s.PGSQL.1", "No such file"]),
        ),
    ] {
        if dsn.contains("::1") && !has_ipv6() {
            println!("skipped: this machine has no IPv6 loopback: {dsn}");
            continue;
        }
        server.check(&dsn, expected);
    }
    // libpq can do these, and whoever asks for them must know that they are not done here.
    for (more, parts) in [
        ("sslkeylogfile=x", &["sslkeylogfile", "not supported"]),
        ("gssencmode=require", &["gssencmode", "disable or prefer"]),
        ("max_protocol_version=3.2", &["max_protocol_version", "3.0"]),
    ] {
        let dsn = server.pairs("anybody", more);
        server.check_alone(&dsn, Refused(78, parts), |invocation| invocation);
    }
    // The rest of a password that lacks its quotes is not repeated.
    let unquoted = server.pairs("scram", &format!("password=some {SECRET}=x"));
    server.check(&unquoted, Refused(78, &["single quotes", "%40"]));
}

fn has_ipv6() -> bool {
    std::net::TcpListener::bind(("::1", 0)).is_ok()
}

#[test]
fn hosts_are_tried_in_their_order() {
    let (a, b) = (with_tls(), without_tls());
    let dead = process::free_port();
    let list = |ports: &[u16], more: &str| {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let hosts = vec!["127.0.0.1"; ports.len()].join(",");
        let ports = ports.join(",");
        format!("host={hosts} port={ports} dbname=postgres user=anybody {more}")
    };
    a.check(&list(&[dead, a.port()], ""), Tls);
    a.check(&list(&[a.port(), dead], ""), Tls);
    b.check(&list(&[dead, b.port(), a.port()], ""), Plain);
    let (a_port, b_port) = (a.port(), b.port());
    let uri = format!("postgres://anybody@127.0.0.1:{dead},127.0.0.1:{b_port}/postgres");
    b.check(&uri, Plain);
    let both = [&*format!("127.0.0.1:{dead}: Connection refused"), "127.0.0.1:1: Connection"];
    b.check(&list(&[dead, 1], ""), Refused(69, &both));
    b.check(&list(&[dead, 1, 2], "").replace(",1,2", ",1"), Refused(78, &["2 ports", "3 hosts"]));
    // A host that answers and lets nobody in is the last one.
    let rejected = list(&[a_port, b_port], "sslmode=disable").replace("anybody", "only_tls");
    b.check(&rejected, Refused(77, NO_ENTRY));
    // A name and its addresses.
    let names =
        format!("host=x.example,y.example hostaddr=127.0.0.1,127.0.0.1 port={dead},{b_port}");
    b.check(&format!("{names} dbname=postgres user=anybody"), Plain);

    // Sessions of this role are read-only on the first server.
    a.postgres.execute("postgres", "ALTER ROLE picky SET default_transaction_read_only = on");
    let picky = |target: &str| {
        let more = format!("target_session_attrs={target}");
        list(&[a_port, b_port], &more).replace("anybody", "picky")
    };
    b.check(&picky("read-write"), Plain);
    a.check(&picky("read-only"), Tls);
    a.check(&picky("primary"), Tls);
    a.check(&picky("any"), Tls);
    a.check(&picky("standby"), Refused(69, &["it is not a standby", "target_session_attrs"]));
    a.check(&picky("best"), Refused(78, &["target_session_attrs", "read-write"]));
    // The password file has one password for each host, and the second is asked.
    let line = |port: u16, password: &str| {
        let password = password.replace('\\', "\\\\").replace(':', "\\:");
        format!("127.0.0.1:{port}:postgres:scram:{password}\n")
    };
    let file = line(dead, "not this one") + &line(b_port, &password());
    let scram = list(&[dead, b_port], "").replace("anybody", "scram");
    b.check_with(&scram, Plain, |invocation| invocation.file(".pgpass", &file, 0o600));
}

#[test]
fn versions_of_tls_and_the_servers_owner_are_what_is_asked_for() {
    let server = with_tls();
    let version = |more: &str, found: &str| {
        let slot = format!("tls_{}", process::free_port());
        let dsn = server.pairs("anybody", &format!("sslmode=require {more}"));
        let sql = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        if let Some(psql) = psql() {
            let invocation = Invocation::new("");
            let mut command = invocation.surroundings(&psql);
            let output = command.args(["-X", "-A", "-t", "-c", sql, "-d", &dsn]).output();
            let said = output.expect("psql can be started").stdout;
            assert_eq!(String::from_utf8_lossy(&said).trim(), found, "libpq's answer to {more}");
        }
        let mut running = Invocation::new("--to=file:out --state=state --http=none")
            .argument("--publication=captured")
            .argument("--topic-prefix=p")
            .argument(format!("--slot={slot}"))
            .set("snapshot.mode", "no_data")
            .set("application.name", &slot)
            .dsn(dsn)
            .start();
        running.wait_streaming();
        let sql = format!(
            "SELECT string_agg(DISTINCT a.backend_type || ' ' || s.version, ', ') \
             FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) \
             WHERE a.application_name = '{slot}'"
        );
        let both = server.postgres.query_one("postgres", &sql);
        let expected = format!("client backend {found}, walsender {found}");
        assert_eq!(both, Some(expected), "{more}");
        running.terminate().expect(0, &[]);
        server.postgres.execute("postgres", &format!("SELECT pg_drop_replication_slot('{slot}')"));
    };
    version("ssl_min_protocol_version=TLSv1.2", "TLSv1.3");
    version("ssl_min_protocol_version=TLSv1.3", "TLSv1.3");
    version("ssl_max_protocol_version=TLSv1.2", "TLSv1.2");
    version("ssl_min_protocol_version=TLSv1 ssl_max_protocol_version=TLSv1.3", "TLSv1.3");
    version("sslsni=0", "TLSv1.3");
    for (more, part) in [
        ("ssl_max_protocol_version=TLSv1.1", "ssl_max_protocol_version"),
        ("ssl_min_protocol_version=3", "ssl_min_protocol_version"),
        (
            "ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2",
            "ssl_min_protocol_version",
        ),
    ] {
        let dsn = server.pairs("anybody", &format!("sslmode=require {more}"));
        server.check(&dsn, Refused(78, &[part]));
    }

    let socket = server.postgres.socket_dir().display().to_string();
    let owner = Command::new("stat").args(["-c", "%U"]).arg(server.postgres.data_dir()).output();
    let owner = String::from_utf8(owner.expect("stat").stdout).expect("a name");
    let dsn = |peer: &str| {
        let port = server.port();
        format!("host={socket} port={port} dbname=postgres user=anybody requirepeer={peer}")
    };
    server.check(&dsn(owner.trim()), Plain);
    let other = Refused(78, &["requirepeer", "\"nobody_at_all\"", owner.trim()]);
    server.check(&dsn("nobody_at_all"), other);
    // Only sockets of this machine know their peer.
    server.check(&server.pairs("anybody", "requirepeer=nobody_at_all"), Tls);
}

/// Takes connections for ever, and says this to each.
fn stranger(words: &'static [u8]) -> u16 {
    use std::io::Write;
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        let mut taken = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            stream.write_all(words).expect("a few bytes have room");
            taken.push(stream);
        }
    });
    port
}

#[test]
fn whoever_is_silent_or_no_postgres_is_not_waited_for() {
    let server = with_tls();
    let silent = stranger(b"");
    let alone = |port: u16, more: &str| {
        format!("host=127.0.0.1 port={port} dbname=postgres user=anybody connect_timeout=2 {more}")
    };
    let in_time = Refused(69, &["does not answer in time", "cannot connect"]);
    server.check(&alone(silent, ""), in_time);
    server.check(&alone(silent, "sslmode=disable"), in_time);
    let both = alone(silent, "").replace("host=127.0.0.1", "host=127.0.0.1,127.0.0.1");
    let both = both.replace("dbname", &format!("port={silent},{} dbname", server.port()));
    server.check(&both, Tls);
    let web = stranger(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    for mode in ["prefer", "require"] {
        let no_postgres =
            Refused(69, &["cannot connect to PostgreSQL", "not answer as PostgreSQL"]);
        server.check(&alone(web, &format!("sslmode={mode}")), no_postgres);
    }
}

#[test]
fn the_environment_and_its_files_are_read_as_libpq_reads_them() {
    let server = with_tls();
    let port = server.port().to_string();
    let ca = server.postgres.certificates().ca.display().to_string();
    let base = |invocation: Invocation| {
        invocation
            .variable("PGHOST", "127.0.0.1")
            .variable("PGPORT", &port)
            .variable("PGUSER", "scram")
            .variable("PGDATABASE", "postgres")
    };
    let right = password();
    server.check_with("", Tls, |invocation| base(invocation).variable("PGPASSWORD", &right));
    server.check_with("", Plain, |invocation| {
        base(invocation).variable("PGPASSWORD", &right).variable("PGSSLMODE", "disable")
    });
    server.check_with("", Tls, |invocation| {
        let invocation = base(invocation).variable("PGPASSWORD", &right);
        invocation.variable("PGSSLMODE", "verify-full").variable("PGSSLROOTCERT", &ca)
    });
    server.check_with("", Tls, |invocation| {
        let invocation = base(invocation).variable("PGPASSWORD", &right);
        invocation.variable("PGCHANNELBINDING", "require").variable("PGHOSTADDR", "127.0.0.1")
    });
    // The string goes before the environment, which gives what it leaves out.
    server.check_with("user=anybody", Tls, |invocation| {
        base(invocation).variable("PGPASSWORD", "not asked for").variable("PGSSLNEGOTIATION", "")
    });
    server.check_with("postgres:///?sslmode=disable", Plain, |invocation| {
        base(invocation).variable("PGPASSWORD", &right).variable("PGSSLMODE", "require")
    });
    server.check_with("", Refused(78, &["PGSSLMODE", "sslmode"]), |invocation| {
        base(invocation).variable("PGPASSWORD", &right).variable("PGSSLMODE", "sometimes")
    });
    server.check_with("", Refused(78, &["PGOPTIONS", "no_such_setting"]), |invocation| {
        let invocation = base(invocation).variable("PGPASSWORD", &right);
        invocation.variable("PGOPTIONS", "-c no_such_setting=1")
    });
    // psql of 15 does not know this one.
    server.check_alone("", Refused(77, &["SCRAM, and require_auth"]), |invocation| {
        base(invocation).variable("PGPASSWORD", &right).variable("PGREQUIREAUTH", "!scram-sha-256")
    });
    server.check_with("", Refused(69, &["does not answer in time"]), |invocation| {
        let silent = stranger(b"").to_string();
        base(invocation).variable("PGPORT", &silent).variable("PGCONNECT_TIMEOUT", "2")
    });

    // Password files.
    let line = |host: &str| {
        let password = right.replace('\\', "\\\\").replace(':', "\\:");
        format!("# comment\nother:*:*:*:no\n{host}:*:*:scram:{password}\n")
    };
    let none = Refused(77, &["asks for the password", "none is given", "chmod 600"]);
    for (name, host, mode, expected) in [
        (".pgpass", "127.0.0.1", 0o600, Tls),
        (".pgpass", "*", 0o400, Tls),
        (".pgpass", "localhost", 0o600, none),
        (".pgpass", "*", 0o640, none),
        (".pgpass", "*", 0o604, none),
        ("elsewhere", "*", 0o600, none),
    ] {
        server
            .check_with("", expected, |invocation| base(invocation).file(name, &line(host), mode));
    }
    server.check_with("", Tls, |invocation| {
        base(invocation).file("elsewhere", &line("*"), 0o600).variable("PGPASSFILE", "elsewhere")
    });
    server.check_with("passfile=elsewhere", Tls, |invocation| {
        base(invocation).file("elsewhere", &line("*"), 0o600).variable("PGPASSFILE", "nowhere")
    });
    let socket = server.postgres.socket_dir().display().to_string();
    server.check_with(&format!("host={socket}"), Plain, |invocation| {
        base(invocation).file(".pgpass", &line(&socket), 0o600)
    });
}

#[test]
fn services_are_read_as_libpq_reads_them() {
    let server = with_tls();
    let port = server.port();
    let file = format!(
        "# comment\n[other]\nhost=no.such.host.invalid\n\n[shop]\nhost=127.0.0.1\nport={port}\n\
         user=anybody\ndbname=postgres\nsslmode=disable\n"
    );
    let own = |invocation: Invocation| invocation.file(".pg_service.conf", &file, 0o644);
    server.check_with("service=shop", Plain, own);
    server.check_with("postgres:///?service=shop&sslmode=require", Tls, own);
    server.check_with("", Plain, |invocation| own(invocation).variable("PGSERVICE", "shop"));
    // The service goes before the environment.
    server.check_with("service=shop", Plain, |invocation| {
        own(invocation).variable("PGSSLMODE", "require").variable("PGUSER", "nobody_at_all")
    });
    server.check_with("service=shop", Plain, |invocation| {
        invocation.file("services", &file, 0o644).variable("PGSERVICEFILE", "services")
    });
    let missing = Refused(78, &["service \"shopp\"", "PGSERVICEFILE"]);
    server.check_with("service=shopp", missing, own);
    let bad = Refused(78, &["service file", "line 2", "hots"]);
    server.check_with("service=bad", bad, |invocation| {
        invocation.file(".pg_service.conf", "[bad]\nhots=x\n", 0o644)
    });
}

/// The core of the above, on another version.
fn core(version: u32) {
    if bin_dir(version).is_none() {
        println!("skipped: PostgreSQL {version} is not installed (tests/support/install.sh tests)");
        return;
    }
    let server = Server::with(PostgresOptions::new(version).tls());
    let certificates = server.postgres.certificates();
    let right = format!("password={}", quoted(&password()));
    let wrong = format!("password={SECRET}-not");
    let socket = server.postgres.socket_dir().display().to_string();
    server.check(&server.pairs("anybody", ""), Tls);
    server.check(&server.pairs("only_plain", ""), Plain);
    server.check(&server.pairs("only_tls", "sslmode=allow"), Tls);
    server.check(&server.pairs("only_tls", "sslmode=disable"), Refused(77, NO_ENTRY));
    server.check(&server.pairs("anybody", &verifying(&server, "verify-full")), Tls);
    let stranger = format!("sslmode=verify-ca sslrootcert={}", certificates.wrong_ca.display());
    server.check(&server.pairs("anybody", &stranger), Refused(78, &["UnknownIssuer"]));
    let bound = format!("sslmode=require channel_binding=require {right}");
    server.check(&server.pairs("scram", &bound), Tls);
    server.check(&server.pairs("scram", &format!("sslmode=disable {right}")), Plain);
    server.check(&server.pairs("scram", &wrong), Refused(77, &["28P01"]));
    server.check(&server.pairs("md5", &right), Tls);
    server.check(&server.pairs("cleartext", &right), Tls);
    let own = format!(
        "sslmode=require sslcert={} sslkey={}",
        certificates.client_cert.display(),
        certificates.client_key.display()
    );
    server.check(&server.pairs("postgres", &own), Tls);
    server.check(
        &format!("host={socket} port={} dbname=postgres user=anybody", server.port()),
        Plain,
    );

    // TLS without asking first came with 17; psql of 15 knows nothing of it.
    let direct = server.pairs("anybody", "sslmode=require sslnegotiation=direct");
    let too_old = Refused(78, &["TLS without being asked", "PostgreSQL 17"]);
    let expected = if version >= 17 { Tls } else { too_old };
    server.check_alone(&direct, expected, |invocation| invocation);
    let weak = server.pairs("anybody", "sslmode=prefer sslnegotiation=direct");
    server.check_alone(&weak, Refused(78, &["sslmode=require"]), |invocation| invocation);
}

#[test]
fn postgres_14() {
    core(14);
}

#[test]
fn postgres_15() {
    core(15);
}

#[test]
fn postgres_16() {
    core(16);
}

#[test]
fn postgres_17() {
    core(17);
}

#[test]
fn postgres_18() {
    core(18);
}
