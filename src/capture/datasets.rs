//! What lineage is told of tables: their columns, each with its type's name as Debezium spells it.

use std::collections::BTreeSet;

use crate::capture::catalog::ColumnFacts;
use crate::capture::catalog::Shape;
use crate::capture::catalog::TypeCatalog;
use crate::capture::filter::TableFilter;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::capture::postgres::catalog_query;
use crate::lineage::event::Dataset;
use crate::oid::Oid;
use crate::table::TableName;

/// All tables that pass the filter, as the JDBC driver describes them, partitions and their roots
/// included.
///
/// # Errors
///
/// The server cannot be asked.
pub(super) fn at_start(sql: &Sql, filter: &TableFilter) -> Result<Vec<Dataset>, SourceError> {
    let rows = sql.query(
        "SELECT c.oid, n.nspname::text, c.relname::text \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' \
         AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')",
        &[],
    )?;
    let tables: Vec<Oid> = rows
        .iter()
        .filter(|row| filter.allows(&TableName::new(row.get::<_, &str>(1), row.get::<_, &str>(2))))
        .map(|row| Oid(row.get(0)))
        .collect();
    let path = sql.query_one("SELECT current_schemas(true)::text[]", &[])?;
    let path: BTreeSet<String> = path.get::<_, Vec<String>>(0).into_iter().collect();
    let mut facts: Vec<_> = catalog_query::tables(sql, &tables)?.into_values().collect();
    facts.sort_by(|one, other| one.name.cmp(&other.name));
    let mut types = TypeCatalog::default();
    let oids = facts.iter().flat_map(|table| table.columns.iter().map(|column| column.type_oid));
    catalog_query::load_types(sql, oids, &mut types)?;
    let datasets = facts.into_iter().map(|table| {
        let field =
            |column: &ColumnFacts| (column.name.clone(), driver_type(column, &types, &path));
        Dataset { table: table.name, fields: table.columns.iter().map(field).collect() }
    });
    Ok(datasets.collect())
}

/// A table as the stream describes it.
pub(super) fn of_relation(shape: &Shape, types: &TypeCatalog) -> Dataset {
    let columns = shape.columns.iter().map(|column| {
        let known = types.get(column.type_oid).map(|facts| facts.name.clone());
        (column.name.clone(), known.unwrap_or_else(|| column.type_name.clone()))
    });
    Dataset { table: shape.table.clone(), fields: columns.collect() }
}

/// The JDBC driver's name: an integer that a sequence fills is a serial, and a type that is not on
/// the search path bears its schema.
fn driver_type(column: &ColumnFacts, types: &TypeCatalog, path: &BTreeSet<String>) -> String {
    let Some(facts) = types.get(column.type_oid) else { return column.type_name.clone() };
    if !path.contains(&facts.namespace) {
        let quoted = |name: &str| format!("\"{name}\"");
        return format!("{}.{}", quoted(&facts.namespace), quoted(&facts.name));
    }
    let filled = column.default.as_ref().is_some_and(|default| default.contains("nextval("));
    match facts.name.as_str() {
        "int2" if filled => "smallserial".to_owned(),
        "int4" if filled => "serial".to_owned(),
        "int8" if filled => "bigserial".to_owned(),
        name => name.to_owned(),
    }
}
