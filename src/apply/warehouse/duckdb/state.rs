//! What we keep of our own, in the schema `_cdc`.

use std::fmt::Write;

use crate::apply::merge::AppliedRange;
use crate::apply::merge::DeadLetter;
use crate::apply::merge::KnownTable;
use crate::apply::merge::LogPlace;
use crate::apply::merge::Mark;
use crate::apply::merge::Moved;
use crate::apply::merge::OffsetPlan;
use crate::apply::merge::Plan;
use crate::apply::merge::StoredMark;
use crate::apply::merge::TableChange;
use crate::apply::merge::TableId;
use crate::apply::merge::TablePlan;
use crate::apply::merge::Target;
use crate::apply::merge::WatermarkPlan;
use crate::apply::merge::plan::sortable;
use crate::apply::warehouse::Claim;
use crate::apply::warehouse::STATE_SCHEMA;
use crate::apply::warehouse::WarehouseError;
use crate::apply::warehouse::duckdb::connection::Connection;
use crate::apply::warehouse::duckdb::connection::Value;
use crate::apply::warehouse::duckdb::query_result::Row;
use crate::apply::warehouse::duckdb::sql;
use crate::apply::warehouse::duckdb::sql::literal;
use crate::apply::warehouse::duckdb::sql::ours;
use crate::apply::warehouse::earlier_layout;
use crate::position::Position;
use crate::table::TableName;

/// Names and columns of our tables. No index: they are small, and DuckDB's indexes make updates
/// of a row in one transaction awkward.
const TABLES: &[(&str, &str)] = &[
    (
        "offsets",
        "\"group\" VARCHAR, topic VARCHAR, partition INTEGER, next_offset BIGINT, fence BIGINT, \
         log VARCHAR, begun_at BIGINT, last_record VARCHAR",
    ),
    (
        "watermarks",
        "topic VARCHAR, partition INTEGER, prefix VARCHAR, schema VARCHAR, name VARCHAR, \
         position VARCHAR, \"offset\" BIGINT, log VARCHAR, mark VARCHAR",
    ),
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
pub(super) fn prepare(connection: &Connection) -> Result<(), WarehouseError> {
    let [earlier] = connection.numbers(&format!(
        "SELECT count(*) - 4 * count(*) FILTER (column_name = 'mark') FROM duckdb_columns() WHERE \
         database_name = {} AND schema_name = '{STATE_SCHEMA}' AND table_name = 'watermarks' AND \
         column_name IN ('topic', 'partition', 'position', 'mark')",
        literal(sql::CATALOG)
    ))?;
    if earlier > 0 {
        return Err(earlier_layout());
    }
    let mut statements = format!("CREATE SCHEMA IF NOT EXISTS {}.{STATE_SCHEMA};", sql::CATALOG);
    for (name, columns) in TABLES {
        statements.push_str(&format!("CREATE TABLE IF NOT EXISTS {} ({columns});", ours(name)));
    }
    connection.execute(&statements)?;
    Ok(())
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

/// The position of a row; one without was there before us.
pub(super) fn position_of_row(row: Row<'_>, index: usize) -> Result<Position, WarehouseError> {
    Ok(position(row, index)?.unwrap_or_default())
}

fn text(row: Row<'_>, index: usize) -> Result<String, WarehouseError> {
    row.text(index).map(str::to_owned).ok_or_else(|| broken("a NULL in place of a text"))
}

fn number(row: Row<'_>, index: usize) -> Result<i64, WarehouseError> {
    row.integer(index).ok_or_else(|| broken("a NULL in place of a number"))
}

fn partition(row: Row<'_>, index: usize) -> Result<i32, WarehouseError> {
    i32::try_from(number(row, index)?).map_err(|_| broken("the number of a partition"))
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
        let epoch = text(row, 1)?.parse().map_err(|_| broken("an epoch"))?;
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
             INSERT INTO {offsets} SELECT DISTINCT {group}, w.topic, w.partition, NULL, 1, '', 0, \
             '' FROM {source} WHERE NOT EXISTS (SELECT 1 FROM {offsets} o WHERE {same})"
        ))?;
        let query = format!(
            "SELECT o.topic, CAST(o.partition AS BIGINT), o.next_offset, o.fence, o.log, \
             o.begun_at, o.last_record FROM {offsets} o, {source} WHERE {same} ORDER BY ALL"
        );
        connection.each(&query, |row| {
            claims.push(Claim {
                topic: text(row, 0)?,
                partition: partition(row, 1)?,
                next_offset: row.integer(2),
                fence: number(row, 3)?,
                place: LogPlace {
                    log: text(row, 4)?,
                    begun_at: number(row, 5)?,
                    last_record: text(row, 6)?,
                },
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
        // A partition that was taken and of which nothing is applied yet.
        offsets.push((text(row, 0)?, partition(row, 1)?, row.integer(2).unwrap_or(0)));
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
) -> Result<Vec<StoredMark>, WarehouseError> {
    let mut watermarks = Vec::new();
    let query = format!(
        "SELECT CAST(partition AS BIGINT), prefix, schema, name, mark FROM {} WHERE topic = {} \
         ORDER BY partition, prefix, schema, name",
        ours("watermarks"),
        literal(topic)
    );
    connection.each(&query, |row| {
        let mark: Mark = serde_json::from_str(&text(row, 4)?).map_err(|_| broken("a watermark"))?;
        watermarks.push(StoredMark {
            partition: partition(row, 0)?,
            prefix: text(row, 1)?,
            table: TableName::new(text(row, 2)?, text(row, 3)?),
            mark,
        });
        Ok::<(), WarehouseError>(())
    })?;
    Ok(watermarks)
}

/// What any group has applied of a topic.
pub(super) fn applied_ranges(
    connection: &Connection,
    topic: &str,
) -> Result<Vec<AppliedRange>, WarehouseError> {
    let mut ranges = Vec::new();
    let query = format!(
        "SELECT CAST(partition AS BIGINT), log, begun_at, next_offset FROM {} WHERE topic = {} AND \
         next_offset IS NOT NULL",
        ours("offsets"),
        literal(topic)
    );
    connection.each(&query, |row| {
        ranges.push(AppliedRange {
            partition: partition(row, 0)?,
            log: text(row, 1)?,
            begun_at: number(row, 2)?,
            next_offset: number(row, 3)?,
        });
        Ok::<(), WarehouseError>(())
    })?;
    Ok(ranges)
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
        let mut stored = None;
        let query = format!("SELECT void_below FROM {topics} WHERE topic = {topic}");
        connection.each(&query, |row| {
            stored = u64::try_from(number(row, 0)?).ok();
            Ok::<(), WarehouseError>(())
        })?;
        stored.ok_or_else(|| broken("an epoch below which watermarks do not count"))
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
        records.push((text(row, 0)?, text(row, 1)?));
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
            topic: text(row, 0)?,
            partition: partition(row, 1)?,
            offset: number(row, 2)?,
            reason: text(row, 3)?,
            key: row.bytes(4).map(<[u8]>::to_vec),
            value: row.bytes(5).map(<[u8]>::to_vec),
            headers: text(row, 6)?,
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
        keys.push((text(row, 0)?, row.bytes(1).unwrap_or_default().to_vec()));
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
        let OffsetPlan { partition, next_offset, fence, place, .. } = offset;
        let (log, last) = (literal(&place.log), literal(&place.last_record));
        format!("{topic}, {partition}, {next_offset}, {fence}, {log}, {}, {last}", place.begun_at)
    }));
    let source = format!(
        "(VALUES {wanted}) w(topic, partition, next_offset, fence, log, begun_at, last_record)"
    );
    let same = format!(
        "o.\"group\" = {group} AND o.topic = w.topic AND o.partition = w.partition \
         AND o.fence = w.fence"
    );
    let stored = connection.execute(&format!(
        "UPDATE {offsets} AS o SET next_offset = w.next_offset, log = w.log, \
         begun_at = w.begun_at, last_record = w.last_record FROM {source} WHERE {same}"
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
        fenced = text(row, 0)?;
        Ok::<(), WarehouseError>(())
    })?;
    Err(WarehouseError::Fenced { partition: fenced })
}

/// Raises watermarks that are what was assumed of them.
pub(super) fn raise_watermarks(connection: &Connection, plan: &Plan) -> Result<(), WarehouseError> {
    let watermarks = ours("watermarks");
    let is_begun =
        |change: &TableChange| matches!(change, TableChange::Create | TableChange::Adopt);
    for table in plan.tables.iter().filter(|table| table.changes.iter().any(is_begun)) {
        // What is stored is of a table that a person has dropped.
        let TableName { namespace, name } = &table.target.table;
        connection.execute(&format!(
            "DELETE FROM {watermarks} WHERE schema = {} AND name = {}",
            literal(namespace),
            literal(name)
        ))?;
    }
    for WatermarkPlan { topic, partition, prefix, table, before, mark } in &plan.watermarks {
        let same = format!(
            "topic = {} AND partition = {partition} AND prefix = {} AND schema = {} AND name = {}",
            literal(topic),
            literal(prefix),
            literal(&table.namespace),
            literal(&table.name)
        );
        let (position, log) = (literal(&sortable(mark.position)), literal(&mark.log));
        let text = serde_json::to_string(mark).map_err(|_| broken("a watermark"))?;
        let (text, offset) = (literal(&text), mark.offset);
        let done = match before {
            Some(before) => connection.execute(&format!(
                "UPDATE {watermarks} SET position = {position}, \"offset\" = {offset}, log = {log}, \
                 mark = {text} WHERE {same} AND position = {} AND \"offset\" = {} AND log = {}",
                literal(&sortable(before.position)),
                before.offset,
                literal(&before.log)
            ))?,
            None => connection.execute(&format!(
                "INSERT INTO {watermarks} SELECT {}, {partition}, {}, {}, {}, {position}, {offset}, \
                 {log}, {text} WHERE NOT EXISTS (SELECT 1 FROM {watermarks} WHERE {same})",
                literal(topic),
                literal(prefix),
                literal(&table.namespace),
                literal(&table.name)
            ))?,
        };
        if done != 1 {
            return Err(WarehouseError::Conflict {
                message: "another cdc-sink has applied records of these partitions".to_owned(),
            });
        }
    }
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
