//! Tables that are published from their creation on: nothing of them has to be read.

use crate::capture::CaptureError;
use crate::capture::catalog::Shape;
use crate::capture::change::Fidelity;
use crate::capture::encode_loop::Encoder;
use crate::capture::gate::Found;
use crate::capture::gate::Gate;
use crate::capture::postgres::publication;
use crate::capture::postgres::publication::Birth;
use crate::capture::publisher::Receipt;
use crate::capture::state::Published;
use crate::capture::state::TableState;
use crate::lsn::Lsn;
use crate::table::TableName;

impl Encoder<'_> {
    /// Which changes of a relation are published. Before the first one of a table that came up
    /// since the session began it is stored that the table needs no read.
    pub(super) fn gate(&mut self, shape: &Shape, captured: bool) -> Result<Gate, CaptureError> {
        let (oid, name) = (shape.relation_id, &shape.table);
        let exact = self.around.settings.values.fidelity == Fidelity::Exact;
        let settings = self.around.settings;
        let open = self.transaction.as_ref();
        let commit = open.map_or(Lsn(u64::MAX), |open| open.begin.final_lsn);
        // What nobody reads is streamed from where it appears.
        let streams_at_once = self.gates.is_since_begin(commit) && !settings.snapshot.reads(name);
        let (epoch, otherwise) = match self.gates.find(oid, name, commit) {
            Found::Known(gate) => return Ok(gate),
            Found::New { otherwise, .. }
            | Found::Unread { otherwise, .. }
            | Found::Renamed { otherwise, .. }
                if !captured =>
            {
                return Ok(otherwise);
            }
            Found::Renamed { epoch, otherwise } if !exact || streams_at_once => {
                return self.follow(shape, epoch, otherwise);
            }
            Found::Unread { epoch, otherwise } if streams_at_once => {
                return self.follow(shape, epoch, otherwise);
            }
            Found::Unread { otherwise, .. } | Found::Renamed { otherwise, .. } => {
                return Ok(otherwise);
            }
            Found::New { epoch, otherwise } => (epoch, otherwise),
        };
        let birth = publication::birth(&self.around.sql, &settings.publication, oid)?;
        let Some(Birth { entries, partitions, .. }) =
            birth.filter(|birth| !exact || !birth.may_have_been_rewritten)
        else {
            return match streams_at_once {
                true => self.follow(shape, epoch, otherwise),
                false => Ok(otherwise),
            };
        };
        let topic = settings.naming.topic(name);
        let offsets = self.around.publisher.end_offsets(&topic)?;
        let published = Published { entries, ..Published::default() };
        let table = TableState {
            oid: oid.0,
            epoch_begun: epoch,
            epoch_complete: epoch,
            topic,
            begin_offsets: offsets.clone(),
            end_offsets: offsets,
            published_from: otherwise.from,
            published: Some(published),
            partitions,
            ..TableState::default()
        };
        self.store_born(name, &table)?;
        tracing::info!(table = %name, epoch, "a new table is captured from its creation on");
        Ok(self.gates.insert(oid, name, epoch, otherwise.from))
    }

    /// A table is streamed that has not been read: Debezium streams one on under its new name, and
    /// with `snapshot.mode=no_data` nothing is read. If its rows are wanted, the next session
    /// snapshots them, above what was streamed.
    fn follow(&mut self, shape: &Shape, epoch: u64, otherwise: Gate) -> Result<Gate, CaptureError> {
        let (oid, name) = (shape.relation_id, &shape.table);
        let table =
            TableState { oid: oid.0, epoch_begun: epoch, unread: true, ..TableState::default() };
        self.store_born(name, &table)?;
        tracing::info!(table = %name, epoch, "the table is streamed from here on");
        Ok(self.gates.insert(oid, name, epoch, otherwise.from))
    }

    /// Stores what a table that came up is, before its first record.
    fn store_born(&self, name: &TableName, table: &TableState) -> Result<(), CaptureError> {
        let deliveries = self.around.deliveries;
        let number = deliveries.new_awaited();
        let stored = self.around.record.store_table(name, table, Receipt::Awaited(number))?;
        deliveries.wait_stored(stored, number, &|| self.around.go_on())?;
        Ok(())
    }
}
