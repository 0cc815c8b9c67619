//! `provide.transaction.metadata`: where transactions begin and end, and how many changes of each
//! table were sent of them.

use std::collections::HashMap;

use crate::capture::CaptureError;
use crate::capture::change::TransactionEdge;
use crate::capture::encode_loop::Encoder;
use crate::capture::publisher::Receipt;
use crate::capture::publisher::Record;
use crate::capture::tables::ReadyControl;
use crate::lsn::Lsn;
use crate::time::UnixMicros;

/// What is known of the transaction that is being received.
pub(super) struct Metadata {
    ready: ReadyControl,
    /// Changes that were sent of it, by table, in the order of the tables' first.
    counts: Vec<(String, u64)>,
    places: HashMap<String, usize>,
    total: u64,
}

impl Metadata {
    /// Counts a change; gives its place in the transaction and among its table's changes.
    fn count(&mut self, table: &str) -> (u64, u64) {
        self.total += 1;
        let place = match self.places.get(table) {
            Some(place) => *place,
            None => {
                self.counts.push((table.to_owned(), 0));
                self.places.insert(table.to_owned(), self.counts.len() - 1);
                self.counts.len() - 1
            }
        };
        let order = self.counts.get_mut(place).map_or(0, |(_, count)| {
            *count += 1;
            *count
        });
        (self.total, order)
    }
}

impl Encoder<'_> {
    /// Sends that a transaction begins.
    pub(super) fn begin_metadata(&mut self, lsn: Lsn) -> Result<(), CaptureError> {
        if !self.around.settings.transaction_metadata {
            return Ok(());
        }
        match &mut self.metadata {
            Some(metadata) => {
                metadata.counts.clear();
                metadata.places.clear();
                metadata.total = 0;
            }
            None => {
                let ready = self.around.tables.transactions()?;
                let (counts, places) = (Vec::new(), HashMap::new());
                self.metadata = Some(Metadata { ready, counts, places, total: 0 });
            }
        }
        self.write_edge(lsn, false);
        Ok(())
    }

    /// Sends that the transaction ends.
    pub(super) fn end_metadata(&mut self, lsn: Lsn) {
        self.write_edge(lsn, true);
    }

    /// Says in the source block where the next change stands.
    #[inline]
    pub(super) fn place_change(&mut self, table: &str) {
        if let Some(metadata) = &mut self.metadata {
            let (total, order) = metadata.count(table);
            self.source.place(total, order);
        }
    }

    fn write_edge(&mut self, lsn: Lsn, is_end: bool) {
        let (Some(metadata), Some(transaction)) = (&self.metadata, &mut self.transaction) else {
            return;
        };
        let edge = TransactionEdge {
            xid: transaction.begin.xid.0,
            lsn,
            time: UnixMicros::from(transaction.begin.commit_time),
            counts: is_end.then_some(metadata.counts.as_slice()),
        };
        let (key, value) = metadata.ready.writer.write_transaction(&edge, &mut self.output.bytes);
        transaction.records += 1;
        self.records.push(Record {
            route: metadata.ready.route,
            key: Some(key),
            value: Some(value),
            header: None,
            literal: None,
            position: None,
            receipt: Receipt::Transaction(transaction.ticket),
        });
    }
}
