//! What `pg_logical_emit_message` wrote.

use crate::capture::wire::DecodeError;
use crate::capture::wire::Reader;
use crate::lsn::Lsn;

/// A logical decoding message (tag `M`); asked for by the option `messages`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogicalMessage<'a> {
    /// It belongs to its transaction (bit 0 of the flags; other bits are not defined and ignored);
    /// otherwise it stands for itself and is sent at once, even if its transaction aborts.
    pub transactional: bool,
    /// Position of the message: the *end* of its record.
    pub lsn: Lsn,
    /// Prefix.
    pub prefix: &'a str,
    /// Content: any bytes.
    pub content: &'a [u8],
}

impl<'a> LogicalMessage<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let transactional = reader.u8("LogicalMessage.flags")? & 1 == 1;
        let lsn = Lsn(reader.u64("LogicalMessage.lsn")?);
        let prefix = reader.c_str("LogicalMessage.prefix")?;
        let length = reader.count32("LogicalMessage.length")?;
        let content = reader.bytes(length, "LogicalMessage.content")?;
        Ok(Self { transactional, lsn, prefix, content })
    }
}
