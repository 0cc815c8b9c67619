//! Every metric: its name, its unit and its meaning.

use std::collections::HashMap;

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
    /// `cdc_agent_destination_up`: 1 while the destination acknowledges.
    pub destination_up: IntGauge,
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

/// Kinds of errors, each counted from 0 on: a series that is born with its first errors shows no
/// increase.
pub const ERROR_KINDS: [&str; 6] =
    ["source", "destination", "stream", "value", "internal", "kafka"];

/// Reasons why tables are left out.
const LEFT_OUT: [&str; 4] = ["filtered", "no usable identity", "not in the publication", "new"];

impl Metrics {
    /// Of the capture of this slot, which is a label of each of them.
    #[expect(clippy::too_many_lines, reason = "a list of names and their meanings")]
    pub fn new(slot: &str) -> Self {
        let labels = HashMap::from([("slot".to_owned(), slot.to_owned())]);
        // Labels without a prefix are never refused.
        let registry = Registry::new_custom(None, Some(labels)).unwrap_or_default();
        let n = Names(registry);
        let latency = HistogramOpts::new(
            "cdc_agent_delivery_seconds",
            "From handing a record to librdkafka to its acknowledgement: the slowest of each poll.",
        );
        let latency = Histogram::with_opts(latency.buckets(LATENCY_SECONDS.to_vec()));
        let metrics = Metrics {
            records: n.counters(
                "cdc_agent_records_total",
                "Records written for the destination.",
                &TABLE_OPERATION,
            ),
            record_bytes: n.counters(
                "cdc_agent_record_bytes_total",
                "Bytes of the keys and values of these records.",
                &TABLE_OPERATION,
            ),
            transactions: n.counter(
                "cdc_agent_transactions_total",
                "Transactions with a change of a published table.",
            ),
            acknowledged: n.counter(
                "cdc_agent_acknowledged_records_total",
                "Records that are durable at the destination, tombstones, state and schemas \
                 included.",
            ),
            value_errors: n.counters(
                "cdc_agent_value_errors_total",
                "Values that could not be converted.",
                &["table", "column"],
            ),
            errors: n.counters(
                "cdc_agent_errors_total",
                "Errors after which the agent went on, by where they came from.",
                &["kind"],
            ),
            reconnects: n.counter(
                "cdc_agent_reconnects_total",
                "Sessions with the source begun after the first, failed attempts included.",
            ),
            received_bytes: n
                .counter("cdc_agent_received_wal_bytes_total", "Bytes of the replication stream."),
            source_queue_bytes: n.gauge(
                "cdc_agent_source_queue_bytes",
                "Bytes read from the source and not encoded yet.",
            ),
            publisher_queue_records: n.gauge(
                "cdc_agent_publisher_queue_records",
                "Records sent to Kafka and not acknowledged.",
            ),
            delivery_seconds: latency.unwrap_or_else(|error| unreachable_name(&error)),
            received_lsn: n.gauge(
                "cdc_agent_received_lsn",
                "WAL position up to which the stream has been received.",
            ),
            acknowledged_lsn: n.gauge(
                "cdc_agent_acknowledged_lsn",
                "WAL position up to which everything is acknowledged.",
            ),
            stored_lsn: n.gauge(
                "cdc_agent_stored_lsn",
                "WAL position up to which that is stored; it is what the agent confirms to the \
                 server.",
            ),
            snapshot_running: n
                .gauge("cdc_agent_snapshot_running", "1 while tables are snapshotted."),
            snapshot_tables: n.gauges(
                "cdc_agent_snapshot_tables",
                "Tables of the running or last snapshot, by state.",
                &["state"],
            ),
            snapshot_rows: n.gauges(
                "cdc_agent_snapshot_rows",
                "Rows of a table that the snapshot has read.",
                &["table"],
            ),
            destination_up: n.gauge(
                "cdc_agent_destination_up",
                "1 while the destination acknowledges; 0 until it is reached, and when it has been \
                 silent for 10 s.",
            ),
            tables_left_out: n.gauges(
                "cdc_agent_tables_left_out",
                "Tables that are not captured, by reason.",
                &["reason"],
            ),
            build_info: n.gauges("cdc_agent_build_info", "Always 1.", &["version"]),
            registry: n.0,
        };
        metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        for kind in ERROR_KINDS {
            metrics.errors.with_label_values(&[kind]);
        }
        metrics.clear_left_out();
        metrics
    }

    /// No table is left out, for whichever reason.
    pub fn clear_left_out(&self) {
        for reason in LEFT_OUT {
            self.tables_left_out.with_label_values(&[reason]).set(0);
        }
    }

    /// Shows the time of deliveries, which only a destination that measures them has.
    pub fn show_delivery_seconds(&self) {
        // A second producer finds it registered.
        self.registry.register(Box::new(self.delivery_seconds.clone())).ok();
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
