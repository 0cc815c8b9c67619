//! Rights and tables: what a guest must be given, and what it must not break.

use super::*;

/// Who grants what is lacking.
const OWNER: &str = "run as a superuser, or as the owner of the tables and the database:";

/// A database of its own in which the role `guest` may do what it is granted.
fn with_guest(name: &str) -> (String, impl Fn(&str) -> Invocation) {
    let database = server().database(name);
    let dsn = server().dsn("guest", &database);
    (database, move |slot: &str| to_file(slot).dsn(&dsn))
}

#[test]
fn the_role_may_not_create_a_publication() {
    let server = server();
    let (database, agent) = with_guest("rights");
    let execute = |sql: &str| server.postgres.execute(&database, sql);
    execute("CREATE TABLE \"Odd name\" (id int PRIMARY KEY)");
    execute("CREATE SCHEMA app; CREATE TABLE app.x (id int PRIMARY KEY)");
    // Everything that is missing at once, and no other owner for any table.
    server.refuses(
        &database,
        agent("s"),
        77,
        "role \"guest\" may not create publication \"s\" (it lacks CREATE on database \"rights\"; it \
         does not own app.x, public.Odd name, public.t), and may not read public.t, public.Odd \
         name, app.x\n  run as a superuser, or as the owner of the tables and the database:\n    \
         CREATE PUBLICATION \"s\" FOR TABLE ONLY \"app\".\"x\", ONLY \"public\".\"Odd name\", ONLY \
         \"public\".\"t\" WITH (publish_via_partition_root = true);\n    GRANT SELECT ON \
         \"public\".\"t\" TO \"guest\";\n    GRANT SELECT ON \"public\".\"Odd name\" TO \
         \"guest\";\n    GRANT USAGE ON SCHEMA \"app\" TO \"guest\";\n    GRANT SELECT ON \
         \"app\".\"x\" TO \"guest\";",
    );
    // A role that may not even replicate is told the rest, too.
    execute("CREATE ROLE newcomer LOGIN");
    let newcomer = to_file("s").dsn(server.dsn("newcomer", &database)).run();
    assert!(newcomer.stderr.contains("does not let role \"newcomer\" replicate"), "{newcomer:?}");
    let script = newcomer.stderr.split_once("database:\n").expect("a script").1;
    for command in
        ["CREATE PUBLICATION \"s\" FOR", "GRANT USAGE ON SCHEMA \"app\"", "GRANT SELECT ON"]
    {
        assert!(script.contains(command), "{script}");
    }
    // What is said is enough, word by word.
    execute(script);
    execute(
        "DROP PUBLICATION s; GRANT CREATE ON DATABASE rights TO guest; \
        ALTER TABLE \"Odd name\" OWNER TO guest; ALTER TABLE app.x OWNER TO guest",
    );
    server.refuses(
        &database,
        agent("s").set("table.exclude.list", "app.x"),
        77,
        "role \"guest\" may not create publication \"s\" (it does not own public.t), and may not \
         read public.t\n  run as a superuser, or as the owner of the tables and the database:\n    \
         CREATE PUBLICATION \"s\" FOR TABLE ONLY \"public\".\"Odd name\", ONLY \"public\".\"t\" WITH \
         (publish_via_partition_root = true);\n    GRANT SELECT ON \"public\".\"t\" TO \"guest\";",
    );
    execute(script);
    let mut running = to_file("newcomers").dsn(server.dsn("newcomer", &database));
    running = running.argument("--publication=s");
    let mut running = running.start();
    running.wait_streaming();
    running.terminate().expect(0, &[]);
    // A role that owns its tables creates its own.
    execute("ALTER TABLE t OWNER TO guest; GRANT USAGE ON SCHEMA app TO guest");
    let mut running = agent("guests_own").start();
    running.wait_streaming();
    running.terminate().expect(0, &[]);
}

/// The commands of the manual, on the tables that they name, and nothing else.
#[test]
fn the_rights_of_the_manual_are_enough() {
    let server = server();
    let (database, warehouse) = (server.database("manual"), "manual_warehouse");
    let commands = |page: &str, heading: &str| {
        let page = std::fs::read_to_string(page).expect("the page is there");
        let section = page.split_once(heading).expect("the heading is there").1;
        let sql = section.split_once("```sql\n").and_then(|(_, rest)| rest.split_once("```"));
        sql.expect("commands are there").0.to_owned()
    };
    server.postgres.execute(
        &database,
        "DROP TABLE t; CREATE TABLE customers (id int PRIMARY KEY, v text); \
         CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO customers VALUES (1, 'a'); \
         REVOKE ALL ON SCHEMA public FROM public; REVOKE ALL ON DATABASE manual FROM public; \
         GRANT CONNECT ON DATABASE manual TO public",
    );
    let agents = commands("docs/operations.md", "### Least privilege: you create the publication");
    server.postgres.execute(&database, &agents);
    let sinks = commands("docs/warehouses.md", "## PostgreSQL");
    server.postgres.execute(&database, "CREATE DATABASE manual_warehouse");
    let sinks = sinks.replace("DATABASE warehouse", "DATABASE manual_warehouse");
    for command in sinks.split(';').filter(|command| !command.contains("CREATE DATABASE")) {
        let revoke = "REVOKE ALL ON SCHEMA public FROM public; \
            REVOKE ALL ON DATABASE manual_warehouse FROM public; \
            GRANT CONNECT ON DATABASE manual_warehouse TO public; ";
        let command = command.split("--").last().unwrap_or_default();
        let command = command.split_once('\n').map_or(command, |(_, command)| command);
        server.postgres.execute(warehouse, &format!("{revoke}{command}"));
    }
    let mut running = Invocation::new("--http none --slot etl_slot")
        .argument("--to")
        .argument(server.dsn("cdc_sink", warehouse))
        .dsn(server.dsn("cdc-agent", &database))
        .start();
    running.wait_streaming();
    server
        .postgres
        .execute(&database, "UPDATE customers SET v = 'b'; INSERT INTO orders VALUES (7)");
    process::wait_until(PATIENCE, "changes to be applied", || {
        let sql = "SELECT v || o.id FROM customers, orders o";
        let client = server.postgres.client(warehouse).query_opt(sql, &[]);
        client.ok().flatten().is_some_and(|row| row.get::<_, String>(0) == "b7")
    });
    running.terminate().expect(0, &[]);
}

#[test]
fn the_role_may_not_read_a_table() {
    let server = server();
    let (database, agent) = with_guest("selects");
    let execute = |sql: &str| server.postgres.execute(&database, sql);
    execute(
        "CREATE SCHEMA hidden; CREATE TABLE hidden.u (id int PRIMARY KEY); \
         CREATE PUBLICATION p FOR TABLE t, hidden.u; REVOKE ALL ON SCHEMA public FROM public; \
         GRANT USAGE ON SCHEMA public TO guest",
    );
    let agent = || agent("s").argument("--publication=p");
    server.refuses(
        &database,
        agent(),
        77,
        &format!(
            "role \"guest\" may not read public.t, hidden.u\n  {OWNER}\n    GRANT SELECT ON \
             \"public\".\"t\" TO \"guest\";\n    GRANT USAGE ON SCHEMA \"hidden\" TO \
             \"guest\";\n    GRANT SELECT ON \"hidden\".\"u\" TO \"guest\";"
        ),
    );
    // One column is not all of them.
    execute(
        "GRANT USAGE ON SCHEMA hidden TO guest; GRANT SELECT ON hidden.u TO guest; \
         GRANT SELECT (id) ON t TO guest",
    );
    server.refuses(
        &database,
        agent(),
        77,
        &format!(
            "role \"guest\" may not read public.t\n  {OWNER}\n    GRANT SELECT ON \
             \"public\".\"t\" TO \"guest\";"
        ),
    );
    execute("GRANT SELECT ON t TO guest; ALTER TABLE t ENABLE ROW LEVEL SECURITY");
    server.refuses(
        &database,
        agent(),
        77,
        &format!(
            "role \"guest\" does not see all rows of public.t (row-level security)\n  {OWNER}\n    \
             ALTER ROLE \"guest\" BYPASSRLS;"
        ),
    );
    execute("ALTER TABLE t DISABLE ROW LEVEL SECURITY");
    let mut running = to_file("may_read").dsn(server.dsn("guest", &database));
    running = running.argument("--publication=p");
    let mut running = running.start();
    running.wait_streaming();
    running.terminate().expect(0, &[]);
}

/// A refusal after the publication has been created takes it back.
#[test]
fn a_publication_of_ours_goes_when_there_is_no_slot_for_it() {
    let server = server();
    let (database, agent) = with_guest("withdrawn");
    let execute = |sql: &str| server.postgres.execute(&database, sql);
    execute("CREATE ROLE owner_without_select; GRANT CREATE ON DATABASE withdrawn TO guest");
    execute("GRANT owner_without_select TO guest; ALTER TABLE t OWNER TO owner_without_select");
    execute("REVOKE SELECT ON t FROM owner_without_select");
    server.refuses(
        &database,
        agent("s"),
        77,
        &format!(
            "role \"guest\" may not read public.t\n  {OWNER}\n    GRANT SELECT ON \
             \"public\".\"t\" TO \"guest\";"
        ),
    );
}

/// In a publication, a table without a usable identity makes its owner's UPDATE fail.
#[test]
fn tables_without_identity_are_named_and_left_alone() {
    let server = server();
    let database = server.database("identities");
    server.postgres.execute(
        &database,
        "CREATE TABLE bare (id int, v text); \
         CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE); \
         CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING; \
         CREATE TABLE whole (id int); ALTER TABLE whole REPLICA IDENTITY FULL; \
         CREATE TABLE by_index (id int NOT NULL UNIQUE); \
         ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_id_key; \
         INSERT INTO t VALUES (1); INSERT INTO bare VALUES (1); INSERT INTO deferred VALUES (1); \
         INSERT INTO nothing VALUES (1); INSERT INTO whole VALUES (1); \
         INSERT INTO by_index VALUES (1); \
         CREATE TABLE beside (id int PRIMARY KEY, code int NOT NULL UNIQUE); \
         ALTER TABLE beside REPLICA IDENTITY USING INDEX beside_code_key; \
         INSERT INTO beside VALUES (1, 7)",
    );
    let mut running = server.agent("identities", &database).start();
    running.wait_streaming();
    for (table, reason) in [
        ("bare", "it has no primary key"),
        ("deferred", "its primary key is deferrable"),
        ("nothing", "its replica identity is NOTHING"),
    ] {
        let line = format!(
            "WARN the table is not captured: in a publication its UPDATE and DELETE would fail; add \
             a primary key, or run ALTER TABLE … REPLICA IDENTITY FULL table=public.{table} \
             reason=\"{reason}\""
        );
        let log = running.daemon().log();
        assert_eq!(log.matches(&line).count(), 1, "{line}\n{log}");
    }
    let line = "the replica identity is an index without the key: deletes and changes of the key \
        cannot name their row, as in Debezium; run: ALTER TABLE \"public\".\"beside\" REPLICA \
        IDENTITY DEFAULT (or FULL) table=public.beside key=[\"id\"] carried=[\"code\"]";
    let log = running.daemon().log();
    assert_eq!(log.matches(line).count(), 1, "{line}\n{log}");
    for table in ["t", "bare", "deferred", "nothing", "whole", "by_index", "beside"] {
        let sql = format!("UPDATE {table} SET id = 2; DELETE FROM {table} WHERE id = 2");
        server.postgres.execute(&database, &sql);
    }
    let sql = "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_publication_tables \
        WHERE pubname = 'identities'";
    let published = server.postgres.query_one(&database, sql);
    assert_eq!(published.as_deref(), Some("beside by_index t whole"));
    running.terminate().expect(0, &[]);
}

#[test]
fn there_is_nothing_to_capture() {
    let server = server();
    let database = server.database("nothing");
    let hint = "create tables with a primary key, or set REPLICA IDENTITY FULL on those without, and \
        check table.include.list";
    server.refuses(
        &database,
        server.agent("s", &database).set("table.include.list", "public\\.tt"),
        78,
        &format!(
            "database \"nothing\" has no table that can be captured; filtered: public.t\n  {hint}"
        ),
    );
    server.postgres.execute(&database, "DROP TABLE t; CREATE TABLE bare (id int)");
    server.refuses(
        &database,
        server.agent("s", &database),
        78,
        &format!(
            "database \"nothing\" has no table that can be captured; left out: public.bare (it has \
             no primary key)\n  {hint}"
        ),
    );
    // A publication of all tables that is asked for sends what is inserted into it.
    let all = server.agent("all_bare", &database).set("publication.autocreate.mode", "all_tables");
    let mut running = all.start();
    running.wait_streaming();
    running.terminate().expect(0, &[]);
    server.postgres.execute(&database, "DROP PUBLICATION all_bare");
    server.postgres.execute(&database, "SELECT pg_drop_replication_slot('all_bare')");
    server.postgres.execute(&database, "DROP TABLE bare");
    server.refuses(
        &database,
        server.agent("s", &database),
        78,
        &format!("database \"nothing\" has no table that can be captured\n  {hint}"),
    );
    server.refuses(
        &database,
        server.agent("s", &database).set("publication.autocreate.mode", "disabled"),
        78,
        "publication \"s\" does not exist and publication.autocreate.mode is disabled\n  create it: \
         CREATE PUBLICATION \"s\" FOR TABLE …",
    );
}
