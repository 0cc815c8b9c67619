//! What the server's catalog says of a table, beyond what a Relation message carries.

use crate::capture::pgoutput::ReplicaIdentity;
use crate::oid::Oid;
use crate::table::TableName;

/// A table as the catalog had it when it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFacts {
    /// The table.
    pub oid: Oid,
    /// Its name.
    pub name: TableName,
    /// It is partitioned: its rows lie in its partitions.
    pub partitioned: bool,
    /// Which columns old rows carry.
    pub replica_identity: ReplicaIdentity,
    /// Its columns, in the order of `attnum`; dropped ones left out.
    pub columns: Vec<ColumnFacts>,
    /// The record key's columns, in order, by Debezium's rule: the primary key's, else those of the
    /// first unique index by name that is on plain columns. Empty: no key.
    pub key: Vec<String>,
    /// No two rows can have the same key: all its columns are NOT NULL and the index is not
    /// partial.
    pub key_is_unique: bool,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnFacts {
    /// Number that never changes and is never used again.
    pub attnum: i16,
    /// Name.
    pub name: String,
    /// Type.
    pub type_oid: Oid,
    /// `atttypmod`; -1 without one.
    pub type_modifier: i32,
    /// As `format_type` prints it, for people and for the sink.
    pub type_name: String,
    /// NULL is refused.
    pub not_null: bool,
    /// The default's expression.
    pub default: Option<String>,
    /// Its value is computed from other columns.
    pub generated: bool,
    /// Values may be stored out of line, and then be left out of an update that does not touch
    /// them.
    pub toastable: bool,
}

impl TableFacts {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&ColumnFacts> {
        self.columns.iter().find(|column| column.name == name)
    }
}
