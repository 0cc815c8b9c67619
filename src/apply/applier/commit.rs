//! A batch to one transaction of the warehouse.

use std::collections::BTreeMap;

use crate::apply::applier::Applier;
use crate::apply::applier::Done;
use crate::apply::applier::NO_OFFSETS;
use crate::apply::applier::Owned;
use crate::apply::applier::Partition;
use crate::apply::applier::Pushed;
use crate::apply::applier::record::Record;
use crate::apply::applier::record::RecordProblem;
use crate::apply::error::ApplyError;
use crate::apply::merge::Batch;
use crate::apply::merge::Cell;
use crate::apply::merge::LogPlace;
use crate::apply::merge::Moved;
use crate::apply::merge::OffsetPlan;
use crate::apply::merge::Plan;
use crate::apply::merge::Target;
use crate::apply::merge::cell::fill_missing;
use crate::apply::merge::fold::Base;
use crate::apply::merge::fold::Doubt;
use crate::apply::warehouse::Loaded;
use crate::apply::warehouse::WarehouseError;
use crate::table::TableName;

/// A row of the batch by its key, and where what it lacks may be found.
type Wanted = (Box<[u8]>, Base);

/// A row of the warehouse as it was before a position.
#[derive(Clone, Debug)]
enum BaseRow {
    /// With these values.
    There(Vec<Cell>),
    /// What is there is not older.
    Overtaken,
    /// There is none.
    Unknown,
}

/// What a batch holds beside records.
struct Beside {
    state: Vec<(String, Option<String>)>,
    finished: Vec<(String, i32, i64)>,
    read_whole: Vec<(TableName, u64)>,
}

/// How often a batch is made again because another process was at work.
const CONFLICTS_MAX: u32 = 20;

impl Applier {
    /// Does everything that was pushed, in one transaction; gives what was done.
    ///
    /// # Errors
    ///
    /// Nothing of the batch is done, or, where a bad record was found, only what stands before it.
    pub fn commit(&mut self) -> Result<Done, ApplyError> {
        let mut conflicts = 0;
        loop {
            let error = match self.try_commit() {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let records = std::mem::take(&mut self.records);
            let beside = Beside {
                state: std::mem::take(&mut self.state),
                finished: std::mem::take(&mut self.dead_letters_done),
                read_whole: std::mem::take(&mut self.read_whole),
            };
            match error {
                ApplyError::Warehouse(WarehouseError::Conflict { message }) => {
                    conflicts += 1;
                    if conflicts > CONFLICTS_MAX {
                        self.abandon();
                        return Err(WarehouseError::Unreachable { message }.into());
                    }
                    tracing::debug!(message, "the batch is made again");
                    std::thread::sleep(std::time::Duration::from_millis(u64::from(conflicts) * 5));
                    self.again(records, beside)?;
                }
                ApplyError::Warehouse(WarehouseError::Data { message }) => {
                    self.abandon();
                    let mut done = Done::default();
                    self.isolate(records, &message, &mut done)?;
                    self.put_back(beside);
                    if self.has_pending() || !self.dead_letters_done.is_empty() {
                        merge_done(&mut done, self.try_commit()?);
                    }
                    return Ok(done);
                }
                error => {
                    self.abandon();
                    return Err(error);
                }
            }
        }
    }

    /// Makes the batch again on what the warehouse knows now.
    fn again(&mut self, records: Vec<Record>, beside: Beside) -> Result<(), ApplyError> {
        self.abandon();
        self.reload()?;
        self.read_marks()?;
        for record in records {
            // It did not wait before; what it waited for is not less there now.
            self.push_again(record)?;
        }
        self.put_back(beside);
        Ok(())
    }

    /// Pushes a record that was in a batch before.
    fn push_again(&mut self, record: Record) -> Result<(), ApplyError> {
        if self.push(record, true)? == Pushed::CommitFirst
            && let Some(record) = self.take_back()
        {
            self.done = self.try_commit()?;
            self.push(record, true)?;
        }
        Ok(())
    }

    fn put_back(&mut self, beside: Beside) {
        self.state = beside.state;
        self.dead_letters_done = beside.finished;
        self.read_whole = beside.read_whole;
    }

    /// Halves a batch that the warehouse refuses until the bad record is found.
    fn isolate(
        &mut self,
        mut records: Vec<Record>,
        message: &str,
        done: &mut Done,
    ) -> Result<(), ApplyError> {
        if records.len() == 1 {
            if let Some(record) = records.pop() {
                self.refuse(record, message)?;
                merge_done(done, self.try_commit()?);
            }
            return Ok(());
        }
        let second = records.split_off(records.len() / 2);
        for half in [records, second] {
            for record in &half {
                self.push_again(record.clone())?;
            }
            match self.try_commit() {
                Ok(part) => merge_done(done, part),
                Err(ApplyError::Warehouse(WarehouseError::Data { message })) => {
                    self.records.clear();
                    self.abandon();
                    self.isolate(half, &message, done)?;
                }
                Err(error) => {
                    self.abandon();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// A record whose values the warehouse does not take.
    fn refuse(&mut self, record: Record, message: &str) -> Result<(), ApplyError> {
        let partition = (record.topic.clone(), record.partition);
        self.bad(&record, RecordProblem::new(message))?;
        self.remember(&partition);
        if let Some(owned) = self.owned.get_mut(&partition) {
            owned.next_offset = owned.next_offset.max(record.offset + 1);
            owned.last = self.records.len();
        }
        self.done.records += 1;
        self.records.push(record);
        Ok(())
    }

    /// Drops what was pushed: everything is as it was after the last commit.
    pub fn abandon(&mut self) {
        for (table, known) in self.before.drain() {
            match known {
                Some(known) => self.tables.insert(table, known),
                None => self.tables.remove(&table),
            };
        }
        for (partition, owned) in self.owned_before.drain() {
            self.owned.insert(partition, owned);
        }
        for key in self.parked_here.drain(..) {
            self.parked.remove(&key);
        }
        self.versions.unfit();
        self.batch = Batch::default();
        self.done = Done::default();
        self.forget_batch();
    }

    /// Forgets what was pushed beside the changes of tables.
    fn forget_batch(&mut self) {
        self.records.clear();
        self.bytes = 0;
        self.dead_letters.clear();
        self.parked_here.clear();
        self.parked_asked = false;
        self.relied_on.clear();
        self.dead_letters_done.clear();
        self.moved_taken.clear();
        self.state.clear();
        self.read_whole.clear();
        self.marks_only = false;
    }

    fn try_commit(&mut self) -> Result<Done, ApplyError> {
        self.sweep();
        self.look_up()?;
        let moved = self.moved()?;
        let batch = std::mem::take(&mut self.batch);
        let (texts, tables) = batch.into_plans();
        let plan = Plan {
            texts,
            tables,
            offsets: self.offset_plans(),
            watermarks: self.watermark_plans(),
            moved,
            moved_taken: self.moved_taken.clone(),
            dead_letters: self.dead_letters.clone(),
            dead_letters_done: self.dead_letters_done.clone(),
            state: self.state.clone(),
        };
        let loaded = if plan.is_empty() {
            Loaded::default()
        } else {
            self.warehouse.load(&self.settings.group, &plan)?
        };
        let mut done = std::mem::take(&mut self.done);
        done.incomplete = loaded.incomplete;
        done.not_found = plan
            .tables
            .iter()
            .zip(&loaded.not_found)
            .filter(|(_, rows)| **rows > 0)
            .map(|(table, rows)| (table.target.table.clone(), *rows))
            .collect();
        done.offsets = self
            .owned_before
            .keys()
            .filter_map(|partition| {
                Some((partition.clone(), self.owned.get(partition)?.next_offset))
            })
            .collect();
        self.before.clear();
        self.owned_before.clear();
        self.forget_batch();
        Ok(done)
    }

    fn offset_plans(&self) -> Vec<OffsetPlan> {
        let mut plans: Vec<OffsetPlan> = self
            .owned_before
            .keys()
            .filter_map(|partition| {
                let owned = self.owned.get(partition)?;
                (owned.fence != NO_OFFSETS).then(|| OffsetPlan {
                    topic: partition.0.to_string(),
                    partition: partition.1,
                    next_offset: owned.next_offset,
                    fence: owned.fence,
                    place: self.place_after(partition, owned),
                })
            })
            .collect();
        // Locks are taken in the order of names by everybody.
        plans.sort_unstable_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        plans
    }

    /// Where a partition stands after the batch.
    fn place_after(&self, partition: &Partition, owned: &Owned) -> LogPlace {
        let is_last = |record: &&Record| {
            record.topic == partition.0
                && record.partition == partition.1
                && record.offset + 1 == owned.next_offset
        };
        let last = self.records.get(owned.last).filter(is_last);
        LogPlace {
            // Offsets that were set back by hand begin another stretch.
            begun_at: owned.place.begun_at.min(owned.next_offset),
            last_record: last.map_or_else(|| owned.place.last_record.clone(), Record::digest),
            log: owned.place.log.clone(),
        }
    }

    /// Finds, in the warehouse, what rows under new keys lack.
    fn look_up(&mut self) -> Result<(), ApplyError> {
        self.settle_doubts()?;
        let mut by_table: BTreeMap<TableName, Vec<Wanted>> = BTreeMap::new();
        for lookup in self.batch.lookups() {
            by_table.entry(lookup.table).or_default().push((lookup.key, lookup.base));
        }
        for (table, wanted) in by_table {
            let bases: Vec<Base> = wanted.iter().map(|(_, base)| base.clone()).collect();
            let found = self.base_rows(&table, &bases)?;
            for ((key, base), found) in wanted.iter().zip(found) {
                match found {
                    BaseRow::There(cells) => self.batch.fill(&table, key, &cells),
                    BaseRow::Overtaken => self.fill_after_delete(&table, key, base)?,
                    BaseRow::Unknown => {}
                }
            }
        }
        Ok(())
    }

    /// Finds, in the warehouse, whether changes begin with a snapshot's row or with a later one.
    fn settle_doubts(&mut self) -> Result<(), ApplyError> {
        let mut by_table: BTreeMap<TableName, Vec<Doubt>> = BTreeMap::new();
        for doubt in self.batch.doubts() {
            by_table.entry(doubt.table.clone()).or_default().push(doubt);
        }
        for (table, doubts) in by_table {
            let Some(target) = self.batch.target(&table).cloned() else { continue };
            let stored = self.stored_target(&target);
            let keys: Vec<Vec<Cell>> = doubts.iter().map(|doubt| doubt.key_cells.clone()).collect();
            let rows = self.warehouse.rows(&stored, &keys, &mut self.batch.texts)?;
            for (doubt, row) in doubts.iter().zip(rows) {
                let is_newer = row.is_some_and(|row| row.position > doubt.position);
                self.batch.settle(&table, &doubt.key, !is_newer);
            }
        }
        Ok(())
    }

    /// The delete half of a key change was applied before this batch: what it has put aside is
    /// there, or the create half was applied too, and its row has the values.
    fn fill_after_delete(
        &mut self,
        table: &TableName,
        key: &[u8],
        base: &Base,
    ) -> Result<(), ApplyError> {
        let Some(target) = self.batch.target(table).cloned() else { return Ok(()) };
        let Some(mut cells) = self.batch.cells(table, key).map(<[Cell]>::to_vec) else {
            return Ok(());
        };
        if let Some(moved) = self.warehouse.moved(target.id, base.before)? {
            self.fill_from(&moved, &target, &mut cells);
            self.moved_taken.push((target.id, base.before));
            self.batch.fill(table, key, &cells);
        } else if self.is_row_there(&target, &cells, base.before)? {
            self.batch.keep_what_is_there(table, key);
        }
        Ok(())
    }

    /// Rows of the warehouse as they were before a position.
    fn base_rows(&mut self, table: &TableName, bases: &[Base]) -> Result<Vec<BaseRow>, ApplyError> {
        let read = |base: &Base| match &base.read {
            Some((_, cells)) => BaseRow::There(cells.clone()),
            None => BaseRow::Unknown,
        };
        let Some(target) = self.batch.target(table).cloned().filter(|_| !self.is_new(table)) else {
            return Ok(bases.iter().map(read).collect());
        };
        let stored: Target = self.stored_target(&target);
        let floor = self.tables.get(table).and_then(|known| known.floor);
        let keys: Vec<Vec<Cell>> = bases.iter().map(|base| base.key.clone()).collect();
        let rows = self.warehouse.rows(&stored, &keys, &mut self.batch.texts)?;
        let usable = rows.into_iter().zip(bases).map(|(row, base)| match row {
            Some(row) if row.position >= base.before => BaseRow::Overtaken,
            // A snapshot's row that is not older than the one there.
            row if base.read.as_ref().is_some_and(|(position, _)| {
                row.as_ref().is_none_or(|row| row.position <= *position)
            }) =>
            {
                read(base)
            }
            Some(row) if floor.is_none_or(|at| row.position > at) => {
                row.cells.map_or(BaseRow::Unknown, BaseRow::There)
            }
            _ => BaseRow::Unknown,
        });
        Ok(usable.collect())
    }

    /// What is put aside for create halves that have not come yet.
    fn moved(&mut self) -> Result<Vec<Moved>, ApplyError> {
        let left: Vec<_> = self
            .batch
            .left_aside()
            .map(|(table, position, row)| (table.clone(), position, row.clone()))
            .collect();
        let mut all = Vec::with_capacity(left.len());
        for (table, position, row) in left {
            let Some(target) = self.batch.target(&table).cloned() else { continue };
            if !target.columns.iter().any(|column| column.column_type.is_toastable()) {
                continue;
            }
            let mut cells = row.cells;
            if let Some(base) = row.base.filter(|_| cells.contains(&Cell::Missing)) {
                match self.base_rows(&table, &[base])?.pop() {
                    Some(BaseRow::There(found)) => fill_missing(&mut cells, &found),
                    // It comes again: what it had put aside is there, or was taken.
                    Some(BaseRow::Overtaken) => continue,
                    Some(BaseRow::Unknown) | None => {}
                }
            }
            let text = |cell: Cell| {
                let bytes = self.batch.texts.text(cell);
                bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            };
            let values =
                target.columns.iter().zip(&cells).filter(|(_, cell)| **cell != Cell::Missing);
            let values = values.map(|(column, cell)| (column.name.clone(), text(*cell))).collect();
            all.push(Moved { table: target.id, position, values });
        }
        Ok(all)
    }

    /// Marks a dead letter as applied by the batch.
    pub fn settle(&mut self, letter: (String, i32, i64)) {
        self.dead_letters_done.push(letter);
    }
}

fn merge_done(done: &mut Done, part: Done) {
    done.records += part.records;
    done.dead_letters += part.dead_letters;
    done.incomplete += part.incomplete;
    done.latest_commit_ms = done.latest_commit_ms.max(part.latest_commit_ms);
    for (key, count) in part.changes {
        *done.changes.entry(key).or_default() += count;
    }
    done.not_found.extend(part.not_found);
    done.read_anew.extend(part.read_anew);
    for (partition, offset) in part.offsets {
        done.offsets.retain(|(known, _)| *known != partition);
        done.offsets.push((partition, offset));
    }
}
