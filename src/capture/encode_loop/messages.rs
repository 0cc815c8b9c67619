//! Logical decoding messages: what `pg_logical_emit_message` wrote.

use crate::capture::CaptureError;
use crate::capture::change::SourceFields;
use crate::capture::encode_loop::Encoder;
use crate::capture::encode_loop::out_of_step;
use crate::capture::pgoutput::LogicalMessage;
use crate::capture::publisher::Receipt;
use crate::capture::publisher::Record;
use crate::lsn::Lsn;
use crate::position::Position;
use crate::time::UnixMicros;

impl Encoder<'_> {
    pub(super) fn logical_message(
        &mut self,
        message: &LogicalMessage<'_>,
    ) -> Result<(), CaptureError> {
        let wanted = self.around.settings.messages.allows(message.prefix);
        if !message.transactional {
            return self.message_of_its_own(message, wanted);
        }
        let Some(transaction) = &mut self.transaction else {
            return Err(out_of_step("a transactional message is in no transaction".to_owned()));
        };
        let position = Position {
            epoch: self.epoch,
            commit_lsn: transaction.begin.final_lsn,
            ord: transaction.ord,
            sub: 0,
        };
        transaction.ord += 1;
        if !wanted {
            return Ok(());
        }
        transaction.records += 1;
        let receipt = Receipt::Transaction(transaction.ticket);
        self.render_source();
        self.write_message(message, position, receipt)
    }

    /// A message that belongs to no transaction has an entry of its own in the ledger. Its position
    /// lies inside its record, where nothing else begins: its LSN is the record's end, where a
    /// commit may start.
    fn message_of_its_own(
        &mut self,
        message: &LogicalMessage<'_>,
        wanted: bool,
    ) -> Result<(), CaptureError> {
        // Debezium takes it for the last commit from here on, whichever transaction follows.
        self.last_commit = Some(message.lsn);
        let fields = SourceFields {
            time: self.last_time,
            snapshot: self.around.settings.values.streamed_marker(),
            last_commit: self.last_commit,
            origin: self.origin.as_ref().map(|(name, lsn)| (name.as_str(), *lsn)),
            ..SourceFields::default()
        };
        self.source.render(&self.name, &fields);
        if let Some(transaction) = &mut self.transaction {
            transaction.rendered = false;
        }
        let position = Position {
            epoch: self.epoch,
            commit_lsn: Lsn(message.lsn.0.saturating_sub(1)),
            ..Position::default()
        };
        let ticket = self.around.deliveries.with_ledger(|ledger| ledger.begin(UnixMicros::now()));
        if wanted {
            self.write_message(message, position, Receipt::Transaction(ticket))?;
        }
        let records = u64::from(wanted);
        self.around.deliveries.with_ledger(|ledger| ledger.close(ticket, records, message.lsn));
        self.idle(message.lsn);
        Ok(())
    }

    fn write_message(
        &mut self,
        message: &LogicalMessage<'_>,
        position: Position,
        receipt: Receipt,
    ) -> Result<(), CaptureError> {
        if self.messages.is_none() {
            self.messages = Some(self.around.tables.messages()?);
        }
        if message.transactional {
            self.place_change(&collection_name(position));
        }
        let Some(ready) = &self.messages else { return Ok(()) };
        let out = &mut self.output.bytes;
        let start = out.len();
        ready.writer.write_key(message.prefix, out);
        let key = start..out.len();
        let content = (message.prefix, message.content);
        let around = (&self.source, &self.clock);
        ready.writer.write_value(content, message.lsn, around, out);
        let value = key.end..out.len();
        ready.count(value.end - start);
        self.records.push(Record {
            route: ready.route,
            key: Some(key),
            value: Some(value),
            header: None,
            literal: None,
            position: Some(position),
            receipt,
        });
        Ok(())
    }
}

/// What stands for a table in the counts of a transaction: for each message Debezium has an object
/// of its own there, printed with a number that differs from run to run.
fn collection_name(position: Position) -> String {
    format!(
        "io.debezium.connector.postgresql.LogicalDecodingMessageMonitor$LogicalDecodingMessageId@{:x}",
        position.ord
    )
}
