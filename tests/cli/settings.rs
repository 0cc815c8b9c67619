//! Flags, settings and configuration files, before any server is asked.

use super::*;

const HINT: &str = "correct the settings; cdc-agent config lists all of them";

#[test]
fn flags_are_checked() {
    let ended = Invocation::new("--slto s").run();
    assert_eq!(ended.code, Some(64));
    let expected = "error: unexpected argument '--slto' found\n\n  tip: a similar argument exists: \
        '--slot'\n";
    assert!(ended.stderr.starts_with(expected), "{}", ended.stderr);
    let ended = Invocation::new("dorp --slot s").run();
    assert_eq!(ended.code, Some(64));
    assert!(ended.stderr.contains("a similar subcommand exists: 'drop'"), "{}", ended.stderr);
    Invocation::new("--slot s")
        .argument("--set")
        .argument(format!("database.password:{SECRET}"))
        .run()
        .says(
            64,
            &[],
            "--set database.password: expected NAME=VALUE\n  as in --set log.level=debug",
        );
    // No slot is the one thing that has no default.
    Invocation::new("").run().says(
        78,
        &[],
        &format!("slot.name: no slot is given: use --slot NAME\n  {HINT}"),
    );
}

#[test]
fn help_and_version_go_to_stdout() {
    let ended = Invocation::new("--version").run();
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    assert_eq!(ended.stdout, format!("cdc-agent {}\n", env!("CARGO_PKG_VERSION")));
    for arguments in ["--help", "-h", "drop --help", "config --help"] {
        let ended = Invocation::new(arguments).run();
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{arguments}");
        for flag in ["--slot", "--dsn", "--brokers", "--config", "--set", "--http", "--to"] {
            assert!(ended.stdout.contains(flag), "{arguments} lacks {flag}: {}", ended.stdout);
        }
    }
    // A password on the command line is in the process list.
    let help = Invocation::new("--help").run().stdout;
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected = "Everybody on this machine can see a password in it (ps): better give that in \
        PGPASSWORD, ~/.pgpass, or the whole string in CDC_AGENT_DSN";
    assert!(words.contains(expected), "{help}");
}

#[test]
fn settings_are_checked_all_at_once() {
    let says = |agent: Invocation, message: &str| {
        agent.run().says(78, &[], &format!("{message}\n  {HINT}")).expect_files(&[])
    };
    let agent = || Invocation::new("--slot s --http none");
    says(
        agent().set("table.includ.list", "x"),
        "table.includ.list: no such property; the nearest is table.include.list",
    );
    says(
        agent().variable("CDC_AGENT_SLOT_NAM", "x"),
        "CDC_AGENT_SLOT_NAM (slot.nam): no such property; the nearest is slot.name",
    );
    says(
        agent().set("decimal.handling.mode", "exact").set("tombstones.on.delete", "yes"),
        "decimal.handling.mode: found \"exact\", expected precise, double, string; \
         tombstones.on.delete: found \"yes\", expected true or false",
    );
    says(
        agent().set("connect.timeout.ms", "soon"),
        "connect.timeout.ms: found \"soon\", expected milliseconds from 100 to 86400000",
    );
    says(
        agent().set("table.include.list", "a").set("table.exclude.list", "b"),
        "table.include.list: table.exclude.list is given too, expected one of them",
    );
    says(
        Invocation::new("--slot Shop-1 --http none"),
        "slot.name: found \"Shop-1\", expected at most 63 lower-case letters, digits and underscores",
    );
    says(
        Invocation::new("--slot s --http 8383"),
        "http: found \"8383\", expected ADDRESS:PORT as in 127.0.0.1:8383",
    );
    says(
        agent().argument("--to=ftp:x"),
        "to: found \"ftp\", expected kafka, stdout, file:PATH, duckdb:PATH or postgres://…",
    );
    says(
        agent().argument("--log-level=loud"),
        "log.level: found \"loud\", expected error, warn, info, debug or trace, or directives as in \
         info,cdc_agent::capture=debug",
    );
    says(agent().argument("--log-format=xml"), "log.format: found \"xml\", expected text, json");
    says(
        agent().set("plugin.name", "wal2json"),
        "plugin.name: found \"wal2json\", expected pgoutput",
    );
    says(
        agent().set("driver.socketTimeout", "1"),
        "driver.socketTimeout: a property of Debezium that is refused here: it configures the JVM or \
         a Java class",
    );
    says(
        agent().set("table.include.list", "a(b"),
        "table.include.list: \"a(b\" is not a regular expression: unclosed group",
    );
    says(
        agent().dsn(format!("postgres://u:{SECRET}@h/d?sslmod=disable")),
        "connection to PostgreSQL: connection parameter \"sslmod\" is not known; the nearest is \
         \"sslmode\"",
    );
}

#[test]
fn channels_of_notifications_are_checked() {
    let says = |agent: Invocation, message: &str| {
        agent.run().says(78, &[], &format!("{message}\n  {HINT}")).expect_files(&[])
    };
    let agent = || Invocation::new("--slot s --http none");
    says(
        agent().set("notification.enabled.channels", "log, jmx"),
        "notification.enabled.channels: found \"jmx\", expected sink, log (jmx and classes need a \
         JVM)",
    );
    says(
        agent().set("notification.enabled.channels", "sink"),
        "notification.sink.topic.name: found nothing, expected a topic, because \
         notification.enabled.channels has sink",
    );
}

#[test]
fn labels_of_metrics_and_names_of_secrets_are_checked() {
    let says = |agent: Invocation, message: &str| {
        agent.run().says(78, &[], &format!("{message}\n  {HINT}")).expect_files(&[])
    };
    let agent = || Invocation::new("--slot s --http none");
    says(
        agent().set("custom.metric.tags", "env=prod,slot=x"),
        "custom.metric.tags: found \"slot\", which is there already",
    );
    says(
        agent().set("custom.sanitize.pattern", "a(b"),
        "custom.sanitize.pattern: \"a(b\" is not a regular expression: unclosed group",
    );
    let hidden =
        Invocation::new("config").set("custom.sanitize.pattern", ".*\\.list").argument("--slot=s");
    let hidden = hidden.set("table.include.list", SECRET).set("database.password", SECRET).run();
    assert!(hidden.stdout.contains("table.include.list = ***"), "{}", hidden.stdout);
    assert!(hidden.stdout.contains("database.password = ***"), "{}", hidden.stdout);
}

#[test]
fn configuration_files_are_checked() {
    let says = |name: &str, content: &str, message: &str| {
        Invocation::new("--slot s --http none --config")
            .argument(name)
            .file(name, content, 0o600)
            .run()
            .says(78, &[], &format!("{message}\n  {HINT}"));
    };
    // What stands in a broken line may be a password.
    for (name, content, message) in [
        (
            "a.toml",
            format!("topic.prefix = \"p\"\n\ndatabase.password = \"{SECRET}\n"),
            "configuration file a.toml: line 3: invalid basic string, expected `\"`",
        ),
        (
            "a.properties",
            format!("# x\ntopic.prefix=p\n=={SECRET}\n"),
            "configuration file a.properties: line 3: expected name=value",
        ),
        (
            "a.json",
            format!("{{\n  \"topic.prefix\": \"p\"\n  \"database.password\": \"{SECRET}\"\n}}\n"),
            "configuration file a.json: line 3: expected `,` or `}`",
        ),
        (
            "b.json",
            "[1]".to_owned(),
            "configuration file b.json: expected an object of names and values",
        ),
        (
            "c.json",
            "{\"table.include.list\": [\"a\"]}".to_owned(),
            "configuration file c.json: \"table.include.list\" is a list or an object, expected text",
        ),
        (
            "c.toml",
            "[slot]\nnam = \"x\"\n".to_owned(),
            "slot.nam: no such property; the nearest is slot.name",
        ),
    ] {
        says(name, &content, message);
    }
    let missing = "configuration file no/such.toml cannot be read: No such file or directory (os \
        error 2)\n  give the path of an existing file to --config";
    Invocation::new("--slot s --config no/such.toml").run().says(66, &[], missing);
    let folder = "configuration file / cannot be read: Is a directory (os error 21)\n  give the \
        path of an existing file to --config";
    Invocation::new("--slot s --config /").run().says(66, &[], folder);
}

#[test]
fn config_shows_what_holds_and_no_secret() {
    let secret = format!("database.password = \"{SECRET}\"\ntopic.prefix = \"of_file\"\n");
    let ended = Invocation::new("config --slot etl_slot --config a.toml --set topic.prefix=of_set")
        .dsn(format!("postgres://u:{SECRET}@h/d"))
        .set("kafka.sasl.password", SECRET)
        .set("producer.ssl.key.password", SECRET)
        .variable("CDC_AGENT_TOMBSTONES_ON_DELETE", "false")
        .file("a.toml", &secret, 0o600)
        .run()
        .expect(0, &[]);
    assert_eq!(ended.stderr, "");
    for line in [
        "; flag)\nslot.name = etl_slot\n",
        "; --set)\ntopic.prefix = of_set\n",
        "; environment)\ntombstones.on.delete = false\n",
        "; file)\ndatabase.password = ***\n",
        "; flag)\ndsn = ***\n",
        "; default)\ndecimal.handling.mode = string\n",
        "kafka.sasl.password = ***\n",
        "producer.ssl.key.password = ***\n",
    ] {
        assert!(ended.stdout.contains(line), "{line:?} is not in\n{}", ended.stdout);
    }
    Invocation::new("config --set tombstone.on.delete=1").run().says(
        78,
        &[],
        &format!(
            "tombstone.on.delete: no such property; the nearest is tombstones.on.delete\n  {HINT}"
        ),
    );
}

/// Log, metrics and messages are looked through for the password; the command line is the user's.
#[test]
fn the_password_is_in_no_output() {
    let server = server();
    let database = server.database("secrets");
    server.postgres.execute(&database, "GRANT CREATE ON DATABASE secrets TO scram");
    server.postgres.execute(&database, "ALTER TABLE t OWNER TO scram");
    let port = process::free_port();
    let agent = |slot: &str| {
        Invocation::new("--to file:out --state state")
            .argument(format!("--slot={slot}"))
            .argument(format!("--http=127.0.0.1:{port}"))
            .argument("--log-level=trace")
    };
    let seen = "everybody on this machine can see the password in --dsn (ps); give it in \
        PGPASSWORD, ~/.pgpass or CDC_AGENT_DSN";
    let dsn = format!("postgres://scram:{SECRET}@127.0.0.1:{}/{database}", server.port());
    for (slot, agent, warned) in [
        ("shown", agent("shown").dsn(&dsn), true),
        ("hidden", agent("hidden").variable("CDC_AGENT_DSN", &dsn), false),
        (
            "by_variable",
            agent("by_variable").dsn(server.dsn("scram", &database)).variable("PGPASSWORD", SECRET),
            false,
        ),
    ] {
        let mut running = agent.start();
        running.wait_streaming();
        let pid = running.daemon().pid();
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("it runs");
        assert_eq!(line.contains(SECRET), warned, "{slot}: the command line");
        assert_eq!(running.daemon().log().contains(seen), warned, "{slot}: the warning");
        for path in ["/metrics", "/health/ready", "/health/live"] {
            let answer = cdc_testkit::http::get(&format!("http://127.0.0.1:{port}{path}"));
            let answer = answer.expect("it answers").body;
            assert!(!answer.contains(SECRET), "{path}: {answer}");
        }
        // Its end is looked through for the password too.
        let ended = running.terminate().expect(0, &[]);
        for name in ["out", "state"] {
            let text = std::fs::read_to_string(ended.path(name)).expect("the file is there");
            assert!(!text.contains(SECRET), "{name}: {text}");
        }
    }
}

#[test]
fn a_log_of_json_ends_as_json() {
    let ended = Invocation::new("--slot s --log-format json --to ftp:x").run();
    assert_eq!(ended.code, Some(78));
    let lines: Vec<serde_json::Value> = ended
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    let last = lines.last().expect("it says why it ends");
    assert_eq!((&last["level"], &last["status"]), (&"ERROR".into(), &78.into()), "{last}");
    let message = last["message"].as_str().expect("it has a message");
    assert!(message.starts_with("to: found \"ftp\", expected kafka"), "{message}");
    assert_eq!(last["hint"], HINT);
}
