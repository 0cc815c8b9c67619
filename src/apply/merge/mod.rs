//! A batch of records, merged to what one transaction of a warehouse has to do.
//!
//! Takes records and what the warehouse knows; gives a [`Plan`]. Pure: what must be asked is asked
//! by the applier. Knows no warehouse.

pub mod cell;
pub mod column_type;
pub mod encoding;
pub mod fold;
pub mod mark;
pub mod names;
pub mod plan;
pub mod target;
pub mod temporal;
pub mod value;
pub mod version;

pub use cell::Cell;
pub use cell::Span;
pub use cell::Texts;
pub use column_type::ColumnType;
pub use encoding::Encoding;
pub use fold::Batch;
pub use mark::AppliedRange;
pub use mark::LogPlace;
pub use mark::Mark;
pub use mark::StoredMark;
pub use mark::WatermarkPlan;
pub use names::NameRules;
pub use plan::CommitTimes;
pub use plan::CountPlan;
pub use plan::DeadLetter;
pub use plan::KnownTable;
pub use plan::Moved;
pub use plan::OffsetPlan;
pub use plan::Plan;
pub use plan::RowPlan;
pub use plan::Snapshot;
pub use plan::TableChange;
pub use plan::TableId;
pub use plan::TablePlan;
pub use plan::Target;
pub use plan::TargetColumn;
pub use value::ArrayForm;
pub use value::Spelling;
pub use value::ValueProblem;
