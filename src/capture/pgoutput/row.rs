//! Changes of rows.

use crate::capture::pgoutput::Tuple;
use crate::capture::wire::DecodeError;
use crate::capture::wire::Reader;
use crate::oid::Oid;

/// A new row (tag `I`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insert<'a> {
    /// Which relation.
    pub relation_id: Oid,
    /// The row.
    pub new: Tuple<'a>,
}

/// What an update or a delete tells of the row before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldTuple<'a> {
    /// Nothing: an update that leaves the identity as it is.
    None,
    /// The identity's columns; all others are null.
    Key(Tuple<'a>),
    /// The whole row.
    Full(Tuple<'a>),
}

impl<'a> OldTuple<'a> {
    /// The tuple, whichever kind it is.
    pub fn tuple(&self) -> Option<&Tuple<'a>> {
        match self {
            OldTuple::None => None,
            OldTuple::Key(tuple) | OldTuple::Full(tuple) => Some(tuple),
        }
    }
}

/// A changed row (tag `U`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update<'a> {
    /// Which relation.
    pub relation_id: Oid,
    /// The row before.
    pub old: OldTuple<'a>,
    /// The row after.
    pub new: Tuple<'a>,
}

/// A deleted row (tag `D`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delete<'a> {
    /// Which relation.
    pub relation_id: Oid,
    /// The row before; never [`OldTuple::None`].
    pub old: OldTuple<'a>,
}

/// Emptied relations (tag `T`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncate {
    /// CASCADE was given (it names further relations in the same message).
    pub cascade: bool,
    /// RESTART IDENTITY was given.
    pub restart_identity: bool,
    /// Which relations.
    pub relation_ids: Vec<Oid>,
}

impl<'a> Insert<'a> {
    #[inline]
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let relation_id = Oid(reader.u32("Insert.relation_id")?);
        match reader.u8("Insert.new_tag")? {
            b'N' => Ok(Self { relation_id, new: Tuple::decode(reader)? }),
            tag => Err(DecodeError::UnknownTag { field: "Insert.new_tag", tag }),
        }
    }
}

impl<'a> Update<'a> {
    #[inline]
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let relation_id = Oid(reader.u32("Update.relation_id")?);
        let (old, tag) = match reader.u8("Update.old_tag")? {
            b'K' => (OldTuple::Key(Tuple::decode(reader)?), reader.u8("Update.new_tag")?),
            b'O' => (OldTuple::Full(Tuple::decode(reader)?), reader.u8("Update.new_tag")?),
            tag => (OldTuple::None, tag),
        };
        match tag {
            b'N' => Ok(Self { relation_id, old, new: Tuple::decode(reader)? }),
            tag => Err(DecodeError::UnknownTag { field: "Update.new_tag", tag }),
        }
    }
}

impl<'a> Delete<'a> {
    #[inline]
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let relation_id = Oid(reader.u32("Delete.relation_id")?);
        match reader.u8("Delete.old_tag")? {
            b'K' => Ok(Self { relation_id, old: OldTuple::Key(Tuple::decode(reader)?) }),
            b'O' => Ok(Self { relation_id, old: OldTuple::Full(Tuple::decode(reader)?) }),
            tag => Err(DecodeError::UnknownTag { field: "Delete.old_tag", tag }),
        }
    }
}

impl Truncate {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.count32("Truncate.relations")?;
        // Bits above these two are not defined and ignored.
        let options = reader.u8("Truncate.options")?;
        let mut relation_ids = Vec::with_capacity(count.min(reader.left() / 4));
        for _ in 0..count {
            relation_ids.push(Oid(reader.u32("Truncate.relation_id")?));
        }
        Ok(Self { cascade: options & 1 != 0, restart_identity: options & 2 != 0, relation_ids })
    }
}
