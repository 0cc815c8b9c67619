//! What a walsender and its client say to each other inside CopyData.
//!
//! Spec: PostgreSQL 18, "Streaming Replication Protocol", START_REPLICATION.

use crate::capture::wire::DecodeError;
use crate::capture::wire::Reader;
use crate::lsn::Lsn;
use crate::time::PgTimestamp;

/// A message from the walsender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalsenderMessage<'a> {
    /// A piece of the decoded log.
    XLogData(XLogData<'a>),
    /// A sign of life.
    PrimaryKeepalive(PrimaryKeepalive),
}

/// A piece of the decoded log (tag `w`): with pgoutput, one of its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XLogData<'a> {
    /// Position of the change.
    pub wal_start: Lsn,
    /// The server's current end of log.
    pub wal_end: Lsn,
    /// The server's clock when it sent this.
    pub send_time: PgTimestamp,
    /// The output plug-in's message.
    pub payload: &'a [u8],
}

/// A sign of life (tag `k`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrimaryKeepalive {
    /// Position up to which everything has been sent: every transaction that committed before it
    /// has been sent or has nothing for us.
    pub wal_end: Lsn,
    /// The server's clock when it sent this.
    pub send_time: PgTimestamp,
    /// The server wants a status update at once, or it will close the connection.
    pub reply_requested: bool,
}

impl<'a> WalsenderMessage<'a> {
    /// Reads the content of one CopyData.
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.u8("CopyData.tag")? {
            b'w' => Ok(WalsenderMessage::XLogData(XLogData {
                wal_start: Lsn(reader.u64("XLogData.wal_start")?),
                wal_end: Lsn(reader.u64("XLogData.wal_end")?),
                send_time: PgTimestamp(reader.i64("XLogData.send_time")?),
                payload: reader.rest(),
            })),
            b'k' => {
                let keepalive = PrimaryKeepalive {
                    wal_end: Lsn(reader.u64("PrimaryKeepalive.wal_end")?),
                    send_time: PgTimestamp(reader.i64("PrimaryKeepalive.send_time")?),
                    reply_requested: reader.u8("PrimaryKeepalive.reply_requested")? != 0,
                };
                reader.finish("PrimaryKeepalive")?;
                Ok(WalsenderMessage::PrimaryKeepalive(keepalive))
            }
            tag => Err(DecodeError::UnknownTag { field: "CopyData.tag", tag }),
        }
    }
}

/// What we have received and made durable (tag `r`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandbyStatusUpdate {
    /// Received up to here.
    pub write_lsn: Lsn,
    /// Durable at the destination up to here: **the server may free what is before it.**
    pub flush_lsn: Lsn,
    /// Our clock.
    pub client_time: PgTimestamp,
}

impl StandbyStatusUpdate {
    /// Bytes of the encoded message.
    pub const BYTES: usize = 34;

    /// The content of one CopyData. The applied position is the flushed one; no reply is asked for.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (tag, numbers) = bytes.split_at_mut(1);
        tag.fill(b'r');
        let fields = [
            self.write_lsn.0,
            self.flush_lsn.0,
            self.flush_lsn.0,
            self.client_time.0.cast_unsigned(),
        ];
        for (slot, field) in numbers.chunks_exact_mut(8).zip(fields) {
            slot.copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }
}
