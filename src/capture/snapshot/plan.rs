//! Which tables are read, in which pieces and in which order.

use std::sync::Arc;

use crate::capture::catalog::ColumnFacts;
use crate::capture::catalog::Shape;
use crate::capture::catalog::TableFacts;
use crate::capture::change::Fidelity;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::capture::postgres::publication::PublishedTable;
use crate::capture::settings::SnapshotSettings;
use crate::table::TableName;
use crate::table::quote_identifier;

/// Blocks of one piece of a large table: 128 MiB.
const RANGE_BLOCKS: i64 = 16_384;

/// A table to read.
#[derive(Clone, Debug)]
pub(in crate::capture) struct PlannedTable {
    /// The table.
    pub(in crate::capture) name: TableName,
    /// Its columns as they are read.
    pub(in crate::capture) shape: Shape,
    /// Rows by the planner's estimate, for progress.
    pub(in crate::capture) estimated_rows: u64,
    /// Its pieces, in order.
    pub(in crate::capture) pieces: Vec<Arc<Piece>>,
    /// Partitions that hold its rows, if it is partitioned.
    pub(in crate::capture) partitions: Vec<u32>,
}

/// What one COPY reads.
#[derive(Clone, Debug)]
pub(in crate::capture) struct Piece {
    /// The command.
    pub(super) command: String,
    /// The relations that hold the rows.
    pub(super) relations: Vec<u32>,
}

/// A piece of a table.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Table, by its place in the plan.
    pub(in crate::capture) table: usize,
    /// Place among the table's pieces.
    pub(in crate::capture) place: usize,
    /// Its receipt.
    pub(in crate::capture) number: u32,
    /// What is read.
    pub(in crate::capture) piece: Arc<Piece>,
}

/// Plans the reading of tables, in their order; tables without columns have nothing to read.
///
/// `pieces` is whether large tables are cut, so that several connections can read them; `fidelity`
/// says whose rule holds for generated columns, and for rows of tables that inherit: Debezium reads
/// them with the table that they inherit from, too.
///
/// # Errors
///
/// The server cannot be asked.
pub(in crate::capture) fn plan(
    sql: &Sql,
    tables: &[(PublishedTable, TableFacts)],
    (pieces, fidelity): (bool, Fidelity),
    settings: &SnapshotSettings,
) -> Result<Vec<PlannedTable>, SourceError> {
    let mut planned = Vec::new();
    let generated = fidelity == Fidelity::Debezium;
    for (published, facts) in tables {
        let columns = published_columns(published, facts, generated);
        if columns.is_empty() {
            continue;
        }
        let shape = Shape::of_facts(facts, columns.iter().copied());
        let name = facts.name.to_string();
        if let Some((_, query)) = settings.overrides.iter().find(|(table, _)| *table == name) {
            let command = overridden(sql, query, &columns);
            let command = command.map_err(|error| of_statement(error, &name, settings))?;
            let (_, relations) = leaves(sql, facts, (false, fidelity))?;
            let partitions = if facts.partitioned { relations.clone() } else { Vec::new() };
            planned.push(PlannedTable {
                name: facts.name.clone(),
                shape,
                estimated_rows: 0,
                pieces: vec![Arc::new(Piece { command, relations })],
                partitions,
            });
            continue;
        }
        let (leaves, relations) = leaves(sql, facts, (pieces, fidelity))?;
        let estimated_rows = leaves.iter().map(|leaf| leaf.rows).sum();
        let list: Vec<String> =
            columns.iter().map(|column| quote_identifier(&column.name)).collect();
        let filter = published.row_filter.as_deref();
        let plain = filter.is_none() && columns.iter().all(|column| !column.generated);
        let pieces = leaves
            .iter()
            .flat_map(|leaf| {
                let list = list.join(", ");
                let commands = match leaf.plain_command(&list).filter(|_| plain) {
                    Some(command) => vec![command],
                    None => leaf.commands(&list, filter, pieces),
                };
                let piece = |command| Piece { command, relations: leaf.relations.clone() };
                commands.into_iter().map(piece).map(Arc::new)
            })
            .collect();
        let partitions = if facts.partitioned { relations } else { Vec::new() };
        let name = facts.name.clone();
        planned.push(PlannedTable { name, shape, estimated_rows, pieces, partitions });
    }
    Ok(planned)
}

/// The error of reading a table, named as that of the statement if the user gave one for it.
pub(super) fn of_statement(
    error: SourceError,
    table: &str,
    settings: &SnapshotSettings,
) -> SourceError {
    // Errors of data, of syntax and of names; what has to do with the connection may pass.
    const OWN: [&str; 3] = ["21", "22", "42"];
    match &error {
        SourceError::Server { error: said, .. }
            if OWN.iter().any(|class| said.sqlstate.starts_with(class))
                && settings.overrides.iter().any(|(known, _)| known == table) =>
        {
            SourceError::configuration(
                format!("snapshot.select.statement.overrides.{table} cannot be run: {said}"),
                "correct the statement; tables and functions outside of pg_catalog need their \
                 schema before their name",
            )
        }
        _ => error,
    }
}

/// The rows that a statement of the user's gives; NULL for columns that it does not have.
fn overridden(sql: &Sql, query: &str, columns: &[&ColumnFacts]) -> Result<String, SourceError> {
    let known = sql.columns(query)?;
    let list: Vec<String> = columns
        .iter()
        .map(|column| match known.contains(&column.name) {
            true => format!("o.{}", quote_identifier(&column.name)),
            false => "NULL".to_owned(),
        })
        .collect();
    Ok(format!("COPY (SELECT {} FROM ({query}) AS o) TO STDOUT", list.join(", ")))
}

/// The columns that the publication sends, so that reads and stream have the same. Without a list
/// of its own it leaves out generated columns, which Debezium reads all the same.
fn published_columns<'a>(
    published: &PublishedTable,
    facts: &'a TableFacts,
    generated: bool,
) -> Vec<&'a ColumnFacts> {
    let listed = |column: &ColumnFacts| match &published.columns {
        Some(names) => names.contains(&column.name) || (generated && column.generated),
        None => generated || !column.generated,
    };
    facts.columns.iter().filter(|column| listed(column)).collect()
}

/// A relation that holds rows.
struct Leaf {
    from: String,
    /// Its name, if it is a plain table whose index calls a function of somebody's: to plan a query
    /// of it is to run that function, which may need the search path of its owner.
    unplanned: Option<String>,
    /// Blocks of a heap; `None`: it is read in one piece.
    blocks: Option<i64>,
    rows: u64,
    /// Itself, or the partitions that it stands for.
    relations: Vec<u32>,
}

impl Leaf {
    /// The COPY command that reads a table without planning a query of it.
    fn plain_command(&self, columns: &str) -> Option<String> {
        self.unplanned.as_ref().map(|name| format!("COPY {name} ({columns}) TO STDOUT"))
    }

    /// COPY commands that together give every row once: the first range has no lower bound, the
    /// last no upper one.
    fn commands(&self, columns: &str, filter: Option<&str>, pieces: bool) -> Vec<String> {
        let starts: Vec<i64> = match self.blocks {
            Some(blocks) if pieces => (0..blocks.max(1)).step_by(RANGE_STEP).collect(),
            _ => vec![0],
        };
        let count = starts.len();
        starts
            .into_iter()
            .enumerate()
            .map(|(at, start)| {
                let mut conditions = Vec::new();
                if at > 0 {
                    conditions.push(format!("ctid >= '({start},0)'::tid"));
                }
                if at + 1 < count {
                    conditions.push(format!("ctid < '({},0)'::tid", start + RANGE_BLOCKS));
                }
                if let Some(filter) = filter {
                    conditions.push(format!("({filter})"));
                }
                let condition = if conditions.is_empty() {
                    String::new()
                } else {
                    format!(" WHERE {}", conditions.join(" AND "))
                };
                format!("COPY (SELECT {columns} FROM {}{condition}) TO STDOUT", self.from)
            })
            .collect()
    }
}

/// [`RANGE_BLOCKS`] as a step.
const RANGE_STEP: usize = 16_384;

/// Where a table's rows lie: in itself, or in its partitions if there is a use for reading them one
/// by one and we may. Read in one piece, its rows come in the order that Debezium reads them in.
/// Gives also the ids of everything that holds rows of it.
///
/// The tree is read from the catalog, as a snapshot shows it: functions show the present.
fn leaves(
    sql: &Sql,
    facts: &TableFacts,
    (pieces, fidelity): (bool, Fidelity),
) -> Result<(Vec<Leaf>, Vec<u32>), SourceError> {
    let rows = sql.query(
        "WITH RECURSIVE tree (oid) AS (SELECT $1::oid UNION ALL SELECT i.inhrelid FROM tree \
         JOIN pg_inherits i ON $2 AND i.inhparent = tree.oid) \
         SELECT n.nspname::text, c.relname::text, c.relam = 2 AND c.relkind = 'r', \
         pg_relation_size(c.oid) / current_setting('block_size')::int8, \
         greatest(c.reltuples, 0)::int8, has_table_privilege(c.oid, 'SELECT'), \
         c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid), c.oid, \
         c.relkind = 'r' AND EXISTS (SELECT FROM pg_index i JOIN pg_depend d \
         ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid \
         AND d.refclassid = 'pg_proc'::regclass WHERE i.indrelid = c.oid) \
         FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = \
         c.relnamespace \
         WHERE NOT $2 OR c.relkind <> 'p' ORDER BY c.oid",
        &[&facts.oid.0, &facts.partitioned],
    )?;
    let relations: Vec<u32> = rows.iter().map(|row| row.get(7)).collect();
    let may_read_all = rows.iter().all(|row| row.get::<_, bool>(5));
    let estimated: i64 = rows.iter().map(|row| row.get::<_, i64>(4)).sum();
    if facts.partitioned && !(pieces && may_read_all) {
        let rows = u64::try_from(estimated).unwrap_or_default();
        let from = facts.name.quoted();
        let leaf = Leaf { from, unplanned: None, blocks: None, rows, relations: relations.clone() };
        return Ok((vec![leaf], relations));
    }
    let leaves = rows
        .iter()
        .map(|row| {
            let name = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
            let with_heirs = fidelity == Fidelity::Debezium && row.get(6);
            let heap = !with_heirs && row.get(2);
            let only = if with_heirs { "" } else { "ONLY " };
            Leaf {
                from: format!("{only}{}", name.quoted()),
                unplanned: (!with_heirs && row.get(8)).then(|| name.quoted()),
                blocks: heap.then(|| row.get(3)),
                rows: u64::try_from(row.get::<_, i64>(4)).unwrap_or_default(),
                relations: vec![row.get(7)],
            }
        })
        .collect();
    Ok((leaves, relations))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_open_at_both_ends_and_leave_nothing_between() {
        let leaf = |from: &str, blocks| Leaf {
            from: from.to_owned(),
            unplanned: None,
            blocks: Some(blocks),
            rows: 0,
            relations: Vec::new(),
        };
        let commands = leaf("ONLY \"s\".\"t\"", 40_000).commands("\"a\"", Some("a > 1"), true);
        assert_eq!(
            commands,
            [
                "COPY (SELECT \"a\" FROM ONLY \"s\".\"t\" WHERE ctid < '(16384,0)'::tid AND (a > 1)) \
                 TO STDOUT",
                "COPY (SELECT \"a\" FROM ONLY \"s\".\"t\" WHERE ctid >= '(16384,0)'::tid AND \
                 ctid < '(32768,0)'::tid AND (a > 1)) TO STDOUT",
                "COPY (SELECT \"a\" FROM ONLY \"s\".\"t\" WHERE ctid >= '(32768,0)'::tid AND \
                 (a > 1)) TO STDOUT",
            ]
        );
        assert_eq!(
            leaf("t", 0).commands("\"a\"", None, true),
            ["COPY (SELECT \"a\" FROM t) TO STDOUT"]
        );
    }
}
