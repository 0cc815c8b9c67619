//! What is stored of a reading while it goes on.

use std::collections::BTreeMap;

use crate::capture::CaptureError;
use crate::capture::publisher::Receipt;
use crate::capture::read::Reader;
use crate::capture::read::Table;
use crate::capture::snapshot::PlannedTable;
use crate::capture::state::SlotState;
use crate::capture::state::State;
use crate::capture::state::TableState;
use crate::lsn::Lsn;
use crate::table::TableName;

impl Reader<'_> {
    pub(super) fn table_done(
        &self,
        state: &mut State,
        planned: &PlannedTable,
        rows: u64,
        begin_offsets: BTreeMap<i32, i64>,
    ) -> Result<(), CaptureError> {
        tracing::info!(table = %planned.name, rows, "table read");
        let metrics = self.session.metrics;
        metrics.snapshot_tables.with_label_values(&["waiting"]).dec();
        metrics.snapshot_tables.with_label_values(&["done"]).inc();
        let topic = self.session.settings.naming.topic(&planned.name);
        let end_offsets = self.session.pipeline.publisher.end_offsets(&topic)?;
        let known = state.tables.entry(planned.name.clone()).or_default();
        known.epoch_complete = known.epoch_begun;
        known.asked = false;
        known.partitions.clone_from(&planned.partitions);
        known.topic_id = self.session.pipeline.publisher.log_id(&topic)?;
        known.begin_offsets = begin_offsets;
        known.end_offsets = end_offsets;
        known.topic = topic;
        let overrides = &self.session.settings.snapshot.overrides;
        known.partly = overrides.iter().any(|(table, _)| *table == planned.name.to_string());
        let known = known.clone();
        self.store_table(&planned.name, &known, &|| {
            self.session.health.turn("snapshot");
            self.goes_on()
        })
    }

    /// The snapshot does not show a table's rows: it is not complete.
    pub(super) fn table_missed(&self, planned: &PlannedTable) -> Result<(), CaptureError> {
        tracing::warn!(
            table = %planned.name,
            "the table was rewritten or truncated after the snapshot, which does not show its rows \
             any more, or its reading was interrupted: it is read again under a later snapshot"
        );
        let metrics = self.session.metrics;
        metrics.snapshot_tables.with_label_values(&["waiting"]).dec();
        Ok(())
    }

    /// Tables without columns have nothing to read and are complete.
    pub(super) fn empty_tables_done(
        &self,
        state: &mut State,
        tables: &[Table],
        is_planned: impl Fn(&TableName) -> bool,
    ) -> Result<(), CaptureError> {
        for (table, _) in tables {
            let Some(known) = state.tables.get_mut(&table.name) else { continue };
            if !is_planned(&table.name) {
                known.epoch_complete = known.epoch_begun;
                let known = known.clone();
                self.store_table(&table.name, &known, &|| self.goes_on())?;
            }
        }
        Ok(())
    }

    /// All reads are acknowledged: from here on the slot may be streamed.
    pub(super) fn complete(&self, state: &mut State, lsn: Lsn) -> Result<(), CaptureError> {
        state.slot.complete = true;
        state.slot.lsn = lsn;
        self.store_slot(&mut state.slot)
    }

    pub(in crate::capture) fn goes_on(&self) -> bool {
        !self.session.stop.is_requested()
    }

    pub(super) fn store_slot(&self, slot: &mut SlotState) -> Result<(), CaptureError> {
        self.session.store_slot(slot)
    }

    pub(in crate::capture) fn store_table(
        &self,
        name: &TableName,
        table: &TableState,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), CaptureError> {
        let pipeline = self.session.pipeline;
        let number = pipeline.deliveries.new_awaited();
        let stored = pipeline.record.store_table(name, table, Receipt::Awaited(number))?;
        Ok(pipeline.deliveries.wait_stored(stored, number, go_on)?)
    }
}
