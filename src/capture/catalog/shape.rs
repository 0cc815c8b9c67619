//! A relation's columns as the envelope needs them, at one position of the log.

use crate::capture::catalog::ColumnFacts;
use crate::capture::catalog::TableFacts;
use crate::capture::pgoutput::Relation;
use crate::capture::pgoutput::ReplicaIdentity;
use crate::oid::Oid;
use crate::table::TableName;

/// What row messages of a relation mean from one Relation message to the next.
///
/// Names, types and order are the message's; what the message lacks (NOT NULL, defaults, the key)
/// comes from the catalog, which may be ahead of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The relation.
    pub relation_id: Oid,
    /// Its name at this position.
    pub table: TableName,
    /// Which columns old rows carry.
    pub replica_identity: ReplicaIdentity,
    /// Its columns, in the order of tuples.
    pub columns: Vec<ShapeColumn>,
    /// Places of the record key's columns, in the key's order. Empty: no key.
    pub key: Vec<usize>,
    /// No two rows can have the same key.
    pub key_is_unique: bool,
    /// Its rows are read, not streamed.
    pub read: bool,
}

/// One column of a shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeColumn {
    /// Name.
    pub name: String,
    /// Number in the catalog, while the catalog still agrees with the log about all columns: a
    /// name may be another column's by then.
    pub attnum: Option<i16>,
    /// Type.
    pub type_oid: Oid,
    /// `atttypmod`; -1 without one.
    pub type_modifier: i32,
    /// As `format_type` prints it; empty if the catalog no longer knows the column.
    pub type_name: String,
    /// NULL is refused.
    pub not_null: bool,
    /// The default's expression.
    pub default: Option<String>,
    /// Old rows carry it: part of the replica identity.
    pub in_identity: bool,
}

impl Shape {
    /// From a Relation message and what the catalog knows of the relation, if it still exists.
    ///
    /// A column that the catalog no longer has is optional and without default, and a key column
    /// that the message does not carry leaves the key: what Debezium does.
    pub fn of_relation(relation: &Relation<'_>, facts: Option<&TableFacts>) -> Self {
        let numbered = facts.is_some_and(|facts| is_same(relation, facts));
        let columns = relation
            .columns
            .iter()
            .map(|column| {
                let known = facts.and_then(|facts| facts.column(column.name));
                let same_type = known.filter(|known| known.type_oid == column.type_oid);
                ShapeColumn {
                    name: column.name.to_owned(),
                    attnum: known.filter(|_| numbered).map(|known| known.attnum),
                    type_oid: column.type_oid,
                    type_modifier: column.type_modifier,
                    type_name: same_type.map(|known| known.type_name.clone()).unwrap_or_default(),
                    not_null: known.is_some_and(|known| known.not_null),
                    default: known.and_then(|known| known.default.clone()),
                    in_identity: column.is_key,
                }
            })
            .collect();
        let namespace =
            if relation.namespace.is_empty() { "pg_catalog" } else { relation.namespace };
        Shape {
            relation_id: relation.id,
            table: TableName::new(namespace, relation.name),
            replica_identity: relation.replica_identity,
            columns,
            key: Vec::new(),
            key_is_unique: facts.is_some_and(|facts| facts.key_is_unique),
            read: false,
        }
        .with_key(facts.map(|facts| facts.key.as_slice()).unwrap_or_default())
    }

    /// From the catalog alone, for rows that are read: the given columns, in their order.
    pub fn of_facts<'a>(
        facts: &TableFacts,
        columns: impl IntoIterator<Item = &'a ColumnFacts>,
    ) -> Self {
        let columns = columns
            .into_iter()
            .map(|column| ShapeColumn {
                name: column.name.clone(),
                attnum: Some(column.attnum),
                type_oid: column.type_oid,
                type_modifier: column.type_modifier,
                type_name: column.type_name.clone(),
                not_null: column.not_null,
                default: column.default.clone(),
                in_identity: false,
            })
            .collect();
        Shape {
            relation_id: facts.oid,
            table: facts.name.clone(),
            replica_identity: facts.replica_identity,
            columns,
            key: Vec::new(),
            key_is_unique: facts.key_is_unique,
            read: true,
        }
        .with_key(&facts.key)
    }

    /// The same with the key on these columns, as far as they exist.
    #[must_use]
    pub fn with_key(mut self, names: &[String]) -> Self {
        let place = |name: &String| self.columns.iter().position(|column| column.name == *name);
        let key: Vec<usize> = names.iter().filter_map(place).collect();
        self.key_is_unique &= !key.is_empty() && key.len() == names.len();
        self.key = key;
        self
    }
}

/// Whether the catalog has the message's columns and no other, in number, order, name and type.
/// Generated ones need not be published.
fn is_same(relation: &Relation<'_>, facts: &TableFacts) -> bool {
    let is_sent = |name: &String| relation.columns.iter().any(|column| column.name == name);
    let mut columns = relation.columns.iter();
    let same = facts.columns.iter().filter(|known| !known.generated || is_sent(&known.name)).all(
        |known| {
            columns.next().is_some_and(|column| {
                known.name == column.name
                    && known.type_oid == column.type_oid
                    && known.type_modifier == column.type_modifier
            })
        },
    );
    same && columns.next().is_none()
}
