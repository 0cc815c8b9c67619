//! Names and literals in DuckDB's SQL.

use crate::apply::merge::TableId;
use crate::apply::warehouse::STATE_SCHEMA;
use crate::table::TableName;
use crate::table::quote_identifier;

/// The name that the file is attached under.
pub(super) const CATALOG: &str = "_warehouse";

/// Temporary table of the rows of a plan, or of keys that are asked for.
pub(super) const STAGE: &str = "temp.main._cdc_stage";

/// Its name within its schema.
pub(super) const STAGE_NAME: &str = "_cdc_stage";

/// Temporary table of the staged rows that count, with what they meet.
pub(super) const VERDICT: &str = "temp.main._cdc_verdict";

/// `"name"`.
pub(super) fn name(name: &str) -> String {
    quote_identifier(name)
}

/// `'text'`; backslashes are characters as others.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A source's table.
pub(super) fn table(table: &TableName) -> String {
    format!("{CATALOG}.{}", table.quoted())
}

/// A table of our own.
pub(super) fn ours(table: &str) -> String {
    format!("{CATALOG}.{STATE_SCHEMA}.{table}")
}

/// Keys of rows that are gone from a table, with their positions.
pub(super) fn tombstones(table: TableId) -> String {
    ours(&format!("tombstones_{}", table.0))
}
