//! Where a transaction begins, ends and comes from.

use crate::capture::pgoutput::Xid;
use crate::capture::wire::DecodeError;
use crate::capture::wire::Reader;
use crate::lsn::Lsn;
use crate::time::PgTimestamp;

/// Start of a transaction (tag `B`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Position of the commit record: where the transaction's record *starts*, not its end.
    pub final_lsn: Lsn,
    /// Commit time.
    pub commit_time: PgTimestamp,
    /// The transaction.
    pub xid: Xid,
}

impl Begin {
    #[inline]
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            final_lsn: Lsn(reader.u64("Begin.final_lsn")?),
            commit_time: PgTimestamp(reader.i64("Begin.commit_time")?),
            xid: Xid(reader.u32("Begin.xid")?),
        })
    }
}

/// End of a transaction (tag `C`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Position of the commit record.
    pub commit_lsn: Lsn,
    /// First position after the transaction. Report this one as flushed, once every change of the
    /// transaction is acknowledged: a slot restarts *at* the position it was told.
    pub end_lsn: Lsn,
    /// Commit time.
    pub commit_time: PgTimestamp,
}

impl Commit {
    #[inline]
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        // Unused by the server; the specification says it is 0 and promises nothing more.
        let _flags = reader.u8("Commit.flags")?;
        Ok(Self {
            commit_lsn: Lsn(reader.u64("Commit.commit_lsn")?),
            end_lsn: Lsn(reader.u64("Commit.end_lsn")?),
            commit_time: PgTimestamp(reader.i64("Commit.commit_time")?),
        })
    }
}

/// Where the transaction was first committed (tag `O`), if it was replicated to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Position of the commit on the origin.
    pub commit_lsn: Lsn,
    /// Name of the origin.
    pub name: &'a str,
}

impl<'a> Origin<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            commit_lsn: Lsn(reader.u64("Origin.commit_lsn")?),
            name: reader.c_str("Origin.name")?,
        })
    }
}
