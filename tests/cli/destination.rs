//! Kafka, files and ports.

use std::path::Path;
use std::time::Duration;

use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::kafka::KafkaOptions;
use cdc_testkit::servers::kafka::Secure;

use super::*;

fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(Kafka::start)
}

fn to_kafka(brokers: &str, slot: &str, database: &str) -> Invocation {
    Invocation::new("--http none")
        .argument("--slot")
        .argument(slot)
        .argument(format!("--brokers={brokers}"))
        .argument(format!("--topic-prefix={slot}"))
        .set("startup.timeout.ms", "200")
        .dsn(server().dsn("postgres", database))
}

#[test]
fn kafka_does_not_answer() {
    let server = server();
    let database = server.database("no_kafka");
    let port = process::free_port().to_string();
    let before = server.postgres.query_one(&database, GUESTS);
    to_kafka(&format!("127.0.0.1:{port}"), "s", &database).run().says(
        69,
        &[(&port, "PORT")],
        "cannot reach Kafka at 127.0.0.1:PORT: Connect to ipv4#127.0.0.1:PORT failed: Connection \
         refused\n  check that it runs and can be reached (--brokers, and the broker's advertised.listeners); tried \
         for N s (startup.timeout.ms)",
    );
    assert_eq!(server.postgres.query_one(&database, GUESTS), before);
}

#[test]
fn topics_are_not_as_they_must_be() {
    let (server, kafka) = (server(), kafka());
    let database = server.database("topics");
    let brokers = kafka.bootstrap();
    let refuses = |agent: Invocation, code: i32, message: &str| {
        let before = server.postgres.query_one(&database, GUESTS);
        let ended = agent.run().says(code, &[(&brokers, "BROKERS")], message);
        assert_eq!(server.postgres.query_one(&database, GUESTS), before);
        ended
    };
    let agent = |slot: &str| to_kafka(&brokers, slot, &database);
    refuses(
        agent("none").set("topic.creation.enable", "false"),
        78,
        "topics do not exist and topic.creation.enable is false: none.__state\n  create them, or set \
         topic.creation.enable=true",
    );
    // The state is there, the tables' topics are not.
    kafka.create_topic("half.__state", 1, &[("cleanup.policy", "compact")]);
    kafka.create_topic("half.__schemas", 1, &[("cleanup.policy", "compact")]);
    refuses(
        agent("half").set("topic.creation.enable", "false"),
        78,
        "topics do not exist and topic.creation.enable is false: half.public.t\n  create them, or \
         set topic.creation.enable=true",
    );
    kafka.create_topic("forgets.__state", 1, &[("cleanup.policy", "delete")]);
    refuses(
        agent("forgets"),
        78,
        "topic forgets.__state has cleanup.policy=delete, expected compact: what is stored there \
         would be deleted\n  run: kafka-configs.sh --bootstrap-server BROKERS --alter --entity-type \
         topics --entity-name forgets.__state --add-config cleanup.policy=compact",
    );
    kafka.create_topic("wide.__state", 3, &[("cleanup.policy", "compact")]);
    refuses(
        agent("wide"),
        78,
        "topic wide.__state has 3 partitions, expected 1: what is stored there would not be found \
         again\n  choose another topic.prefix; or, if nobody needs the topic, delete it: it is \
         created as it has to be",
    );
    refuses(
        agent("many").set("topic.creation.default.replication.factor", "3"),
        78,
        "Kafka refused while creating topic many.__state: InvalidReplicationFactor \
         (Broker: Invalid replication factor)\n  correct topic.creation.* or create the topic yourself",
    );
    refuses(
        agent("odd").set("producer.no.such.property", "1"),
        78,
        "a Kafka property is refused: No such configuration property: \
         \"no.such.property\"\n  correct producer.* or the Kafka client's properties",
    );
}

#[test]
fn kafka_forbids_what_is_needed() {
    let server = server();
    let database = server.database("forbidden");
    let kafka = Kafka::with(KafkaOptions::default().authorizer());
    let brokers = kafka.bootstrap();
    let hint = "run, with our principal and topic.prefix: kafka-acls.sh --add --allow-principal \
        User:NAME --operation Create --operation Describe --operation DescribeConfigs --operation \
        Read --operation Write --topic PREFIX. --resource-pattern-type prefixed; these are all \
        rights that are needed";
    let refuses = |slot: &str, message: &str| {
        let before = server.postgres.query_one(&database, GUESTS);
        let agent = to_kafka(&brokers, slot, &database);
        agent.run().says(77, &[(&brokers, "BROKERS")], &format!("{message}\n  {hint}"));
        assert_eq!(server.postgres.query_one(&database, GUESTS), before);
    };
    kafka.forbid("Write", Some("silent."));
    refuses(
        "silent",
        "Kafka refused while producing to topic silent.__state: Broker: Topic authorization failed",
    );
    kafka.forbid("Read", Some("blind."));
    let code = "TopicAuthorizationFailed (Broker: Topic authorization failed)";
    refuses(
        "blind",
        &format!(
            "Kafka refused while reading topic blind.__state: Message consumption error: {code}"
        ),
    );
    kafka.forbid("Create", Some("closed."));
    kafka.forbid("Create", None);
    refuses("closed", &format!("Kafka refused while creating topic closed.__state: {code}"));
}

/// Arguments of `kafka-acls.sh` in a block of the manual below a heading, with its words replaced.
fn acls_of_the_manual(heading: &str, words: &[(&str, &str)]) -> Vec<Vec<String>> {
    let manual = std::fs::read_to_string("docs/operations.md").expect("the manual is there");
    let section = manual.split(&format!("### {heading}\n")).nth(1).expect("the heading is there");
    let block = section.split("```").nth(1).expect("a block of commands").replace("\\\n", " ");
    let arguments = |line: &str| {
        let (_, rest) = line.split_once(" --add ")?;
        let mut text = rest.to_owned();
        for (word, value) in words {
            text = text.replace(word, value);
        }
        Some(text.split_whitespace().map(str::to_owned).collect())
    };
    block.lines().filter_map(arguments).collect()
}

/// What is set to get in as `etl`, whose rights are looked at.
fn as_etl(secure: &Secure) -> Vec<(&'static str, String)> {
    let path = |path: &Path| path.display().to_string();
    vec![
        ("kafka.security.protocol", "SASL_SSL".to_owned()),
        ("kafka.sasl.mechanism", "PLAIN".to_owned()),
        ("kafka.sasl.username", secure.login.0.to_owned()),
        ("kafka.sasl.password", secure.login.1.to_owned()),
        ("kafka.ssl.ca.location", path(&secure.ca)),
        ("kafka.ssl.certificate.location", path(&secure.client)),
        ("kafka.ssl.key.location", path(&secure.client)),
    ]
}

/// A broker that asks for everything: why it cannot be used is said at once, and the rights that the
/// manual lists are all that are needed.
#[allow(clippy::too_many_lines, reason = "one broker and its cases, from top to bottom")]
#[test]
fn kafka_that_does_not_let_us_in_says_why() {
    let server = server();
    let database = server.database("acls");
    let options = KafkaOptions::default().secure().authorizer();
    let options = options.property("allow.everyone.if.no.acl.found", "false");
    let kafka = Kafka::with(options.property("super.users", "User:ANONYMOUS"));
    let secure = kafka.secure();
    let stranger = secure.ca.with_file_name("wrong-ca.crt").display().to_string();
    let warehouse = server.database("acls_warehouse");
    let sink = |brokers: &str, settings: &[(&str, String)]| {
        let folder = process::scratch_dir("sink");
        let mut command = process::command(env!("CARGO_BIN_EXE_cdc-sink"));
        command.args(["--once", "--http", "none", "--group", "warehouse", "--brokers", brokers]);
        command.args(["--topics", "acls\\.public\\..*"]);
        command.args(["--to", &server.dsn("postgres", &warehouse)]).current_dir(folder.path());
        for (name, value) in settings {
            command.args(["--set", &format!("{name}={value}")]);
        }
        let mut daemon = process::Daemon::spawn("sink", command, folder.path());
        (daemon.wait_exit(Duration::from_secs(60)).code(), daemon.log())
    };
    let agent = |brokers: &str, settings: &[(&str, String)]| {
        let agent = to_kafka(brokers, "acls", &database).set("startup.timeout.ms", "30000");
        settings.iter().fold(agent, |agent, (name, value)| agent.set(name, value))
    };
    let postgres = format!("127.0.0.1:{}", server.port());
    let broker = secure.bootstrap.as_str();
    for (brokers, changed, code, parts) in [
        (broker, ("kafka.sasl.password", "wrong"), 77, ["Authentication failed", "kafka.sasl.*"]),
        (
            broker,
            ("kafka.ssl.ca.location", &*stranger),
            78,
            ["certificate verify failed", "ssl.ca"],
        ),
        (
            broker,
            ("kafka.security.protocol", "SASL_PLAINTEXT"),
            78,
            ["security.protocol", "listener of Kafka"],
        ),
        (
            &*postgres,
            ("kafka.security.protocol", "PLAINTEXT"),
            78,
            ["something else than Kafka", "--brokers"],
        ),
        (
            "no..host:9092",
            ("kafka.security.protocol", "PLAINTEXT"),
            78,
            ["resolve", "advertised.listeners"],
        ),
    ] {
        let mut settings = as_etl(secure);
        settings.retain(|(name, _)| *name != changed.0);
        settings.push((changed.0, changed.1.to_owned()));
        let began = std::time::Instant::now();
        agent(brokers, &settings).run().expect(code, &parts);
        let (ended, log) = sink(brokers, &settings);
        assert_eq!(ended, Some(code), "{changed:?}: {log}");
        for part in parts {
            assert!(log.contains(part), "{changed:?}, {part:?}: {log}");
        }
        assert!(log.lines().count() < 8, "{log}");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(25), "both together took {took:?}");
    }
    let words = [("User:cdc-agent", "User:etl"), ("User:cdc-sink", "User:etl"), ("shop.", "acls.")];
    let grant = |heading: &str| {
        for arguments in acls_of_the_manual(heading, &words) {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            kafka.acls(&arguments);
        }
    };
    let refused = ["Kafka refused while creating topic acls.__state", "kafka-acls.sh --add"];
    agent(broker, &as_etl(secure)).run().expect(77, &refused);
    grant("The agent's rights in Kafka");
    let mut running = agent(broker, &as_etl(secure)).start();
    running.wait_streaming();
    let log = running.terminate().expect(0, &[]).stderr;
    assert!(!log.contains("trying again"), "{log}");
    assert_eq!(log.matches("destination reached").count(), 1, "{log}");
    grant("The sink's rights in Kafka");
    let (ended, log) = sink(broker, &as_etl(secure));
    assert_eq!(ended, Some(0), "{log}");
}

#[test]
fn the_file_cannot_be_written() {
    let server = server();
    let database = server.database("files");
    let agent = |to: &str, state: &str| {
        Invocation::new("--http none --slot s")
            .argument(format!("--to=file:{to}"))
            .argument(format!("--state={state}"))
            .dsn(server.dsn("postgres", &database))
    };
    let hint = "mend what the system names, then start again: nothing is lost";
    for (to, state, named) in [
        ("no/such/folder/out", "state", "no/such/folder/out"),
        ("out", "no/such/folder/state", "no/such/folder/state"),
    ] {
        server.refuses(
            &database,
            agent(to, state),
            78,
            &format!("cannot write to {named}: No such file or directory (os error 2)\n  {hint}"),
        );
    }
    server.refuses(
        &database,
        agent(".", "state"),
        78,
        &format!("cannot write to .: Is a directory (os error 21)\n  {hint}"),
    );
}

#[test]
fn the_state_is_somebody_elses() {
    let server = server();
    let database = server.database("states");
    let mut running = server.agent("first", &database).start();
    running.wait_streaming();
    let folder = running.dir().to_path_buf();
    let shared = |slot: &str, to: &str| {
        let path = |name: &str| folder.join(name).display().to_string();
        Invocation::new("--http none")
            .argument(format!("--slot={slot}"))
            .argument(format!("--to=file:{}", if to == "out" { path(to) } else { to.to_owned() }))
            .argument(format!("--state={}", path("state")))
            .dsn(server.dsn("postgres", &database))
    };
    let names = [(&*folder.display().to_string(), "FOLDER")];
    // Two agents with the same slot, output and state.
    for (slot, to, named) in [("first", "out", "out"), ("second", "other", "state")] {
        shared(slot, to).run().says(
            69,
            &names,
            &format!(
                "FOLDER/{named} is in use by another process\n  stop that process, or choose \
                 another file (--to, --state)"
            ),
        );
    }
    let ended = running.terminate().expect(0, &[]).expect_files(&["out", "state"]);
    shared("second", "other").run().says(
        78,
        &names,
        "the state in FOLDER/state is of slot \"first\", expected \"second\"\n  give each slot a \
         file of its own (--state)",
    );
    std::fs::write(ended.path("state"), "{\"version\":1").expect("the file is ours");
    shared("first", "out").run().says(
        78,
        &names,
        "the state in FOLDER/state cannot be read: EOF while parsing an object at line 1 column \
         12\n  restore it from a backup, or remove it with `cdc-agent drop` and start over",
    );
}

/// With a destination of its own each, the slot is all that two agents share: the second waits,
/// because the first may be one of ours that the server has not given up yet.
#[test]
fn two_agents_have_the_same_slot() {
    let server = server();
    let database = server.database("twins");
    let mut first = server.agent("twins", &database).start();
    first.wait_streaming();
    let mut second = server.agent("twins", &database).start();
    second.wait_logged("waiting for the slot");
    let log = second.daemon().log();
    let holder = format!("in use by process {} (application \"cdc-agent\"", {
        let sql = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'twins'";
        server.postgres.query_one(&database, sql).expect("it is in use")
    });
    assert!(log.contains(&holder), "{holder}: {log}");
    second.terminate().expect(0, &[]);
    first.terminate().expect(0, &[]);
}

#[test]
fn the_port_is_taken() {
    let server = server();
    let database = server.database("ports");
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let agent = || {
        Invocation::new("--to file:out --state state --slot ports")
            .dsn(server.dsn("postgres", &database))
    };
    let before = server.postgres.query_one(&database, GUESTS);
    agent().argument(format!("--http={address}")).run().says(
        78,
        &[(&address, "ADDRESS")],
        "HTTP port ADDRESS cannot be used: Address already in use (os error 98)\n  choose another \
         with --http ADDRESS:PORT, or turn it off with --http none",
    );
    assert_eq!(server.postgres.query_one(&database, GUESTS), before);
    // The default port was not asked for. It is taken now, by us if not by somebody else.
    let _taken = std::net::TcpListener::bind(("127.0.0.1", 8383)).ok();
    let mut running = agent().start();
    running.wait_logged("the default HTTP port cannot be used; metrics and health are not shown");
    running.wait_streaming();
    running.terminate().expect(0, &[]);
}
