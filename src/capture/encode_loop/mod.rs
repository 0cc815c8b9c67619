//! From the stream's bytes to records: the hot path.
//!
//! Decodes what the reader brings, knows which transaction it is in and which relation is meant,
//! and hands records to the publisher, one batch for what one read of the socket brought.

mod birth;
mod messages;
mod metadata;
mod relations;
mod repair;
mod rows;
mod xmin;

pub(super) use repair::Repair;
pub(super) use repair::needs_repair;

use std::collections::HashMap;
use std::sync::Arc;

use crate::capture::CaptureError;
use crate::capture::catalog::Shape;
use crate::capture::catalog::TableFacts;
use crate::capture::catalog::TypeCatalog;
use crate::capture::change::ClockText;
use crate::capture::change::Fidelity;
use crate::capture::change::Output;
use crate::capture::change::SourceFields;
use crate::capture::change::SourceName;
use crate::capture::change::SourceText;
use crate::capture::datasets;
use crate::capture::deliveries::Deliveries;
use crate::capture::encode_loop::metadata::Metadata;
use crate::capture::encode_loop::relations::KnownRelation;
use crate::capture::encode_loop::relations::Relations;
use crate::capture::encode_loop::relations::agrees;
use crate::capture::encode_loop::xmin::Xmin;
use crate::capture::gate::Change;
use crate::capture::gate::Gates;
use crate::capture::pgoutput::Begin;
use crate::capture::pgoutput::Commit;
use crate::capture::pgoutput::Framing;
use crate::capture::pgoutput::Message;
use crate::capture::pgoutput::Relation;
use crate::capture::postgres::Sql;
use crate::capture::postgres::catalog_query;
use crate::capture::progress::Ticket;
use crate::capture::publisher::Batch;
use crate::capture::publisher::Publisher;
use crate::capture::publisher::Record;
use crate::capture::settings::CaptureSettings;
use crate::capture::slot_record::SlotRecord;
use crate::capture::tables::ReadyMessages;
use crate::capture::tables::Tables;
use crate::capture::wire;
use crate::capture::wire::WalsenderMessage;
use crate::capture::wire::XLogData;
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::oid::Oid;
use crate::stop::Stop;
use crate::telemetry::Health;
use crate::telemetry::Metrics;
use crate::time::UnixMicros;

/// Bytes of records after which a batch is handed over, even in the middle of a read.
const BATCH_BYTES: usize = 1 << 20;

/// What the encoder works with.
pub(super) struct Surroundings<'a> {
    /// Settings.
    pub(super) settings: &'a CaptureSettings,
    /// The destination.
    pub(super) publisher: &'a dyn Publisher,
    /// The ledger.
    pub(super) deliveries: &'a Deliveries,
    /// Makes tables ready.
    pub(super) tables: &'a Tables,
    /// Asks the catalog.
    pub(super) sql: Sql,
    /// Metrics.
    pub(super) metrics: &'a Metrics,
    /// Health.
    pub(super) health: &'a Health,
    /// Ends waiting.
    pub(super) stop: &'a Stop,
    /// Is told what relations look like.
    pub(super) lineage: &'a Lineage,
    /// Where it is stored that a table needs no read.
    pub(super) record: &'a SlotRecord,
    /// Ends the session when what is captured has changed.
    pub(super) change: &'a Change,
}

impl Surroundings<'_> {
    /// Whether waiting for the destination is still wanted. A loop that waits is not dead.
    fn go_on(&self) -> bool {
        self.health.turn("encoder");
        !self.stop.is_requested()
    }
}

/// Turns the stream into records.
pub(super) struct Encoder<'a> {
    around: Surroundings<'a>,
    name: SourceName,
    epoch: u64,
    /// Epoch of the change that is being written.
    change_epoch: u64,
    relations: Relations,
    types: TypeCatalog,
    /// What the catalog said last of captured tables and of those that were described since.
    facts: HashMap<Oid, TableFacts>,
    /// Which changes of which tables are published, in which epoch.
    gates: Gates,
    /// Completes changes that a later read has overtaken.
    repair: Option<Repair>,
    output: Output,
    records: Vec<Record>,
    transaction: Option<Transaction>,
    /// Commit time of the last transaction, for messages that belong to none; until there is one,
    /// when this session began.
    last_time: UnixMicros,
    /// Origin of the last transaction, for its changes and for messages after it.
    origin: Option<(String, Lsn)>,
    /// The topic of messages, once there is one.
    messages: Option<ReadyMessages>,
    /// Says where transactions begin and end, if that is asked for.
    metadata: Option<Metadata>,
    /// End of the last transaction, for `source.sequence`.
    last_commit: Option<Lsn>,
    /// `catalog_xmin` of the slot, if it is asked for.
    xmin: Xmin,
    /// Where the stream has to go on after a broken connection.
    resume_lsn: Lsn,
    source: SourceText,
    clock: ClockText,
}

/// The transaction that is being received.
struct Transaction {
    ticket: Ticket,
    begin: Begin,
    /// Place of the next change.
    ord: u64,
    /// Records handed over or about to be.
    records: u64,
    /// The source block is rendered.
    rendered: bool,
}

impl<'a> Encoder<'a> {
    /// For one session.
    pub(super) fn new(
        around: Surroundings<'a>,
        (epoch, gates): (u64, Gates),
        resume_lsn: Lsn,
    ) -> Self {
        let name = SourceName {
            prefix: around.settings.prefix.clone(),
            database: around.settings.source.database.clone(),
        };
        Encoder {
            around,
            name,
            epoch,
            change_epoch: epoch,
            relations: Relations::default(),
            types: TypeCatalog::default(),
            facts: HashMap::new(),
            gates,
            repair: None,
            output: Output::default(),
            records: Vec::new(),
            transaction: None,
            last_time: UnixMicros::now(),
            origin: None,
            messages: None,
            metadata: None,
            xmin: Xmin::default(),
            last_commit: None,
            resume_lsn,
            source: SourceText::default(),
            clock: ClockText::default(),
        }
    }

    /// What the catalog says of the captured tables now, so that their first appearance needs no
    /// question.
    pub(super) fn know(&mut self, facts: HashMap<Oid, TableFacts>, types: TypeCatalog) {
        self.facts = facts;
        self.types = types;
    }

    /// Completes changes that a later read has overtaken.
    pub(super) fn repair_with(&mut self, repair: Option<Repair>) {
        self.repair = repair;
    }

    /// End of the last transaction before the stream, if it is known.
    pub(super) fn set_last_commit(&mut self, lsn: Option<Lsn>) {
        self.last_commit = lsn;
    }

    /// After the end of the last whole transaction: where a new connection goes on.
    pub(super) fn resume_lsn(&self) -> Lsn {
        self.resume_lsn
    }

    /// End of the last transaction, for the next session.
    pub(super) fn last_commit(&self) -> Option<Lsn> {
        self.last_commit
    }

    /// Gives up a transaction whose end will not come on this connection.
    pub(super) fn abandon(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            self.around.deliveries.with_ledger(|ledger| ledger.abandon(transaction.ticket));
        }
    }

    /// Encodes and sends what one read brought.
    ///
    /// # Errors
    ///
    /// The stream cannot be understood, the catalog cannot be asked, a value cannot be written and
    /// the policy is to stop, the destination has failed, or we are asked to stop.
    pub(super) fn encode(&mut self, frames: &[u8]) -> Result<(), CaptureError> {
        let result = self.encode_frames(frames);
        match &result {
            // When the source fails, what is encoded is sent all the same: transactions that have
            // ended are in the ledger, and the next session goes on behind them.
            Ok(())
            | Err(
                CaptureError::Source(_) | CaptureError::Decode(_) | CaptureError::Changed { .. },
            ) => self.send()?,
            Err(_) => {}
        }
        result
    }

    fn encode_frames(&mut self, frames: &[u8]) -> Result<(), CaptureError> {
        self.clock.render(UnixMicros::now());
        let mut rest = frames;
        while let Some((frame, after)) = wire::split_frame(rest)? {
            rest = after;
            match WalsenderMessage::decode(frame.body)? {
                WalsenderMessage::XLogData(data) => self.message(&data)?,
                WalsenderMessage::PrimaryKeepalive(keepalive) => {
                    self.idle(keepalive.wal_end);
                }
            }
            if self.output.bytes.len() >= BATCH_BYTES {
                self.send()?;
            }
            if self.around.change.is_noted() && self.transaction.is_none() {
                return Err(CaptureError::Changed { what: self.around.change.what() });
            }
        }
        Ok(())
    }

    /// Everything of ours before this position has been received.
    fn idle(&mut self, wal_end: Lsn) {
        self.around.deliveries.set_received(wal_end);
        self.around.metrics.received_lsn.set(wal_end.0.cast_signed());
        if self.transaction.is_none() {
            self.around.deliveries.with_ledger(|ledger| ledger.idle(wal_end));
            self.resume_lsn = self.resume_lsn.max(wal_end);
            self.end_repair(wal_end);
        }
    }

    /// The stream has reached a position: what has no use any more must not hold the server's
    /// clean-up back.
    fn end_repair(&mut self, reached: Lsn) {
        if self.repair.as_ref().is_some_and(|repair| repair.until() <= reached) {
            self.repair = None;
            tracing::info!(%reached, "the stream has reached the reads");
        }
    }

    fn send(&mut self) -> Result<(), CaptureError> {
        if self.records.is_empty() {
            return Ok(());
        }
        if let Some(last) = self.records.iter().rev().find_map(|record| record.position) {
            self.around.deliveries.set_published(last.commit_lsn);
        }
        let batch = Batch { bytes: &self.output.bytes, records: &self.records };
        let sent = self.around.publisher.send(batch, &|| self.around.go_on());
        self.output.bytes.clear();
        self.output.bytes.shrink_to(BATCH_BYTES * 2);
        self.records.clear();
        Ok(sent?)
    }

    fn message(&mut self, data: &XLogData<'_>) -> Result<(), CaptureError> {
        match Message::decode(data.payload, Framing::default())?.message {
            Message::Insert(insert) => self.insert(&insert, data.wal_start),
            Message::Update(update) => self.update(&update, data.wal_start),
            Message::Delete(delete) => self.delete(&delete, data.wal_start),
            Message::Begin(begin) => self.begin(begin, data.wal_start),
            Message::Commit(commit) => self.commit(commit),
            Message::Relation(relation) => self.relation(&relation),
            Message::Truncate(truncate) => self.truncate(&truncate, data.wal_start),
            Message::LogicalMessage(message) => self.logical_message(&message),
            Message::Origin(origin) => {
                self.origin = Some((origin.name.to_owned(), origin.commit_lsn));
                Ok(())
            }
            // Types are read from the catalog, where their parts are too.
            Message::Type(_) => Ok(()),
            message @ (Message::StreamStart(_)
            | Message::StreamStop
            | Message::StreamCommit(_)
            | Message::StreamAbort(_)
            | Message::BeginPrepare(_)
            | Message::Prepare(_)
            | Message::CommitPrepared(_)
            | Message::RollbackPrepared(_)
            | Message::StreamPrepare(_)) => {
                Err(out_of_step(format!("the server sent {message:?}, which was not asked for")))
            }
        }
    }

    fn begin(&mut self, begin: Begin, lsn: Lsn) -> Result<(), CaptureError> {
        self.end_repair(begin.final_lsn);
        let time = UnixMicros::from(begin.commit_time);
        self.last_time = time;
        let ticket = self.around.deliveries.with_ledger(|ledger| ledger.begin(time));
        self.origin = None;
        let transaction = Transaction { ticket, begin, ord: 0, records: 0, rendered: false };
        match self.transaction.replace(transaction) {
            None => self.begin_metadata(lsn),
            Some(_) => Err(out_of_step("a transaction begins within another".to_owned())),
        }
    }

    fn commit(&mut self, commit: Commit) -> Result<(), CaptureError> {
        self.end_metadata(commit.end_lsn);
        let Some(transaction) = self.transaction.take() else {
            return Err(out_of_step("a transaction ends that did not begin".to_owned()));
        };
        self.around.deliveries.with_ledger(|ledger| {
            ledger.close(transaction.ticket, transaction.records, commit.end_lsn);
        });
        if transaction.ord > 0 {
            self.around.metrics.transactions.inc();
        }
        self.last_commit = Some(commit.end_lsn);
        self.resume_lsn = commit.end_lsn;
        self.around.deliveries.set_received(commit.end_lsn);
        self.around.metrics.received_lsn.set(commit.end_lsn.0.cast_signed());
        Ok(())
    }

    /// Takes in what a relation means from here on.
    fn relation(&mut self, relation: &Relation<'_>) -> Result<(), CaptureError> {
        // The catalog is asked even if it agreed before: a column that was dropped and added again
        // has its name and another number.
        let asked = catalog_query::tables_since(&self.around.sql, &[relation.id], &self.facts);
        let found = match asked {
            Ok(mut found) => found.remove(&relation.id),
            // All other tables would wait, too. When the statement that holds the lock has changed
            // the table, the server describes it again.
            Err(error) if error.is_lock_timeout() => {
                tracing::warn!(
                    table = relation.name, %error,
                    "the table is locked: it is taken for what the stream and the last look at the \
                     catalog say of it"
                );
                None
            }
            Err(error) => return Err(error.into()),
        };
        let before = match &found {
            Some(found) => self.facts.insert(relation.id, found.clone()),
            None => self.facts.get(&relation.id).cloned(),
        };
        let known = before.as_ref().filter(|facts| agrees(facts, relation));
        let fresh = self.around.settings.values.fidelity == Fidelity::Exact;
        if known.is_none() || found.as_ref() != known {
            // Debezium keeps a type as it was when it met it, an enumeration's labels too.
            let oids = relation.columns.iter().map(|column| column.type_oid);
            let oids: Vec<Oid> =
                oids.filter(|oid| fresh || self.types.get(*oid).is_none()).collect();
            catalog_query::load_types(&self.around.sql, oids, &mut self.types)?;
        }
        // Of a table that is gone, what was known says more than nothing.
        let facts = found.as_ref().or(known);
        let shape = match fresh {
            true => Shape::at_position(relation, found.as_ref(), before.as_ref()),
            false => Shape::of_relation(relation, facts),
        };
        let captured = self.around.settings.tables.allows(&shape.table);
        if captured && self.around.lineage.is_on() {
            self.around.lineage.table(datasets::of_relation(&shape, &self.types));
        }
        let table = if captured {
            let ready = self.around.tables.ready(&shape, &self.types, &|| self.around.go_on())?;
            tracing::debug!(table = %shape.table, columns = shape.columns.len(), "relation");
            Some(Arc::new(ready))
        } else {
            None
        };
        let gate = self.gate(&shape, captured)?;
        let columns = shape.columns.len();
        let lookup = self.repair.as_ref().and_then(|repair| repair.lookup(&shape, facts));
        let known = KnownRelation { columns, table, gate, lookup };
        self.relations.insert(relation.id, known);
        Ok(())
    }

    /// Renders what the source block says of the transaction, at its first record.
    fn render_source(&mut self) {
        let Some(transaction) = &mut self.transaction else { return };
        if std::mem::replace(&mut transaction.rendered, true) {
            return;
        }
        let xmin = self.xmin.get(&self.around.sql, self.around.settings);
        let origin = self.origin.as_ref().map(|(name, lsn)| (name.as_str(), *lsn));
        let fields = SourceFields {
            time: UnixMicros::from(transaction.begin.commit_time),
            snapshot: self.around.settings.values.streamed_marker(),
            last_commit: self.last_commit,
            xid: Some(u64::from(transaction.begin.xid.0)),
            xmin,
            origin,
            ordered: self.metadata.is_some(),
        };
        self.source.render(&self.name, &fields);
    }
}

fn out_of_step(message: String) -> CaptureError {
    CaptureError::OutOfStep { message }
}
