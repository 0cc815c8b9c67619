//! What we keep of our own, in the schema `_cdc`.

use std::fmt::Write;

use crate::apply::merge::DeadLetter;
use crate::apply::merge::KnownTable;
use crate::apply::merge::Moved;
use crate::apply::merge::Plan;
use crate::apply::merge::TableId;
use crate::apply::merge::TablePlan;
use crate::apply::merge::Target;
use crate::apply::merge::plan::sortable;
use crate::apply::warehouse::Claim;
use crate::apply::warehouse::STATE_SCHEMA;
use crate::apply::warehouse::WarehouseError;
use crate::apply::warehouse::duckdb::connection::Connection;
use crate::apply::warehouse::duckdb::connection::Fault;
use crate::apply::warehouse::duckdb::connection::Value;
use crate::apply::warehouse::duckdb::query_result::Row;
use crate::apply::warehouse::duckdb::sql;
use crate::apply::warehouse::duckdb::sql::literal;
use crate::apply::warehouse::duckdb::sql::ours;
use crate::position::Position;

/// Names and columns of our tables. No index: they are small, and DuckDB's indexes make updates
/// of a row in one transaction awkward.
const TABLES: &[(&str, &str)] = &[
    (
        "offsets",
        "\"group\" VARCHAR, topic VARCHAR, partition INTEGER, next_offset BIGINT, fence BIGINT",
    ),
    ("watermarks", "topic VARCHAR, partition INTEGER, position VARCHAR"),
    ("topics", "topic VARCHAR, partitions INTEGER, void_below BIGINT"),
    (
        "tables",
        "id BIGINT, schema VARCHAR, name VARCHAR, prefix VARCHAR, generation UBIGINT, \
         epoch UBIGINT, floor VARCHAR, definition JSON",
    ),
    ("moved", "table_id BIGINT, position VARCHAR, \"values\" VARCHAR"),
    (
        "dead_letters",
        "topic VARCHAR, partition INTEGER, \"offset\" BIGINT, reason VARCHAR, key BLOB, \
         value BLOB, headers JSON, \"at\" TIMESTAMP WITH TIME ZONE",
    ),
    ("state", "key VARCHAR, value VARCHAR"),
];

/// Makes what is missing.
pub(super) fn prepare(connection: &Connection) -> Result<(), Fault> {
    let mut statements = format!("CREATE SCHEMA IF NOT EXISTS {}.{STATE_SCHEMA};", sql::CATALOG);
    for (name, columns) in TABLES {
        statements.push_str(&format!("CREATE TABLE IF NOT EXISTS {} ({columns});", ours(name)));
    }
    connection.execute(&statements).map(drop)
}

fn broken(what: &str) -> WarehouseError {
    WarehouseError::Configuration {
        message: format!("the schema {STATE_SCHEMA} holds {what} that cannot be read"),
        hint: "undo what was changed there by hand, or begin with a new file".to_owned(),
    }
}

fn position(row: Row<'_>, index: usize) -> Result<Option<Position>, WarehouseError> {
    row.text(index).map(str::parse).transpose().map_err(|_| broken("a position"))
}

fn text(row: Row<'_>, index: usize) -> String {
    row.text(index).unwrap_or_default().to_owned()
}

fn partition(row: Row<'_>, index: usize) -> i32 {
    i32::try_from(row.integer(index).unwrap_or_default()).unwrap_or_default()
}

/// What is stored of tables.
pub(super) fn tables(connection: &Connection) -> Result<Vec<KnownTable>, WarehouseError> {
    let mut tables = Vec::new();
    let query = format!(
        "SELECT CAST(definition AS VARCHAR), CAST(epoch AS VARCHAR), floor FROM {} ORDER BY id",
        ours("tables")
    );
    connection.each(&query, |row| {
        let target: Target = serde_json::from_str(row.text(0).unwrap_or_default())
            .map_err(|_| broken("a table's definition"))?;
        let epoch = row.text(1).and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
        tables.push(KnownTable { target, epoch, floor: position(row, 2)? });
        Ok::<(), WarehouseError>(())
    })?;
    Ok(tables)
}

/// Stores what a plan changes in the record of a table.
pub(super) fn store_table(
    connection: &Connection,
    plan: &TablePlan,
    keep_floor: bool,
) -> Result<(), WarehouseError> {
    let target = &*plan.target;
    let definition = serde_json::to_string(target).map_err(|_| broken("a table's definition"))?;
    let floor = plan.floor.filter(|_| keep_floor).map(sortable);
    let mut set = format!(
        "schema = {}, name = {}, prefix = {}, generation = {}, definition = {}",
        literal(&target.table.namespace),
        literal(&target.table.name),
        literal(&target.prefix),
        target.generation,
        literal(&definition),
    );
    if let Some(epoch) = plan.epoch {
        set.push_str(&format!(", epoch = {epoch}"));
    }
    if let Some(floor) = floor {
        set.push_str(&format!(", floor = greatest(floor, {})", literal(&floor)));
    }
    let table = ours("tables");
    connection.execute(&format!(
        "INSERT INTO {table} (id, epoch) SELECT {id}, 0 WHERE NOT EXISTS \
         (SELECT 1 FROM {table} WHERE id = {id}); UPDATE {table} SET {set} WHERE id = {id}",
        id = target.id.0
    ))?;
    Ok(())
}

/// Takes partitions: raises their fences.
pub(super) fn claim(
    connection: &Connection,
    group: &str,
    partitions: &[(String, i32)],
) -> Result<Vec<Claim>, WarehouseError> {
    let mut claims = Vec::new();
    if partitions.is_empty() {
        return Ok(claims);
    }
    let wanted =
        list(partitions.iter().map(|(topic, number)| format!("{}, {number}", literal(topic))));
    let (offsets, group) = (ours("offsets"), literal(group));
    let source = format!("(VALUES {wanted}) w(topic, partition)");
    let same = format!("o.\"group\" = {group} AND o.topic = w.topic AND o.partition = w.partition");
    transaction(connection, || {
        connection.execute(&format!(
            "UPDATE {offsets} AS o SET fence = o.fence + 1 FROM {source} WHERE {same};\n\
             INSERT INTO {offsets} SELECT DISTINCT {group}, w.topic, w.partition, NULL, 1 \
             FROM {source} WHERE NOT EXISTS (SELECT 1 FROM {offsets} o WHERE {same})"
        ))?;
        let query = format!(
            "SELECT o.topic, CAST(o.partition AS BIGINT), o.next_offset, o.fence \
             FROM {offsets} o, {source} WHERE {same} ORDER BY ALL"
        );
        connection.each(&query, |row| {
            claims.push(Claim {
                topic: text(row, 0),
                partition: partition(row, 1),
                next_offset: row.integer(2),
                fence: row.integer(3).unwrap_or_default(),
            });
            Ok::<(), WarehouseError>(())
        })
    })?;
    Ok(claims)
}

/// Offsets of a group.
pub(super) fn offsets(
    connection: &Connection,
    group: &str,
) -> Result<Vec<(String, i32, i64)>, WarehouseError> {
    let mut offsets = Vec::new();
    let query = format!(
        "SELECT topic, CAST(partition AS BIGINT), next_offset FROM {} WHERE \"group\" = {}",
        ours("offsets"),
        literal(group)
    );
    connection.each(&query, |row| {
        offsets.push((text(row, 0), partition(row, 1), row.integer(2).unwrap_or_default()));
        Ok::<(), WarehouseError>(())
    })?;
    Ok(offsets)
}

/// Does something as one transaction, or not at all.
pub(super) fn transaction<T>(
    connection: &Connection,
    work: impl FnOnce() -> Result<T, WarehouseError>,
) -> Result<T, WarehouseError> {
    connection.execute("BEGIN TRANSACTION")?;
    let done = work().and_then(|done| {
        connection.execute("COMMIT")?;
        Ok(done)
    });
    if done.is_err() {
        // A failed COMMIT has rolled back by itself, and then there is nothing to undo.
        connection.execute("ROLLBACK").ok();
    }
    done
}

fn list(entries: impl Iterator<Item = String>) -> String {
    let mut list = String::new();
    for entry in entries {
        let comma = if list.is_empty() { "" } else { ", " };
        list.push_str(&format!("{comma}({entry})"));
    }
    list
}

/// Stored watermarks of a topic.
pub(super) fn watermarks(
    connection: &Connection,
    topic: &str,
) -> Result<Vec<(i32, Position)>, WarehouseError> {
    let mut watermarks = Vec::new();
    let query = format!(
        "SELECT CAST(partition AS BIGINT), position FROM {} WHERE topic = {} ORDER BY partition",
        ours("watermarks"),
        literal(topic)
    );
    connection.each(&query, |row| {
        watermarks.push((partition(row, 0), position(row, 1)?.unwrap_or_default()));
        Ok::<(), WarehouseError>(())
    })?;
    Ok(watermarks)
}

/// Stores how many partitions a topic has; gives the epoch below which watermarks do not count.
pub(super) fn note_partitions(
    connection: &Connection,
    topic: &str,
    (count, below): (i32, u64),
) -> Result<u64, WarehouseError> {
    let (topics, topic) = (ours("topics"), literal(topic));
    transaction(connection, || {
        connection.execute(&format!(
            "INSERT INTO {topics} SELECT {topic}, {count}, 0 \
             WHERE NOT EXISTS (SELECT 1 FROM {topics} WHERE topic = {topic});\n\
             UPDATE {topics} SET partitions = {count}, void_below = greatest(void_below, {below}) \
             WHERE topic = {topic} AND partitions <> {count}"
        ))?;
        let mut stored = 0;
        let query = format!("SELECT void_below FROM {topics} WHERE topic = {topic}");
        connection.each(&query, |row| {
            stored = row.integer(0).unwrap_or_default();
            Ok::<(), Fault>(())
        })?;
        Ok(u64::try_from(stored).unwrap_or_default())
    })
}

/// Values that were put aside.
pub(super) fn moved(
    connection: &Connection,
    table: TableId,
    position: Position,
) -> Result<Option<Moved>, WarehouseError> {
    let mut moved = None;
    let query = format!(
        "SELECT \"values\" FROM {} WHERE table_id = {} AND position = {}",
        ours("moved"),
        table.0,
        literal(&sortable(position))
    );
    connection.each(&query, |row| {
        let values = serde_json::from_str(row.text(0).unwrap_or_default())
            .map_err(|_| broken("values of a moved row"))?;
        moved = Some(Moved { table, position, values });
        Ok::<(), WarehouseError>(())
    })?;
    Ok(moved)
}

/// Records of ours by key.
pub(super) fn records(connection: &Connection) -> Result<Vec<(String, String)>, WarehouseError> {
    let mut records = Vec::new();
    let query = format!("SELECT key, value FROM {} ORDER BY key", ours("state"));
    connection.each(&query, |row| {
        records.push((text(row, 0), text(row, 1)));
        Ok::<(), WarehouseError>(())
    })?;
    Ok(records)
}

/// Dead letters in order.
pub(super) fn dead_letters(
    connection: &Connection,
    after: Option<&(String, i32, i64)>,
    limit: usize,
) -> Result<Vec<DeadLetter>, WarehouseError> {
    let condition = match after {
        None => "true".to_owned(),
        Some((topic, partition, offset)) => {
            format!("(topic, partition, \"offset\") > ({}, {partition}, {offset})", literal(topic))
        }
    };
    let query = format!(
        "SELECT topic, CAST(partition AS BIGINT), \"offset\", reason, key, value, \
         CAST(headers AS VARCHAR) FROM {} WHERE {condition} \
         ORDER BY topic, partition, \"offset\" LIMIT {limit}",
        ours("dead_letters")
    );
    let mut letters = Vec::new();
    connection.each(&query, |row| {
        letters.push(DeadLetter {
            topic: text(row, 0),
            partition: partition(row, 1),
            offset: row.integer(2).unwrap_or_default(),
            reason: text(row, 3),
            key: row.bytes(4).map(<[u8]>::to_vec),
            value: row.bytes(5).map(<[u8]>::to_vec),
            headers: text(row, 6),
        });
        Ok::<(), WarehouseError>(())
    })?;
    Ok(letters)
}

/// Topics and keys of dead letters.
pub(super) fn parked_keys(
    connection: &Connection,
) -> Result<Vec<(String, Vec<u8>)>, WarehouseError> {
    let mut keys = Vec::new();
    let query = format!(
        "SELECT DISTINCT topic, key FROM {} WHERE key IS NOT NULL ORDER BY ALL",
        ours("dead_letters")
    );
    connection.each(&query, |row| {
        keys.push((text(row, 0), row.bytes(1).unwrap_or_default().to_vec()));
        Ok::<(), WarehouseError>(())
    })?;
    Ok(keys)
}

/// Does what a plan says of everything but tables' rows.
pub(super) fn store(
    connection: &Connection,
    group: &str,
    plan: &Plan,
) -> Result<(), WarehouseError> {
    store_watermarks(connection, plan)?;
    store_moved(connection, plan)?;
    store_dead_letters(connection, plan)?;
    for (key, value) in &plan.state {
        let mut statement = format!("DELETE FROM {} WHERE key = {}", ours("state"), literal(key));
        if let Some(value) = value {
            let (key, value) = (literal(key), literal(value));
            write!(statement, "; INSERT INTO {} VALUES ({key}, {value})", ours("state")).ok();
        }
        connection.execute(&statement)?;
    }
    store_offsets(connection, group, plan)
}

fn store_offsets(connection: &Connection, group: &str, plan: &Plan) -> Result<(), WarehouseError> {
    if plan.offsets.is_empty() {
        return Ok(());
    }
    let offsets = ours("offsets");
    let group = literal(group);
    let wanted = list(plan.offsets.iter().map(|offset| {
        let topic = literal(&offset.topic);
        format!("{topic}, {}, {}, {}", offset.partition, offset.next_offset, offset.fence)
    }));
    let source = format!("(VALUES {wanted}) w(topic, partition, next_offset, fence)");
    let same = format!(
        "o.\"group\" = {group} AND o.topic = w.topic AND o.partition = w.partition \
         AND o.fence = w.fence"
    );
    let stored = connection.execute(&format!(
        "UPDATE {offsets} AS o SET next_offset = w.next_offset FROM {source} WHERE {same}"
    ))?;
    if stored == plan.offsets.len() as u64 {
        return Ok(());
    }
    let mut fenced = "a partition".to_owned();
    let query = format!(
        "SELECT w.topic || '/' || w.partition FROM {source} WHERE NOT EXISTS \
         (SELECT 1 FROM {offsets} o WHERE {same}) ORDER BY 1 LIMIT 1"
    );
    connection.each(&query, |row| {
        fenced = text(row, 0);
        Ok::<(), Fault>(())
    })?;
    Err(WarehouseError::Fenced { partition: fenced })
}

fn store_watermarks(connection: &Connection, plan: &Plan) -> Result<(), WarehouseError> {
    if plan.watermarks.is_empty() {
        return Ok(());
    }
    let watermarks = ours("watermarks");
    let wanted = list(plan.watermarks.iter().map(|watermark| {
        let position = literal(&sortable(watermark.position));
        format!("{}, {}, {position}", literal(&watermark.topic), watermark.partition)
    }));
    let source = format!("(VALUES {wanted}) w(topic, partition, position)");
    let same = "o.topic = w.topic AND o.partition = w.partition";
    // A watermark never goes back.
    connection.execute(&format!(
        "UPDATE {watermarks} AS o SET position = greatest(o.position, w.position) \
         FROM {source} WHERE {same};\n\
         INSERT INTO {watermarks} SELECT w.topic, w.partition, w.position FROM {source} \
         WHERE NOT EXISTS (SELECT 1 FROM {watermarks} o WHERE {same})"
    ))?;
    Ok(())
}

fn store_moved(connection: &Connection, plan: &Plan) -> Result<(), WarehouseError> {
    let table = ours("moved");
    let remove = |id: TableId, position: Position| {
        let position = literal(&sortable(position));
        format!("DELETE FROM {table} WHERE table_id = {} AND position = {position}", id.0)
    };
    for (id, position) in &plan.moved_taken {
        connection.execute(&remove(*id, *position))?;
    }
    for moved in &plan.moved {
        let values = serde_json::to_string(&moved.values).map_err(|_| broken("moved values"))?;
        connection.execute(&remove(moved.table, moved.position))?;
        let position = sortable(moved.position);
        connection.execute_with(
            &format!("INSERT INTO {table} VALUES (?, ?, ?)"),
            &[Value::Integer(moved.table.0), Value::Text(&position), Value::Text(&values)],
        )?;
    }
    Ok(())
}

fn store_dead_letters(connection: &Connection, plan: &Plan) -> Result<(), WarehouseError> {
    let table = ours("dead_letters");
    let same = |topic: &str, partition: i32, offset: i64| {
        let topic = literal(topic);
        format!("topic = {topic} AND partition = {partition} AND \"offset\" = {offset}")
    };
    for letter in &plan.dead_letters {
        // One that is there stays: a person may have mended it.
        let same = same(&letter.topic, letter.partition, letter.offset);
        connection.execute_with(
            &format!(
                "INSERT INTO {table} SELECT ?, ?, ?, ?, ?, ?, ?, now() WHERE NOT EXISTS (SELECT 1 \
                 FROM {table} WHERE {same})"
            ),
            &[
                Value::Text(&letter.topic),
                Value::Integer(letter.partition.into()),
                Value::Integer(letter.offset),
                Value::Text(&letter.reason),
                Value::bytes(letter.key.as_deref()),
                Value::bytes(letter.value.as_deref()),
                Value::Text(&letter.headers),
            ],
        )?;
    }
    for (topic, partition, offset) in &plan.dead_letters_done {
        let same = same(topic, *partition, *offset);
        connection.execute(&format!("DELETE FROM {table} WHERE {same}"))?;
    }
    Ok(())
}
