//! Rows with their meaning, written as Debezium's records.
//!
//! Takes a shape (what a relation's tuples mean), types, settings and tuples; gives bytes of keys
//! and values. Holds per version of a relation what is constant in its records. Never asks a
//! server and never sees a broker.
//!
//! Refuses nothing: a value that cannot be converted is reported in [`Output::problems`] and its
//! place filled as the schema demands; what happens then is the loops' business.

mod column;
mod control_writer;
mod form;
mod java_map;
mod jdbc_text;
mod json_array;
mod json_value;
mod kind;
mod mask;
mod message_writer;
mod notification;
mod settings;
mod source;
pub mod source_type;
mod stand_in;
mod table_writer;

pub use column::ColumnError;
pub use column::ColumnWriter;
pub use control_writer::ControlWriter;
pub use control_writer::TransactionEdge;
pub use form::ColumnForm;
pub use form::TableForm;
pub use kind::ColumnType;
pub use mask::HashAlgorithm;
pub use mask::HashMask;
pub use mask::Mask;
pub use message_writer::MessageWriter;
pub use notification::Notification;
pub use notification::SnapshotMoment;
pub use settings::BinaryMode;
pub use settings::DecimalFormat;
pub use settings::DecimalMode;
pub use settings::Fidelity;
pub use settings::HstoreMode;
pub use settings::IntervalMode;
pub use settings::TimePrecisionMode;
pub use settings::ValueSettings;
pub use source::ClockText;
pub use source::SourceFields;
pub use source::SourceName;
pub use source::SourceText;
pub use table_writer::Event;
pub use table_writer::Output;
pub use table_writer::Row;
pub use table_writer::TableWriter;
