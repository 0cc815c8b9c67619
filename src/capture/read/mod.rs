//! When tables are read, under which snapshot, and what is stored of it.

mod storing;
mod take_over;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::capture::CaptureError;
use crate::capture::catalog::Shape;
use crate::capture::catalog::TableFacts;
use crate::capture::catalog::TypeCatalog;
use crate::capture::change::SnapshotMoment;
use crate::capture::change::SourceName;
use crate::capture::encode_loop::Repair;
use crate::capture::encode_loop::needs_repair;
use crate::capture::exported_snapshot::Parent;
use crate::capture::members;
use crate::capture::notifier::Notifier;
use crate::capture::postgres::Connection;
use crate::capture::postgres::Purpose;
use crate::capture::postgres::Sql;
use crate::capture::postgres::catalog_query;
use crate::capture::postgres::publication::PublishedTable;
use crate::capture::postgres::slot;
use crate::capture::postgres::slot::SystemIdentity;
use crate::capture::prepare;
use crate::capture::prepare::Captured;
use crate::capture::resume;
use crate::capture::resume::FirstEpoch;
use crate::capture::resume::Start;
use crate::capture::rights;
use crate::capture::session::Session;
use crate::capture::settings::RowCountOrder;
use crate::capture::settings::SnapshotMode;
use crate::capture::snapshot;
use crate::capture::snapshot::ReadFrom;
use crate::capture::snapshot::ReadSource;
use crate::capture::snapshot::Reading;
use crate::capture::snapshot::ReadingTable;
use crate::capture::state::STATE_VERSION;
use crate::capture::state::SlotState;
use crate::capture::state::State;
use crate::lsn::Lsn;
use crate::table::TableName;

/// Places that one attempt at reading may use in the order of publication: more rows than any
/// database has.
const POSITIONS_PER_ATTEMPT_BITS: u32 = 40;

/// Reads tables for a session.
pub(super) struct Reader<'a> {
    /// The session.
    pub(super) session: Session<'a>,
    /// Its SQL connection.
    pub(super) sql: &'a Sql,
    /// What is captured: as it was looked at last, under the snapshot once there is one.
    pub(super) captured: RefCell<Captured>,
    /// Who the server is.
    pub(super) identity: SystemIdentity,
    /// Tells how reading goes on.
    pub(super) notifier: &'a Notifier<'a>,
}

type Table = (PublishedTable, TableFacts);

impl Reader<'_> {
    /// Reads what is to be read before the stream; gives where that begins. Takes whether the slot
    /// is there, and the epoch of a first read.
    pub(super) fn begin(
        &self,
        start: Start,
        connection: &mut Connection,
        (has_slot, first_epoch): (bool, FirstEpoch),
        state: &mut Option<State>,
    ) -> Result<Lsn, CaptureError> {
        match start {
            Start::Over { epoch } => {
                if has_slot {
                    slot::drop_slot(self.sql, &self.session.settings.slot)?;
                }
                self.told(|| self.fresh(connection, epoch, state))
            }
            Start::Fresh { epoch } => self
                .told(|| self.fresh(connection, epoch.max(first_epoch.epoch), state))
                .inspect_err(|error| self.session.withdraw(self.sql, error)),
            Start::ReadAgain { confirmed } => {
                self.told(|| self.again(connection, (confirmed, first_epoch), state))
            }
            Start::Stream { from } => {
                self.new_tables(state.as_mut())?;
                self.session.pipeline.keep_resume_at_least(from);
                Ok(from)
            }
        }
    }

    /// Tells of the beginning and the end of reading, if there is anything to read.
    fn told<T>(&self, read: impl FnOnce() -> Result<T, CaptureError>) -> Result<T, CaptureError> {
        if self.reads_data() {
            return self.notifier.around(read);
        }
        self.notifier.tell(SnapshotMoment::Skipped)?;
        read()
    }

    /// Nothing is there: creates the slot and reads everything under its snapshot. Gives where the
    /// stream begins.
    fn fresh(
        &self,
        connection: &mut Connection,
        epoch: u64,
        state: &mut Option<State>,
    ) -> Result<Lsn, CaptureError> {
        if self.reads_data() {
            let tables = self.wanted();
            rights::check_select(self.sql, self.session.settings, &tables)?;
            // What the destination refuses is refused before a slot keeps log.
            let settings = self.session.settings;
            let whole = (false, settings.values.fidelity);
            let planned = snapshot::plan(self.sql, &tables, whole, &settings.snapshot)?;
            let shapes = planned.iter().map(|table| &table.shape);
            self.session.pipeline.tables.prepare_topics(shapes)?;
        }
        let mut new = State { slot: self.slot_state(epoch), ..State::default() };
        self.store_slot(&mut new.slot)?;
        let (created, parent) = self.create_sound_slot(connection)?;
        tracing::info!(
            slot = self.session.settings.slot, consistent_point = %created.consistent_point,
            "slot created"
        );
        new.slot.lsn = created.consistent_point;
        self.store_slot(&mut new.slot)?;
        self.look_again(&parent, None)?;
        if self.reads_data() {
            let point = created.consistent_point;
            let tables = self.wanted();
            rights::check_select(self.sql, self.session.settings, &tables)?;
            self.read_all(&mut new, tables, parent, (point, point))?;
        }
        self.complete(&mut new, created.consistent_point)?;
        *state = Some(new);
        Ok(created.consistent_point)
    }

    /// The slot is there and reading was never completed: reads what is missing and then streams
    /// from the slot's own position, so that changes in between arrive after the reads.
    fn again(
        &self,
        connection: &mut Connection,
        (confirmed, first_epoch): (Lsn, FirstEpoch),
        state: &mut Option<State>,
    ) -> Result<Lsn, CaptureError> {
        let mut known = match state.take() {
            Some(known) if known.slot.read_attempts == 0 && known.slot.lsn != confirmed => {
                // The slot that was to be created then bears its consistent point in the state.
                tracing::warn!(
                    slot = self.session.settings.slot, %confirmed,
                    "an earlier start ended before it had created the slot, and somebody else has \
                     created it since: it is taken over, and its tables are snapshotted"
                );
                known
            }
            Some(known) => known,
            None => {
                self.take_over(confirmed, first_epoch)?;
                State { slot: self.slot_state(first_epoch.epoch), ..State::default() }
            }
        };
        if !self.reads_data() {
            self.complete(&mut known, confirmed)?;
            *state = Some(known);
            return Ok(confirmed);
        }
        let missing = self.unread(&known);
        let first_attempt = known.slot.read_attempts == 0;
        let keyless = missing.iter().find(|(_, facts)| self.is_multiset(facts));
        if let (Some((table, _)), false) = (keyless, first_attempt) {
            tracing::warn!(
                table = %table.name,
                "reading was interrupted, and rows of a table without a key cannot be told from \
                 those that were sent: the slot is created anew and everything is read again, in a \
                 new epoch"
            );
            slot::drop_slot(self.sql, &self.session.settings.slot)?;
            return self.fresh(connection, known.next_epoch(), state);
        }
        rights::check_select(self.sql, self.session.settings, &missing)?;
        let (parent, point) = self.temporary_snapshot()?;
        self.look_again(&parent, None)?;
        let missing = self.unread(&known);
        for (table, _) in &missing {
            let begun = known.tables.get(&table.name);
            if begun.is_some_and(|begun| members::has_gap(begun, table)) {
                known.begin_epoch(&table.name, point);
            } else if first_attempt {
                // Nothing has been sent yet: the reads hold everything before the point.
                known.tables.entry(table.name.clone()).or_default().published_from = point;
            }
        }
        self.read_all(&mut known, missing, parent, (confirmed, point))?;
        self.complete(&mut known, confirmed)?;
        *state = Some(known);
        Ok(confirmed)
    }

    /// Whether readers cannot tell a table's rows apart, so that a row that is sent twice is two
    /// rows. A record key that may be null or is not unique does not help them.
    fn is_multiset(&self, facts: &TableFacts) -> bool {
        let shape = Shape::of_facts(facts, &facts.columns);
        !self.session.settings.columns.keyed(&shape).key_is_unique
    }

    /// Tables that came into the publication since reading was completed.
    fn new_tables(&self, state: Option<&mut State>) -> Result<(), CaptureError> {
        let missing = state.as_ref().map(|state| self.unread(state)).unwrap_or_default();
        match state {
            Some(state) if !missing.is_empty() => {
                self.told(|| self.read_new_tables(state, &missing))
            }
            _ => self.notifier.tell(SnapshotMoment::Skipped),
        }
    }

    fn read_new_tables(&self, state: &mut State, missing: &[Table]) -> Result<(), CaptureError> {
        rights::check_select(self.sql, self.session.settings, missing)?;
        let (parent, point) = self.temporary_snapshot()?;
        self.look_again(&parent, Some(state))?;
        let missing = self.unread(state);
        for (table, _) in &missing {
            state.begin_epoch(&table.name, point);
        }
        let from = state.slot.lsn;
        self.read_all(state, missing, parent, (from, point))
    }

    /// Looks again at what is captured, as a snapshot shows it: what is read is planned by it, and
    /// neither by what was there before the snapshot nor by what has come since.
    fn look_again(&self, parent: &Parent, history: Option<&State>) -> Result<(), CaptureError> {
        let session = &self.session;
        let publication = self.captured.borrow().publication.clone();
        let captured = prepare::captured(&parent.sql, session.settings, publication, history)?;
        *self.captured.borrow_mut() = captured;
        Ok(())
    }

    /// Captured tables whose rows are to be read.
    fn wanted(&self) -> Vec<Table> {
        let captured = self.captured.borrow();
        captured
            .tables
            .iter()
            .filter(|(table, _)| self.session.settings.snapshot.includes(&table.name))
            .cloned()
            .collect()
    }

    /// Whether a captured table's rows are read.
    pub(super) fn is_read(&self, name: &TableName) -> bool {
        self.session.settings.snapshot.reads(name)
    }

    fn reads_data(&self) -> bool {
        self.session.settings.snapshot.mode != SnapshotMode::NoData
    }

    /// Captured tables that are to be read and are not complete in their epoch.
    fn unread(&self, state: &State) -> Vec<Table> {
        let asked = |name: &TableName| state.tables.get(name).is_some_and(|known| known.asked);
        let mut tables = self.captured.borrow().tables.clone();
        tables.retain(|(table, _)| {
            let wanted = self.is_read(&table.name) || asked(&table.name);
            wanted && !state.is_complete(&table.name, table.oid.0)
        });
        tables
    }

    fn slot_state(&self, epoch: u64) -> SlotState {
        let settings = self.session.settings;
        SlotState {
            version: STATE_VERSION,
            system_identifier: self.identity.system_identifier.clone(),
            timeline: self.identity.timeline,
            database: settings.source.database.clone(),
            slot: settings.slot.clone(),
            epoch,
            publication: settings.publication.clone(),
            publication_oid: self.captured.borrow().publication.oid.0,
            order_options: resume::order_options(settings),
            read_attempts: 0,
            complete: false,
            ..SlotState::default()
        }
    }

    /// For tables whose last read was later than where the stream goes on: a snapshot to complete
    /// changes from. It is never earlier than that read.
    pub(super) fn repair(
        &self,
        state: &mut State,
        resume: Lsn,
    ) -> Result<Option<Repair>, CaptureError> {
        let mut overtaken = self.captured.borrow().tables.clone();
        overtaken.retain(|(table, _)| {
            let known = state.tables.get(&table.name);
            known.is_some_and(|known| known.overtaken_until > resume)
        });
        if overtaken.is_empty() {
            return Ok(None);
        }
        let (parent, point) = self.temporary_snapshot()?;
        for (table, _) in &overtaken {
            let known = state.tables.entry(table.name.clone()).or_default();
            known.overtaken_until = point;
            self.store_table(&table.name, &known.clone(), &|| self.goes_on())?;
        }
        let mut connection = Connection::open(&self.session.settings.source, Purpose::Sql)?;
        connection.query(&snapshot::transaction(&parent.name))?;
        tracing::info!(
            tables = overtaken.len(), until = %point,
            "changes that were overtaken by an interrupted read are completed from a snapshot"
        );
        let tables = overtaken.iter().map(|(table, _)| table.oid).collect();
        Ok(Some(Repair::new(connection, point, tables)))
    }

    /// Reads tables; those whose rows the snapshot does not show, because they were rewritten or
    /// truncated since, are read again under a later one, in an epoch of their own.
    fn read_all(
        &self,
        state: &mut State,
        mut tables: Vec<Table>,
        mut parent: Parent,
        (streamed_from, mut point): (Lsn, Lsn),
    ) -> Result<(), CaptureError> {
        loop {
            self.read(state, &tables, &parent, (streamed_from, point))?;
            tables.retain(|(table, _)| !state.is_complete(&table.name, table.oid.0));
            if tables.is_empty() {
                return Ok(());
            }
            let again: Vec<TableName> =
                tables.iter().map(|(table, _)| table.name.clone()).collect();
            (parent, point) = self.temporary_snapshot()?;
            let history = state.slot.complete.then(|| state.clone());
            self.look_again(&parent, history.as_ref())?;
            tables.clone_from(&self.captured.borrow().tables);
            tables.retain(|(table, _)| again.contains(&table.name));
            for (table, _) in &tables {
                state.begin_epoch(&table.name, point);
            }
        }
    }

    /// Reads tables under one snapshot and stores for each that it is complete.
    fn read(
        &self,
        state: &mut State,
        tables: &[Table],
        parent: &Parent,
        (streamed_from, point): (Lsn, Lsn),
    ) -> Result<(), CaptureError> {
        let session = &self.session;
        self.note_begun(state, tables, (streamed_from, point))?;
        self.lock(tables, parent)?;
        let reading_tables = self.reading_tables(state, tables, parent)?;
        let mut begins = BTreeMap::new();
        for table in &reading_tables {
            let topic = session.settings.naming.topic(&table.planned.name);
            let offsets = session.pipeline.publisher.end_offsets(&topic)?;
            begins.insert(table.planned.name.clone(), offsets);
        }
        session.health.set_phase("reading tables");
        session.health.set_ready("source", Ok(()));
        session.metrics.snapshot_running.set(1);
        let around = snapshot::Surroundings {
            settings: session.settings,
            publisher: &*session.pipeline.publisher,
            deliveries: &session.pipeline.deliveries,
            health: session.health,
            stop: session.stop,
            notifier: self.notifier,
        };
        let from = ReadFrom {
            snapshot_name: parent.name.clone(),
            snapshot_text: parent.text.clone(),
            first_position: (state.slot.read_attempts - 1) << POSITIONS_PER_ATTEMPT_BITS,
        };
        let source = ReadSource {
            name: SourceName {
                prefix: session.settings.prefix.clone(),
                database: session.settings.source.database.clone(),
            },
            time: parent.time,
            xid: self.some_xid(),
            lsn: point,
        };
        let reading = Reading::new(&around, reading_tables, from, &source);
        let begun = Instant::now();
        tracing::info!(tables = tables.len(), "reading tables");
        let result = reading.run(|planned, rows, is_whole| {
            let begin_offsets = begins.remove(&planned.name).unwrap_or_default();
            match is_whole {
                true => self.table_done(state, planned, rows, begin_offsets),
                false => self.table_missed(planned),
            }
        });
        session.metrics.snapshot_running.set(0);
        session.health.leave("snapshot");
        let rows = result?;
        let planned =
            |name: &TableName| reading.tables.iter().any(|reading| reading.planned.name == *name);
        self.empty_tables_done(state, tables, planned)?;
        let seconds = begun.elapsed().as_secs_f64();
        tracing::info!(tables = tables.len(), rows, seconds, "all tables are read");
        parent.sql.execute("COMMIT")?;
        Ok(())
    }

    /// Stores that the reading of tables begins.
    fn note_begun(
        &self,
        state: &mut State,
        tables: &[Table],
        (streamed_from, point): (Lsn, Lsn),
    ) -> Result<(), CaptureError> {
        state.slot.read_attempts += 1;
        // Whatever the snapshot shows committed before its point.
        state.slot.published = state.slot.published.max(Lsn(point.0.saturating_sub(1)));
        self.store_slot(&mut state.slot)?;
        for (table, facts) in tables {
            let epoch = state.epoch_of(&table.name);
            let known = state.tables.entry(table.name.clone()).or_default();
            known.oid = table.oid.0;
            known.epoch_begun = epoch;
            known.epoch_complete = 0;
            known.published = Some((&table.membership).into());
            (known.left_at, known.gone, known.unread) = (Lsn::ZERO, false, false);
            let overtaken = streamed_from.max(known.published_from) < point;
            known.overtaken_until =
                if overtaken && needs_repair(facts) { point } else { Lsn::ZERO };
            let known = known.clone();
            self.store_table(&table.name, &known, &|| self.goes_on())?;
        }
        Ok(())
    }

    /// `snapshot.locking.mode=shared`: nobody alters the tables while they are read.
    fn lock(&self, tables: &[Table], parent: &Parent) -> Result<(), CaptureError> {
        let Some(timeout) = self.session.settings.snapshot.lock_timeout else { return Ok(()) };
        for (table, _) in tables {
            parent.sql.execute(&format!(
                "SET LOCAL lock_timeout = {}; LOCK TABLE ONLY {} IN ACCESS SHARE MODE",
                timeout.as_millis(),
                table.name.quoted()
            ))?;
        }
        Ok(())
    }

    fn reading_tables(
        &self,
        state: &State,
        tables: &[Table],
        parent: &Parent,
    ) -> Result<Vec<ReadingTable>, CaptureError> {
        let session = &self.session;
        let mut types = TypeCatalog::default();
        let oids =
            tables.iter().flat_map(|(_, facts)| facts.columns.iter().map(|column| column.type_oid));
        catalog_query::load_types(&parent.sql, oids, &mut types)?;
        let pieces = session.settings.snapshot.threads > 1;
        let fidelity = session.settings.values.fidelity;
        let rules = &session.settings.columns;
        let needed = |(table, facts): &Table| (table.clone(), rules.needed(facts.clone()));
        let tables: Vec<Table> = tables.iter().map(needed).collect();
        let mut planned =
            snapshot::plan(&parent.sql, &tables, (pieces, fidelity), &session.settings.snapshot)?;
        match session.settings.snapshot.order {
            RowCountOrder::Disabled => {}
            RowCountOrder::Ascending => planned.sort_by_key(|table| table.estimated_rows),
            RowCountOrder::Descending => {
                planned.sort_by_key(|table| std::cmp::Reverse(table.estimated_rows));
            }
        }
        session.pipeline.tables.prepare_topics(planned.iter().map(|table| &table.shape))?;
        session.metrics.snapshot_tables.reset();
        let waiting = i64::try_from(planned.len()).unwrap_or(i64::MAX);
        session.metrics.snapshot_tables.with_label_values(&["waiting"]).set(waiting);
        let mut ready = Vec::with_capacity(planned.len());
        for table in planned {
            let go_on = || !session.stop.is_requested();
            let writer = session.pipeline.tables.ready(&table.shape, &types, &go_on)?;
            let epoch = state.epoch_of(&table.name);
            ready.push(ReadingTable::new(table, epoch, Arc::new(writer), session.metrics));
        }
        Ok(ready)
    }

    /// A transaction id of this moment, as Debezium has one in its reads; from a short transaction,
    /// so that no old one is held open.
    fn some_xid(&self) -> Option<u64> {
        let row = self.sql.query_one(
            "SELECT CASE WHEN pg_is_in_recovery() THEN NULL \
             ELSE pg_current_xact_id()::text::int8 END",
            &[],
        );
        row.ok().and_then(|row| u64::try_from(row.get::<_, Option<i64>>(0)?).ok())
    }
}
