//! What the ids in row messages mean.

use crate::capture::wire::DecodeError;
use crate::capture::wire::Reader;
use crate::oid::Oid;

/// A relation's columns as row messages carry them (tag `R`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    /// The relation.
    pub id: Oid,
    /// Its schema; empty for `pg_catalog`.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Which columns old rows carry.
    pub replica_identity: ReplicaIdentity,
    /// Its published columns, in the order of tuples.
    pub columns: Vec<RelationColumn<'a>>,
}

/// One published column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationColumn<'a> {
    /// Part of the replica identity (bit 0 of the flags; other bits are not defined and ignored).
    pub is_key: bool,
    /// Name.
    pub name: &'a str,
    /// Type.
    pub type_oid: Oid,
    /// `atttypmod`; -1 without one.
    pub type_modifier: i32,
}

/// `relreplident`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The primary key.
    Default,
    /// Nothing: updates and deletes cannot be published.
    Nothing,
    /// The whole row.
    Full,
    /// The columns of an index.
    Index,
}

impl ReplicaIdentity {
    /// From the catalog's letter.
    pub fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'd' => Some(ReplicaIdentity::Default),
            b'n' => Some(ReplicaIdentity::Nothing),
            b'f' => Some(ReplicaIdentity::Full),
            b'i' => Some(ReplicaIdentity::Index),
            _ => None,
        }
    }
}

impl<'a> Relation<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let id = Oid(reader.u32("Relation.id")?);
        let namespace = reader.c_str("Relation.namespace")?;
        let name = reader.c_str("Relation.name")?;
        let letter = reader.u8("Relation.replica_identity")?;
        let replica_identity = ReplicaIdentity::from_letter(letter)
            .ok_or(DecodeError::UnknownTag { field: "Relation.replica_identity", tag: letter })?;
        let count = reader.count16("Relation.columns")?;
        // A column is ten bytes at least: flags, the name's NUL, type and modifier.
        let mut columns = Vec::with_capacity(count.min(reader.left() / 10));
        for _ in 0..count {
            columns.push(RelationColumn {
                is_key: reader.u8("RelationColumn.flags")? & 1 == 1,
                name: reader.c_str("RelationColumn.name")?,
                type_oid: Oid(reader.u32("RelationColumn.type_oid")?),
                type_modifier: reader.i32("RelationColumn.type_modifier")?,
            });
        }
        Ok(Self { id, namespace, name, replica_identity, columns })
    }
}

/// A type that is not built in (tag `Y`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type<'a> {
    /// The type.
    pub id: Oid,
    /// Its schema; empty for `pg_catalog`.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

impl<'a> Type<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            id: Oid(reader.u32("Type.id")?),
            namespace: reader.c_str("Type.namespace")?,
            name: reader.c_str("Type.name")?,
        })
    }
}
