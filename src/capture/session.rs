//! One connection to the source, from looking around to the end of the stream.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::capture::CaptureError;
use crate::capture::Disposition;
use crate::capture::catalog::TableFacts;
use crate::capture::catalog::TypeCatalog;
use crate::capture::datasets;
use crate::capture::deliveries::DESTINATION;
use crate::capture::encode_loop;
use crate::capture::encode_loop::Encoder;
use crate::capture::encode_loop::Repair;
use crate::capture::gate::Change;
use crate::capture::gate::Gates;
use crate::capture::heartbeat::Action;
use crate::capture::heartbeat::HeartbeatLoop;
use crate::capture::members;
use crate::capture::monitor::Monitor;
use crate::capture::notifier::Notifier;
use crate::capture::pipeline::Pipeline;
use crate::capture::pipeline::Resume;
use crate::capture::postgres::Connection;
use crate::capture::postgres::Purpose;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::capture::postgres::catalog_query;
use crate::capture::postgres::replication;
use crate::capture::postgres::replication::ReplicationStream;
use crate::capture::postgres::replication::StartOptions;
use crate::capture::postgres::slot;
use crate::capture::prepare;
use crate::capture::prepare::Captured;
use crate::capture::read;
use crate::capture::resume;
use crate::capture::resume::Start;
use crate::capture::rights;
use crate::capture::settings::CaptureSettings;
use crate::capture::settings::SnapshotMode;
use crate::capture::slot_owner;
use crate::capture::state::State;
use crate::capture::status::Status;
use crate::capture::stream_loop;
use crate::capture::stream_loop::ChunkQueue;
use crate::capture::stream_loop::StreamLoop;
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::oid::Oid;
use crate::stop::Stop;
use crate::telemetry::Health;
use crate::telemetry::Metrics;

/// How long the encoder waits for the next chunk: the granularity of noticing anything else.
const CHUNK_TIMEOUT: Duration = Duration::from_millis(50);

/// What a session needs from the capture around it.
#[derive(Clone, Copy)]
pub(super) struct Session<'a> {
    /// Settings.
    pub(super) settings: &'a CaptureSettings,
    /// Destination, ledger and state, which outlive the session.
    pub(super) pipeline: &'a Pipeline,
    /// The runtime of SQL connections.
    pub(super) runtime: &'a Handle,
    /// Metrics.
    pub(super) metrics: &'a Metrics,
    /// Health.
    pub(super) health: &'a Health,
    /// Ends the session.
    pub(super) stop: &'a Stop,
    /// What is seen from outside.
    pub(super) status: &'a Status,
    /// Is told what is read.
    pub(super) lineage: &'a Lineage,
    /// Set once the stream has begun.
    pub(super) streamed: &'a AtomicBool,
    /// Names what is not captured.
    pub(super) report: &'a prepare::Report<'a>,
}

impl Session<'_> {
    /// Runs until the connection ends or we are asked to stop.
    ///
    /// # Errors
    ///
    /// Why it ended.
    pub(super) fn run(&self) -> Result<(), CaptureError> {
        self.health.set_phase("connecting");
        let sql = Sql::open(&self.settings.source, self.runtime)?;
        // Whatever belongs to this session goes to the host that has answered.
        let source = self.settings.source.at(sql.host());
        let settings = CaptureSettings { source, ..self.settings.clone() };
        self.status.set_source(&settings.source, self.runtime);
        let result = Session { settings: &settings, ..*self }.run_with(&sql);
        // Nothing of it may live on at the server, not even a query that was given up.
        sql.close();
        result
    }

    fn run_with(&self, sql: &Sql) -> Result<(), CaptureError> {
        prepare::check_server(sql, self.settings)?;
        // Before anything is looked at: whoever owns the slot changes it and what is stored of it.
        slot_owner::take(sql, self.settings)?;
        let connection = Connection::open(&self.settings.source, Purpose::Replication);
        let mut connection =
            connection.map_err(|error| rights::to_replicate(sql, self.settings, error))?;
        let closer = connection.closer()?;
        // The server shuts down only when its walsenders are gone, and a walsender goes only when
        // its client has confirmed everything or has hung up: a dead sink must not hold it.
        sql.on_end(move |_| closer.shutdown());
        let slot = slot::find_slot(sql, &self.settings.slot)?;
        if let Some(slot) = &slot {
            resume::check_kind(self.settings, slot)?;
            if slot.active {
                return Err(slot_owner::slot_in_use(sql, self.settings)?.into());
            }
        }
        // After the slot: whoever confirms stores before, so that what is stored is never behind.
        let (mut state, first_epoch) = self.load_state()?;
        let identity = slot::identify_system(&mut connection)?;
        let begun_at = identity.wal_lsn;
        if let Some(state) = &mut state {
            self.check_identity(&mut connection, &identity, state)?;
        }
        let start = resume::check_slot(self.settings, slot.as_ref(), state.as_ref())?;
        let over = matches!(start, Start::Over { .. });
        let has_history = state.as_ref().filter(|state| state.slot.complete && !over);
        if slot.is_some() && !over {
            self.require_publication(sql, state.is_some())?;
        }
        let existed = members::all_tables(sql)?;
        let captured = prepare::ensure_publication(sql, self.settings, has_history, self.report)?;
        if let (Some(slot), Some(state), false) = (&slot, &mut state, over) {
            resume::check_publication(self.settings, &captured, slot, state)?;
            state.slot.order_options = resume::order_options(self.settings);
        }
        self.tell_connected(sql, &connection, &captured);
        let notifier = Notifier::new(self.settings, self.pipeline, self.stop)?;
        let reader = read::Reader {
            session: *self,
            sql,
            captured: RefCell::new(captured),
            identity,
            notifier: &notifier,
        };
        if let (Start::Stream { .. } | Start::ReadAgain { .. }, Some(state)) = (&start, &mut state)
        {
            reader.settle(state)?;
        }
        let start = self.read_always(start, &mut state);
        if !matches!(start, Start::Stream { .. }) {
            self.stop.wait(self.settings.snapshot.delay);
        }
        let known = (slot.is_some(), first_epoch);
        let from = reader.begin(start, &mut connection, known, &mut state)?;
        let Some(mut state) = state else { return Ok(()) };
        reader.note_unread(&mut state)?;
        let heartbeat = self.heartbeat()?;
        if let Some(heartbeat) = &heartbeat {
            heartbeat.beat(self.stop)?;
        }
        if self.settings.snapshot.mode == SnapshotMode::InitialOnly {
            tracing::info!("all tables are read; snapshot.mode is initial_only");
            return Ok(());
        }
        let resume = self.pipeline.resume(from);
        let repair = reader.repair(&mut state, resume.lsn)?;
        self.stop.wait(self.settings.snapshot.streaming_delay);
        let captured = reader.captured.into_inner();
        self.claim(sql, &mut state, resume.lsn)?;
        let gates = Gates::new(&state, existed, begun_at);
        let known = (&captured, &state, gates);
        self.stream(connection, (sql, heartbeat.as_ref()), known, (resume, repair))
    }

    /// Tells the log, and lineage all tables: they may have changed since the last connection.
    fn tell_connected(&self, sql: &Sql, connection: &Connection, captured: &Captured) {
        tracing::info!(
            host = %connection.host(), database = self.settings.source.database,
            server_version = connection.server_version(), tls = connection.is_encrypted(),
            tables = captured.tables.len(), "connected to PostgreSQL"
        );
        self.lineage.running();
        if !self.lineage.is_on() {
            return;
        }
        match datasets::at_start(sql, &self.settings.tables) {
            Ok(datasets) => self.lineage.tables(datasets),
            Err(error) => tracing::warn!(%error, "lineage is not told of the tables"),
        }
    }

    /// `snapshot.mode=always`: at the first connection of a process everything is read again, in a
    /// new epoch. The slot stays, so that changes in between come after the reads.
    fn read_always(&self, start: Start, state: &mut Option<State>) -> Start {
        let always = self.settings.snapshot.mode == SnapshotMode::Always;
        match (start, state) {
            (Start::Stream { from }, Some(state))
                if always && !self.streamed.load(Ordering::Relaxed) =>
            {
                state.slot.epoch = state.next_epoch();
                tracing::info!(epoch = state.slot.epoch, "snapshot.mode is always");
                state.slot.complete = false;
                state.slot.read_attempts = state.slot.read_attempts.max(1);
                Start::ReadAgain { confirmed: from }
            }
            (start, _) => start,
        }
    }

    /// Heartbeats, if they are asked for.
    fn heartbeat(&self) -> Result<Option<HeartbeatLoop<'_>>, CaptureError> {
        let Some(heartbeat) = &self.settings.heartbeat else { return Ok(None) };
        let ready = self.pipeline.tables.heartbeats()?;
        let (prefix, publisher) = (&self.settings.prefix, &*self.pipeline.publisher);
        let action = Action::new(heartbeat, &self.settings.source, self.runtime);
        Ok(Some(HeartbeatLoop { heartbeat, prefix, ready, publisher, action }))
    }

    /// A refusal before there is a slot leaves no publication of ours behind either.
    pub(super) fn withdraw(&self, sql: &Sql, error: &CaptureError) {
        if !matches!(error.disposition(), Disposition::Halt { .. }) {
            return;
        }
        if let Err(error) = prepare::withdraw_publication(sql, self.settings) {
            tracing::warn!(
                %error, publication = self.settings.publication,
                "the publication that was created is left behind"
            );
        }
    }

    fn require_publication(&self, sql: &Sql, is_known: bool) -> Result<(), CaptureError> {
        let name = &self.settings.publication;
        if crate::capture::postgres::publication::find_publication(sql, name)?.is_some() {
            return Ok(());
        }
        Err(SourceError::configuration(
            format!(
                "slot \"{}\" exists, and publication \"{name}\" does not: changes since the slot's \
                 position were not published",
                self.settings.slot
            ),
            if is_known {
                resume::start_over_hint(self.settings, "start over")
            } else {
                format!(
                    "if somebody else reads from the slot, name its publication (--publication; \
                     Debezium's is dbz_publication) or use another slot (--slot); if nobody needs \
                     it: cdc-agent drop --slot {}, then start again",
                    self.settings.slot
                )
            },
        )
        .into())
    }

    /// Streams until the connection ends or we are asked to stop.
    fn stream(
        &self,
        connection: Connection,
        (sql, heartbeat): (&Sql, Option<&HeartbeatLoop<'_>>),
        (captured, state, gates): (&Captured, &State, Gates),
        (resume, repair): (Resume, Option<Repair>),
    ) -> Result<(), CaptureError> {
        let options = StartOptions {
            slot: self.settings.slot.clone(),
            publication: self.settings.publication.clone(),
            start_lsn: resume.lsn,
            protocol: replication::highest_protocol(connection.server_version()),
            extra: self.settings.slot_options.stream_params.clone(),
        };
        self.pipeline.deliveries.start_storing(state.slot.lsn);
        let change = Change::default();
        let gates = (state.slot.epoch, gates);
        let mut encoder = self.encoder((sql, &change), captured, gates, resume.lsn)?;
        encoder.set_last_commit(resume.last_commit);
        encoder.repair_with(repair);
        let stream = match ReplicationStream::start(connection, &options) {
            Ok(stream) => stream,
            Err(error) => return Err(self.start_refused(sql, error).into()),
        };
        tracing::info!(from = %resume.lsn, epoch = state.slot.epoch, "streaming");
        self.streamed.store(true, Ordering::Relaxed);
        self.health.set_phase("streaming");
        self.health.set_ready("source", Ok(()));
        self.status.set_streaming(true);
        let result =
            self.encode(stream, (sql, heartbeat), (captured, state, &change), &mut encoder);
        self.status.set_streaming(false);
        encoder.abandon();
        self.pipeline.keep_resume(encoder.resume_lsn(), encoder.last_commit());
        if result.is_ok() && self.settings.slot_options.drop_on_stop {
            slot_owner::drop_at_stop(sql, self.settings, SHUTDOWN_MARGIN);
        }
        result
    }

    /// Another process was quicker, or the slot was lost a moment ago.
    fn start_refused(&self, sql: &Sql, error: SourceError) -> SourceError {
        match &error {
            SourceError::Server { error: server, .. } if server.sqlstate == "55006" => {
                slot_owner::slot_in_use(sql, self.settings).unwrap_or(error)
            }
            SourceError::Server { error: server, .. }
                if matches!(server.sqlstate.as_str(), "55000" | "58P01" | "42704") =>
            {
                SourceError::configuration(
                    format!("slot \"{}\" cannot be streamed: {server}", self.settings.slot),
                    format!(
                        "start over with a new read of all tables: cdc-agent drop --slot {}, then \
                         start again",
                        self.settings.slot
                    ),
                )
            }
            _ => error,
        }
    }

    fn encoder<'a>(
        &'a self,
        (sql, change): (&Sql, &'a Change),
        captured: &Captured,
        gates: (u64, Gates),
        resume_lsn: Lsn,
    ) -> Result<Encoder<'a>, CaptureError> {
        let around = encode_loop::Surroundings {
            settings: self.settings,
            publisher: &*self.pipeline.publisher,
            deliveries: &self.pipeline.deliveries,
            tables: &self.pipeline.tables,
            sql: sql.clone(),
            metrics: self.metrics,
            health: self.health,
            stop: self.stop,
            lineage: self.lineage,
            record: &self.pipeline.record,
            change,
        };
        let mut encoder = Encoder::new(around, gates, resume_lsn);
        let mut facts: HashMap<Oid, TableFacts> = HashMap::new();
        let mut types = TypeCatalog::default();
        let mut oids = Vec::new();
        for (table, known) in &captured.tables {
            facts.insert(table.oid, known.clone());
            oids.extend(known.columns.iter().map(|column| column.type_oid));
        }
        catalog_query::load_types(sql, oids, &mut types)?;
        encoder.know(facts, types);
        Ok(encoder)
    }

    /// The loop between the reader thread and the publisher.
    fn encode(
        &self,
        stream: ReplicationStream,
        (sql, heartbeat): (&Sql, Option<&HeartbeatLoop<'_>>),
        (captured, state, change): (&Captured, &State, &Change),
        encoder: &mut Encoder<'_>,
    ) -> Result<(), CaptureError> {
        let queue = ChunkQueue::new(self.settings.source_queue_bytes);
        let ended = Stop::default();
        let closer = stream.closer()?;
        std::thread::scope(|scope| {
            let reader = StreamLoop {
                queue: &queue,
                deliveries: &self.pipeline.deliveries,
                status_interval: stream_loop::status_interval(self.settings, sql),
                confirms: self.settings.slot_options.confirms,
                metrics: self.metrics,
                health: self.health,
                stop: self.stop,
                ended: &ended,
            };
            let reading = scope.spawn(move || reader.run(stream));
            let monitor = Monitor {
                settings: self.settings,
                sql,
                metrics: self.metrics,
                health: self.health,
                deliveries: &self.pipeline.deliveries,
                ended: &ended,
                captured,
                partitions: members::partitions_of(captured, state),
                change,
            };
            scope.spawn(move || monitor.run());
            if let Some(heartbeat) = heartbeat {
                scope.spawn(|| heartbeat.run(&ended));
            }
            let result = self.turn(&queue, encoder, || reading.is_finished());
            if result.is_ok() {
                self.drain(encoder);
            } else {
                match &result {
                    Err(error @ CaptureError::Publish(_)) => {
                        self.health.set_ready(DESTINATION, Err(error.to_string()));
                    }
                    Err(error) => self.health.set_ready("source", Err(error.to_string())),
                    Ok(()) => {}
                }
                // Nothing more is to be read; what is stored is still told to the server.
                closer_after(&ended, &closer, result.as_ref().err());
            }
            ended.request();
            self.health.leave("encoder");
            let read = reading.join().unwrap_or(Ok(()));
            match (result, read) {
                (Err(CaptureError::Lost { .. }), Err(error)) => Err(error.into()),
                (Err(error), _) => Err(error),
                (Ok(()), _) => Ok(()),
            }
        })
    }

    /// Encodes chunks until we are asked to stop; [`CaptureError::Lost`] if the reader has ended.
    fn turn(
        &self,
        queue: &ChunkQueue,
        encoder: &mut Encoder<'_>,
        reader_ended: impl Fn() -> bool,
    ) -> Result<(), CaptureError> {
        loop {
            self.health.turn("encoder");
            if self.stop.is_requested() {
                return Ok(());
            }
            if let Some(error) = self.pipeline.deliveries.failure() {
                return Err(error.into());
            }
            let over = reader_ended();
            match queue.pop(CHUNK_TIMEOUT) {
                Some(chunk) => {
                    let result = encoder.encode(chunk.bytes());
                    queue.recycle(chunk);
                    match result {
                        Err(CaptureError::Publish(_)) if self.stop.is_requested() => return Ok(()),
                        result => result?,
                    }
                }
                None if over => return Err(CaptureError::Lost { thread: "reader" }),
                None => {}
            }
        }
    }

    /// Waits until everything sent is acknowledged, stored and told to the server.
    fn drain(&self, encoder: &mut Encoder<'_>) {
        self.health.set_phase("stopping");
        self.health.set_ready("source", Err("stopping".to_owned()));
        encoder.abandon();
        let most = self.settings.times.shutdown.saturating_sub(SHUTDOWN_MARGIN);
        let given_up = self.pipeline.publisher.has_given_up();
        let most = if given_up { most.min(LAST_STORE) } else { most };
        if !self.pipeline.deliveries.wait_until_drained(most) {
            tracing::warn!(
                "not everything is acknowledged at the end; the rest is read again at the next start"
            );
        }
    }
}

/// What was written before the destination was given up is stored in so much time.
const LAST_STORE: Duration = Duration::from_millis(500);

/// Time that is left for the last word to the server.
const SHUTDOWN_MARGIN: Duration = Duration::from_millis(1500);

/// A reader that may be blocked in a write is freed when the source itself has failed.
fn closer_after(
    ended: &Stop,
    closer: &crate::capture::postgres::Socket,
    error: Option<&CaptureError>,
) {
    ended.request();
    if matches!(error, Some(CaptureError::Source(_) | CaptureError::Decode(_))) {
        closer.shutdown();
    }
}
