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
    /// The process dies at this point of its first batch.
    pub dies: Option<Death>,
}

/// Where a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// A batch is ready, and nothing of it is in the warehouse.
    BeforeLoad,
    /// The warehouse has it, and nobody was told.
    AfterLoad,
}

/// Variable of the environment that turns rules off, in builds for tests.
const VARIABLE: &str = "CDC_TEST_BROKEN";

impl BrokenApply {
    /// What the environment says, in a build with debug assertions; otherwise every rule holds.
    ///
    /// # Panics
    ///
    /// A word is no rule: a test would prove nothing.
    pub fn from_environment(environment: impl Fn(&str) -> Option<String>) -> Self {
        let mut broken = BrokenApply::default();
        let words = if cfg!(debug_assertions) { environment(VARIABLE) } else { None };
        for word in words.as_deref().unwrap_or_default().split_whitespace() {
            match word {
                "raw_lsn" => broken.raw_lsn = true,
                "without_watermark" => broken.without_watermark = true,
                "offsets_first" => broken.offsets_first = true,
                "without_tombstones" => broken.warehouse.without_tombstones = true,
                "without_floor" => broken.warehouse.without_floor = true,
                "dies_before_load" => broken.dies = Some(Death::BeforeLoad),
                "dies_after_load" => broken.dies = Some(Death::AfterLoad),
                _ => panic!("{VARIABLE}: {word} is no rule"),
            }
        }
        broken
    }
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
    /// New tables carry the commit time of each row's last change.
    pub commit_times: bool,
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
            commit_times: true,
            broken: BrokenApply::default(),
        }
    }
}
