//! Every metric of the companion: its name, its unit and its meaning.

use prometheus::Gauge;
use prometheus::GaugeVec;
use prometheus::Histogram;
use prometheus::HistogramOpts;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;
use prometheus::Opts;
use prometheus::Registry;

use crate::telemetry::SinkLag;
use crate::telemetry::metrics::Names;
use crate::telemetry::metrics::write_all;
use crate::time::UnixMicros;

/// Upper bounds of the buckets of a batch's time, in seconds.
const BATCH_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Upper bounds of the buckets of a batch's size, in records.
const BATCH_RECORDS: [f64; 8] = [1.0, 10.0, 100.0, 1e3, 5e3, 1e4, 5e4, 1e5];

/// The companion's metrics.
#[derive(Clone, Debug)]
pub struct SinkMetrics {
    registry: Registry,
    /// `cdc_sink_records_total{table,operation}`: changes applied.
    pub records: IntCounterVec,
    /// `cdc_sink_batches_total`: transactions of the warehouse.
    pub batches: IntCounter,
    /// `cdc_sink_batch_seconds`: time of one.
    pub batch_seconds: Histogram,
    /// `cdc_sink_batch_records`: records in one.
    pub batch_records: Histogram,
    /// `cdc_sink_retries_total{kind}`: attempts that were made again.
    pub retries: IntCounterVec,
    /// `cdc_sink_dead_letters_total`: records put aside.
    pub dead_letters: IntCounter,
    /// `cdc_sink_lag_records{topic,partition}`: records that are not applied.
    pub lag_records: IntGaugeVec,
    /// `cdc_sink_lag_seconds`: how old the oldest commit that waits is at most, 0 when nothing
    /// waits; absent while nobody can know.
    lag_seconds: GaugeVec,
    /// What it is reckoned from.
    pub lag: SinkLag,
    /// `cdc_sink_delay_seconds`: how long the latest change that was applied was on its way from
    /// its commit at the source.
    pub delay_seconds: Gauge,
    /// `cdc_sink_kafka_up`: 1 while Kafka answers; absent without Kafka.
    pub kafka_up: IntGaugeVec,
    /// `cdc_sink_warehouse_up`: 1 while the warehouse takes what it is given.
    pub warehouse_up: IntGauge,
    /// `cdc_sink_load_seconds`: how long the transaction under way has been taking; 0 if there is
    /// none.
    pub load_seconds: Gauge,
    /// `cdc_sink_waiting_partitions`: partitions that wait for a row of another one.
    pub waiting: IntGauge,
    /// `cdc_sink_rows_not_found_total{table}`: rows of tables without key that were to be deleted
    /// and were not there.
    pub not_found: IntCounterVec,
    /// `cdc_sink_incomplete_rows_total`: rows written with values that were never received.
    pub incomplete: IntCounter,
    /// `cdc_sink_tables_to_reread{table}`: 1 for a table whose rows must be read again.
    pub reread: IntGaugeVec,
    /// `cdc_sink_build_info{version}`: always 1.
    pub build_info: IntGaugeVec,
}

impl Default for SinkMetrics {
    fn default() -> Self {
        let n = Names(Registry::new());
        let seconds = HistogramOpts::new("cdc_sink_batch_seconds", "Time of one transaction.");
        let records = HistogramOpts::new("cdc_sink_batch_records", "Records of one transaction.");
        let metrics = SinkMetrics {
            records: n.counters(
                "cdc_sink_records_total",
                "Changes applied.",
                &["table", "operation"],
            ),
            batches: n.counter("cdc_sink_batches_total", "Transactions of the warehouse."),
            batch_seconds: n.add(Histogram::with_opts(seconds.buckets(BATCH_SECONDS.to_vec()))),
            batch_records: n.add(Histogram::with_opts(records.buckets(BATCH_RECORDS.to_vec()))),
            retries: n.counters("cdc_sink_retries_total", "Attempts made again.", &["kind"]),
            dead_letters: n.counter("cdc_sink_dead_letters_total", "Records put aside."),
            lag_records: n.gauges(
                "cdc_sink_lag_records",
                "Records that are not applied.",
                &["topic", "partition"],
            ),
            lag_seconds: n.add(GaugeVec::new(
                Opts::new(
                    "cdc_sink_lag_seconds",
                    "How old the oldest commit that is not applied is at most; 0 when nothing \
                     waits, absent while Kafka does not answer.",
                ),
                &[],
            )),
            lag: SinkLag::default(),
            delay_seconds: n.add(Gauge::new(
                "cdc_sink_delay_seconds",
                "From commit at the source to commit in the warehouse, of the latest change \
                 applied.",
            )),
            kafka_up: n.gauges("cdc_sink_kafka_up", "1 while a Kafka broker answers.", &[]),
            warehouse_up: n.gauge(
                "cdc_sink_warehouse_up",
                "1 while the warehouse answers and takes what it is given.",
            ),
            load_seconds: n.add(Gauge::new(
                "cdc_sink_load_seconds",
                "How long the transaction of the warehouse that is under way has been taking; 0 if \
                 there is none.",
            )),
            waiting: n.gauge(
                "cdc_sink_waiting_partitions",
                "Partitions that wait for a row of another one.",
            ),
            not_found: n.counters(
                "cdc_sink_rows_not_found_total",
                "Rows without key that were to be deleted and were not there.",
                &["table"],
            ),
            incomplete: n.counter(
                "cdc_sink_incomplete_rows_total",
                "Rows written with values that were never received.",
            ),
            reread: n.gauges(
                "cdc_sink_tables_to_reread",
                "1 for a table whose rows must be read again.",
                &["table"],
            ),
            build_info: n.gauges("cdc_sink_build_info", "Version.", &["version"]),
            registry: n.0,
        };
        metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics
    }
}

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "a duration for people")]
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1e3
}

impl SinkMetrics {
    /// A batch was applied whose latest commit is of this time, in milliseconds since 1970.
    pub fn note_commit(&self, commit_ms: i64) {
        self.lag.applied(commit_ms);
        self.delay_seconds.set(seconds((UnixMicros::now().millis() - commit_ms).max(0)));
    }

    /// Whether records wait to be applied.
    pub fn set_waits(&self, waits: bool) {
        self.lag.set_waits(waits, UnixMicros::now().millis());
    }

    /// Whether Kafka answers.
    pub fn set_kafka_up(&self, up: bool) {
        self.kafka_up.with_label_values(&[] as &[&str]).set(i64::from(up));
    }

    /// Appends all of them in Prometheus' text format.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self.lag.milliseconds(UnixMicros::now().millis()) {
            Some(milliseconds) => {
                self.lag_seconds.with_label_values(&[] as &[&str]).set(seconds(milliseconds));
            }
            None => self.lag_seconds.reset(),
        }
        write_all(&self.registry, out);
    }
}
