//! What PostgreSQL says, as errors of a warehouse.

use std::fmt::Write;

use tokio_postgres::error::DbError;
use tokio_postgres::error::SqlState;

use crate::apply::merge::Target;
use crate::apply::warehouse::STATE_SCHEMA;
use crate::apply::warehouse::WarehouseError;

/// The remedy where nothing better is known.
const SEE_LOG: &str = "see the warehouse's log";

/// The remedy where a table is not as it was left.
const ALTERED: &str = "undo what was changed by hand, or drop the table with its row in _cdc.tables and \
                       read it again";

/// The remedy where something of somebody else has the name.
const TAKEN: &str = "the source has got one of this name, too: rename or drop that of the warehouse, \
                     and start again";

/// The remedy where something of somebody else stands in the way of a change.
const IN_THE_WAY: &str = "drop what depends on the column in the warehouse, start again, and make it \
                          anew once the column is changed";

/// What an error of the client means.
pub(super) fn failed(error: &tokio_postgres::Error) -> WarehouseError {
    let Some(server) = error.as_db_error() else {
        return WarehouseError::Unreachable { message: format!("the warehouse has gone: {error}") };
    };
    let mut message = described(server);
    let code = server.code();
    let class = code.code().get(..2).unwrap_or_default();
    let in_recovery = *code == SqlState::READ_ONLY_SQL_TRANSACTION
        || (class == "55" && server.message().contains("recovery"));
    if in_recovery {
        write!(message, " (a standby, or a server in recovery)").ok();
        return WarehouseError::Unreachable { message };
    }
    match (class, code) {
        // 58: the server's own disk; XX: its own state.
        ("57" | "08" | "53" | "58" | "XX", _) => WarehouseError::Unreachable { message },
        (_, code) if *code == SqlState::LOCK_NOT_AVAILABLE => WarehouseError::Locked {
            message: format!("{message}: somebody holds a lock on it for more than 3 s"),
        },
        ("40", _) => WarehouseError::Conflict { message },
        // Two that create the same thing at once.
        (_, code) if *code == SqlState::DUPLICATE_SCHEMA => WarehouseError::Conflict { message },
        (_, code) if *code == SqlState::UNIQUE_VIOLATION => {
            if is_ours(server) {
                return WarehouseError::Conflict { message };
            }
            if is_of_key(server) {
                return WarehouseError::Configuration { message, hint: NOT_UNIQUE.to_owned() };
            }
            write!(message, ": it is the warehouse's own and not the source's, drop it there").ok();
            WarehouseError::Data { message }
        }
        // 21: two spellings of one key in a batch; 54: a value that no index or row can hold.
        ("21" | "22" | "23" | "54", _) => WarehouseError::Data { message },
        (_, code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => WarehouseError::Permission {
            message,
            hint: "the role needs CREATE on the database, and to own the tables it writes"
                .to_owned(),
        },
        ("28", _) => WarehouseError::Permission {
            message,
            hint: "correct user and password in --to, PGPASSWORD or ~/.pgpass".to_owned(),
        },
        (_, code) => WarehouseError::Configuration {
            message: format!("{message} ({})", code.code()),
            hint: remedy(code).to_owned(),
        },
    }
}

/// The server's words, with the objects that it names and without values.
fn described(server: &DbError) -> String {
    let words = server.message();
    let mut message = "the warehouse said: ".to_owned();
    match server.code().code().get(..2) {
        Some("22") => message.push_str(&without_values(words)),
        _ => message.push_str(words),
    }
    let of_copy = server.where_().and_then(copied_column);
    for (name, text) in [
        ("table", server.table()),
        ("column", server.column().or(of_copy)),
        ("constraint", server.constraint()),
    ] {
        if let Some(text) = text {
            write!(message, "; {name} \"{text}\"").ok();
        }
    }
    // It says what depends on a column; other details have values of rows.
    if let (true, Some(detail)) =
        (*server.code() == SqlState::FEATURE_NOT_SUPPORTED, server.detail())
    {
        write!(message, ": {detail}").ok();
    }
    message
}

/// Errors of data quote the value.
fn without_values(words: &str) -> String {
    let Some((before, rest)) = words.split_once('"') else { return words.to_owned() };
    let Some((_, after)) = rest.rsplit_once('"') else { return before.to_owned() };
    format!("{before}…{after}")
}

/// `COPY stage_1, line 3, column price: "x"` is of the column `price`.
fn copied_column(place: &str) -> Option<&str> {
    let (_, column) = place.strip_prefix("COPY ")?.split_once(", column ")?;
    Some(column.split_once(':').map_or(column, |(name, _)| name))
}

/// Whether what was not unique is our business: another process has written the same.
fn is_ours(server: &DbError) -> bool {
    let of_ours = |schema: &str| schema == STATE_SCHEMA || schema == "pg_catalog";
    // Where an index is made, it is the rows that are there.
    let by_row = server.routine() == Some("_bt_check_unique");
    server.schema().is_some_and(of_ours) || (by_row && is_of_key(server))
}

/// Whether it is the index that we make of a table's key.
fn is_of_key(server: &DbError) -> bool {
    server.constraint().is_some_and(|name| name.starts_with("cdc_key_"))
}

/// What to do about a table that cannot have its key.
const NOT_UNIQUE: &str = "rows of the table are not told apart by its key: empty or drop it there, \
                          and snapshot it again: cdc-agent snapshot TABLE";

fn remedy(code: &SqlState) -> &'static str {
    let altered = [
        &SqlState::UNDEFINED_TABLE,
        &SqlState::UNDEFINED_COLUMN,
        &SqlState::DATATYPE_MISMATCH,
        &SqlState::WRONG_OBJECT_TYPE,
        &SqlState::INVALID_COLUMN_REFERENCE,
        &SqlState::GENERATED_ALWAYS,
    ];
    if altered.contains(&code) {
        return ALTERED;
    }
    let taken =
        [&SqlState::DUPLICATE_COLUMN, &SqlState::DUPLICATE_TABLE, &SqlState::DUPLICATE_OBJECT];
    if taken.contains(&code) {
        return TAKEN;
    }
    match *code == SqlState::FEATURE_NOT_SUPPORTED {
        true => IN_THE_WAY,
        false => SEE_LOG,
    }
}

/// An error that happened while a table was written or read.
pub(super) fn of_table(error: WarehouseError, target: &Target) -> WarehouseError {
    let WarehouseError::Configuration { message, hint } = error else { return error };
    let (table, id) = (target.table.quoted(), target.id.0);
    let hint = match hint.as_str() {
        ALTERED => format!(
            "undo what was changed by hand; or let the table be made again: DROP TABLE IF EXISTS \
             {table}, _cdc.tombstones_{id}; DELETE FROM _cdc.tables WHERE id = {id}; and snapshot \
             it again: cdc-agent snapshot {}",
            target.table
        ),
        _ => hint,
    };
    WarehouseError::Configuration { message: format!("table {}: {message}", target.table), hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_not_told() {
        for (words, told) in [
            (
                "invalid input syntax for type integer: \"a \"secret\" b\"",
                "invalid input syntax for type integer: …",
            ),
            (
                "value \"99999\" is out of range for type smallint",
                "value … is out of range for type smallint",
            ),
            ("numeric field overflow", "numeric field overflow"),
        ] {
            assert_eq!(without_values(words), told);
        }
        assert_eq!(copied_column("COPY stage_1, line 1, column price: \"x\""), Some("price"));
        assert_eq!(copied_column("COPY stage_1, line 1, column c9"), Some("c9"));
        assert_eq!(copied_column("unnamed portal parameter $1"), None);
    }
}
