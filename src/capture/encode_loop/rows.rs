//! Rows: what an insert, update, delete or truncate becomes.

use std::ops::Range;
use std::sync::Arc;

use crate::capture::CaptureError;
use crate::capture::change::Event;
use crate::capture::change::Fidelity;
use crate::capture::encode_loop::Encoder;
use crate::capture::encode_loop::out_of_step;
use crate::capture::pgoutput::Delete;
use crate::capture::pgoutput::Insert;
use crate::capture::pgoutput::OldTuple;
use crate::capture::pgoutput::Truncate;
use crate::capture::pgoutput::Tuple;
use crate::capture::pgoutput::TupleValue;
use crate::capture::pgoutput::Update;
use crate::capture::publisher::Receipt;
use crate::capture::publisher::Record;
use crate::capture::tables::ReadyTable;
use crate::envelope::Operation;
use crate::lsn::Lsn;
use crate::oid::Oid;
use crate::position::Position;

impl Encoder<'_> {
    pub(super) fn insert(&mut self, insert: &Insert<'_>, lsn: Lsn) -> Result<(), CaptureError> {
        let Some(table) = self.row(insert.relation_id, insert.new.columns())? else {
            return Ok(());
        };
        if self.skips(Operation::Create) {
            return Ok(());
        }
        let event = Event {
            operation: Operation::Create,
            before: None,
            after: Some(&insert.new),
            unchanged: None,
            lsn,
        };
        self.write(&table, &event, &insert.new, Part::default())
    }

    pub(super) fn update(&mut self, update: &Update<'_>, lsn: Lsn) -> Result<(), CaptureError> {
        let Some(table) = self.row(update.relation_id, update.new.columns())? else {
            return Ok(());
        };
        let old = update.old.tuple();
        if let Some(old) = old.filter(|old| table.writer.key_differs(*old, &update.new)) {
            return self.key_change(&table, old, update, lsn);
        }
        let unchanged = |old: &Tuple<'_>| table.writer.rows_equal(old, &update.new);
        let skipped =
            self.around.settings.skip_unchanged && full(&update.old).is_some_and(unchanged);
        if skipped || self.skips(Operation::Update) {
            return Ok(());
        }
        let event = Event {
            operation: Operation::Update,
            before: old,
            after: Some(&update.new),
            unchanged: self.known(&update.old),
            lsn,
        };
        self.write(&table, &event, &update.new, Part::default())
    }

    /// An update that gives a row another key: the old key's row goes, the new key's comes.
    fn key_change(
        &mut self,
        table: &ReadyTable,
        old: &Tuple<'_>,
        update: &Update<'_>,
        lsn: Lsn,
    ) -> Result<(), CaptureError> {
        let found = self.look_up(update)?;
        let found = found.as_deref().map(Tuple::from_bytes).transpose()?;
        let known = full(&update.old).or(found.as_ref()).or_else(|| self.known(&update.old));
        let new_key = self.key_header(table, &update.new, known);
        let old_key = self.key_header(table, old, known);
        if !self.skips(Operation::Delete) {
            let event = Event {
                operation: Operation::Delete,
                before: Some(old),
                after: None,
                unchanged: None,
                lsn,
            };
            let part = Part { header: Some(("__debezium.newkey", new_key)), ..Part::default() };
            self.write(table, &event, old, part.clone())?;
            self.tombstone(table, part);
        }
        if !self.skips(Operation::Create) {
            let event = Event {
                operation: Operation::Create,
                before: None,
                after: Some(&update.new),
                unchanged: known,
                lsn,
            };
            let part = Part { sub: 1, header: Some(("__debezium.oldkey", old_key)), literal: None };
            self.write(table, &event, &update.new, part)?;
        }
        Ok(())
    }

    /// What the old row has of values that are left out: all of them, or those of the key, which
    /// Debezium does not look at.
    fn known<'a, 'b>(&self, old: &'a OldTuple<'b>) -> Option<&'a Tuple<'b>> {
        match old {
            OldTuple::Key(key) if self.around.settings.values.fidelity == Fidelity::Exact => {
                Some(key)
            }
            old => full(old),
        }
    }

    /// What a snapshot has for a row whose values the log leaves out, if a later read has overtaken
    /// this change.
    fn look_up(&mut self, update: &Update<'_>) -> Result<Option<Vec<u8>>, CaptureError> {
        let (Some(repair), Some(transaction)) = (&mut self.repair, &self.transaction) else {
            return Ok(None);
        };
        let incomplete = update.new.values().any(|value| value == TupleValue::UnchangedToast);
        if !incomplete || transaction.begin.final_lsn >= repair.until() {
            return Ok(None);
        }
        match &self.relations.get(update.relation_id)?.lookup {
            Some(lookup) => Ok(repair.row(lookup, &update.new)?),
            None => Ok(None),
        }
    }

    fn key_header(
        &mut self,
        table: &ReadyTable,
        row: &Tuple<'_>,
        known: Option<&Tuple<'_>>,
    ) -> Range<usize> {
        let start = self.output.bytes.len();
        table.writer.write_key_header(row, known, &mut self.output);
        start..self.output.bytes.len()
    }

    pub(super) fn delete(&mut self, delete: &Delete<'_>, lsn: Lsn) -> Result<(), CaptureError> {
        let old = delete.old.tuple().copied().unwrap_or(Tuple::EMPTY);
        let Some(table) = self.row(delete.relation_id, old.columns())? else { return Ok(()) };
        if self.skips(Operation::Delete) {
            return Ok(());
        }
        let event = Event {
            operation: Operation::Delete,
            before: Some(&old),
            after: None,
            unchanged: None,
            lsn,
        };
        self.write(&table, &event, &old, Part::default())?;
        self.tombstone(&table, Part::default());
        Ok(())
    }

    pub(super) fn truncate(&mut self, truncate: &Truncate, lsn: Lsn) -> Result<(), CaptureError> {
        for relation_id in &truncate.relation_ids {
            let columns = self.relations.get(*relation_id)?.columns;
            let Some(table) = self.change(*relation_id, columns)? else { continue };
            if self.skips(Operation::Truncate) {
                continue;
            }
            let event = Event::<Tuple<'_>> {
                operation: Operation::Truncate,
                before: None,
                after: None,
                unchanged: None,
                lsn,
            };
            let value = self.value(&table, &event);
            table.count(Operation::Truncate, value.len());
            self.push(&table, (None, Some(value)), Part::default());
        }
        Ok(())
    }

    /// Counts a change of a row and gives its table, if its record is to be published. Debezium
    /// sends no rows without columns.
    fn row(
        &mut self,
        relation_id: Oid,
        columns: usize,
    ) -> Result<Option<Arc<ReadyTable>>, CaptureError> {
        let table = self.change(relation_id, columns)?;
        let exact = self.around.settings.values.fidelity == Fidelity::Exact;
        Ok(table.filter(|_| exact || columns > 0))
    }

    /// Counts a change and gives its table, if its record is to be published.
    fn change(
        &mut self,
        relation_id: Oid,
        columns: usize,
    ) -> Result<Option<Arc<ReadyTable>>, CaptureError> {
        let Some(transaction) = &mut self.transaction else {
            return Err(out_of_step("a row changes outside of a transaction".to_owned()));
        };
        transaction.ord += 1;
        let relation = self.relations.get(relation_id)?;
        if relation.columns != columns {
            return Err(out_of_step(format!(
                "a row of relation {relation_id} has {columns} columns, expected {}",
                relation.columns
            )));
        }
        let Some(table) = relation.table.clone() else { return Ok(None) };
        let commit = transaction.begin.final_lsn;
        if !relation.gate.is_open(commit) {
            if self.gates.asks_for_read(&relation.gate, commit) {
                self.around.change.note(|| format!("table {} is not snapshotted", table.name));
            }
            return Ok(None);
        }
        self.change_epoch = relation.gate.epoch;
        self.render_source();
        Ok(Some(table))
    }

    fn skips(&self, operation: Operation) -> bool {
        self.around.settings.skipped.contains(&operation)
    }

    fn write(
        &mut self,
        table: &ReadyTable,
        event: &Event<'_, Tuple<'_>>,
        key_of: &Tuple<'_>,
        part: Part,
    ) -> Result<(), CaptureError> {
        let start = self.output.bytes.len();
        let key = table.writer.has_key().then(|| {
            table.writer.write_key(key_of, event.unchanged, &mut self.output);
            start..self.output.bytes.len()
        });
        let value = self.value(table, event);
        table.count(event.operation, self.output.bytes.len() - start);
        let exact = self.around.settings.values.fidelity == Fidelity::Exact;
        let literal = self.output.take_literals().filter(|_| exact);
        let part = Part { literal, ..part };
        let position = self.push(table, (key, Some(value)), part);
        if self.output.problems.is_empty() {
            return Ok(());
        }
        self.report_problems(table, position)
    }

    fn value(&mut self, table: &ReadyTable, event: &Event<'_, Tuple<'_>>) -> Range<usize> {
        self.place_change(&table.name);
        let start = self.output.bytes.len();
        table.writer.write_value(event, &self.source, &self.clock, &mut self.output);
        start..self.output.bytes.len()
    }

    /// The tombstone of the delete that was written last.
    fn tombstone(&mut self, table: &ReadyTable, part: Part) {
        if self.around.settings.tombstones {
            let key = self.records.last().and_then(|record| record.key.clone());
            self.push(table, (key, None), part);
        }
    }

    fn push(
        &mut self,
        table: &ReadyTable,
        (key, value): (Option<Range<usize>>, Option<Range<usize>>),
        part: Part,
    ) -> Position {
        let mut position = Position { epoch: self.change_epoch, ..Position::default() };
        let Some(transaction) = &mut self.transaction else { return position };
        transaction.records += 1;
        position.commit_lsn = transaction.begin.final_lsn;
        position.ord = transaction.ord.saturating_sub(1);
        position.sub = part.sub;
        self.records.push(Record {
            route: table.route,
            key,
            value,
            header: part.header,
            literal: part.literal,
            position: Some(position),
            receipt: Receipt::Transaction(transaction.ticket),
        });
        position
    }

    /// Values that could not be written: stop, or say so.
    #[cold]
    fn report_problems(
        &mut self,
        table: &ReadyTable,
        position: Position,
    ) -> Result<(), CaptureError> {
        let policy = self.around.settings.conversion_failure;
        table.report(&mut self.output.problems, position, policy)
    }
}

/// Which part of a change a record is.
#[derive(Clone, Debug, Default)]
struct Part {
    /// 1 for the create half of a key change.
    sub: u8,
    header: Option<(&'static str, Range<usize>)>,
    literal: Option<Range<usize>>,
}

/// The whole old row, if the identity is FULL.
fn full<'a, 'b>(old: &'a OldTuple<'b>) -> Option<&'a Tuple<'b>> {
    match old {
        OldTuple::Full(old) => Some(old),
        OldTuple::Key(_) | OldTuple::None => None,
    }
}
