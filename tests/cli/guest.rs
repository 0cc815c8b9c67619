//! Rights and tables: what a guest must be given, and what it must not break.

use super::*;

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
    let create = "or create it yourself: CREATE PUBLICATION \"s\" FOR TABLE \"public\".\"Odd name\", \
        \"public\".\"t\" WITH (publish_via_partition_root = true)";
    server.refuses(
        &database,
        agent("s"),
        77,
        &format!(
            "role \"guest\" may not create publication \"s\": it lacks CREATE on database \
             \"rights\", and it does not own \"public\".\"Odd name\", \"public\".\"t\"\n  run as a \
             superuser: GRANT CREATE ON DATABASE \"rights\" TO \"guest\"; ALTER TABLE \
             \"public\".\"Odd name\" OWNER TO \"guest\"; ALTER TABLE \"public\".\"t\" OWNER TO \
             \"guest\"; {create}"
        ),
    );
    execute("GRANT CREATE ON DATABASE rights TO guest; ALTER TABLE \"Odd name\" OWNER TO guest");
    server.refuses(
        &database,
        agent("s"),
        77,
        &format!(
            "role \"guest\" may not create publication \"s\": it does not own \"public\".\"t\"\n  \
             run as a superuser: ALTER TABLE \"public\".\"t\" OWNER TO \"guest\"; {create}"
        ),
    );
    // What was said is enough.
    execute("ALTER TABLE t OWNER TO guest");
    let mut running = agent("guests_own").start();
    running.wait_streaming();
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
        "role \"guest\" may not read public.t, hidden.u\n  run as a superuser or the tables' owner: \
         GRANT SELECT ON \"public\".\"t\" TO \"guest\"; GRANT USAGE ON SCHEMA \"hidden\" TO \
         \"guest\"; GRANT SELECT ON \"hidden\".\"u\" TO \"guest\"",
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
        "role \"guest\" may not read public.t\n  run as a superuser or the tables' owner: GRANT \
         SELECT ON \"public\".\"t\" TO \"guest\"",
    );
    execute("GRANT SELECT ON t TO guest; ALTER TABLE t ENABLE ROW LEVEL SECURITY");
    server.refuses(
        &database,
        agent(),
        77,
        "row-level security hides rows of public.t from role \"guest\"\n  run as a superuser: ALTER \
         ROLE \"guest\" BYPASSRLS",
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
        "role \"guest\" may not read public.t\n  run as a superuser or the tables' owner: GRANT \
         SELECT ON \"public\".\"t\" TO \"guest\"",
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
