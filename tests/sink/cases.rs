//! What the source does, case by case: every table must afterwards be the same in a warehouse.

/// Statements and the tables they leave to be compared.
pub(crate) struct Case {
    /// Also the schema of its tables.
    pub(crate) name: &'static str,
    /// Before the agents read.
    pub(crate) setup: &'static str,
    /// Transactions after it.
    pub(crate) changes: &'static [&'static str],
    /// Tables to compare, in SQL.
    pub(crate) tables: &'static [&'static str],
    /// Tables that have to be marked as needing a re-read, and a word of the reason. Their rows are
    /// not compared.
    pub(crate) marked: &'static [(&'static str, &'static str)],
    /// Tables that are compared only where schemas say what a type is in PostgreSQL: embedded ones
    /// know no defaults of arrays and no numerics among strings.
    pub(crate) exact: &'static [&'static str],
}

const fn case(
    name: &'static str,
    setup: &'static str,
    changes: &'static [&'static str],
    tables: &'static [&'static str],
) -> Case {
    Case { name, setup, changes, tables, marked: &[], exact: &[] }
}

pub(crate) const CASES: &[Case] = &[
    case(
        "rows",
        "CREATE TABLE t (id int PRIMARY KEY, a text, n numeric(10,2));
         INSERT INTO t SELECT n, 'row ' || n, n / 7.0 FROM generate_series(1, 50) n;
         CREATE TABLE pair (a int, b text, v text, PRIMARY KEY (b, a));
         INSERT INTO pair VALUES (1, 'x', 'one'), (2, 'x', 'two'), (1, 'é', NULL);
         CREATE TABLE only_key (id bigint PRIMARY KEY); INSERT INTO only_key VALUES (1), (2);
         CREATE TABLE nothing_yet (id int PRIMARY KEY, a text)",
        &[
            "INSERT INTO t VALUES (100, 'new', 1), (101, '', NULL)",
            "UPDATE t SET a = a || '!' WHERE id < 10",
            "DELETE FROM t WHERE id BETWEEN 20 AND 25",
            "INSERT INTO t VALUES (20, 'back', 20)",
            "INSERT INTO t VALUES (200, 'x', 1); UPDATE t SET a = 'y' WHERE id = 200; \
             DELETE FROM t WHERE id = 200; INSERT INTO t VALUES (200, 'z', 2)",
            "INSERT INTO t VALUES (201, 'gone', 1); DELETE FROM t WHERE id = 201",
            "UPDATE pair SET v = 'changed' WHERE a = 1",
            "DELETE FROM only_key WHERE id = 1; INSERT INTO only_key VALUES (3)",
        ],
        &["rows.t", "rows.pair", "rows.only_key"],
    ),
    case(
        "truncates",
        "CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t SELECT n, 'old' FROM \
             generate_series(1, 30) n;
         CREATE TABLE u (id int PRIMARY KEY, a text); INSERT INTO u VALUES (1, 'u');
         CREATE TABLE bag (a text); ALTER TABLE bag REPLICA IDENTITY FULL;
         INSERT INTO bag VALUES ('old'), ('old')",
        &[
            "INSERT INTO t VALUES (90, 'before')",
            "TRUNCATE t, u, bag",
            "INSERT INTO t SELECT n, 'new' FROM generate_series(1, 10) n",
            "INSERT INTO bag VALUES ('new')",
            "INSERT INTO u VALUES (1, 'again'); TRUNCATE u; INSERT INTO u VALUES (2, 'last')",
            "UPDATE t SET a = 'newer' WHERE id = 3",
        ],
        &["truncates.t", "truncates.u", "truncates.bag"],
    ),
    case(
        "keys",
        "CREATE TABLE t (id int PRIMARY KEY, a text);
         INSERT INTO t SELECT n, 'row ' || n FROM generate_series(1, 60) n;
         CREATE TABLE pair (a int, b text, v text, PRIMARY KEY (a, b));
         INSERT INTO pair VALUES (1, 'x', 'one'), (2, 'y', 'two');
         CREATE TABLE uniq (code text NOT NULL UNIQUE, v int);
         ALTER TABLE uniq REPLICA IDENTITY USING INDEX uniq_code_key;
         INSERT INTO uniq VALUES ('a', 1), ('b', 2)",
        &[
            "UPDATE t SET id = 1001 WHERE id = 1",
            "UPDATE t SET id = 1002, a = 'moved' WHERE id = 2; DELETE FROM t WHERE id = 1002",
            "UPDATE t SET id = 0 WHERE id = 3; UPDATE t SET id = 3 WHERE id = 4; \
             UPDATE t SET id = 4 WHERE id = 0",
            "UPDATE t SET id = 500 WHERE id = 5",
            "INSERT INTO t VALUES (5, 'another')",
            "UPDATE t SET id = 6000 WHERE id = 6", "UPDATE t SET id = 6001 WHERE id = 6000",
            "UPDATE t SET id = 6 WHERE id = 6001",
            "UPDATE t SET id = id + 10000 WHERE id BETWEEN 10 AND 40",
            "UPDATE t SET id = id - 10000 WHERE id BETWEEN 10010 AND 10030",
            "UPDATE pair SET b = 'z' WHERE a = 1", "UPDATE pair SET a = 3, v = 'three' WHERE a = 2",
            "UPDATE uniq SET code = 'c' WHERE code = 'a'", "DELETE FROM uniq WHERE code = 'b'",
        ],
        &["keys.t", "keys.pair", "keys.uniq"],
    ),
    case(
        "large",
        "CREATE TABLE t (id int PRIMARY KEY, a text, big text, j jsonb, b bytea, l text[]);
         ALTER TABLE t ALTER big SET STORAGE EXTERNAL, ALTER j SET STORAGE EXTERNAL,
             ALTER b SET STORAGE EXTERNAL, ALTER l SET STORAGE EXTERNAL;
         INSERT INTO t SELECT n, 'row ' || n, repeat(md5(n::text), 300),
             jsonb_build_object('k', repeat(md5('j' || n), 300)),
             decode(repeat(md5('b' || n), 300), 'hex'), ARRAY[repeat(md5('l' || n), 300), NULL]
         FROM generate_series(1, 40) n",
        &[
            "UPDATE t SET a = 'touched' WHERE id % 2 = 0",
            "UPDATE t SET a = 'twice' WHERE id % 4 = 0",
            "UPDATE t SET id = id + 1000 WHERE id BETWEEN 1 AND 15",
            "UPDATE t SET a = a || '+' WHERE id > 1000",
            "UPDATE t SET id = 0 WHERE id = 20; UPDATE t SET id = 20 WHERE id = 21; \
             UPDATE t SET id = 21 WHERE id = 0",
            "UPDATE t SET id = 3000 WHERE id = 22; UPDATE t SET id = 3001 WHERE id = 3000; \
             UPDATE t SET a = 'chain' WHERE id = 3001",
            "UPDATE t SET id = 4000 WHERE id = 23", "UPDATE t SET id = 4001 WHERE id = 4000",
            "UPDATE t SET big = 'small now' WHERE id = 24", "UPDATE t SET id = 5000 WHERE id = 24",
            "UPDATE t SET id = 5001 WHERE id = 25; DELETE FROM t WHERE id = 5001",
            "INSERT INTO t VALUES (25, 'reborn', NULL, NULL, NULL, NULL)",
            "UPDATE t SET big = NULL, l = NULL WHERE id = 26; UPDATE t SET a = 'x' WHERE id = 26",
            "UPDATE t SET big = repeat('n', 9000) WHERE id = 27; UPDATE t SET id = 27000 WHERE id = 27",
            "DELETE FROM t WHERE id = 28; INSERT INTO t SELECT 28, 'new', repeat('z', 9000)",
            "UPDATE t SET id = 28000 WHERE id = 28; UPDATE t SET a = 'y' WHERE id = 28000",
        ],
        &["large.t"],
    ),
    case(
        "bags",
        "CREATE TABLE t (a int, b text); ALTER TABLE t REPLICA IDENTITY FULL;
         INSERT INTO t VALUES (1, 'x'), (1, 'x'), (NULL, NULL), (NULL, NULL), (2, '');
         CREATE TABLE mixed (a float8, j json, n numeric, l int[], d timestamptz, x bytea);
         ALTER TABLE mixed REPLICA IDENTITY FULL;
         INSERT INTO mixed SELECT 0.1 + n, '{\"a\": 1}', n / 3.0, ARRAY[n, NULL], now(), '\\x00ff'
             FROM generate_series(1, 5) n;
         CREATE TABLE maybe (code text UNIQUE, v int); ALTER TABLE maybe REPLICA IDENTITY FULL;
         INSERT INTO maybe VALUES ('a', 1), (NULL, 2), (NULL, 2);
         CREATE TABLE log (a text, at timestamp DEFAULT now()); ALTER TABLE log REPLICA IDENTITY FULL;
         INSERT INTO log SELECT 'line ' || n % 3 FROM generate_series(1, 20) n",
        &[
            "INSERT INTO t VALUES (1, 'x'), (3, 'three')",
            "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE a = 1)",
            "UPDATE t SET b = 'y' WHERE ctid = (SELECT min(ctid) FROM t WHERE a = 1)",
            "UPDATE t SET a = 7 WHERE ctid = (SELECT min(ctid) FROM t WHERE a IS NULL)",
            "UPDATE t SET a = 3, b = 'three'", "INSERT INTO t SELECT 3, 'three' FROM generate_series(1, 9)",
            "DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 4)",
            "UPDATE mixed SET a = a * 2 WHERE n > 1", "DELETE FROM mixed WHERE n < 0.5",
            "UPDATE maybe SET v = 5 WHERE code IS NULL", "INSERT INTO maybe VALUES (NULL, 5)",
            "UPDATE maybe SET code = 'b' WHERE code = 'a'", "DELETE FROM log WHERE a = 'line 1'",
        ],
        &["bags.t", "bags.mixed", "bags.maybe", "bags.log"],
    ),
    Case {
        name: "columns",
        setup: "CREATE TABLE added (id int PRIMARY KEY, a text); INSERT INTO added VALUES (1, 'old'), (2, 'old');
         CREATE TABLE added2 (id int PRIMARY KEY, a text); INSERT INTO added2 VALUES (1, 'old'), (2, 'old');
         CREATE TABLE dropped (id int PRIMARY KEY, a text, b text); INSERT INTO dropped VALUES (1, 'a', 'b');
         CREATE TABLE widened (id int PRIMARY KEY, n int, v varchar(5), f int2);
         INSERT INTO widened VALUES (1, 7, 'seven', 5);
         CREATE TABLE widened2 (id int PRIMARY KEY, n int, d numeric(6,2));
         INSERT INTO widened2 VALUES (1, 7, 7.77);
         CREATE TABLE renamed (id int PRIMARY KEY, a text, b int); INSERT INTO renamed VALUES (1, 'a', 1);
         CREATE TABLE swapped (id int PRIMARY KEY, a text, b text); INSERT INTO swapped VALUES (1, 'a', 'b');
         CREATE TABLE again (id int PRIMARY KEY, a text); INSERT INTO again VALUES (1, 'a');
         CREATE TABLE random (id int PRIMARY KEY); INSERT INTO random VALUES (1);
         CREATE TABLE unsaid (id int PRIMARY KEY); INSERT INTO unsaid VALUES (1);
         CREATE TABLE computed (id int PRIMARY KEY, a int); INSERT INTO computed VALUES (1, 7);
         CREATE TABLE readded (id int PRIMARY KEY, a text); INSERT INTO readded VALUES (1, 'first')",
        changes: &[
            "ALTER TABLE added ADD b int DEFAULT 7, ADD c text, ADD d varchar(9) DEFAULT 'd', \
                 ADD e timestamptz DEFAULT '2020-01-01 00:00:00+00', ADD f boolean DEFAULT true",
            "INSERT INTO added (id, a) VALUES (3, 'new')", "UPDATE added SET a = 'new' WHERE id = 1",
            "ALTER TABLE added2 ADD d numeric(5,1) DEFAULT 1.5, ADD i jsonb DEFAULT '{\"a\": 1}', \
                 ADD j interval DEFAULT '1 day', ADD k uuid DEFAULT 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
            "INSERT INTO added2 (id, a) VALUES (3, 'new')", "UPDATE added2 SET a = 'new' WHERE id = 1",
            "ALTER TABLE dropped DROP b", "INSERT INTO dropped VALUES (2, 'c')",
            "UPDATE dropped SET a = 'd' WHERE id = 1",
            "ALTER TABLE widened ALTER n TYPE bigint, ALTER v TYPE varchar(50), ALTER f TYPE int",
            "INSERT INTO widened VALUES (2, 5000000000, 'seventy seven', 70000)",
            "ALTER TABLE widened ALTER v TYPE text",
            "INSERT INTO widened VALUES (3, 5, repeat('x', 99), 1)",
            "UPDATE widened SET v = 'again' WHERE id = 1",
            "ALTER TABLE widened2 ALTER d TYPE numeric(12,2), ALTER n TYPE bigint",
            "INSERT INTO widened2 VALUES (2, 7, 1234567.89)",
            "ALTER TABLE widened2 ALTER n TYPE numeric, ALTER d TYPE numeric",
            "INSERT INTO widened2 VALUES (3, 50000000000000000000, 1.23456)",
            "ALTER TABLE renamed RENAME a TO z", "INSERT INTO renamed VALUES (2, 'b', 2)",
            "ALTER TABLE renamed RENAME b TO a", "UPDATE renamed SET a = 9 WHERE id = 1",
            "ALTER TABLE swapped RENAME a TO x; ALTER TABLE swapped RENAME b TO a; \
                 ALTER TABLE swapped RENAME x TO b",
            "INSERT INTO swapped VALUES (2, 'now b', 'now a')",
            "ALTER TABLE again ADD b int", "INSERT INTO again VALUES (2, 'b', 2)",
            "ALTER TABLE again DROP b", "INSERT INTO again VALUES (3, 'c')",
            "ALTER TABLE again ADD c int DEFAULT 3", "INSERT INTO again VALUES (4, 'd', 4)",
            "ALTER TABLE unsaid ADD g bytea DEFAULT '\\x01ff', ADD h int[] DEFAULT '{1,NULL}'",
            "INSERT INTO unsaid VALUES (2)",
            "ALTER TABLE random ADD u float8 DEFAULT random()", "INSERT INTO random VALUES (2)",
            "ALTER TABLE computed ALTER a TYPE text USING 'n' || a", "INSERT INTO computed VALUES (2, 'm')",
            "ALTER TABLE readded DROP a; ALTER TABLE readded ADD a text DEFAULT 'second'",
            "INSERT INTO readded VALUES (2)",
        ],
        tables: &["columns.added", "columns.dropped", "columns.widened", "columns.again"],
        exact: &["columns.added2", "columns.widened2", "columns.renamed", "columns.swapped", "columns.unsaid", "columns.readded"],
        marked: &[("random", "default"), ("computed", "type")],
    },
    // Rows that are older than a column hold its stored default, not the default of now.
    Case {
        name: "older rows",
        setup: "CREATE DOMAIN nine AS int DEFAULT 9;
         CREATE TABLE expanded (id int PRIMARY KEY); INSERT INTO expanded VALUES (1), (2);
         CREATE TABLE replaced (id int PRIMARY KEY); INSERT INTO replaced VALUES (1), (2);
         CREATE TABLE contracted (id int PRIMARY KEY); INSERT INTO contracted VALUES (1), (2);
         CREATE TABLE unset (id int PRIMARY KEY); INSERT INTO unset VALUES (1), (2);
         CREATE TABLE emptied (id int PRIMARY KEY); INSERT INTO emptied VALUES (7); TRUNCATE emptied;
             INSERT INTO emptied VALUES (1), (2);
         CREATE TABLE texts (id int PRIMARY KEY); INSERT INTO texts VALUES (1), (2);
         CREATE TABLE parts (id int PRIMARY KEY, a text) PARTITION BY RANGE (id);
             CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
             CREATE TABLE parts2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
             INSERT INTO parts VALUES (1, 'a'), (11, 'b');
         CREATE TABLE numbered (id int PRIMARY KEY); INSERT INTO numbered VALUES (1), (2);
         CREATE TABLE by_domain (id int PRIMARY KEY); INSERT INTO by_domain VALUES (1), (2);
         CREATE TABLE rewritten (id int PRIMARY KEY); INSERT INTO rewritten VALUES (1), (2)",
        changes: &[
            "ALTER TABLE expanded ADD n int NOT NULL DEFAULT 5; ALTER TABLE expanded ALTER n DROP DEFAULT",
            "INSERT INTO expanded VALUES (3, 6)",
            "ALTER TABLE replaced ADD n int DEFAULT 1; ALTER TABLE replaced ALTER n SET DEFAULT 2",
            "INSERT INTO replaced VALUES (3)",
            "ALTER TABLE contracted ADD n int DEFAULT 1", "ALTER TABLE contracted ALTER n SET DEFAULT 2",
            "INSERT INTO contracted VALUES (3)",
            "ALTER TABLE unset ADD n int; ALTER TABLE unset ALTER n SET DEFAULT 2", "INSERT INTO unset VALUES (3)",
            "ALTER TABLE emptied ADD n int", "INSERT INTO emptied VALUES (3)",
            "ALTER TABLE texts ADD l text[] DEFAULT '{a,NULL,\"b c\"}', ADD t timestamptz DEFAULT now(), \
                 ADD b bytea DEFAULT '\\x00ff', ADD e text DEFAULT '', ADD i interval DEFAULT '1 mon', \
                 ADD n numeric(30,3) DEFAULT 123456789012345678901234.5, ADD j json DEFAULT '{\"a\":  1}', \
                 ADD f float8 DEFAULT 'NaN', ADD d date DEFAULT 'infinity', ADD o oid[] DEFAULT '{}'; \
                 ALTER TABLE texts ALTER l DROP DEFAULT, ALTER t DROP DEFAULT, ALTER e DROP DEFAULT",
            "INSERT INTO texts (id) VALUES (3)",
            "ALTER TABLE parts ADD n int DEFAULT 5; ALTER TABLE parts ALTER n DROP DEFAULT",
            "INSERT INTO parts VALUES (2, 'c')",
            "ALTER TABLE numbered ADD n int GENERATED ALWAYS AS IDENTITY", "INSERT INTO numbered VALUES (3)",
            "ALTER TABLE by_domain ADD n nine", "INSERT INTO by_domain VALUES (3)",
            "ALTER TABLE rewritten ADD n int DEFAULT 5; ALTER TABLE rewritten ALTER n DROP DEFAULT; \
                 CLUSTER rewritten USING rewritten_pkey",
            "INSERT INTO rewritten VALUES (3)",
        ],
        tables: &[],
        exact: &[
            "\"older rows\".expanded", "\"older rows\".replaced", "\"older rows\".contracted",
            "\"older rows\".unset", "\"older rows\".by_domain", "\"older rows\".emptied", "\"older rows\".texts", "\"older rows\".parts",
        ],
        marked: &[("numbered", "default"), ("rewritten", "default")],
    },
    Case {
        name: "another_key",
        setup: "CREATE TABLE id_dropped (id serial PRIMARY KEY, code text NOT NULL, v int);
         INSERT INTO id_dropped (code, v) SELECT 'code ' || n, n FROM generate_series(1, 20) n;
         CREATE TABLE widened (a int PRIMARY KEY, b int NOT NULL, v text);
         INSERT INTO widened SELECT n, n % 3, 'row ' || n FROM generate_series(1, 20) n;
         CREATE TABLE narrowed (a int, b int, v text, PRIMARY KEY (a, b));
         INSERT INTO narrowed SELECT n % 4, n, 'row ' || n FROM generate_series(1, 20) n;
         CREATE TABLE other (id int PRIMARY KEY, code text NOT NULL, big text);
         ALTER TABLE other ALTER big SET STORAGE EXTERNAL;
         INSERT INTO other SELECT n, 'code ' || n, repeat(md5(n::text), 300) FROM generate_series(1, 20) n;
         CREATE TABLE bag (a int NOT NULL, v text); ALTER TABLE bag REPLICA IDENTITY FULL;
         INSERT INTO bag SELECT n % 10, 'row ' || n % 10 FROM generate_series(1, 20) n;
         CREATE TABLE unkeyed (a int PRIMARY KEY, v text);
         INSERT INTO unkeyed SELECT n, 'row ' || n FROM generate_series(1, 20) n;
         CREATE TABLE id_added (code text PRIMARY KEY, v int);
         INSERT INTO id_added SELECT 'code ' || n, n FROM generate_series(1, 20) n",
        changes: &[
            "UPDATE id_dropped SET v = -1 WHERE id < 5", "DELETE FROM id_dropped WHERE id IN (6, 7)",
            "ALTER TABLE id_dropped DROP id, ADD PRIMARY KEY (code)",
            "UPDATE id_dropped SET v = v * 2", "INSERT INTO id_dropped VALUES ('code 6', 66), ('new', 1)",
            "DELETE FROM id_dropped WHERE code IN ('code 1', 'code 8', 'new')",
            "UPDATE id_dropped SET code = 'moved' WHERE code = 'code 9'",
            "DELETE FROM widened WHERE a = 3",
            "ALTER TABLE widened DROP CONSTRAINT widened_pkey, ADD PRIMARY KEY (a, b)",
            "INSERT INTO widened VALUES (1, 7, 'second'), (3, 0, 'again')",
            "UPDATE widened SET v = v || '!' WHERE a < 3", "DELETE FROM widened WHERE (a, b) = (1, 1)",
            "UPDATE widened SET b = 9 WHERE a = 5",
            "DELETE FROM narrowed WHERE b = 5",
            "ALTER TABLE narrowed DROP CONSTRAINT narrowed_pkey, ADD PRIMARY KEY (b)",
            "UPDATE narrowed SET a = 100 WHERE b < 4", "INSERT INTO narrowed VALUES (0, 5, 'again')",
            "DELETE FROM narrowed WHERE b = 8", "UPDATE narrowed SET b = 1000 WHERE b = 9",
            "UPDATE other SET id = id + 100 WHERE id < 4",
            "ALTER TABLE other DROP CONSTRAINT other_pkey, ADD PRIMARY KEY (code)",
            "UPDATE other SET id = 7", "UPDATE other SET code = 'moved' WHERE code = 'code 5'",
            "DELETE FROM other WHERE code IN ('code 6', 'code 2')",
            "DELETE FROM bag WHERE ctid NOT IN (SELECT min(ctid) FROM bag GROUP BY a)",
            "ALTER TABLE bag ADD PRIMARY KEY (a), REPLICA IDENTITY DEFAULT",
            "UPDATE bag SET v = 'new' WHERE a < 3", "DELETE FROM bag WHERE a = 4",
            "INSERT INTO bag VALUES (4, 'again'), (77, 'more')", "UPDATE bag SET a = 55 WHERE a = 5",
            "DELETE FROM unkeyed WHERE a = 2",
            "ALTER TABLE unkeyed DROP CONSTRAINT unkeyed_pkey, REPLICA IDENTITY FULL",
            "INSERT INTO unkeyed VALUES (1, 'row 1'), (2, 'row 2'), (2, 'row 2')",
            "UPDATE unkeyed SET v = 'new' WHERE a = 3", "DELETE FROM unkeyed WHERE a IN (1, 4)",
            "ALTER TABLE id_added DROP CONSTRAINT id_added_pkey, ADD id serial PRIMARY KEY",
            "INSERT INTO id_added VALUES ('code 1', 5)", "UPDATE id_added SET v = 9 WHERE id = 3",
            "DELETE FROM id_added WHERE id = 4",
        ],
        tables: &["another_key.id_dropped", "another_key.widened", "another_key.narrowed", "another_key.other", "another_key.bag", "another_key.unkeyed"],
        exact: &[],
        marked: &[("id_added", "its key changed from (code) to (id)")],
    },
    Case {
        name: "migrations",
        setup: "CREATE TABLE prices (id int PRIMARY KEY, price numeric(8,2));
         INSERT INTO prices VALUES (1, 1.50), (2, 2.50);
         CREATE TABLE users (id int PRIMARY KEY, name text, n int); INSERT INTO users VALUES (1, 'a', 1), (2, 'b', 2);
         CREATE TABLE pair (a int, b int, v text, PRIMARY KEY (a, b));
         INSERT INTO pair VALUES (1, 10, 'x'), (2, 20, 'y'), (3, 30, 'z');
         CREATE TABLE steps (id int PRIMARY KEY, d text); INSERT INTO steps VALUES (1, 'a')",
        changes: &[
            // The former column is kept beside the new one, filled from it, and dropped.
            "ALTER TABLE prices RENAME price TO price_old; ALTER TABLE prices ADD price numeric(12,4); \
                 UPDATE prices SET price = price_old * 2 WHERE id = 1",
            "INSERT INTO prices VALUES (3, 3, 3.1234)", "UPDATE prices SET price = price_old * 2 WHERE id = 2",
            "ALTER TABLE prices DROP price_old", "UPDATE prices SET price = 9 WHERE id = 3",
            // The same the other way round, over several transactions.
            "ALTER TABLE users ADD full_name text", "UPDATE users SET full_name = name || '!', n = 7",
            "ALTER TABLE users ALTER n TYPE bigint, DROP name; INSERT INTO users VALUES (3, 5000000000, 'c')",
            "ALTER TABLE users RENAME full_name TO name", "UPDATE users SET name = 'again' WHERE id = 1",
            "ALTER TABLE users ADD full_name text DEFAULT 'none'", "INSERT INTO users (id) VALUES (4)",
            // Columns of a key change their names with each other.
            "DELETE FROM pair WHERE a = 3",
            "ALTER TABLE pair RENAME a TO c; ALTER TABLE pair RENAME b TO a; ALTER TABLE pair RENAME c TO b",
            "UPDATE pair SET v = 'X' WHERE b = 1", "DELETE FROM pair WHERE b = 2",
            "INSERT INTO pair (b, a, v) VALUES (3, 30, 'back')",
            // The catalog is ahead of the WAL here.
            "ALTER TABLE steps ADD f int DEFAULT 7; INSERT INTO steps VALUES (2, 'b', 8); \
                 ALTER TABLE steps RENAME f TO g; INSERT INTO steps VALUES (3, 'c', 9)",
        ],
        tables: &[],
        exact: &["migrations.prices", "migrations.users", "migrations.pair", "migrations.steps"],
        marked: &[],
    },
    Case {
        name: "key_column",
        setup: "CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'a'), (2, 'b')",
        changes: &[
            "ALTER TABLE t RENAME id TO number",
            "UPDATE t SET a = 'x' WHERE number = 1",
            "DELETE FROM t WHERE number = 2",
            "INSERT INTO t VALUES (2, 'c')",
            "ALTER TABLE t ALTER number TYPE bigint",
            "INSERT INTO t VALUES (5000000000, 'd')",
            "DELETE FROM t WHERE number = 1",
        ],
        tables: &[],
        exact: &["key_column.t"],
        marked: &[],
    },
    // Values that are what stands for a value that was left out.
    case(
        "literals",
        "CREATE TABLE t (id int PRIMARY KEY, a text, b bytea, l text[], big text);
         ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
         INSERT INTO t SELECT n, '__debezium_unavailable_value', '__debezium_unavailable_value',
             '{__debezium_unavailable_value}', repeat(md5(n::text), 300) FROM generate_series(1, 3) n;
         CREATE TABLE bag (a text, n int); ALTER TABLE bag REPLICA IDENTITY FULL;
         INSERT INTO bag VALUES ('__debezium_unavailable_value', 1), ('x', 2);
         CREATE TABLE by_text (k text PRIMARY KEY, v int); INSERT INTO by_text VALUES ('x', 1)",
        &[
            "UPDATE t SET a = 'other' WHERE id = 1", "UPDATE t SET a = '__debezium_unavailable_value' WHERE id = 1",
            "UPDATE t SET id = 20 WHERE id = 2", "INSERT INTO t (id, a) VALUES (4, '__debezium_unavailable_value')",
            "UPDATE bag SET a = '__debezium_unavailable_value' WHERE n = 2", "UPDATE bag SET a = 'y' WHERE n = 1",
            "DELETE FROM bag WHERE n = 2", "INSERT INTO by_text VALUES ('__debezium_unavailable_value', 2)",
            "UPDATE by_text SET v = 3", "UPDATE by_text SET k = '__debezium_unavailable_value' || k",
        ],
        &["literals.t", "literals.bag", "literals.by_text"],
    ),
    case(
        "odd names",
        "CREATE TABLE \"T.a \"\"b\" (\"I d\" int PRIMARY KEY, \"Ünï.c\"\"ö\" text, \"select\" int, \"a'b\" text);
         INSERT INTO \"T.a \"\"b\" VALUES (1, 'x', 2, 'q'), (2, 'y', 3, 'r')",
        &[
            "UPDATE \"T.a \"\"b\" SET \"select\" = 9 WHERE \"I d\" = 1",
            "UPDATE \"T.a \"\"b\" SET \"I d\" = 5 WHERE \"I d\" = 2", "INSERT INTO \"T.a \"\"b\" VALUES (7)",
        ],
        &["\"odd names\".\"T.a \"\"b\""],
    ),
    case(
        "scalars",
        "CREATE TABLE t (id int PRIMARY KEY, s2 smallint, s8 bigint, r real, d double precision,
             n numeric, n2 numeric(20,4), m money, b boolean, t text, v varchar(10), c char(5),
             dt date, tm time, tm3 time(3), tz timetz, ts timestamp, ts3 timestamp(3), tsz timestamptz,
             iv interval, u uuid, j json, jb jsonb, by bytea, ip inet, ci cidr, mac macaddr,
             bt bit(5), vb varbit(9), x xml, tv tsvector, tq tsquery, pt point, o oid, l pg_lsn, nm name, q \"char\");
         INSERT INTO t VALUES (1, -32768, -9223372036854775808, 0.1, 0.1, 12345.678900, -0.0001, '12.34',
             true, 'text', 'vary', 'ch', '2024-02-29', '23:59:59.123456', '01:02:03.123', '12:00:00+02',
             '2024-01-01 01:02:03.123456', '2024-01-01 01:02:03.123', '2024-01-01 01:02:03.123456+05',
             '1 year 2 months 3 days 04:05:06.789', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{\"b\":  1, \"a\":[1, 2]}',
             '{\"b\":  1, \"a\":[1, 2]}', '\\x00ff7f', '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03',
             B'10101', B'101010101', '<a>é</a>', 'a fat cat'::tsvector, 'fat & cat', '(1.5,-2)', 42, '16/B374D848', 'nm', 'q');
         INSERT INTO t (id) VALUES (2);
         INSERT INTO t (id, s2, s8, r, d, n, t, dt, tm, ts, tsz, b, by, v, c, iv) VALUES
             (3, 32767, 9223372036854775807, 'NaN', 'Infinity', 'NaN', '', 'infinity', '24:00:00', 'infinity',
              '-infinity', false, '', '', '', '-1 year -2 days'),
             (4, 0, 0, '-Infinity', '-Infinity', 'Infinity', E'tab\\t line\\n back\\\\ \"q\" \\\\N', '-infinity',
              '00:00:00', '-infinity', 'infinity', NULL, '\\x5c78', E'\\\\', ' ', '00:00:00'),
             (5, 1, 1, 3.4028235e38, 1.7976931348623157e308, 1e130, 'ö€😀', '0044-03-15 BC', '00:00:00.000001',
              '0044-03-15 10:00:00 BC', '0044-03-15 10:00:00+00 BC', NULL, NULL, 'ö', 'ö', '178000000 years'),
             (6, 1, 1, 1.4e-45, 5e-324, -1e-30, '\\N', '5874897-12-31', NULL, '294246-12-31 23:59:59.999999',
              '294276-12-31 23:59:59.999999+00', NULL, NULL, 'NULL', 'NULL', '-00:00:00.000001'),
             (7, 1, 1, '-0', '-0', 0.000, E'\\u0001', '10000-01-01', NULL, '10000-01-01 00:00:00', '99999-01-01 00:00:00+00',
              NULL, NULL, NULL, NULL, '1 mon -1 days +00:00:01')",
        &[
            "INSERT INTO t SELECT id + 100, s2, s8, r, d, n, n2, m, b, t, v, c, dt, tm, tm3, tz, ts, ts3, tsz, iv, u, \
             j, jb, by, ip, ci, mac, bt, vb, x, tv, tq, pt, o, l, nm, q FROM t",
            "UPDATE t SET t = t || '.' WHERE id > 3",
        ],
        &["scalars.t"],
    ),
    case(
        "lists",
        "CREATE TABLE t (id int PRIMARY KEY, i int[], t text[], n numeric(9,2)[], d date[], b boolean[],
             ts timestamptz[], u uuid[], f float8[], by bytea[], j jsonb[], v varchar(9)[], tm time[], nn numeric[]);
         INSERT INTO t VALUES (1, '{1,NULL,-3}', '{\"a\\\"b\",NULL,\"NULL\",\"\",\"c,d\",\"\\\\\\\\\"}', '{1.50,NULL}',
             '{2024-01-01,NULL,infinity}', '{t,f,NULL}', '{\"2024-01-01 00:00:00+02\"}',
             '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}', '{0.1,NaN,-Infinity}', '{\"\\\\x00ff\",NULL}',
             '{\"{\\\"a\\\": 1}\",NULL}', '{x,\"y z\"}', '{01:02:03}', '{1,2.50,NaN}'),
             (3, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}');
         INSERT INTO t VALUES (2)",
        &[
            "INSERT INTO t SELECT id + 100, i, t, n, d, b, ts, u, f, by, j, v, tm, nn FROM t",
            "UPDATE t SET i = i || 9 WHERE id IN (1, 3)",
        ],
        &["lists.t"],
    ),
    case(
        "own types",
        "CREATE EXTENSION IF NOT EXISTS hstore SCHEMA public; CREATE EXTENSION IF NOT EXISTS citext SCHEMA public;
         CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s \"fine\"');
         CREATE DOMAIN posint AS int CHECK (VALUE > 0); CREATE DOMAIN price AS numeric(8,2);
         CREATE TYPE spot AS (x int, label text);
         CREATE TABLE t (id posint PRIMARY KEY, m mood, ms mood[], p price, h hstore, c citext, s spot, ss spot[],
             ir int4range, nr numrange, tr tstzrange, dr daterange, mr int4multirange, bx box, ps posint[]);
         INSERT INTO t VALUES (1, 'sad', '{ok,\"it''s \\\"fine\\\"\"}', 12.50, 'a=>1, \"b c\"=>NULL', 'CaSe',
             '(1,\"a, b\")', '{\"(1,a)\",\"(,)\"}', '[1,5)', '(0.5,)', '[2024-01-01 00:00:00+00,infinity)', '[2024-01-01,2024-02-01)',
             '{[1,3),[5,7)}', '(1,2),(0,0)', '{1,2}'); INSERT INTO t VALUES (2)",
        &[
            "INSERT INTO t SELECT id + 100, m, ms, p, h, c, s, ss, ir, nr, tr, dr, mr, bx, ps FROM t",
            "UPDATE t SET m = 'ok', ir = 'empty' WHERE id = 1", "ALTER TYPE mood ADD VALUE 'new'",
            "UPDATE t SET m = 'new' WHERE id = 2",
        ],
        &["\"own types\".t"],
    ),
];
