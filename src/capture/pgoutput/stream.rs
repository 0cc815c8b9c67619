//! Transactions that are sent while they are in progress (protocol 2 and later).

use crate::capture::pgoutput::Framing;
use crate::capture::pgoutput::Xid;
use crate::capture::wire::DecodeError;
use crate::capture::wire::Reader;
use crate::lsn::Lsn;
use crate::time::PgTimestamp;

/// A piece of a transaction in progress begins (tag `S`); it ends with Stream Stop (tag `E`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamStart {
    /// The top-level transaction.
    pub xid: Xid,
    /// This is its first piece.
    pub first_segment: bool,
}

/// A streamed transaction committed (tag `c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamCommit {
    /// The top-level transaction.
    pub xid: Xid,
    /// Position of the commit record.
    pub commit_lsn: Lsn,
    /// First position after the transaction.
    pub end_lsn: Lsn,
    /// Commit time.
    pub commit_time: PgTimestamp,
}

/// A streamed transaction, or one of its subtransactions, aborted (tag `A`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamAbort {
    /// The top-level transaction.
    pub xid: Xid,
    /// What aborted: the same as `xid`, or a subtransaction.
    pub subxid: Xid,
    /// Position and time of the abort; only with `streaming 'parallel'`.
    pub abort: Option<(Lsn, PgTimestamp)>,
}

impl StreamStart {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            xid: Xid(reader.u32("StreamStart.xid")?),
            first_segment: reader.u8("StreamStart.first_segment")? == 1,
        })
    }
}

impl StreamCommit {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let xid = Xid(reader.u32("StreamCommit.xid")?);
        // Unused by the server; the specification says it is 0 and promises nothing more.
        let _flags = reader.u8("StreamCommit.flags")?;
        Ok(Self {
            xid,
            commit_lsn: Lsn(reader.u64("StreamCommit.commit_lsn")?),
            end_lsn: Lsn(reader.u64("StreamCommit.end_lsn")?),
            commit_time: PgTimestamp(reader.i64("StreamCommit.commit_time")?),
        })
    }
}

impl StreamAbort {
    pub(super) fn decode(reader: &mut Reader<'_>, framing: Framing) -> Result<Self, DecodeError> {
        let xid = Xid(reader.u32("StreamAbort.xid")?);
        let subxid = Xid(reader.u32("StreamAbort.subxid")?);
        let abort = if framing.parallel {
            let lsn = Lsn(reader.u64("StreamAbort.abort_lsn")?);
            Some((lsn, PgTimestamp(reader.i64("StreamAbort.abort_time")?)))
        } else {
            None
        };
        Ok(Self { xid, subxid, abort })
    }
}
