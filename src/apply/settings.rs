//! How records are applied.

use std::time::Duration;

use crate::apply::warehouse::BrokenRules;
use crate::envelope::UNAVAILABLE_VALUE;

/// What becomes of a record that cannot be applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorsTolerance {
    /// Everything stops at its place.
    #[default]
    None,
    /// It is put aside in `_cdc.dead_letters`, and later records of its key with it.
    All,
}

/// Rules that tests turn off one by one, to show what each is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BrokenApply {
    /// Those of the warehouse.
    pub warehouse: BrokenRules,
    /// `source.lsn` is taken for the version of a row.
    pub raw_lsn: bool,
    /// Partitions have no watermark.
    pub without_watermark: bool,
    /// Offsets are committed to Kafka before the data, and those of the warehouse are not
    /// looked at.
    pub offsets_first: bool,
}

/// Settings.
#[derive(Clone, Debug)]
pub struct ApplySettings {
    /// Name of the consumer group; offsets are stored under it.
    pub group: String,
    /// Bad records.
    pub tolerance: ErrorsTolerance,
    /// What Debezium puts in place of a value that was left out.
    pub placeholder: String,
    /// A batch is committed when it has so many records, …
    pub batch_records: usize,
    /// … or so many bytes, …
    pub batch_bytes: usize,
    /// … or when its first record has waited so long.
    pub batch_time: Duration,
    /// How long the create half of a key change waits for a delete half that is in no partition's
    /// log, before what it lacks is taken for lost.
    pub key_change_wait: Duration,
    /// Rules that are turned off.
    pub broken: BrokenApply,
}

impl Default for ApplySettings {
    fn default() -> Self {
        ApplySettings {
            group: "cdc-sink".to_owned(),
            tolerance: ErrorsTolerance::None,
            placeholder: UNAVAILABLE_VALUE.to_owned(),
            batch_records: 50_000,
            batch_bytes: 16 << 20,
            batch_time: Duration::from_millis(500),
            key_change_wait: Duration::from_secs(30),
            broken: BrokenApply::default(),
        }
    }
}
