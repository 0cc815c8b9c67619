//! A record as it was consumed, and what its headers say.

use std::fmt;
use std::sync::Arc;

use crate::position::LITERAL_HEADER;
use crate::position::POSITION_HEADER;
use crate::position::Position;
use crate::position::SCHEMA_HEADER;

/// Header of the delete half of a key change.
const NEW_KEY_HEADER: &str = "__debezium.newkey";

/// Header of the create half of a key change.
const OLD_KEY_HEADER: &str = "__debezium.oldkey";

/// A header's name and value.
pub type Header = (Box<str>, Option<Box<[u8]>>);

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Topic.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Key.
    pub key: Option<Box<[u8]>>,
    /// Value; `None` is a tombstone.
    pub value: Option<Box<[u8]>>,
    /// Headers, in order.
    pub headers: Vec<Header>,
    /// Epoch of the leader that appended it; −1: unknown.
    pub leader_epoch: i32,
}

/// What stands for partition and offset of a record that came without Kafka, among the dead
/// letters: numbers that it keeps at every redelivery, and that no other of its topic has.
pub fn place_without_kafka(position: Position) -> (i32, i64) {
    let Position { commit_lsn, ord, sub, .. } = position;
    let (partition, place) = match commit_lsn.0 >> 3 {
        0 => (0, ord),
        lsn => {
            let low = ord & ((1 << ORD_BITS) - 1);
            (ord >> ORD_BITS, lsn << (ORD_BITS + 1) | low << 1 | u64::from(sub))
        }
    };
    let offset = (place & i64::MAX.unsigned_abs()).cast_signed();
    (i32::try_from(partition).unwrap_or(i32::MAX), offset)
}

/// Bits of a change's place in its transaction that the offset has; the partition has the others.
const ORD_BITS: u32 = 17;

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordProblem(pub String);

impl RecordProblem {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        RecordProblem(reason.into())
    }
}

impl Record {
    /// How many bytes it holds.
    pub fn bytes(&self) -> usize {
        let len = |bytes: &Option<Box<[u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len());
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + len(value)).sum();
        len(&self.key) + len(&self.value) + headers
    }

    /// Offset and digest of its content: another record at this offset is in another log.
    pub fn digest(&self) -> String {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        let mut put = |bytes: Option<&[u8]>| {
            let bytes = bytes.unwrap_or_default();
            context.update(&bytes.len().to_le_bytes());
            context.update(bytes);
        };
        put(self.key.as_deref());
        put(self.value.as_deref());
        for (name, value) in &self.headers {
            put(Some(name.as_bytes()));
            put(value.as_deref());
        }
        let digest = context.finish();
        let mut text = format!("{}:", self.offset);
        for byte in digest.as_ref().iter().take(8) {
            text.push_str(&format!("{byte:02x}"));
        }
        text
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(known, _)| &**known == name);
        found.and_then(|(_, value)| value.as_deref())
    }

    /// The position that our agent gives.
    ///
    /// # Errors
    ///
    /// The header is there and holds something else.
    pub(super) fn position(&self) -> Result<Option<Position>, RecordProblem> {
        let Some(header) = self.header(POSITION_HEADER) else { return Ok(None) };
        let text = std::str::from_utf8(header).unwrap_or_default();
        let position = text.parse().map_err(|error| {
            RecordProblem::new(format!("header {POSITION_HEADER} is \"{text}\": {error}"))
        })?;
        Ok(Some(position))
    }

    /// The entry of `PREFIX.__schemas` that it names.
    pub(super) fn schema(&self) -> Option<&str> {
        self.header(SCHEMA_HEADER).and_then(|header| std::str::from_utf8(header).ok())
    }

    /// Columns whose value is itself the text that stands for one that was left out.
    pub(super) fn literals(&self) -> Vec<String> {
        let header = self.header(LITERAL_HEADER).unwrap_or(b"[]");
        serde_json::from_slice(header).unwrap_or_default()
    }

    /// Its key is that of a record of the agent's own, in `PREFIX.__state` and its like.
    pub(super) fn is_internal(&self) -> bool {
        let key = self.key.as_deref().unwrap_or_default();
        let key = serde_json::from_slice::<serde_json::Value>(key).unwrap_or_default();
        ["slot", "fingerprint", "group"].iter().any(|name| key.get(name).is_some())
    }

    /// It is the delete half of a key change.
    pub(super) fn leaves_for_new_key(&self) -> bool {
        self.headers.iter().any(|(name, _)| &**name == NEW_KEY_HEADER)
    }

    /// It is the create half of a key change.
    pub(super) fn comes_from_old_key(&self) -> bool {
        self.headers.iter().any(|(name, _)| &**name == OLD_KEY_HEADER)
    }

    /// Its headers as a JSON array of `[name, value]`; bytes that are no text are replaced.
    pub(super) fn headers_json(&self) -> String {
        let pairs: Vec<(&str, Option<String>)> = self
            .headers
            .iter()
            .map(|(name, value)| {
                let text = value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned());
                (&**name, text)
            })
            .collect();
        serde_json::to_string(&pairs).unwrap_or_default()
    }
}

impl fmt::Display for Record {
    /// Where it stands, for people.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} partition {} offset {}", self.topic, self.partition, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;

    #[test]
    fn every_change_of_a_large_transaction_has_a_place_of_its_own_among_the_dead_letters() {
        let place = |commit_lsn: u64, ord: u64, sub: u8| {
            place_without_kafka(Position { epoch: 1, commit_lsn: Lsn(commit_lsn), ord, sub })
        };
        let last = (1 << 17) - 1;
        let all = [0, 1, last, last + 1, last + 2, 10_000_000];
        let mut places: Vec<(i32, i64)> = Vec::new();
        for lsn in [0, 800, 808] {
            places.extend(all.map(|ord| place(lsn, ord, 0)));
        }
        places.extend(all.map(|ord| place(800, ord, 1)));
        let count = places.len();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), count);
        assert!(place(800, last, 1) < place(808, 0, 0));
    }
}
