//! A table made ready to be written: its topic exists, its schema is published, its records have a
//! route.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use prometheus::IntCounter;
use prometheus::IntCounterVec;

use crate::capture::CaptureError;
use crate::capture::catalog::OlderRows;
use crate::capture::catalog::Shape;
use crate::capture::catalog::TypeCatalog;
use crate::capture::change::ColumnError;
use crate::capture::change::ControlWriter;
use crate::capture::change::MessageWriter;
use crate::capture::change::TableWriter;
use crate::capture::deliveries::Deliveries;
use crate::capture::publisher::Batch;
use crate::capture::publisher::Publisher;
use crate::capture::publisher::Receipt;
use crate::capture::publisher::Record;
use crate::capture::publisher::Route;
use crate::capture::publisher::RouteId;
use crate::capture::publisher::TopicSpec;
use crate::capture::settings::CaptureSettings;
use crate::capture::settings::ConversionFailure;
use crate::envelope::Operation;
use crate::envelope::json;
use crate::position::Position;
use crate::telemetry::Metrics;

/// One version of a table, ready to be written.
#[derive(Clone, Debug)]
pub(super) struct ReadyTable {
    /// Name, for people.
    pub(super) name: String,
    /// Writes its rows.
    pub(super) writer: TableWriter,
    /// Where they go.
    pub(super) route: RouteId,
    counters: Vec<(Operation, IntCounter, IntCounter)>,
    value_errors: IntCounterVec,
}

impl ReadyTable {
    /// Counts one record.
    #[inline]
    pub(super) fn count(&self, operation: Operation, bytes: usize) {
        if let Some((_, records, sizes)) = self.counters.iter().find(|entry| entry.0 == operation) {
            records.inc();
            sizes.inc_by(bytes as u64);
        }
    }
}

impl ReadyTable {
    /// Values of a row that could not be written: stop, or say so.
    ///
    /// # Errors
    ///
    /// The policy is to stop.
    #[cold]
    pub(super) fn report(
        &self,
        problems: &mut Vec<ColumnError>,
        position: Position,
        policy: ConversionFailure,
    ) -> Result<(), CaptureError> {
        for problem in problems.drain(..) {
            let labels = [self.name.as_str(), problem.column.as_str()];
            self.value_errors.with_label_values(&labels).inc();
            match policy {
                ConversionFailure::Fail => {
                    return Err(CaptureError::Value {
                        table: self.name.clone(),
                        column: problem.column,
                        type_oid: problem.type_oid,
                        position: position.to_string(),
                        error: problem.error,
                    });
                }
                ConversionFailure::Warn => tracing::warn!(
                    table = self.name, column = problem.column, %position, error = %problem.error,
                    "a value could not be converted; null or a fallback stands in its place"
                ),
                ConversionFailure::Skip => {}
            }
        }
        Ok(())
    }
}

/// The topic of logical decoding messages, ready to be written.
#[derive(Clone, Debug)]
pub(super) struct ReadyMessages {
    /// Writes them.
    pub(super) writer: MessageWriter,
    /// Where they go.
    pub(super) route: RouteId,
    records: IntCounter,
    sizes: IntCounter,
}

impl ReadyMessages {
    /// Counts one record.
    pub(super) fn count(&self, bytes: usize) {
        self.records.inc();
        self.sizes.inc_by(bytes as u64);
    }
}

/// A topic of records that are no changes, ready to be written.
#[derive(Clone, Debug)]
pub(super) struct ReadyControl {
    /// Writes them.
    pub(super) writer: ControlWriter,
    /// Where they go.
    pub(super) route: RouteId,
}

/// Makes tables ready. Shared by the snapshot and the stream.
pub(super) struct Tables {
    settings: Arc<CaptureSettings>,
    publisher: Arc<dyn Publisher>,
    deliveries: Arc<Deliveries>,
    metrics: Metrics,
    /// Route to `PREFIX.__schemas`.
    schemas: RouteId,
    /// Entries of it that are published and acknowledged.
    published: Mutex<HashSet<String>>,
    /// `__debezium.context.runId`.
    run_id: String,
}

impl Tables {
    /// For one destination.
    ///
    /// # Errors
    ///
    /// The topic of schemas cannot be created.
    pub(super) fn new(
        settings: Arc<CaptureSettings>,
        publisher: Arc<dyn Publisher>,
        deliveries: Arc<Deliveries>,
        metrics: Metrics,
        run_id: &str,
    ) -> Result<Self, CaptureError> {
        let topic = settings.naming.internal_topic("schemas");
        if !settings.values.value_schemas {
            let spec = TopicSpec { name: topic.clone(), compacted: true, internal: true };
            publisher.prepare(&[spec])?;
        }
        let schemas = publisher.route(Route { topic, internal: true, ..Route::default() })?;
        Ok(Tables {
            settings,
            publisher,
            deliveries,
            metrics,
            schemas,
            published: Mutex::default(),
            run_id: run_id.to_owned(),
        })
    }

    /// Creates the topics of these tables that are missing, in one request.
    ///
    /// # Errors
    ///
    /// A topic cannot be created.
    pub(super) fn prepare_topics<'a>(
        &self,
        shapes: impl Iterator<Item = &'a Shape>,
    ) -> Result<(), CaptureError> {
        let mut topics: Vec<TopicSpec> = shapes.map(|shape| self.topic(shape)).collect();
        // Several tables may share one.
        topics.sort_by(|one, other| one.name.cmp(&other.name));
        topics.dedup();
        Ok(self.publisher.prepare(&topics)?)
    }

    fn topic(&self, shape: &Shape) -> TopicSpec {
        let name = self.settings.naming.topic(&shape.table);
        TopicSpec { name, compacted: false, internal: false }
    }

    /// Makes one version of a table ready. Waits for the destination as long as `go_on` gives
    /// `true`.
    ///
    /// # Errors
    ///
    /// The destination fails, or `go_on` gave `false`.
    pub(super) fn ready(
        &self,
        shape: &Shape,
        types: &TypeCatalog,
        go_on: &dyn Fn() -> bool,
    ) -> Result<ReadyTable, CaptureError> {
        let topic = self.topic(shape);
        self.publisher.prepare(std::slice::from_ref(&topic))?;
        let rules = &self.settings.columns;
        let shape = &rules.keyed(shape);
        let form = rules.form(shape, types, &self.settings.naming);
        let writer = TableWriter::with_form(shape, &form, types, &self.settings.values);
        for column in writer.left_out() {
            tracing::warn!(
                table = %shape.table, column,
                "the column is left out, because Debezium does not know its type \
                 (include.unknown.datatypes=true or value.fidelity=exact sends it)"
            );
        }
        let schema = if self.settings.values.value_schemas {
            None
        } else {
            Some(self.publish_schema(shape, &writer, go_on)?)
        };
        let headers = self.context_headers();
        let topic = topic.name;
        let route = self.publisher.route(Route { topic, headers, schema, ..Route::default() })?;
        let name = shape.table.to_string();
        let counters = COUNTED
            .iter()
            .map(|(operation, label)| {
                let labels = [name.as_str(), label];
                (
                    *operation,
                    self.metrics.records.with_label_values(&labels),
                    self.metrics.record_bytes.with_label_values(&labels),
                )
            })
            .collect();
        let value_errors = self.metrics.value_errors.clone();
        Ok(ReadyTable { name, writer, route, counters, value_errors })
    }

    /// Makes the topic of logical decoding messages ready. They belong to no table, and Debezium
    /// gives them no headers.
    ///
    /// # Errors
    ///
    /// The destination fails.
    pub(super) fn messages(&self) -> Result<ReadyMessages, CaptureError> {
        let topic = self.settings.naming.message_topic();
        let spec = TopicSpec { name: topic.clone(), compacted: false, internal: false };
        self.publisher.prepare(&[spec])?;
        let labels = ["", "message"];
        Ok(ReadyMessages {
            writer: MessageWriter::new(&self.settings.values),
            route: self.publisher.route(Route { topic, ..Route::default() })?,
            records: self.metrics.records.with_label_values(&labels),
            sizes: self.metrics.record_bytes.with_label_values(&labels),
        })
    }

    /// Makes the topic of transactions ready.
    ///
    /// # Errors
    ///
    /// The destination fails.
    pub(super) fn transactions(&self) -> Result<ReadyControl, CaptureError> {
        let writer = ControlWriter::transactions(&self.settings.values);
        self.control(self.settings.naming.transaction_topic(), writer, false)
    }

    /// Makes the topic of heartbeats ready.
    ///
    /// # Errors
    ///
    /// The destination fails.
    pub(super) fn heartbeats(&self) -> Result<ReadyControl, CaptureError> {
        let writer = ControlWriter::heartbeats(&self.settings.values);
        self.control(self.settings.naming.heartbeat_topic(), writer, true)
    }

    /// Makes the topic of notifications ready.
    ///
    /// # Errors
    ///
    /// The destination fails.
    pub(super) fn notifications(&self, topic: &str) -> Result<ReadyControl, CaptureError> {
        let writer = ControlWriter::notifications(&self.settings.values);
        self.control(topic.to_owned(), writer, false)
    }

    fn control(
        &self,
        topic: String,
        writer: ControlWriter,
        first_partition: bool,
    ) -> Result<ReadyControl, CaptureError> {
        let spec = TopicSpec { name: topic.clone(), compacted: false, internal: false };
        self.publisher.prepare(&[spec])?;
        let route = self.publisher.route(Route { topic, first_partition, ..Route::default() })?;
        Ok(ReadyControl { writer, route })
    }

    fn context_headers(&self) -> Vec<(String, String)> {
        if !self.settings.context_headers {
            return Vec::new();
        }
        [
            ("connectorLogicalName", self.settings.prefix.as_str()),
            ("taskId", "0"),
            ("connectorName", "postgresql"),
            ("runId", self.run_id.as_str()),
        ]
        .map(|(name, value)| (format!("__debezium.context.{name}"), value.to_owned()))
        .to_vec()
    }

    /// Publishes what records without schemas do not say; gives its fingerprint once it is
    /// acknowledged.
    fn publish_schema(
        &self,
        shape: &Shape,
        writer: &TableWriter,
        go_on: &dyn Fn() -> bool,
    ) -> Result<String, CaptureError> {
        let entry = schema_entry(shape, writer);
        let digest = ring::digest::digest(&ring::digest::SHA256, &entry);
        let fingerprint: String = digest
            .as_ref()
            .iter()
            .take(FINGERPRINT_BYTES)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let lock = || self.published.lock().unwrap_or_else(PoisonError::into_inner);
        if lock().contains(&fingerprint) {
            return Ok(fingerprint);
        }
        let mut bytes = format!("{{\"fingerprint\":\"{fingerprint}\"}}").into_bytes();
        let key = 0..bytes.len();
        bytes.extend_from_slice(&entry);
        let number = self.deliveries.new_awaited();
        let record = Record {
            route: self.schemas,
            value: Some(key.end..bytes.len()),
            key: Some(key),
            header: None,
            literal: None,
            position: None,
            receipt: Receipt::Awaited(number),
        };
        let batch = Batch { bytes: &bytes, records: &[record] };
        self.publisher.send(batch, go_on)?;
        self.deliveries.wait_for(number, go_on)?;
        lock().insert(fingerprint.clone());
        Ok(fingerprint)
    }
}

/// Bytes of the digest that name an entry.
const FINGERPRINT_BYTES: usize = 16;

/// Operations that are counted, with their label.
const COUNTED: [(Operation, &str); 6] = [
    (Operation::Read, "read"),
    (Operation::Create, "create"),
    (Operation::Update, "update"),
    (Operation::Delete, "delete"),
    (Operation::Truncate, "truncate"),
    (Operation::Message, "message"),
];

/// The entry of `PREFIX.__schemas` for one version of a table.
fn schema_entry(shape: &Shape, writer: &TableWriter) -> Vec<u8> {
    let mut out = b"{\"oid\":".to_vec();
    json::integer(i64::from(shape.relation_id.0), &mut out);
    out.extend_from_slice(b",\"schema\":");
    json::string(shape.table.namespace.as_bytes(), &mut out);
    out.extend_from_slice(b",\"table\":");
    json::string(shape.table.name.as_bytes(), &mut out);
    out.extend_from_slice(b",\"columns\":[");
    let mut separator = false;
    for (place, column) in shape.columns.iter().enumerate() {
        let Some(schema) = writer.column_schema(place) else { continue };
        out.extend_from_slice(if std::mem::replace(&mut separator, true) { b"," } else { b"" });
        out.extend_from_slice(b"{\"attnum\":");
        match column.attnum {
            Some(attnum) => json::integer(i64::from(attnum), &mut out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"name\":");
        json::string(column.name.as_bytes(), &mut out);
        out.extend_from_slice(b",\"type\":");
        json::string(column.type_name.as_bytes(), &mut out);
        out.extend_from_slice(if column.not_null {
            b",\"not_null\":true,\"default\":"
        } else {
            b",\"not_null\":false,\"default\":"
        });
        match &column.default {
            Some(default) => json::string(default.as_bytes(), &mut out),
            None => out.extend_from_slice(b"null"),
        }
        older_rows(&column.older, |text, out| writer.write_alone(place, text, out), &mut out);
        out.extend_from_slice(b",\"connect\":");
        schema.write_json(None, &mut out);
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"key\":{\"columns\":[");
    for (at, column) in shape.key.iter().filter_map(|place| shape.columns.get(*place)).enumerate() {
        out.extend_from_slice(if at > 0 { b"," } else { b"" });
        json::string(column.name.as_bytes(), &mut out);
    }
    out.extend_from_slice(if shape.key_is_unique {
        b"],\"unique\":true}}"
    } else {
        b"],\"unique\":false}}"
    });
    out
}

/// What rows hold that are older than the column: a value as records have it, or that nobody knows.
fn older_rows(older: &OlderRows, write: impl Fn(&str, &mut Vec<u8>) -> bool, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(b",\"stored_default\":");
    match older {
        OlderRows::Stored(text) if write(text, out) => return,
        OlderRows::Null => return out.extend_from_slice(b"null"),
        OlderRows::Stored(_) | OlderRows::Unknown => {}
    }
    out.truncate(start);
    out.extend_from_slice(b",\"default_unknown\":true");
}
