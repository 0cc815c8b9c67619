//! Staging tables of a session: temporary ones, each for one table of the warehouse.
//!
//! PostgreSQL empties, at every COMMIT, all temporary tables of a session that have ON COMMIT
//! DELETE ROWS, whether they were touched or not; these have not, and are emptied by whoever has
//! filled them. Only so many are kept: each holds locks and files.

use std::collections::HashMap;

use crate::apply::merge::TableId;
use crate::apply::warehouse::postgres::statements::Statements;

/// Staging tables that a session keeps.
const KEPT_MAX: usize = 64;

/// Those that a session has.
#[derive(Clone, Debug, Default)]
pub(super) struct Stages {
    kept: HashMap<TableId, Kept>,
    /// How often one was asked for.
    uses: u64,
}

#[derive(Clone, Debug)]
struct Kept {
    columns: String,
    used: u64,
}

impl Stages {
    /// Statements after which a table's staging table is there, and empty.
    pub(super) fn take(&mut self, table: TableId, statements: &Statements<'_>) -> Vec<String> {
        self.uses += 1;
        let columns = statements.stage_columns();
        if let Some(kept) = self.kept.get_mut(&table)
            && kept.columns == columns
        {
            kept.used = self.uses;
            return Vec::new();
        }
        let mut sql = Vec::new();
        let mut drop = |table: TableId| sql.push(format!("DROP TABLE {}", Self::name(table)));
        if self.kept.remove(&table).is_some() {
            drop(table);
        }
        if self.kept.len() >= KEPT_MAX
            && let Some(oldest) =
                self.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(table, _)| *table)
        {
            self.kept.remove(&oldest);
            drop(oldest);
        }
        sql.push(format!("CREATE TEMP TABLE stage_{} ({columns})", table.0));
        self.kept.insert(table, Kept { columns, used: self.uses });
        sql
    }

    /// A table's staging table.
    pub(super) fn name(table: TableId) -> String {
        format!("pg_temp.stage_{}", table.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::merge::ColumnType;
    use crate::apply::merge::Target;
    use crate::apply::warehouse::DeleteMode;
    use crate::table::TableName;

    fn target(id: i64, columns: &[&str], generation: u64) -> Target {
        let columns: Vec<_> = columns
            .iter()
            .map(|name| serde_json::json!({ "name": name, "column_type": ColumnType::Int32 }))
            .collect();
        serde_json::from_value(serde_json::json!({
            "id": id, "table": TableName::new("s", "t"), "prefix": "p", "columns": columns,
            "key": [0], "generation": generation,
        }))
        .unwrap()
    }

    fn take(stages: &mut Stages, target: &Target) -> Vec<String> {
        stages.take(target.id, &Statements::new(target, DeleteMode::Hard))
    }

    #[test]
    fn a_staging_table_follows_its_columns_and_nothing_else() {
        let mut stages = Stages::default();
        assert_eq!(take(&mut stages, &target(1, &["id"], 0)).len(), 1);
        assert!(take(&mut stages, &target(1, &["id"], 7)).is_empty());
        let again = take(&mut stages, &target(1, &["id", "a"], 8));
        assert_eq!(again[0], "DROP TABLE pg_temp.stage_1");
        assert!(again[1].starts_with("CREATE TEMP TABLE stage_1 ("), "{again:?}");
    }

    #[test]
    fn the_staging_table_that_was_not_used_for_longest_goes() {
        let mut stages = Stages::default();
        for id in 0..64 {
            take(&mut stages, &target(id, &["id"], 0));
        }
        assert!(take(&mut stages, &target(0, &["id"], 0)).is_empty());
        let more = take(&mut stages, &target(64, &["id"], 0));
        assert_eq!(more[0], "DROP TABLE pg_temp.stage_1");
        assert_eq!(stages.kept.len(), KEPT_MAX);
    }
}
