//! A slot that no state of ours knows: prepared by an administrator, left by a Debezium connector,
//! or ours and its state is lost.

use crate::capture::CaptureError;
use crate::capture::postgres::SourceError;
use crate::capture::read::Reader;
use crate::capture::resume;
use crate::capture::resume::FirstEpoch;
use crate::lsn::Lsn;

impl Reader<'_> {
    /// Takes such a slot over, if nothing speaks against it.
    pub(super) fn take_over(
        &self,
        confirmed: Lsn,
        first_epoch: FirstEpoch,
    ) -> Result<(), CaptureError> {
        let settings = self.session.settings;
        if first_epoch.is_after_drop {
            return Ok(());
        }
        if !self.reads_data() {
            tracing::warn!(
                slot = settings.slot, %confirmed,
                "no state knows this slot: it is streamed from its own position, and no table is \
                 snapshotted. What another reader of the slot, as Debezium, published after that \
                 position comes again; what was confirmed and not published is missing. Compare it \
                 with that reader's own offset (Debezium: connect-offsets)"
            );
            return Ok(());
        }
        if let Some(topic) = self.topic_with_records()? {
            return Err(self.unknown_records(&topic).into());
        }
        tracing::warn!(
            slot = settings.slot, %confirmed,
            "no state knows this slot: its tables are snapshotted, and it is streamed from its own \
             position. If it is a Debezium connector's, that one cannot go on with it"
        );
        Ok(())
    }

    /// A topic of a captured table that holds records, if records of the agent are in the topics:
    /// topics of tables alone may be a stock Debezium's, and schemas alone another slot's.
    fn topic_with_records(&self) -> Result<Option<String>, CaptureError> {
        let naming = &self.session.settings.naming;
        let publisher = &self.session.pipeline.publisher;
        let has_records = |topic: &str| {
            let ends = publisher.end_offsets(topic)?;
            Ok::<bool, CaptureError>(ends.values().any(|end| *end > 0))
        };
        if !has_records(&naming.internal_topic("schemas"))? {
            return Ok(None);
        }
        for (table, _) in &self.captured.borrow().tables {
            let topic = naming.topic(&table.name);
            if has_records(&topic)? {
                return Ok(Some(topic));
            }
        }
        Ok(None)
    }

    /// To drop a slot that somebody else reads from would take their only way back.
    fn unknown_records(&self, topic: &str) -> SourceError {
        let settings = self.session.settings;
        let (slot, state) = (&settings.slot, settings.naming.internal_topic("state"));
        let captured = self.captured.borrow();
        let created_for = captured.publication.created_for.as_deref();
        if created_for == Some(slot) {
            return SourceError::configuration(
                format!(
                    "slot \"{slot}\" exists and topic {topic} holds records, but {state} says \
                     nothing of them: what was stored there is lost"
                ),
                resume::start_over_hint(settings, "restore it, or start over"),
            );
        }
        SourceError::configuration(
            format!(
                "slot \"{slot}\" exists and topic {topic} holds records, but {state} says nothing \
                 of them: the slot was made by somebody else, or what was stored there is lost"
            ),
            "if the slot is a Debezium connector's, its offset is in connect-offsets: leave the \
             slot to it and use another one (--slot) with another topic.prefix, or take it over \
             for good from its own position with snapshot.mode=no_data; if the state is lost, \
             restore it",
        )
    }
}
