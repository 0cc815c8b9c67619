//! One transaction of a warehouse.

use std::collections::HashMap;
use std::collections::HashSet;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::apply::merge::Cell;
use crate::apply::merge::Plan;
use crate::apply::merge::RowPlan;
use crate::apply::merge::TableChange;
use crate::apply::merge::TableId;
use crate::apply::merge::TablePlan;
use crate::apply::merge::Target;
use crate::apply::merge::Texts;
use crate::apply::merge::WatermarkPlan;
use crate::apply::merge::plan::sortable;
use crate::apply::warehouse::BrokenRules;
use crate::apply::warehouse::DELETED_COLUMN;
use crate::apply::warehouse::DeleteMode;
use crate::apply::warehouse::Loaded;
use crate::apply::warehouse::WarehouseError;
use crate::apply::warehouse::postgres::copy;
use crate::apply::warehouse::postgres::error::failed;
use crate::apply::warehouse::postgres::error::of_table;
use crate::apply::warehouse::postgres::stages::Stages;
use crate::apply::warehouse::postgres::state;
use crate::apply::warehouse::postgres::statements::GONE;
use crate::apply::warehouse::postgres::statements::MARKED;
use crate::apply::warehouse::postgres::statements::MARKED_PART;
use crate::apply::warehouse::postgres::statements::PART;
use crate::apply::warehouse::postgres::statements::Statements;
use crate::apply::warehouse::postgres::statements::WHOLE;

/// Bytes that go to the server at once in a COPY.
const COPY_CHUNK: usize = 64 * 1024;

/// A load in progress, inside its transaction.
pub(super) struct Load<'a> {
    pub(super) client: &'a Client,
    pub(super) stages: &'a mut Stages,
    /// Tables that are as the mode of deletes wants them.
    pub(super) fitting: &'a mut HashSet<TableId>,
    pub(super) plan: &'a Plan,
    pub(super) delete_mode: DeleteMode,
    pub(super) broken: BrokenRules,
    pub(super) loaded: Loaded,
}

impl Load<'_> {
    async fn execute(&self, sql: &str) -> Result<u64, WarehouseError> {
        self.client.execute(sql, &[]).await.map_err(|error| failed(&error))
    }

    pub(super) async fn run(&mut self, group: &str) -> Result<(), WarehouseError> {
        self.lock_offsets(group).await?;
        self.lock_tables().await?;
        self.raise_watermarks().await?;
        for table in &self.plan.tables {
            let done = self.table(table).await;
            done.map_err(|error| of_table(error, &table.target))?;
        }
        self.store_offsets(group).await?;
        let rest = state::store(self.plan);
        if !rest.is_empty() {
            self.client.batch_execute(&rest).await.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// Locks the offsets of the batch: whoever takes these partitions meanwhile waits for the load,
    /// however long it is, and goes on where it ends. One that has taken them before ends it here.
    async fn lock_offsets(&self, group: &str) -> Result<(), WarehouseError> {
        let offsets = &self.plan.offsets;
        if offsets.is_empty() {
            return Ok(());
        }
        let topics: Vec<&str> = offsets.iter().map(|offset| offset.topic.as_str()).collect();
        let partitions: Vec<i32> = offsets.iter().map(|offset| offset.partition).collect();
        let parameters: [&(dyn ToSql + Sync); 3] = [&group, &topics, &partitions];
        let rows = self.client.query(state::LOCK_OFFSETS, &parameters).await;
        let rows = rows.map_err(|error| failed(&error))?;
        let fences: HashMap<(&str, i32), i64> =
            rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect();
        for offset in offsets {
            let place = (offset.topic.as_str(), offset.partition);
            if fences.get(&place) != Some(&offset.fence) {
                let partition = format!("partition {} of {}", offset.partition, offset.topic);
                return Err(WarehouseError::Fenced { partition });
            }
        }
        Ok(())
    }

    /// Locks the records of all tables in the order of their numbers: for others that only write
    /// rows to be shared, for changes of the table alone. Whoever finds another generation has an
    /// old picture.
    async fn lock_tables(&self) -> Result<(), WarehouseError> {
        let known: Vec<&TablePlan> =
            self.plan.tables.iter().filter(|table| !is_begun(table)).collect();
        if known.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = known.iter().map(|table| table.target.id.0).collect();
        let alone = known.iter().any(|table| table.store_target);
        let lock = if alone { "UPDATE" } else { "SHARE" };
        let sql = format!(
            "SELECT id, generation FROM _cdc.tables WHERE id = ANY ($1) ORDER BY id FOR {lock}"
        );
        let rows = self.client.query(&sql, &[&ids]).await.map_err(|error| failed(&error))?;
        let found: HashMap<i64, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        for table in known {
            let before = table.target.generation.saturating_sub(u64::from(table.store_target));
            let stored = found.get(&table.target.id.0).copied();
            if stored.and_then(|stored| u64::try_from(stored).ok()) != Some(before) {
                let message = format!("another cdc-sink has changed table {}", table.target.table);
                return Err(WarehouseError::Conflict { message });
            }
        }
        Ok(())
    }

    async fn table(&mut self, plan: &TablePlan) -> Result<(), WarehouseError> {
        let statements = Statements::new(&plan.target, self.delete_mode);
        let created = is_begun(plan);
        let changes: String =
            plan.changes.iter().map(|change| statements.change(change, !created)).collect();
        let store = if plan.store_target {
            state::store_table(plan, created) + ";\n"
        } else {
            String::new()
        };
        // The record first: two that create the same table meet there.
        let sql = store + &changes;
        if !sql.is_empty() {
            self.client.batch_execute(&sql).await.map_err(|error| failed(&error))?;
        }
        if plan.changes.iter().any(|c| matches!(c, TableChange::AddKey { .. })) {
            self.fitting.remove(&plan.target.id);
        }
        if !self.fitting.contains(&plan.target.id) {
            fit(self.client, &plan.target, self.delete_mode).await?;
            self.fitting.insert(plan.target.id);
        }
        if plan.empty && !created {
            self.execute(&statements.empty()).await?;
        }
        let (mut upserted, mut deleted, mut not_found) = (0, 0, 0);
        if let Some(floor) = plan.floor {
            for sql in statements.truncate(&sortable(floor), plan.times.of(floor)) {
                deleted += self.execute(&sql).await?;
            }
        }
        if !plan.rows.is_empty() {
            self.stage(&statements, plan).await?;
            (upserted, deleted) = self.merge(&statements, plan, deleted).await?;
        } else if !plan.counts.is_empty() {
            self.stage(&statements, plan).await?;
            // What goes was there before what comes.
            let wanted: i64 = plan.counts.iter().map(|count| (-count.count).max(0)).sum();
            if wanted > 0 {
                let found = self.execute(&statements.delete_counted()).await?;
                deleted += found;
                not_found = wanted.unsigned_abs().saturating_sub(found);
            }
            upserted += self.execute(&statements.insert_counted()).await?;
        }
        if !plan.rows.is_empty() || !plan.counts.is_empty() {
            self.execute(&format!("TRUNCATE {}", statements.stage())).await?;
        }
        self.loaded.upserted.push(upserted);
        self.loaded.deleted.push(deleted);
        self.loaded.not_found.push(not_found);
        Ok(())
    }

    async fn merge(
        &mut self,
        statements: &Statements<'_>,
        plan: &TablePlan,
        mut deleted: u64,
    ) -> Result<(u64, u64), WarehouseError> {
        let mut upserted = 0;
        let mode = self.delete_mode;
        let has = |kind: &str| plan.rows.iter().any(|row| kind_of(row, mode) == kind);
        let buries = self.delete_mode == DeleteMode::Hard && !self.broken.without_tombstones;
        for kind in [WHOLE, PART] {
            if has(kind) {
                upserted += self.execute(&statements.upsert(kind)).await?;
            }
        }
        for kind in [MARKED, MARKED_PART] {
            if has(kind) {
                deleted += self.execute(&statements.upsert(kind)).await?;
            }
        }
        if (upserted > 0 || deleted > 0) && !self.broken.without_tombstones {
            self.execute(&statements.forget_tombstones()).await?;
        }
        if has(GONE) {
            deleted += self.execute(&statements.delete()).await?;
            if buries {
                self.execute(&statements.bury()).await?;
            }
        }
        self.loaded.incomplete += u64::try_from(
            plan.rows
                .iter()
                .filter(|row| !row.is_delete && row.is_fresh)
                .filter(|row| row.cells.contains(&Cell::Missing))
                .count(),
        )
        .unwrap_or_default();
        Ok((upserted, deleted))
    }

    /// Copies a table's rows or counts into its staging table.
    async fn stage(
        &mut self,
        statements: &Statements<'_>,
        plan: &TablePlan,
    ) -> Result<(), WarehouseError> {
        for sql in self.stages.take(plan.target.id, statements) {
            self.execute(&sql).await?;
        }
        let copying = self.client.copy_in::<_, Bytes>(&statements.copy()).await;
        let sink = copying.map_err(|error| failed(&error))?;
        let mut sink = std::pin::pin!(sink);
        let mut buffer = Vec::with_capacity(COPY_CHUNK * 2);
        let texts = &self.plan.texts;
        for row in &plan.rows {
            write_row(plan, row, (texts, self.delete_mode), &mut buffer);
            if buffer.len() >= COPY_CHUNK {
                let chunk = Bytes::from(std::mem::take(&mut buffer));
                sink.send(chunk).await.map_err(|error| failed(&error))?;
            }
        }
        for count in &plan.counts {
            copy::cells(&plan.target, &count.cells, texts, &mut buffer);
            copy::field(Some(sortable(count.position).as_bytes()), &mut buffer);
            copy::field(plan.times.of(count.position).map(str::as_bytes), &mut buffer);
            copy::field(Some(count.count.to_string().as_bytes()), &mut buffer);
            copy::end_row(&mut buffer);
            if buffer.len() >= COPY_CHUNK {
                let chunk = Bytes::from(std::mem::take(&mut buffer));
                sink.send(chunk).await.map_err(|error| failed(&error))?;
            }
        }
        sink.send(Bytes::from(buffer)).await.map_err(|error| failed(&error))?;
        sink.finish().await.map_err(|error| failed(&error))?;
        Ok(())
    }

    /// Watermarks are compared before anything is written: two groups that bring the same records
    /// to one table meet here, and the second begins its batch again.
    async fn raise_watermarks(&self) -> Result<(), WarehouseError> {
        for table in self.plan.tables.iter().filter(|table| is_begun(table)) {
            // What is stored is of a table that a person has dropped.
            let sql = "DELETE FROM _cdc.watermarks WHERE \"schema\" = $1 AND name = $2";
            let name = &table.target.table;
            let gone = self.client.execute(sql, &[&name.namespace, &name.name]).await;
            gone.map_err(|error| failed(&error))?;
        }
        let marks = &self.plan.watermarks;
        if marks.is_empty() {
            return Ok(());
        }
        let column = |of: fn(&WatermarkPlan) -> &str| marks.iter().map(of).collect::<Vec<&str>>();
        let topics = column(|plan| &plan.topic);
        let partitions: Vec<i32> = marks.iter().map(|plan| plan.partition).collect();
        let prefixes = column(|plan| &plan.prefix);
        let schemas = column(|plan| &plan.table.namespace);
        let names = column(|plan| &plan.table.name);
        let positions: Vec<String> =
            marks.iter().map(|plan| sortable(plan.mark.position)).collect();
        let offsets: Vec<i64> = marks.iter().map(|plan| plan.mark.offset).collect();
        let logs = column(|plan| &plan.mark.log);
        let texts = marks.iter().map(|plan| state::mark_text(&plan.mark));
        let texts = texts.collect::<Result<Vec<String>, WarehouseError>>()?;
        let before: Vec<Option<String>> = marks
            .iter()
            .map(|plan| plan.before.as_ref().map(|mark| sortable(mark.position)))
            .collect();
        let offsets_before: Vec<Option<i64>> =
            marks.iter().map(|plan| plan.before.as_ref().map(|mark| mark.offset)).collect();
        let logs_before: Vec<Option<&str>> =
            marks.iter().map(|plan| plan.before.as_ref().map(|mark| mark.log.as_str())).collect();
        let keys: [&(dyn ToSql + Sync); 5] = [&topics, &partitions, &prefixes, &schemas, &names];
        let values: [&(dyn ToSql + Sync); 5] = [&positions, &offsets, &logs, &texts, &before];
        let assumed: [&(dyn ToSql + Sync); 2] = [&offsets_before, &logs_before];
        let failed = |error: tokio_postgres::Error| failed(&error);
        self.client.execute(state::LOCK_WATERMARKS, &keys).await.map_err(failed)?;
        let all = [keys.as_slice(), &values, &assumed].concat();
        let raised = self.client.execute(state::RAISE_WATERMARKS, &all).await.map_err(failed)?;
        let all = [keys.as_slice(), &values].concat();
        let first = self.client.execute(state::FIRST_WATERMARKS, &all).await.map_err(failed)?;
        if raised + first == marks.len() as u64 {
            return Ok(());
        }
        let message = "another cdc-sink has applied records of these partitions".to_owned();
        Err(WarehouseError::Conflict { message })
    }

    async fn store_offsets(&self, group: &str) -> Result<(), WarehouseError> {
        let offsets = &self.plan.offsets;
        if offsets.is_empty() {
            return Ok(());
        }
        let topics: Vec<&str> = offsets.iter().map(|offset| offset.topic.as_str()).collect();
        let partitions: Vec<i32> = offsets.iter().map(|offset| offset.partition).collect();
        let next: Vec<i64> = offsets.iter().map(|offset| offset.next_offset).collect();
        let fences: Vec<i64> = offsets.iter().map(|offset| offset.fence).collect();
        let logs: Vec<&str> = offsets.iter().map(|offset| offset.place.log.as_str()).collect();
        let begun: Vec<i64> = offsets.iter().map(|offset| offset.place.begun_at).collect();
        let last: Vec<&str> =
            offsets.iter().map(|offset| offset.place.last_record.as_str()).collect();
        let parameters: [&(dyn ToSql + Sync); 8] =
            [&group, &topics, &partitions, &next, &fences, &logs, &begun, &last];
        let rows = self.client.query(state::STORE_OFFSETS, &parameters).await;
        let rows = rows.map_err(|error| failed(&error))?;
        let stored: HashSet<(String, i32)> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        for offset in offsets {
            if !stored.contains(&(offset.topic.clone(), offset.partition)) {
                let partition = format!("partition {} of {}", offset.partition, offset.topic);
                return Err(WarehouseError::Fenced { partition });
            }
        }
        Ok(())
    }
}

/// Whether a plan creates its table, or takes one over.
fn is_begun(plan: &TablePlan) -> bool {
    plan.changes.iter().any(|change| matches!(change, TableChange::Create | TableChange::Adopt))
}

/// Makes a table fit the mode of deletes, which may have been another before.
pub(super) async fn fit(
    client: &Client,
    target: &Target,
    mode: DeleteMode,
) -> Result<(), WarehouseError> {
    if !target.is_keyed() {
        return Ok(());
    }
    let marks = "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass($1) AND \
                 attname = $2 AND NOT attisdropped)";
    let row = client.query_one(marks, &[&target.table.quoted(), &DELETED_COLUMN]).await;
    let has_marks: bool = row.map_err(|error| failed(&error))?.get(0);
    let statements = Statements::new(target, mode);
    let sql = match (mode, has_marks) {
        (DeleteMode::Soft, false) => statements.add_marks(),
        (DeleteMode::Hard, true) => statements.remove_marked(),
        (DeleteMode::Soft, true) | (DeleteMode::Hard, false) => return Ok(()),
    };
    client.batch_execute(&sql).await.map_err(|error| failed(&error))
}

fn kind_of(row: &RowPlan, mode: DeleteMode) -> &'static str {
    let is_part = !row.is_fresh && row.cells.contains(&Cell::Missing);
    match (row.is_delete, mode) {
        (true, DeleteMode::Hard) => GONE,
        (true, DeleteMode::Soft) => {
            if is_part {
                MARKED_PART
            } else {
                MARKED
            }
        }
        (false, _) => {
            if is_part {
                PART
            } else {
                WHOLE
            }
        }
    }
}

fn write_row(
    plan: &TablePlan,
    row: &RowPlan,
    (texts, mode): (&Texts, DeleteMode),
    out: &mut Vec<u8>,
) {
    let (target, kind) = (&*plan.target, kind_of(row, mode));
    if kind == GONE {
        // Only its key is wanted.
        let mut cells = vec![Cell::Null; row.cells.len()];
        for place in &target.key {
            if let (Some(cell), Some(key)) = (cells.get_mut(*place), row.cells.get(*place)) {
                *cell = *key;
            }
        }
        copy::cells(target, &cells, texts, out);
    } else {
        copy::cells(target, &row.cells, texts, out);
    }
    copy::field(Some(sortable(row.position).as_bytes()), out);
    copy::field(plan.times.of(row.position).map(str::as_bytes), out);
    let missing = target
        .columns
        .iter()
        .zip(&row.cells)
        .filter(|(_, cell)| **cell == Cell::Missing)
        .map(|(column, _)| column.name.as_str());
    let is_missing = kind != GONE && row.cells.contains(&Cell::Missing);
    let names = is_missing.then(|| copy::names(missing));
    copy::field(names.as_deref(), out);
    copy::field(Some(kind.as_bytes()), out);
    copy::end_row(out);
}
