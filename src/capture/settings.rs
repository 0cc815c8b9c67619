//! What one capture is asked to do.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::capture::change::ValueSettings;
use crate::capture::columns::ColumnRules;
use crate::capture::filter::MessageFilter;
use crate::capture::filter::NameList;
use crate::capture::filter::TableFilter;
use crate::capture::naming::Naming;
use crate::capture::postgres::SourceSettings;
use crate::capture::publisher::PublishError;
use crate::capture::publisher::Publisher;
use crate::capture::publisher::PublisherSettings;
use crate::capture::replica_identity::IdentityRule;
use crate::capture::state::StateStore;
use crate::envelope::Operation;
use crate::table::TableName;

/// Settings of one capture, checked.
#[derive(Clone, Debug)]
pub struct CaptureSettings {
    /// `slot.name`.
    pub slot: String,
    /// `publication.name`.
    pub publication: String,
    /// `publication.autocreate.mode`.
    pub autocreate: PublicationAutocreate,
    /// `topic.prefix`.
    pub prefix: String,
    /// Names of topics and schemas.
    pub naming: Naming,
    /// The source.
    pub source: SourceSettings,
    /// Where records go.
    pub destination: Destination,
    /// Which tables.
    pub tables: TableFilter,
    /// Which columns, and which of them are keys.
    pub columns: ColumnRules,
    /// `message.prefix.include.list` and `message.prefix.exclude.list`.
    pub messages: MessageFilter,
    /// `skip.messages.without.change`.
    pub skip_unchanged: bool,
    /// How values become JSON.
    pub values: ValueSettings,
    /// `event.converting.failure.handling.mode`.
    pub conversion_failure: ConversionFailure,
    /// `skipped.operations`.
    pub skipped: Vec<Operation>,
    /// `provide.transaction.metadata`.
    pub transaction_metadata: bool,
    /// `heartbeat.*`; `None`: no heartbeats.
    pub heartbeat: Option<Heartbeat>,
    /// `notification.*`.
    pub notifications: NotificationSettings,
    /// `tombstones.on.delete`.
    pub tombstones: bool,
    /// `extended.headers.enabled`: the `__debezium.context.*` headers.
    pub context_headers: bool,
    /// `snapshot.*`.
    pub snapshot: SnapshotSettings,
    /// `slot.*` and what else concerns the stream.
    pub slot_options: SlotOptions,
    /// `publish.via.partition.root`.
    pub via_root: bool,
    /// `replica.identity.autoset.values`.
    pub identities: Vec<IdentityRule>,
    /// `guardrail.collections.*`.
    pub tables_limit: Option<TablesLimit>,
    /// Bytes that may wait between the source and the encoder.
    pub source_queue_bytes: usize,
    /// Times.
    pub times: Times,
    /// `slot.max.retries`.
    pub slot_retries: u32,
    /// Bytes of log kept for the slot from which on the log warns.
    pub retained_wal_warning_bytes: u64,
}

/// Where records go.
#[derive(Clone, Debug)]
pub enum Destination {
    /// Kafka; state in `PREFIX.__state`.
    Kafka(PublisherSettings),
    /// JSON lines on stdout.
    Stdout {
        /// State.
        state: PathBuf,
    },
    /// JSON lines in a file.
    File {
        /// The file.
        path: PathBuf,
        /// State.
        state: PathBuf,
    },
    /// Somewhere that the capture does not know.
    Elsewhere(Arc<dyn Elsewhere>),
}

/// A destination that is made outside of the capture.
pub trait Elsewhere: fmt::Debug + Send + Sync {
    /// Reaches it: where records go, and where the state of this slot is kept.
    ///
    /// # Errors
    ///
    /// It cannot be reached, or refuses.
    fn connect(&self, slot: &str) -> Result<Reached, PublishError>;
}

/// Where records go, and where state is kept.
pub type Reached = (Arc<dyn Publisher>, Arc<dyn StateStore>);

/// Signs of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// `heartbeat.interval.ms`.
    pub interval: Duration,
    /// `heartbeat.action.query`; empty: none.
    pub action: String,
}

/// Where it is told how a snapshot goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotificationSettings {
    /// The channel `log`.
    pub to_log: bool,
    /// The channel `sink`: `notification.sink.topic.name`.
    pub topic: Option<String>,
}

/// What to do about a value that cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConversionFailure {
    /// Stop.
    Fail,
    /// Null (or the type's fallback) in its place, and a warning.
    Warn,
    /// Null (or the type's fallback) in its place.
    Skip,
}

/// What to do about a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicationAutocreate {
    /// Create one of all tables.
    AllTables,
    /// Create one of the captured tables that have a usable identity.
    Filtered,
    /// Create an empty one.
    NoTables,
    /// Create none.
    Disabled,
}

/// How tables are read.
#[derive(Clone, Debug)]
pub struct SnapshotSettings {
    /// `snapshot.mode`.
    pub mode: SnapshotMode,
    /// If changes are lost because the slot's position does not fit ours, all is read again.
    pub starts_over: bool,
    /// `snapshot.max.threads`.
    pub threads: usize,
    /// `snapshot.include.collection.list`.
    pub include: NameList,
    /// `snapshot.select.statement.overrides`: tables, as `schema.table`, and their statements.
    pub overrides: Vec<(String, String)>,
    /// `snapshot.locking.mode=shared`: how long locks are waited for.
    pub lock_timeout: Option<Duration>,
    /// `snapshot.tables.order.by.row.count`.
    pub order: RowCountOrder,
    /// `snapshot.delay.ms`.
    pub delay: Duration,
    /// `streaming.delay.ms`.
    pub streaming_delay: Duration,
    /// `snapshot.epoch`: the epoch of a first snapshot of which no state is known; `None` for one
    /// from the clock.
    pub first_epoch: Option<u64>,
}

impl SnapshotSettings {
    /// Whether the rows of a table are chosen to be read, if rows are.
    pub fn includes(&self, table: &TableName) -> bool {
        self.include.is_empty() || self.include.matches(&table.to_string())
    }

    /// Whether the rows of a captured table are read.
    pub fn reads(&self, table: &TableName) -> bool {
        self.mode != SnapshotMode::NoData && self.includes(table)
    }
}

/// Order of tables by their sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowCountOrder {
    /// None.
    Disabled,
    /// Small ones first.
    Ascending,
    /// Large ones first.
    Descending,
}

/// Options of the slot and of its stream.
#[derive(Clone, Debug)]
pub struct SlotOptions {
    /// `slot.failover`.
    pub failover: bool,
    /// `slot.drop.on.stop`.
    pub drop_on_stop: bool,
    /// `slot.stream.params`.
    pub stream_params: Vec<(String, String)>,
    /// The server hears what is stored; not so with `lsn.flush.mode=manual`.
    pub confirms: bool,
    /// `xmin.fetch.interval.ms`; zero: not at all.
    pub xmin_interval: Duration,
}

/// How many tables may be captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TablesLimit {
    /// So many.
    pub most: usize,
    /// More are refused, not only warned of.
    pub fails: bool,
}

/// When tables are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotMode {
    /// Once, before streaming.
    Initial,
    /// Once, and stop.
    InitialOnly,
    /// At every start.
    Always,
    /// Never.
    NoData,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// `startup.timeout.ms`: how long the first connections are tried.
    pub startup: Duration,
    /// `shutdown.timeout.ms`: how long a stop may take.
    pub shutdown: Duration,
    /// `slot.retry.delay.ms`.
    pub slot_retry: Duration,
    /// `status.update.interval.ms`: at least so often the server hears from us.
    pub status: Duration,
    /// How often the catalog is looked at for new tables.
    pub catalog: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Times {
            startup: Duration::from_secs(30),
            shutdown: Duration::from_secs(10),
            slot_retry: Duration::from_secs(10),
            status: Duration::from_secs(10),
            catalog: Duration::from_secs(30),
        }
    }
}
