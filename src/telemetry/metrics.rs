//! Every metric: its name, its unit and its meaning.

use prometheus::Encoder;
use prometheus::Histogram;
use prometheus::HistogramOpts;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;
use prometheus::Opts;
use prometheus::Registry;
use prometheus::TextEncoder;
use prometheus::core::Collector;

/// Upper bounds of the delivery latency's buckets, in seconds.
const LATENCY_SECONDS: [f64; 14] =
    [0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// The agent's metrics. What the source's slot looks like is asked when they are scraped and is not
/// in here.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// `cdc_agent_records_total{table,operation}`: records sent.
    pub records: IntCounterVec,
    /// `cdc_agent_record_bytes_total{table,operation}`: bytes of their keys and values.
    pub record_bytes: IntCounterVec,
    /// `cdc_agent_transactions_total`: transactions received with something for us.
    pub transactions: IntCounter,
    /// `cdc_agent_acknowledged_records_total`: records that are durable at the destination.
    pub acknowledged: IntCounter,
    /// `cdc_agent_value_errors_total{table,column}`: values that could not be converted.
    pub value_errors: IntCounterVec,
    /// `cdc_agent_errors_total{kind}`: errors that were handled, by where they came from.
    pub errors: IntCounterVec,
    /// `cdc_agent_reconnects_total`: replication connections after the first.
    pub reconnects: IntCounter,
    /// `cdc_agent_received_wal_bytes_total`: bytes of the replication stream.
    pub received_bytes: IntCounter,
    /// `cdc_agent_source_queue_bytes`: bytes read from the source and not encoded yet.
    pub source_queue_bytes: IntGauge,
    /// `cdc_agent_publisher_queue_records`: records sent and not acknowledged.
    pub publisher_queue_records: IntGauge,
    /// `cdc_agent_delivery_seconds`: from sending a record to its acknowledgement.
    pub delivery_seconds: Histogram,
    /// `cdc_agent_received_lsn`: position up to which the stream has been received.
    pub received_lsn: IntGauge,
    /// `cdc_agent_acknowledged_lsn`: position up to which everything is acknowledged.
    pub acknowledged_lsn: IntGauge,
    /// `cdc_agent_stored_lsn`: position up to which that is stored.
    pub stored_lsn: IntGauge,
    /// `cdc_agent_snapshot_running`: 1 while tables are read.
    pub snapshot_running: IntGauge,
    /// `cdc_agent_snapshot_tables{state}`: tables of the snapshot, `waiting` or `done`.
    pub snapshot_tables: IntGaugeVec,
    /// `cdc_agent_snapshot_rows{table}`: rows read of a table.
    pub snapshot_rows: IntGaugeVec,
    /// `cdc_agent_tables_left_out{reason}`: tables of the database that are not captured.
    pub tables_left_out: IntGaugeVec,
    /// `cdc_agent_build_info{version}`: always 1.
    pub build_info: IntGaugeVec,
}

/// A registry that hands out what it has registered.
pub(super) struct Names(pub(super) Registry);

impl Names {
    pub(super) fn add<M: Collector + Clone + 'static>(
        &self,
        metric: Result<M, prometheus::Error>,
    ) -> M {
        let metric = metric.unwrap_or_else(|error| unreachable_name(&error));
        let boxed = Box::new(metric.clone());
        self.0.register(boxed).unwrap_or_else(|error| unreachable_name(&error));
        metric
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(name, help))
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::new(name, help))
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }
}

/// The names below are fixed and each stands once, so this never happens.
fn unreachable_name<T>(error: &prometheus::Error) -> T {
    panic!("a metric's name is wrong or stands twice: {error}")
}

/// Labels of what is counted by table and operation.
const TABLE_OPERATION: [&str; 2] = ["table", "operation"];

impl Default for Metrics {
    fn default() -> Self {
        let n = Names(Registry::new());
        let latency =
            HistogramOpts::new("cdc_agent_delivery_seconds", "From sending to acknowledgement.");
        let latency = Histogram::with_opts(latency.buckets(LATENCY_SECONDS.to_vec()));
        let metrics = Metrics {
            records: n.counters("cdc_agent_records_total", "Records sent.", &TABLE_OPERATION),
            record_bytes: n.counters(
                "cdc_agent_record_bytes_total",
                "Bytes of keys and values sent.",
                &TABLE_OPERATION,
            ),
            transactions: n.counter("cdc_agent_transactions_total", "Transactions received."),
            acknowledged: n.counter(
                "cdc_agent_acknowledged_records_total",
                "Records durable at the destination.",
            ),
            value_errors: n.counters(
                "cdc_agent_value_errors_total",
                "Values that could not be converted.",
                &["table", "column"],
            ),
            errors: n.counters("cdc_agent_errors_total", "Errors handled.", &["kind"]),
            reconnects: n
                .counter("cdc_agent_reconnects_total", "Replication connections after the first."),
            received_bytes: n.counter("cdc_agent_received_wal_bytes_total", "Bytes of the stream."),
            source_queue_bytes: n
                .gauge("cdc_agent_source_queue_bytes", "Read and not encoded yet."),
            publisher_queue_records: n
                .gauge("cdc_agent_publisher_queue_records", "Sent, not acknowledged."),
            delivery_seconds: n.add(latency),
            received_lsn: n.gauge("cdc_agent_received_lsn", "Received up to here."),
            acknowledged_lsn: n.gauge("cdc_agent_acknowledged_lsn", "Acknowledged up to here."),
            stored_lsn: n.gauge("cdc_agent_stored_lsn", "Stored as acknowledged."),
            snapshot_running: n.gauge("cdc_agent_snapshot_running", "1 while tables are read."),
            snapshot_tables: n.gauges("cdc_agent_snapshot_tables", "Tables by state.", &["state"]),
            snapshot_rows: n.gauges("cdc_agent_snapshot_rows", "Rows read of a table.", &["table"]),
            tables_left_out: n.gauges(
                "cdc_agent_tables_left_out",
                "Tables not captured.",
                &["reason"],
            ),
            build_info: n.gauges("cdc_agent_build_info", "Version.", &["version"]),
            registry: n.0,
        };
        metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics
    }
}

impl Metrics {
    /// Appends all of them in Prometheus' text format.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_all(&self.registry, out);
    }
}

/// Appends what is registered in Prometheus' text format.
pub(super) fn write_all(registry: &Registry, out: &mut Vec<u8>) {
    if let Err(error) = TextEncoder::new().encode(&registry.gather(), out) {
        tracing::error!(%error, "metrics cannot be written");
    }
}
