//! Messages of the `pgoutput` plug-in, decoded from bytes and nothing else.
//!
//! Takes the payload of one XLogData message and the [`Framing`] that its neighbours imply; gives
//! one [`Message`] that borrows from it. Holds no state between messages: which table an id means
//! is `catalog`'s business. Spec: PostgreSQL 18, "Logical Replication Message Formats"; protocol
//! versions 1 to 4.
//!
//! Refuses, with a [`DecodeError`]: an unknown tag, a short field, a negative count, bytes left
//! over.

#![deny(clippy::arithmetic_side_effects)]

mod logical_message;
mod prepare;
mod relation;
mod row;
mod stream;
mod transaction;
mod tuple;

pub use logical_message::LogicalMessage;
pub use prepare::BeginPrepare;
pub use prepare::CommitPrepared;
pub use prepare::Prepare;
pub use prepare::RollbackPrepared;
pub use relation::Relation;
pub use relation::RelationColumn;
pub use relation::ReplicaIdentity;
pub use relation::Type;
pub use row::Delete;
pub use row::Insert;
pub use row::OldTuple;
pub use row::Truncate;
pub use row::Update;
pub use stream::StreamAbort;
pub use stream::StreamCommit;
pub use stream::StreamStart;
pub use transaction::Begin;
pub use transaction::Commit;
pub use transaction::Origin;
pub use tuple::Tuple;
pub use tuple::TupleValue;
pub use tuple::TupleValues;

use crate::capture::wire::DecodeError;
use crate::capture::wire::Reader;

/// Transaction id: 32 bits, and it wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Xid(pub u32);

/// What must be known to read a message, because the bytes do not say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framing {
    /// Between Stream Start and Stream Stop: changes carry the id of their (sub)transaction.
    pub in_stream: bool,
    /// `streaming 'parallel'` was asked for: Stream Abort carries its position and time.
    pub parallel: bool,
}

/// One message of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant holds the message of its name")]
pub enum Message<'a> {
    Begin(Begin),
    Commit(Commit),
    Origin(Origin<'a>),
    Relation(Relation<'a>),
    Type(Type<'a>),
    Insert(Insert<'a>),
    Update(Update<'a>),
    Delete(Delete<'a>),
    Truncate(Truncate),
    LogicalMessage(LogicalMessage<'a>),
    StreamStart(StreamStart),
    StreamStop,
    StreamCommit(StreamCommit),
    StreamAbort(StreamAbort),
    BeginPrepare(BeginPrepare<'a>),
    Prepare(Prepare<'a>),
    CommitPrepared(CommitPrepared<'a>),
    RollbackPrepared(RollbackPrepared<'a>),
    StreamPrepare(Prepare<'a>),
}

/// A message, and inside a stream block the (sub)transaction that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// The (sub)transaction of a streamed change; `None` outside a stream block and for messages
    /// that name their transaction themselves.
    pub xid: Option<Xid>,
    /// The message.
    pub message: Message<'a>,
}

impl<'a> Message<'a> {
    /// Reads one message, whole.
    #[inline]
    pub fn decode(payload: &'a [u8], framing: Framing) -> Result<Decoded<'a>, DecodeError> {
        let mut reader = Reader::new(payload);
        let tag = reader.u8("Message.tag")?;
        let prefixed =
            framing.in_stream && matches!(tag, b'I' | b'U' | b'D' | b'T' | b'R' | b'Y' | b'M');
        let xid = if prefixed { Some(Xid(reader.u32("Message.xid")?)) } else { None };
        let message = match tag {
            b'I' => Message::Insert(Insert::decode(&mut reader)?),
            b'U' => Message::Update(Update::decode(&mut reader)?),
            b'D' => Message::Delete(Delete::decode(&mut reader)?),
            b'B' => Message::Begin(Begin::decode(&mut reader)?),
            b'C' => Message::Commit(Commit::decode(&mut reader)?),
            b'O' => Message::Origin(Origin::decode(&mut reader)?),
            b'R' => Message::Relation(Relation::decode(&mut reader)?),
            b'Y' => Message::Type(Type::decode(&mut reader)?),
            b'T' => Message::Truncate(Truncate::decode(&mut reader)?),
            b'M' => Message::LogicalMessage(LogicalMessage::decode(&mut reader)?),
            b'S' => Message::StreamStart(StreamStart::decode(&mut reader)?),
            b'E' => Message::StreamStop,
            b'c' => Message::StreamCommit(StreamCommit::decode(&mut reader)?),
            b'A' => Message::StreamAbort(StreamAbort::decode(&mut reader, framing)?),
            b'b' => Message::BeginPrepare(BeginPrepare::decode(&mut reader)?),
            b'P' => Message::Prepare(Prepare::decode(&mut reader)?),
            b'K' => Message::CommitPrepared(CommitPrepared::decode(&mut reader)?),
            b'r' => Message::RollbackPrepared(RollbackPrepared::decode(&mut reader)?),
            b'p' => Message::StreamPrepare(Prepare::decode(&mut reader)?),
            tag => return Err(DecodeError::UnknownTag { field: "Message.tag", tag }),
        };
        reader.finish("the pgoutput message")?;
        Ok(Decoded { xid, message })
    }
}
