//! What a record does to its table.

use std::sync::Arc;

use crate::apply::applier::Applier;
use crate::apply::applier::Event;
use crate::apply::applier::Partition;
use crate::apply::applier::Pushed;
use crate::apply::applier::may_be_internal;
use crate::apply::applier::record::Record;
use crate::apply::applier::record::RecordProblem;
use crate::apply::applier::row::RowReader;
use crate::apply::applier::tables::Fitted;
use crate::apply::applier::tables::TableProblem;
use crate::apply::applier::waiting;
use crate::apply::merge::Cell;
use crate::apply::merge::Target;
use crate::apply::merge::cell::fill_missing;
use crate::apply::merge::fold::Change;
use crate::apply::merge::target;
use crate::apply::merge::version::Version;
use crate::envelope::Operation;
use crate::envelope::read::Envelope;
use crate::envelope::read::NotAChange;
use crate::lsn::Lsn;
use crate::position::Position;
use crate::table::TableName;

/// A table, and its version if that is said.
type Named = (TableName, Option<Arc<Version>>);

impl Applier {
    pub(super) fn interpret(
        &mut self,
        record: &Record,
        partition: &Partition,
        force: bool,
    ) -> Result<Pushed, TableProblem> {
        let Some(value) = &record.value else { return self.tombstone(record, partition) };
        let envelope = match Envelope::read(value) {
            Ok(envelope) => envelope,
            Err(NotAChange::Notice) => return Ok(Pushed::Taken),
            Err(NotAChange::Malformed { .. })
                if may_be_internal(&record.topic) && record.is_internal() =>
            {
                return Ok(Pushed::Taken);
            }
            Err(NotAChange::Malformed { expected }) => {
                return Err(RecordProblem::new(format!("expected {expected}")).into());
            }
        };
        if envelope.operation == Operation::Message {
            return Ok(Pushed::Taken);
        }
        let table = TableName::new(
            envelope.source.schema.as_deref().unwrap_or_default(),
            envelope.source.table.as_ref(),
        );
        if table.name.is_empty() || table.namespace.is_empty() {
            return Err(RecordProblem::new("its source names no schema and table").into());
        }
        let (position, stock) = match self.position(record, &envelope)? {
            Some(position) => (position, None),
            None => {
                let (position, stock) = self.place(record, partition, (&envelope, &table))?;
                (position, Some(stock))
            }
        };
        self.done.latest_commit_ms = self.done.latest_commit_ms.max(envelope.source.ts_ms);
        let event =
            Event { record, envelope: &envelope, table: &table, position, partition, stock };
        self.waits_at = position;
        self.apply(&event, force)
    }

    /// The position that the record's header gives.
    fn position(
        &self,
        record: &Record,
        envelope: &Envelope<'_>,
    ) -> Result<Option<Position>, RecordProblem> {
        let position = record.position()?;
        if let (Some(position), Some(lsn)) = (position, envelope.source.lsn)
            && self.settings.broken.raw_lsn
        {
            return Ok(Some(Position { commit_lsn: Lsn(lsn), ord: 0, ..position }));
        }
        Ok(position)
    }

    pub(super) fn apply(&mut self, event: &Event<'_>, force: bool) -> Result<Pushed, TableProblem> {
        let is_ours = event.stock.is_none();
        // A chunk of an incremental snapshot of a stock Debezium stands among changes.
        let is_chunk = !is_ours && event.envelope.operation == Operation::Read;
        let is_read = event.position.commit_lsn == Lsn::ZERO || is_chunk;
        if event.stock.as_ref().is_some_and(|stock| stock.is_done) {
            self.pass(event);
            return Ok(Pushed::Taken);
        }
        if self.is_unknown_truncate(event) {
            // Rows below it may still come in other partitions, and with them the table.
            if !force && !self.others_have_passed(event, event.position)? {
                return Ok(Pushed::Waits);
            }
            self.raise_watermark(event);
            return Ok(Pushed::Taken);
        }
        let fitted = self.fit(event, force)?;
        self.note_topic(event);
        let Some(known) = self.tables.get(event.table) else { return Ok(Pushed::Taken) };
        let (target, epoch) = (Arc::clone(&known.target), known.epoch);
        if is_ours && is_read {
            self.mark_if_begun_again(event);
        }
        if self.is_done_before(event, &target, (is_ours, is_read)) {
            self.pass(event);
            return Ok(Pushed::Taken);
        }
        if self.is_of_older_key(event, &target, is_read)? {
            self.pass(event);
            return Ok(Pushed::Taken);
        }
        // What a stock Debezium has sent before our agent took over is not snapshotted again: rows
        // with a key tell themselves which is later.
        if event.position.epoch < epoch && (is_ours || !target.is_keyed()) {
            self.pass(event);
            return Ok(Pushed::Taken);
        }
        let target = self.enter_epoch(event, target, epoch);
        self.note_snapshot(event);
        let floor = self.tables.get(event.table).and_then(|known| known.floor);
        let below = !self.settings.broken.warehouse.without_floor
            && floor.is_some_and(|floor| event.position <= floor);
        if !below {
            let pushed = self.change(event, &target, &fitted, force)?;
            if pushed != Pushed::Taken {
                return Ok(pushed);
            }
        }
        if !is_ours || !is_read || !target.is_keyed() {
            self.raise_watermark(event);
        }
        Ok(Pushed::Taken)
    }

    /// Keeps which topic brings a table, for records that do not say it.
    fn note_topic(&mut self, event: &Event<'_>) {
        let topic = &event.record.topic;
        let is_this = |known: &String| **known == **topic;
        let known = self.tables.get(event.table);
        if known.is_none_or(|known| known.target.topics.iter().any(is_this)) {
            return;
        }
        let tables = self.topics.entry(Arc::clone(topic)).or_default();
        tables.insert(event.table.clone());
        self.change_target(event.table, |known| {
            Arc::make_mut(&mut known.target).topics.push(topic.to_string());
        });
    }

    /// The table and the columns that a record without value is of.
    fn of_tombstone(&mut self, record: &Record) -> Result<Option<Named>, TableProblem> {
        if record.schema().is_some() {
            for prefix in self.prefixes() {
                let version = self.versions.entry(record, &prefix, &mut *self.schemas)?;
                if let Some(version) = version {
                    return Ok(Some((version.table.clone(), Some(version))));
                }
            }
        }
        // Where a topic brings several tables it could be of any.
        let tables = self.topics.get(&record.topic).filter(|tables| tables.len() == 1);
        Ok(tables.and_then(|tables| tables.first()).map(|table| (table.clone(), None)))
    }

    /// A TRUNCATE has no key, so that neither an embedded schema nor the look of a row says how
    /// rows of a table are told apart that is not there yet.
    fn is_unknown_truncate(&self, event: &Event<'_>) -> bool {
        event.envelope.operation == Operation::Truncate
            && event.record.schema().is_none()
            && !self.tables.contains_key(event.table)
    }

    pub(super) fn change(
        &mut self,
        event: &Event<'_>,
        target: &Arc<Target>,
        fitted: &Fitted,
        force: bool,
    ) -> Result<Pushed, TableProblem> {
        let operation = event.envelope.operation;
        if target.commit_times
            && let Some(millis) = event.envelope.source.ts_ms
        {
            self.batch.note_time(target, event.position, millis);
        }
        if operation == Operation::Truncate {
            let position = event.position;
            let target = self.change_target(event.table, |known| {
                known.floor = known.floor.max(Some(position));
            });
            self.batch.truncate(&target, position);
            self.count(event.table, operation);
            return Ok(Pushed::Taken);
        }
        let pushed = if target.is_keyed() {
            self.keyed(event, target, fitted, force)?
        } else {
            self.counted(event, target, fitted)?;
            Pushed::Taken
        };
        if pushed == Pushed::Taken {
            self.count(event.table, operation);
        }
        Ok(pushed)
    }

    pub(super) fn count(&mut self, table: &TableName, operation: Operation) {
        *self.done.changes.entry((table.clone(), operation)).or_default() += 1;
    }

    pub(super) fn keyed(
        &mut self,
        event: &Event<'_>,
        target: &Arc<Target>,
        fitted: &Fitted,
        force: bool,
    ) -> Result<Pushed, TableProblem> {
        let is_delete = event.envelope.operation == Operation::Delete;
        let row = if is_delete { event.envelope.before } else { event.envelope.after };
        let mut cells = match row {
            Some(row) => self.read_row(
                (row.get(), event.record),
                event.seen_at(),
                fitted,
                (target, is_delete),
            )?,
            None if is_delete => self.key_row(event.record, event.seen_at(), fitted, target)?,
            None => return Err(RecordProblem::new("it has no new row").into()),
        };
        let key = self
            .batch
            .key(target, &cells)
            .ok_or_else(|| RecordProblem::new("a column of the key is null or was left out"))?;
        if is_delete && event.record.leaves_for_new_key() {
            self.batch.put_aside(target, &key, (event.position, target.key_cells(&cells)));
        }
        let mut base = None;
        if !is_delete && event.record.comes_from_old_key() {
            match self.fill_from_old_key(event, target, &mut cells, force)? {
                waiting::OldKey::Waits => return Ok(Pushed::Waits),
                waiting::OldKey::DoneBefore => return Ok(Pushed::Taken),
                waiting::OldKey::Found(found) => base = found,
            }
        }
        let change = Change {
            position: event.position,
            is_read: event.envelope.operation == Operation::Read,
            is_delete,
            is_fresh: matches!(event.envelope.operation, Operation::Create | Operation::Read),
            cells,
            base,
            may_be_stale: event.envelope.operation == Operation::Read && self.may_be_stale(event),
            upon: None,
        };
        self.batch.change(target, key, change);
        Ok(Pushed::Taken)
    }

    pub(super) fn counted(
        &mut self,
        event: &Event<'_>,
        target: &Arc<Target>,
        fitted: &Fitted,
    ) -> Result<(), RecordProblem> {
        let needs_old = matches!(event.envelope.operation, Operation::Update | Operation::Delete);
        let mut old = None;
        if needs_old {
            let before = event.envelope.before.ok_or_else(|| {
                RecordProblem::new(format!(
                    "table {} has no key, and the record has no old row: at the source, ALTER TABLE \
                     {} REPLICA IDENTITY FULL",
                    event.table,
                    event.table.quoted()
                ))
            })?;
            old = Some(self.read_row(
                (before.get(), event.record),
                event.seen_at(),
                fitted,
                (target, false),
            )?);
        }
        let mut new = None;
        if event.envelope.operation != Operation::Delete {
            let after = event.envelope.after;
            let after = after.ok_or_else(|| RecordProblem::new("it has no new row"))?;
            let mut cells = self.read_row(
                (after.get(), event.record),
                event.seen_at(),
                fitted,
                (target, false),
            )?;
            if let Some(old) = &old {
                fill_missing(&mut cells, old);
            }
            new = Some(cells);
        }
        for (cells, count) in [(old, -1), (new, 1)] {
            let Some(cells) = cells else { continue };
            if cells.contains(&Cell::Missing) {
                return Err(RecordProblem::new(
                    "a value of a table without key was left out: its rows cannot be told apart",
                ));
            }
            self.batch.count(target, cells, (count, event.position));
        }
        Ok(())
    }

    pub(super) fn read_row(
        &mut self,
        (json, record): (&str, &Record),
        position: Position,
        fitted: &Fitted,
        (target, key_only): (&Target, bool),
    ) -> Result<Vec<Cell>, RecordProblem> {
        let reader = RowReader {
            version: &fitted.version,
            places: &fitted.places,
            target,
            placeholders: &self.placeholders,
            literals: &record.literals(),
            spelling: self.spelling,
            key_only,
        };
        reader.read(json, position, &mut self.batch.texts)
    }

    /// The row that a record's key gives, where there is no other.
    pub(super) fn key_row(
        &mut self,
        record: &Record,
        position: Position,
        fitted: &Fitted,
        target: &Target,
    ) -> Result<Vec<Cell>, RecordProblem> {
        let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        let key = key.ok_or_else(|| RecordProblem::new("it has neither an old row nor a key"))?;
        let value: serde_json::Value =
            serde_json::from_str(key).map_err(|_| RecordProblem::new("its key is no JSON"))?;
        let inner = value.get("payload").filter(|_| value.get("schema").is_some());
        let text = inner.unwrap_or(&value).to_string();
        self.read_row((&text, record), position, fitted, (target, true))
    }

    /// A record without value: the delete that it follows has done its work, unless the topic was
    /// compacted and lost it.
    pub(super) fn tombstone(
        &mut self,
        record: &Record,
        partition: &Partition,
    ) -> Result<Pushed, TableProblem> {
        if record.key.is_none() {
            return Ok(Pushed::Taken);
        }
        let Some((table, version)) = self.of_tombstone(record)? else { return Ok(Pushed::Taken) };
        let said = record.position()?;
        let position = match said {
            Some(position) if self.is_below_watermark(partition, (&table, position)) => None,
            Some(position) => Some(position),
            None => self.place_tombstone(record, (partition, &table)),
        };
        let Some(position) = position else { return Ok(Pushed::Taken) };
        let Some(known) = self.tables.get(&table) else { return Ok(Pushed::Taken) };
        let target = Arc::clone(&known.target);
        let floor = known.floor;
        let is_older = target.keyed_at.is_some_and(|at| position < at);
        if !target.is_keyed() || is_older || floor.is_some_and(|floor| position <= floor) {
            return Ok(Pushed::Taken);
        }
        let version = version.or_else(|| self.versions.latest_embedded(&record.topic, &table));
        let version = version.unwrap_or_else(|| Arc::new(Version::of_target(&target)));
        let places = target::places(&target, &version);
        let fitted = Fitted::new(&version, places, &target);
        let cells = self.key_row(record, position, &fitted, &target)?;
        let Some(key) = self.batch.key(&target, &cells) else { return Ok(Pushed::Taken) };
        let is_gone = self.batch.state(&target, &key).is_some_and(|state| state.is_delete);
        if !is_gone {
            let change = Change {
                position,
                is_read: false,
                is_delete: true,
                is_fresh: false,
                cells,
                base: None,
                may_be_stale: false,
                upon: None,
            };
            self.batch.change(&target, key, change);
        }
        if said.is_none() {
            self.note_offset(partition, (record, &table), |_| {});
        }
        Ok(Pushed::Taken)
    }
}
