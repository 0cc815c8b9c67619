//! What is stored beside the rows: the schema `_cdc`.

use crate::apply::merge::DeadLetter;
use crate::apply::merge::Mark;
use crate::apply::merge::Plan;
use crate::apply::merge::TablePlan;
use crate::apply::merge::plan::sortable;
use crate::apply::warehouse::WarehouseError;
use crate::table::quote_literal;

/// Makes the schema and its tables.
pub(super) const CREATE: &str = r#"
CREATE SCHEMA IF NOT EXISTS _cdc;
CREATE TABLE IF NOT EXISTS _cdc.tables (
    id bigint PRIMARY KEY, "schema" text NOT NULL, name text NOT NULL, prefix text NOT NULL,
    generation bigint NOT NULL, epoch bigint NOT NULL, floor text COLLATE "C",
    definition json NOT NULL, UNIQUE ("schema", name));
CREATE TABLE IF NOT EXISTS _cdc.offsets (
    "group" text, topic text, partition integer, next_offset bigint, fence bigint NOT NULL,
    log text NOT NULL DEFAULT '', begun_at bigint NOT NULL DEFAULT 0,
    last_record text NOT NULL DEFAULT '', PRIMARY KEY ("group", topic, partition));
CREATE TABLE IF NOT EXISTS _cdc.watermarks (
    topic text, partition integer, prefix text, "schema" text, name text,
    position text COLLATE "C" NOT NULL, "offset" bigint NOT NULL, log text NOT NULL,
    mark json NOT NULL, PRIMARY KEY (topic, partition, prefix, "schema", name));
CREATE TABLE IF NOT EXISTS _cdc.topics (
    topic text PRIMARY KEY, partitions integer NOT NULL, void_below bigint NOT NULL);
CREATE TABLE IF NOT EXISTS _cdc.moved (
    table_id bigint, position text COLLATE "C", values json NOT NULL,
    PRIMARY KEY (table_id, position));
CREATE TABLE IF NOT EXISTS _cdc.dead_letters (
    topic text, partition integer, "offset" bigint, reason text NOT NULL, key bytea, value bytea,
    headers json NOT NULL, at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, "offset"));
CREATE TABLE IF NOT EXISTS _cdc.state (key text PRIMARY KEY, value text NOT NULL);
"#;

/// Takes partitions: raises their fences.
pub(super) const CLAIM: &str = "INSERT INTO _cdc.offsets AS o (\"group\", topic, partition, \
    fence) SELECT $1, k.topic, k.partition, 1 FROM unnest($2::text[], $3::int[]) AS k(topic, \
    partition) ORDER BY k.topic, k.partition ON CONFLICT (\"group\", topic, partition) DO UPDATE \
    SET fence = o.fence + 1 RETURNING o.topic, o.partition, o.next_offset, o.fence, o.log, \
    o.begun_at, o.last_record";

/// Whether the tables are there and are those of an earlier version, which sorts positions
/// otherwise.
pub(super) const IS_EARLIER: &str = "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON \
    n.oid = c.relnamespace WHERE n.nspname = '_cdc' AND c.relname = 'watermarks' AND NOT EXISTS \
    (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'mark'))";

/// Watermarks of a topic.
pub(super) const WATERMARKS: &str = "SELECT partition, prefix, \"schema\", name, mark::text FROM \
    _cdc.watermarks WHERE topic = $1";

/// What any group has applied of a topic.
pub(super) const APPLIED_RANGES: &str = "SELECT partition, log, begun_at, next_offset FROM \
    _cdc.offsets WHERE topic = $1 AND next_offset IS NOT NULL";

/// Locks watermarks, in one order for everybody.
pub(super) const LOCK_WATERMARKS: &str = "SELECT 1 FROM _cdc.watermarks AS w JOIN \
    unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::text[]) AS k(topic, partition, \
    prefix, \"schema\", name) USING (topic, partition, prefix, \"schema\", name) ORDER BY \
    w.topic, w.partition, w.prefix, w.\"schema\", w.name FOR UPDATE OF w";

/// Raises watermarks that are what was assumed of them.
pub(super) const RAISE_WATERMARKS: &str = "UPDATE _cdc.watermarks AS w SET position = k.position, \
    \"offset\" = k.at, log = k.log, mark = k.mark::json FROM unnest($1::text[], $2::int[], \
    $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::text[], \
    $10::text[], $11::bigint[], $12::text[]) AS k(topic, partition, prefix, \"schema\", name, \
    position, at, log, mark, position_before, at_before, log_before) WHERE w.topic = k.topic AND \
    w.partition = k.partition AND w.prefix = k.prefix AND w.\"schema\" = k.\"schema\" AND \
    w.name = k.name AND w.position = k.position_before AND w.\"offset\" = k.at_before AND w.log \
    = k.log_before";

/// Stores watermarks of which there was none.
pub(super) const FIRST_WATERMARKS: &str = "INSERT INTO _cdc.watermarks (topic, partition, prefix, \
    \"schema\", name, position, \"offset\", log, mark) SELECT k.topic, k.partition, k.prefix, \
    k.\"schema\", k.name, k.position, k.at, k.log, k.mark::json FROM unnest($1::text[], \
    $2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], \
    $9::text[], $10::text[]) AS k(topic, partition, prefix, \"schema\", name, position, at, log, \
    mark, position_before) WHERE k.position_before IS NULL ORDER BY 1, 2, 3, 4, 5 ON CONFLICT DO \
    NOTHING";

/// Stores how many partitions a topic has; gives the epoch below which watermarks do not count.
pub(super) const NOTE_PARTITIONS: &str = "INSERT INTO _cdc.topics AS t VALUES ($1, $2, 0) ON \
    CONFLICT (topic) DO UPDATE SET partitions = EXCLUDED.partitions, void_below = CASE WHEN \
    t.partitions = EXCLUDED.partitions THEN t.void_below ELSE GREATEST(t.void_below, $3) END \
    RETURNING void_below";

/// Locks offsets; gives their fences.
pub(super) const LOCK_OFFSETS: &str = "SELECT o.topic, o.partition, o.fence FROM _cdc.offsets AS o \
    JOIN unnest($2::text[], $3::int[]) AS k(topic, partition) ON o.topic = k.topic AND o.partition \
    = k.partition WHERE o.\"group\" = $1 ORDER BY o.topic, o.partition FOR NO KEY UPDATE OF o";

/// Stores offsets whose fences still hold.
pub(super) const STORE_OFFSETS: &str = "UPDATE _cdc.offsets AS o SET next_offset = k.next, log = \
    k.log, begun_at = k.begun_at, last_record = k.last_record FROM unnest($2::text[], $3::int[], \
    $4::bigint[], $5::bigint[], $6::text[], $7::bigint[], $8::text[]) AS k(topic, partition, next, \
    fence, log, begun_at, last_record) \
    WHERE o.\"group\" = $1 AND o.topic = k.topic AND o.partition = k.partition AND o.fence = \
    k.fence RETURNING o.topic, o.partition";

/// The rest of what a plan stores, as one text.
pub(super) fn store(plan: &Plan) -> String {
    let mut sql = String::new();
    let mut put = |statement: String| {
        sql.push_str(&statement);
        sql.push_str(";\n");
    };
    for (table, position) in &plan.moved_taken {
        put(format!(
            "DELETE FROM _cdc.moved WHERE table_id = {} AND position = {}",
            table.0,
            quote_literal(&sortable(*position)),
        ));
    }
    for moved in &plan.moved {
        let values = serde_json::to_string(&moved.values).unwrap_or_default();
        put(format!(
            "INSERT INTO _cdc.moved VALUES ({}, {}, {}) ON CONFLICT DO NOTHING",
            moved.table.0,
            quote_literal(&sortable(moved.position)),
            quote_literal(&values),
        ));
    }
    for letter in &plan.dead_letters {
        put(dead_letter(letter));
    }
    for (topic, partition, offset) in &plan.dead_letters_done {
        put(format!(
            "DELETE FROM _cdc.dead_letters WHERE topic = {} AND partition = {partition} AND \
             \"offset\" = {offset}",
            quote_literal(topic)
        ));
    }
    for (key, value) in &plan.state {
        let key = quote_literal(key);
        put(match value {
            Some(value) => format!(
                "INSERT INTO _cdc.state VALUES ({key}, {}) ON CONFLICT (key) DO UPDATE SET value \
                 = EXCLUDED.value",
                quote_literal(value)
            ),
            None => format!("DELETE FROM _cdc.state WHERE key = {key}"),
        });
    }
    sql
}

/// A watermark as JSON.
pub(super) fn mark_text(mark: &Mark) -> Result<String, WarehouseError> {
    serde_json::to_string(mark).map_err(|error| WarehouseError::Configuration {
        message: format!("a watermark cannot be written: {error}"),
        hint: "report it".to_owned(),
    })
}

fn dead_letter(letter: &DeadLetter) -> String {
    let bytes = |bytes: &Option<Vec<u8>>| match bytes {
        Some(bytes) => {
            let mut hexadecimal = Vec::with_capacity(bytes.len() * 2);
            crate::envelope::json::hexadecimal(bytes, &mut hexadecimal);
            format!("decode('{}', 'hex')", String::from_utf8_lossy(&hexadecimal))
        }
        None => "NULL".to_owned(),
    };
    format!(
        "INSERT INTO _cdc.dead_letters (topic, partition, \"offset\", reason, key, value, headers) \
         VALUES ({}, {}, {}, {}, {}, {}, {}) ON CONFLICT DO NOTHING",
        quote_literal(&letter.topic),
        letter.partition,
        letter.offset,
        quote_literal(&letter.reason.replace('\0', "\u{fffd}")),
        bytes(&letter.key),
        bytes(&letter.value),
        quote_literal(&letter.headers),
    )
}

/// Stores a table's record.
pub(super) fn store_table(plan: &TablePlan, created: bool) -> String {
    let target = &plan.target;
    let definition =
        quote_literal(&serde_json::to_string(&**target).unwrap_or_default().replace('\0', ""));
    let floor = plan.floor.map(|floor| quote_literal(&sortable(floor)));
    if created {
        return format!(
            "INSERT INTO _cdc.tables VALUES ({}, {}, {}, {}, {}, {}, {}, {definition})",
            target.id.0,
            quote_literal(&target.table.namespace),
            quote_literal(&target.table.name),
            quote_literal(&target.prefix),
            target.generation,
            plan.epoch.unwrap_or_default(),
            floor.as_deref().unwrap_or("NULL"),
        );
    }
    let epoch = plan.epoch.map(|epoch| format!(", epoch = {epoch}")).unwrap_or_default();
    let floor = floor
        .map(|floor| format!(", floor = GREATEST(coalesce(floor, {floor}), {floor})"))
        .unwrap_or_default();
    format!(
        "UPDATE _cdc.tables SET generation = {}, definition = {definition}{epoch}{floor} WHERE id \
         = {}",
        target.generation, target.id.0
    )
}
