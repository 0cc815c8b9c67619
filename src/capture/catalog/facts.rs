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
    /// The key is the replica identity by default: an immediate primary key.
    pub key_is_identity: bool,
    /// Some publication sends only a list of its columns.
    pub has_column_list: bool,
    /// Numbers of its dropped columns, in their order.
    pub dropped: Vec<i16>,
    /// The files that hold its rows.
    pub storage: Vec<Storage>,
}

/// The file of a table or of a partition: another one after each rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// The table, or the leaf of a partitioned one.
    pub oid: Oid,
    /// `relfilenode`; the id itself until the first rewrite.
    pub filenode: u32,
}

/// What rows hold in a column that was added after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OlderRows {
    /// NULL.
    Null,
    /// This value, as text.
    Stored(String),
    /// The server does not say: each row may have a value of its own.
    Unknown,
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
    /// What rows hold in it that are older than the column.
    pub older: OlderRows,
}

impl TableFacts {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&ColumnFacts> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The column of that number.
    pub fn numbered(&self, attnum: i16) -> Option<&ColumnFacts> {
        self.columns.iter().find(|column| column.attnum == attnum)
    }

    /// The same with what older rows hold judged by what was known of the table before.
    ///
    /// The server keeps the value of a new column for older rows until the table is rewritten; then
    /// a NULL cannot be told from a value that a rewrite has stored.
    #[must_use]
    pub fn compared_with(mut self, before: Option<&TableFacts>) -> Self {
        let rewritten = self.is_rewritten_since(before);
        for column in &mut self.columns {
            if column.older != OlderRows::Null {
                continue;
            }
            match before.and_then(|before| before.numbered(column.attnum)) {
                Some(known) => column.older = known.older.clone(),
                None if rewritten => column.older = OlderRows::Unknown,
                None => {}
            }
        }
        self
    }

    fn is_rewritten_since(&self, before: Option<&TableFacts>) -> bool {
        self.storage.iter().any(|now| {
            let known =
                before.and_then(|before| before.storage.iter().find(|known| known.oid == now.oid));
            now.filenode != known.map_or(now.oid.0, |known| known.filenode)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[(i16, OlderRows)], filenode: u32) -> TableFacts {
        TableFacts {
            oid: Oid(7),
            name: TableName::new("s", "t"),
            partitioned: false,
            replica_identity: ReplicaIdentity::Default,
            columns: columns
                .iter()
                .map(|(attnum, older)| ColumnFacts {
                    attnum: *attnum,
                    name: format!("c{attnum}"),
                    type_oid: Oid(23),
                    type_modifier: -1,
                    type_name: "integer".to_owned(),
                    not_null: false,
                    default: None,
                    generated: false,
                    toastable: false,
                    older: older.clone(),
                })
                .collect(),
            key: Vec::new(),
            key_is_unique: false,
            key_is_identity: false,
            has_column_list: false,
            dropped: Vec::new(),
            storage: vec![Storage { oid: Oid(7), filenode }],
        }
    }

    #[test]
    fn what_older_rows_hold_is_unknown_after_a_rewrite() {
        let older = |facts: &TableFacts, attnum| facts.numbered(attnum).unwrap().older.clone();
        let never = table(&[(1, OlderRows::Null)], 7).compared_with(None);
        assert_eq!(older(&never, 1), OlderRows::Null);
        let once = table(&[(1, OlderRows::Null)], 9).compared_with(None);
        assert_eq!(older(&once, 1), OlderRows::Unknown);
        // What was known stays known, and the file says whether a new column can be NULL.
        let stored = OlderRows::Stored("5".to_owned());
        let before = table(&[(1, stored.clone())], 9);
        let same = table(&[(1, OlderRows::Null), (2, OlderRows::Null)], 9);
        let same = same.compared_with(Some(&before));
        assert_eq!((older(&same, 1), older(&same, 2)), (stored.clone(), OlderRows::Null));
        let full = table(&[(1, OlderRows::Null), (2, OlderRows::Null)], 11);
        let full = full.compared_with(Some(&before));
        assert_eq!((older(&full, 1), older(&full, 2)), (stored, OlderRows::Unknown));
    }
}
