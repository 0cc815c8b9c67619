//! Two-phase commit (protocol 3 and later).
//!
//! Only read: a slot of ours is created without TWO_PHASE, so a prepared transaction arrives whole
//! at COMMIT PREPARED.

use crate::capture::pgoutput::Xid;
use crate::capture::wire::DecodeError;
use crate::capture::wire::Reader;
use crate::lsn::Lsn;
use crate::time::PgTimestamp;

/// Start of a prepared transaction (tag `b`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeginPrepare<'a> {
    /// Position of the prepare record.
    pub prepare_lsn: Lsn,
    /// First position after the prepared transaction.
    pub end_lsn: Lsn,
    /// Time of the prepare.
    pub prepare_time: PgTimestamp,
    /// The transaction.
    pub xid: Xid,
    /// The name that the user gave it.
    pub gid: &'a str,
}

/// End of a prepared transaction (tag `P`; streamed: tag `p`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepare<'a> {
    /// Position of the prepare record.
    pub prepare_lsn: Lsn,
    /// First position after the prepared transaction.
    pub end_lsn: Lsn,
    /// Time of the prepare.
    pub prepare_time: PgTimestamp,
    /// The transaction.
    pub xid: Xid,
    /// The name that the user gave it.
    pub gid: &'a str,
}

/// A prepared transaction committed (tag `K`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitPrepared<'a> {
    /// Position of the commit record.
    pub commit_lsn: Lsn,
    /// First position after the transaction.
    pub end_lsn: Lsn,
    /// Commit time.
    pub commit_time: PgTimestamp,
    /// The transaction.
    pub xid: Xid,
    /// The name that the user gave it.
    pub gid: &'a str,
}

/// A prepared transaction was rolled back (tag `r`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollbackPrepared<'a> {
    /// First position after the prepared transaction.
    pub prepare_end_lsn: Lsn,
    /// First position after the rollback.
    pub rollback_end_lsn: Lsn,
    /// Time of the prepare.
    pub prepare_time: PgTimestamp,
    /// Time of the rollback.
    pub rollback_time: PgTimestamp,
    /// The transaction.
    pub xid: Xid,
    /// The name that the user gave it.
    pub gid: &'a str,
}

impl<'a> BeginPrepare<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            prepare_lsn: Lsn(reader.u64("BeginPrepare.prepare_lsn")?),
            end_lsn: Lsn(reader.u64("BeginPrepare.end_lsn")?),
            prepare_time: PgTimestamp(reader.i64("BeginPrepare.prepare_time")?),
            xid: Xid(reader.u32("BeginPrepare.xid")?),
            gid: reader.c_str("BeginPrepare.gid")?,
        })
    }
}

impl<'a> Prepare<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        // Unused by the server; the specification says it is 0 and promises nothing more.
        let _flags = reader.u8("Prepare.flags")?;
        Ok(Self {
            prepare_lsn: Lsn(reader.u64("Prepare.prepare_lsn")?),
            end_lsn: Lsn(reader.u64("Prepare.end_lsn")?),
            prepare_time: PgTimestamp(reader.i64("Prepare.prepare_time")?),
            xid: Xid(reader.u32("Prepare.xid")?),
            gid: reader.c_str("Prepare.gid")?,
        })
    }
}

impl<'a> CommitPrepared<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        // Unused by the server; the specification says it is 0 and promises nothing more.
        let _flags = reader.u8("CommitPrepared.flags")?;
        Ok(Self {
            commit_lsn: Lsn(reader.u64("CommitPrepared.commit_lsn")?),
            end_lsn: Lsn(reader.u64("CommitPrepared.end_lsn")?),
            commit_time: PgTimestamp(reader.i64("CommitPrepared.commit_time")?),
            xid: Xid(reader.u32("CommitPrepared.xid")?),
            gid: reader.c_str("CommitPrepared.gid")?,
        })
    }
}

impl<'a> RollbackPrepared<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        // Unused by the server; the specification says it is 0 and promises nothing more.
        let _flags = reader.u8("RollbackPrepared.flags")?;
        Ok(Self {
            prepare_end_lsn: Lsn(reader.u64("RollbackPrepared.prepare_end_lsn")?),
            rollback_end_lsn: Lsn(reader.u64("RollbackPrepared.rollback_end_lsn")?),
            prepare_time: PgTimestamp(reader.i64("RollbackPrepared.prepare_time")?),
            rollback_time: PgTimestamp(reader.i64("RollbackPrepared.rollback_time")?),
            xid: Xid(reader.u32("RollbackPrepared.xid")?),
            gid: reader.c_str("RollbackPrepared.gid")?,
        })
    }
}
