//! Dead letters, applied again.

use std::collections::HashMap;
use std::sync::Arc;

use crate::apply::applier::Applier;
use crate::apply::applier::Record;
use crate::apply::applier::Schemas;
use crate::apply::applier::WholeRead;
use crate::apply::error::ApplyError;
use crate::apply::merge::DeadLetter;
use crate::apply::settings::ApplySettings;
use crate::apply::settings::ErrorsTolerance;
use crate::apply::warehouse::Warehouse;

/// Dead letters that are read at once.
const PAGE: usize = 1000;

/// Key in `_cdc.state` of an entry of `PREFIX.__schemas` that is in no topic.
pub fn schema_key(prefix: &str, fingerprint: &str) -> String {
    format!("{SCHEMA_KEY}{prefix} {fingerprint}")
}

/// How such a key begins; neither of what follows has a space.
const SCHEMA_KEY: &str = "schema ";

/// Schemas of prefixes whose records came without Kafka, and those of a topic for all others.
pub struct StoredSchemas<S> {
    stored: HashMap<(String, String), String>,
    others: S,
}

impl<S> StoredSchemas<S> {
    /// Out of a warehouse's state.
    pub fn new(state: Vec<(String, String)>, others: S) -> Self {
        let entry = |(key, value): (String, String)| {
            let (prefix, fingerprint) = key.strip_prefix(SCHEMA_KEY)?.split_once(' ')?;
            Some(((prefix.to_owned(), fingerprint.to_owned()), value))
        };
        StoredSchemas { stored: state.into_iter().filter_map(entry).collect(), others }
    }

    fn is_stored(&self, prefix: &str) -> bool {
        self.stored.keys().any(|(known, _)| known == prefix)
    }
}

impl<S: Schemas> Schemas for StoredSchemas<S> {
    fn entry(&mut self, prefix: &str, fingerprint: &str) -> Result<Option<Vec<u8>>, ApplyError> {
        match self.stored.get(&(prefix.to_owned(), fingerprint.to_owned())) {
            Some(entry) => Ok(Some(entry.clone().into_bytes())),
            None if self.is_stored(prefix) => Ok(None),
            None => self.others.entry(prefix, fingerprint),
        }
    }

    fn sources(&mut self, prefix: &str) -> Result<Vec<(String, String)>, ApplyError> {
        if self.is_stored(prefix) { Ok(Vec::new()) } else { self.others.sources(prefix) }
    }

    fn whole_reads(&mut self, prefix: &str) -> Result<Vec<WholeRead>, ApplyError> {
        if self.is_stored(prefix) { Ok(Vec::new()) } else { self.others.whole_reads(prefix) }
    }
}

/// What a replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Letters that are applied now.
    pub applied: u64,
    /// Letters that still cannot be.
    pub left: u64,
}

/// Applies every dead letter again, in the order of topic, partition and offset, each in a
/// transaction that removes it. A letter that still fails stays with its reason, and those of its
/// key that follow stay with it.
///
/// # Errors
///
/// The warehouse or the schemas cannot be asked.
pub fn replay(
    warehouse: Box<dyn Warehouse>,
    schemas: Box<dyn Schemas>,
    settings: ApplySettings,
) -> Result<Replayed, ApplyError> {
    let settings = ApplySettings { tolerance: ErrorsTolerance::None, ..settings };
    let mut applier = Applier::new(warehouse, schemas, settings)?;
    let mut replayed = Replayed::default();
    let mut stuck: std::collections::HashSet<(String, Option<Vec<u8>>)> =
        std::collections::HashSet::new();
    let mut after = None;
    loop {
        let letters = applier.warehouse().dead_letters(after.as_ref(), PAGE)?;
        let Some(last) = letters.last() else { return Ok(replayed) };
        after = Some((last.topic.clone(), last.partition, last.offset));
        for letter in letters {
            let place = (letter.topic.clone(), letter.partition, letter.offset);
            let key = (letter.topic.clone(), letter.key.clone());
            if letter.key.is_some() && stuck.contains(&key) {
                replayed.left += 1;
                continue;
            }
            match one(&mut applier, letter) {
                Ok(()) => {
                    tracing::info!(
                        topic = place.0,
                        partition = place.1,
                        offset = place.2,
                        "applied"
                    );
                    replayed.applied += 1;
                }
                Err(error @ ApplyError::Record { .. }) => {
                    tracing::warn!(%error, "still bad");
                    applier.abandon();
                    stuck.insert(key);
                    replayed.left += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn one(applier: &mut Applier, letter: DeadLetter) -> Result<(), ApplyError> {
    let headers: Vec<(String, Option<String>)> =
        serde_json::from_str(&letter.headers).unwrap_or_default();
    let record = Record {
        topic: Arc::from(letter.topic.as_str()),
        partition: letter.partition,
        offset: letter.offset,
        key: letter.key.map(Vec::into_boxed_slice),
        value: letter.value.map(Vec::into_boxed_slice),
        headers: headers
            .into_iter()
            .map(|(name, value)| {
                (name.into_boxed_str(), value.map(|text| text.into_bytes().into_boxed_slice()))
            })
            .collect(),
        leader_epoch: -1,
    };
    let place = (letter.topic, letter.partition, letter.offset);
    applier.push(record, true)?;
    applier.settle(place);
    applier.commit().map(|_| ())
}
