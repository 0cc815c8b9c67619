//! What is captured changes while the agent looks at it, reads it or is away.

use cdc_agent::capture::postgres::SourceSettings;
use cdc_agent::capture::postgres::Sql;
use cdc_agent::capture::postgres::conninfo::ConnInfo;
use cdc_agent::capture::postgres::publication;

use super::*;

/// The snapshot does not show the rows of a table whose file was replaced since.
#[test]
fn a_table_rewritten_between_snapshot_and_copy_is_snapshotted_again() {
    let name = "rewritten";
    let postgres = run::shared_postgres(15);
    postgres.create_database(name);
    postgres.execute(
        name,
        "CREATE TABLE a_slow (id int PRIMARY KEY); INSERT INTO a_slow VALUES (1);
         CREATE TABLE b_rewritten (id int PRIMARY KEY, v int);
         INSERT INTO b_rewritten SELECT n, n FROM generate_series(1, 100) n;
         CREATE TABLE c_truncated (id int PRIMARY KEY, v int);
         INSERT INTO c_truncated SELECT n, n FROM generate_series(1, 100) n;
         CREATE TABLE d_parts (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
         CREATE TABLE d_low PARTITION OF d_parts FOR VALUES FROM (0) TO (50);
         CREATE TABLE d_high PARTITION OF d_parts FOR VALUES FROM (50) TO (1000);
         INSERT INTO d_parts SELECT n, n FROM generate_series(1, 100) n;
         CREATE TABLE e_dropped (id int PRIMARY KEY, v int, w int);
         INSERT INTO e_dropped VALUES (1, 2, 3)",
    );
    let overrides = "snapshot.select.statement.overrides";
    let options = AgentOptions::new(&postgres.dsn(name), run::shared_kafka(), name)
        .set("snapshot.max.threads", "1")
        .set(overrides, "public.a_slow")
        .set(&format!("{overrides}.public.a_slow"), "SELECT a.* FROM public.a_slow a, pg_sleep(2)");
    let mut agent = Agent::start(options);
    agent.wait(run::SOON, "the reading to begin", |_| {
        let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        postgres.query_one(name, sleeping).as_deref() == Some("1")
    });
    postgres.execute(
        name,
        "ALTER TABLE b_rewritten ALTER v TYPE bigint; TRUNCATE c_truncated;
         INSERT INTO c_truncated VALUES (7, 7);
         ALTER TABLE d_parts ALTER v TYPE bigint; ALTER TABLE e_dropped DROP w",
    );
    agent.wait_streaming(run::SOON);
    postgres.execute(name, "INSERT INTO b_rewritten VALUES (101, 101)");
    source::wait_caught_up(postgres, &mut agent, name, run::SOON);
    agent.stop();
    assert!(agent.logged("is read again under a later snapshot"), "{}", agent.log());
    let verdict = judge(run::shared_kafka(), name);
    say(name, &verdict);
    let tables = ["public.b_rewritten", "public.d_parts", "public.e_dropped"];
    verdict.assert_sound_and_equal(postgres, name, &tables);
}

/// While the slot waits for a transaction, a column comes that the reads have to bring.
#[test]
fn a_table_altered_while_the_slot_is_being_created_is_read_as_it_is() {
    let name = "altered_early";
    let postgres = run::shared_postgres(15);
    Small::database(postgres, name);
    let mut open = postgres.client(name);
    open.batch_execute("BEGIN; SELECT pg_current_xact_id()").expect("a transaction");
    let options = AgentOptions::new(&postgres.dsn(name), run::shared_kafka(), name);
    let mut agent = Agent::start(options);
    agent.wait(run::SOON, "the slot to wait", |_| {
        let slots = format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{name}'");
        postgres.query_one(name, &slots).as_deref() == Some("1")
    });
    postgres.execute(name, "ALTER TABLE items ADD c int; UPDATE items SET c = id * 100");
    postgres.execute(name, "ALTER TABLE items RENAME v TO w");
    open.batch_execute("COMMIT").expect("it ends");
    agent.wait_streaming(run::SOON);
    source::wait_caught_up(postgres, &mut agent, name, run::SOON);
    agent.stop();
    let verdict = judge(run::shared_kafka(), name);
    verdict.assert_sound_and_equal(postgres, name, &[ITEMS]);
}

/// Our own publication: a table leaves it with its primary key, or by a filter, and comes back.
#[test]
fn a_table_that_left_our_publication_and_came_back_is_snapshotted_again() {
    let name = "own_members";
    let postgres = run::shared_postgres(15);
    let mut small = Small::with(postgres, name, |options| options);
    let members = format!("SELECT count(*) FROM pg_publication_tables WHERE pubname = '{name}'");
    small.agent.stop();
    small.execute("CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1)");
    small.execute("ALTER TABLE items DROP CONSTRAINT items_pkey");
    small.agent.start_again();
    small.agent.wait_streaming(run::SOON);
    assert!(small.agent.logged("the table is captured no longer"), "{}", small.agent.log());
    small.execute(
        "UPDATE items SET v = 'unseen' WHERE id < 5;
         INSERT INTO items VALUES (30, 'unseen'); ALTER TABLE items ADD PRIMARY KEY (id)",
    );
    small.agent.stop();
    small.agent.start_again();
    small.agent.wait_streaming(run::SOON);
    assert!(small.agent.logged("the table is captured again"), "{}", small.agent.log());
    small.insert(31, 40);
    small.wait_caught_up();
    // A filter excludes it for a while: it leaves the publication.
    small.agent.stop();
    small.agent.change(|options| options.set("table.include.list", "public.other"));
    small.agent.start_again();
    small.agent.wait_streaming(run::SOON);
    assert_eq!(postgres.query_one(name, &members).as_deref(), Some("1"));
    small.execute("UPDATE items SET v = 'unseen, too' WHERE id = 7");
    small.agent.stop();
    small.agent.change(|options| options.set("table.include.list", "public.*"));
    small.agent.start_again();
    small.agent.wait_streaming(run::SOON);
    small.insert(41, 50);
    // The fold knows nothing of epochs: what was deleted unseen would still be there.
    small.assert_equal(&[ITEMS, "public.other"]);
}

/// PostgreSQL sends nothing of rows that come with a partition, or go with one.
#[test]
fn partitions_that_come_with_rows_are_read_and_those_that_go_are_told() {
    let name = "partitions";
    let postgres = run::shared_postgres(15);
    Small::database(postgres, name);
    postgres.execute(
        name,
        "CREATE TABLE parts (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
         CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (100);
         INSERT INTO parts SELECT n, n FROM generate_series(1, 9) n;
         CREATE TABLE filled (LIKE parts INCLUDING ALL); INSERT INTO filled VALUES (200, 1);
         CREATE TABLE away (LIKE parts INCLUDING ALL); INSERT INTO away VALUES (300, 1)",
    );
    postgres.execute(
        name,
        "CREATE PUBLICATION p FOR TABLE parts WITH (publish_via_partition_root = true)",
    );
    let options = AgentOptions::new(&postgres.dsn(name), run::shared_kafka(), name)
        .set("publication.name", "p")
        .set("catalog.interval.ms", "300");
    let mut agent = Agent::start(options);
    agent.wait_streaming(run::SOON);
    // What comes empty needs no read.
    postgres.execute(
        name,
        "CREATE TABLE born PARTITION OF parts FOR VALUES FROM (100) TO (200);
         CREATE TABLE empty (LIKE parts INCLUDING ALL);
         ALTER TABLE parts ATTACH PARTITION empty FOR VALUES FROM (400) TO (500);
         INSERT INTO parts VALUES (100, 1), (400, 1)",
    );
    let reads = |agent: &Agent| agent.log().matches("table read table=public.parts ").count();
    source::wait_caught_up(postgres, &mut agent, name, run::SOON);
    postgres
        .execute(name, "ALTER TABLE parts ATTACH PARTITION filled FOR VALUES FROM (200) TO (300)");
    agent.wait(run::SOON, "the table to be read again", |agent| reads(agent) == 2);
    agent.wait(run::SOON, "the filled partition to be named", |agent| {
        agent.logged("a partition was attached with rows in it") && agent.logged("public.filled")
    });
    source::wait_caught_up(postgres, &mut agent, name, run::SOON);
    agent.stop();
    // In one transaction, and while the agent is away.
    postgres.execute(
        name,
        "BEGIN; CREATE TABLE at_once (LIKE parts INCLUDING ALL); INSERT INTO at_once VALUES (600, 1);
         ALTER TABLE parts ATTACH PARTITION at_once FOR VALUES FROM (600) TO (700); COMMIT;
         ALTER TABLE parts ATTACH PARTITION away FOR VALUES FROM (300) TO (400)",
    );
    agent.start_again();
    agent.wait_streaming(run::SOON);
    assert_eq!(reads(&agent), 1, "{}", agent.log());
    source::wait_caught_up(postgres, &mut agent, name, run::SOON);
    let verdict = judge(run::shared_kafka(), name);
    verdict.assert_sound_and_equal(postgres, name, &["public.parts"]);
    postgres.execute(name, "ALTER TABLE parts DETACH PARTITION low");
    agent.wait(run::SOON, "the detached partition to be told", |agent| {
        agent.logged("a partition was detached or dropped: PostgreSQL sends nothing")
    });
    agent.stop();
    assert_eq!(reads(&agent), 1, "nothing is read for it");
}

/// A function in an index calls another one without its schema, as the well-known wrapper of
/// `unaccent` does: to plan a query of the table would be to look for that one.
#[test]
fn a_table_whose_index_needs_a_search_path_is_read() {
    let name = "index_function";
    let postgres = run::shared_postgres(15);
    Small::database(postgres, name);
    postgres.execute(
        name,
        "CREATE FUNCTION inner_f(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
         CREATE FUNCTION outer_f(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT inner_f($1)';
         CREATE INDEX ON items (outer_f(v))",
    );
    let options = AgentOptions::new(&postgres.dsn(name), run::shared_kafka(), name);
    let mut agent = Agent::start(options);
    agent.wait_streaming(run::SOON);
    source::wait_caught_up(postgres, &mut agent, name, run::SOON);
    agent.stop();
    let verdict = judge(run::shared_kafka(), name);
    verdict.assert_sound_and_equal(postgres, name, &[ITEMS]);
}

/// Under a publication of all tables, or of a schema, a table is streamed from its creation on and
/// never read; one that was moved or added there later is read.
#[test]
fn new_tables_are_streamed_if_all_of_them_was_published_and_read_otherwise() {
    let postgres = run::shared_postgres(15);
    for (name, publication) in [
        ("born_all", "CREATE PUBLICATION p FOR ALL TABLES"),
        ("born_schema", "CREATE PUBLICATION p FOR TABLES IN SCHEMA public"),
    ] {
        Small::database(postgres, name);
        postgres.execute(name, &format!("CREATE SCHEMA x; {publication}"));
        let options = AgentOptions::new(&postgres.dsn(name), run::shared_kafka(), name)
            .set("publication.name", "p")
            .set("schema.include.list", "public")
            .set("catalog.interval.ms", "300");
        let mut agent = Agent::start(options);
        agent.wait_streaming(run::SOON);
        postgres.execute(
            name,
            "CREATE TABLE born (id int PRIMARY KEY, v int); INSERT INTO born VALUES (1, 1), (2, 2);
             CREATE TABLE x.moved (id int PRIMARY KEY, v int); INSERT INTO x.moved VALUES (1, 1);
             CREATE UNLOGGED TABLE logged (id int PRIMARY KEY); INSERT INTO logged VALUES (1)",
        );
        postgres.execute(
            name,
            "ALTER TABLE x.moved SET SCHEMA public; INSERT INTO moved VALUES (2, 2);
             ALTER TABLE logged SET LOGGED; INSERT INTO logged VALUES (2)",
        );
        postgres
            .execute(name, "UPDATE born SET v = 3 WHERE id = 1; DELETE FROM moved WHERE id = 2");
        agent.wait(run::SOON, "the moved table to be read", |agent| {
            ["moved", "logged"]
                .iter()
                .all(|table| agent.logged(&format!("table read table=public.{table} ")))
        });
        source::wait_caught_up(postgres, &mut agent, name, run::SOON);
        agent.kill();
        agent.start_again();
        agent.wait_streaming(run::SOON);
        postgres.execute(name, "DELETE FROM born WHERE id = 2");
        source::wait_caught_up(postgres, &mut agent, name, run::SOON);
        agent.stop();
        assert!(!agent.whole_log().contains("table read table=public.born "), "{name}");
        let verdict = judge(run::shared_kafka(), name);
        let tables = [ITEMS, "public.born", "public.moved", "public.logged"];
        verdict.assert_sound_and_equal(postgres, name, &tables);
    }
}

/// A table that comes into a user's publication with rows in it: it is read at once, whether its
/// rows have a key or not, and later changes of rows that it had count.
#[test]
fn a_table_that_is_added_to_a_publication_while_we_stream_is_read_at_once() {
    let name = "added";
    let postgres = run::shared_postgres(15);
    Small::database(postgres, name);
    postgres.execute(
        name,
        "CREATE TABLE late (id int PRIMARY KEY, v text);
         INSERT INTO late SELECT n, 'x' FROM generate_series(1, 5) n;
         CREATE TABLE late_bag (v text); ALTER TABLE late_bag REPLICA IDENTITY FULL;
         INSERT INTO late_bag VALUES ('a'), ('a'), ('b'); CREATE PUBLICATION p FOR TABLE items",
    );
    let options = AgentOptions::new(&postgres.dsn(name), run::shared_kafka(), name)
        .set("publication.name", "p");
    let mut agent = Agent::start(options);
    agent.wait_streaming(run::SOON);
    // The stream shows it: nobody waits for the next look at the catalog.
    postgres.execute(name, "ALTER PUBLICATION p ADD TABLE late, late_bag");
    postgres.execute(name, "INSERT INTO late VALUES (6, 'six'), (7, 'seven')");
    postgres.execute(name, "INSERT INTO late_bag VALUES ('c')");
    agent.wait(run::SOON, "both tables to be read", |agent| {
        ["late", "late_bag"]
            .iter()
            .all(|table| agent.logged(&format!("table read table=public.{table} ")))
    });
    postgres.execute(name, "DELETE FROM late WHERE id = 6; UPDATE late SET v = 'new' WHERE id = 7");
    postgres.execute(name, "DELETE FROM late_bag WHERE v = 'b'");
    source::wait_caught_up(postgres, &mut agent, name, run::SOON);
    agent.stop();
    let verdict = judge(run::shared_kafka(), name);
    verdict.assert_sound_and_equal(postgres, name, &[ITEMS, "public.late", "public.late_bag"]);
}

/// What a publication publishes is asked of the catalogs themselves.
#[test]
fn published_tables_are_those_of_the_servers_own_view_on_every_version() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for version in [14, 15, 16, 17, 18] {
        let postgres = run::shared_postgres(version);
        let name = format!("view_{version}");
        postgres.create_database(&name);
        postgres.execute(
            &name,
            "CREATE SCHEMA x; CREATE SCHEMA y;
             CREATE TABLE plain (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a) STORED);
             CREATE UNLOGGED TABLE unlogged (id int);
             CREATE TABLE x.root (id int, b int) PARTITION BY RANGE (id);
             CREATE TABLE y.branch PARTITION OF x.root FOR VALUES FROM (0) TO (9) PARTITION BY RANGE (id);
             CREATE TABLE x.leaf PARTITION OF y.branch FOR VALUES FROM (0) TO (5);
             CREATE TABLE y.leaf PARTITION OF x.root FOR VALUES FROM (10) TO (20);
             CREATE TABLE y.alone (id int, c int, d int)",
        );
        let mut publications = vec![
            "FOR ALL TABLES",
            "FOR TABLE plain, x.root",
            "FOR TABLE y.branch, y.leaf",
            "FOR TABLE x.leaf, x.root, y.alone",
        ];
        if version >= 15 {
            publications.push("FOR TABLES IN SCHEMA x");
            publications.push("FOR TABLES IN SCHEMA y, TABLE x.root");
            publications.push("FOR TABLE y.alone (id, d) WHERE (id > 3), x.leaf WHERE (b > 1)");
            publications.push("FOR TABLES IN SCHEMA x, TABLE y.leaf WHERE (b > 1)");
        }
        let info = ConnInfo::parse(&postgres.dsn(&name)).expect("it is good");
        let settings = SourceSettings::new(&info, "view").expect("they are");
        let sql = Sql::open(&settings, runtime.handle()).expect("it connects");
        let filter = if version >= 15 { "rowfilter" } else { "NULL" };
        for (at, publication) in publications.iter().enumerate() {
            for root in [true, false] {
                let object = format!("p{at}_{root}");
                postgres.execute(
                    &name,
                    &format!(
                        "CREATE PUBLICATION {object} {publication} \
                         WITH (publish_via_partition_root = {root})"
                    ),
                );
                let ours = publication::published_tables(&sql, &object, false).expect("tables");
                let ours: Vec<(String, Option<String>)> = ours
                    .into_iter()
                    .map(|table| (table.name.to_string(), table.row_filter))
                    .collect();
                let view = format!(
                    "SELECT schemaname || '.' || tablename, {filter} FROM pg_publication_tables \
                     WHERE pubname = '{object}' ORDER BY schemaname, tablename"
                );
                let rows = postgres.client(&name).query(&view, &[]).expect("the view");
                let mut theirs: Vec<(String, Option<String>)> =
                    rows.iter().map(|row| (row.get(0), row.get(1))).collect();
                if version == 14 {
                    // It names partitions twice, and beside their root, which stands for them.
                    theirs.dedup();
                    theirs.retain(|known| !root || ours.contains(known));
                }
                assert_eq!(ours, theirs, "{publication} on {version}, by the root: {root}");
            }
        }
    }
}
