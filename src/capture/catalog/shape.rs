//! A relation's columns as the envelope needs them, at one position of the log.

use crate::capture::catalog::ColumnFacts;
use crate::capture::catalog::OlderRows;
use crate::capture::catalog::TableFacts;
use crate::capture::catalog::numbers::numbers;
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
    /// Number in the catalog, if no other column can be meant: the catalog may be ahead of the
    /// WAL, and a name another column's by then.
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
    /// What rows hold in it that are older than the column.
    pub older: OlderRows,
}

impl Shape {
    /// From a Relation message and what the catalog knows of the relation, if it still exists, as
    /// Debezium makes it.
    ///
    /// A column that the catalog no longer has is optional and without default, and a key column
    /// that the message does not carry leaves the key.
    pub fn of_relation(relation: &Relation<'_>, facts: Option<&TableFacts>) -> Self {
        let named = |_: Option<i16>, name: &str| facts.and_then(|facts| facts.column(name));
        let shape = Self::described(relation, facts, named);
        Shape { key_is_unique: facts.is_some_and(|facts| facts.key_is_unique), ..shape }
            .with_key(facts.map(|facts| facts.key.as_slice()).unwrap_or_default())
    }

    /// From a Relation message, as the table was at its position.
    ///
    /// `found` is the catalog's, which may be ahead of the WAL or have lost the table; `before` is
    /// what was known of the table earlier.
    pub fn at_position(
        relation: &Relation<'_>,
        found: Option<&TableFacts>,
        before: Option<&TableFacts>,
    ) -> Self {
        let facts = found.or(before);
        let known = |attnum: Option<i16>, name: &str| match attnum {
            Some(attnum) => facts.and_then(|facts| facts.numbered(attnum)),
            None => facts.and_then(|facts| facts.column(name)),
        };
        let mut shape = Self::described(relation, facts, known);
        if matches!(relation.replica_identity, ReplicaIdentity::Default | ReplicaIdentity::Index) {
            // The server lets no column of an identity be null.
            shape.columns.iter_mut().for_each(|column| column.not_null |= column.in_identity);
        }
        let (key, key_is_unique) = shape.key_at_position(found, before);
        Shape { key, key_is_unique, ..shape }
    }

    /// The message's columns, with what is known of each.
    fn described<'a>(
        relation: &Relation<'_>,
        facts: Option<&TableFacts>,
        known: impl Fn(Option<i16>, &str) -> Option<&'a ColumnFacts>,
    ) -> Self {
        let numbers = match facts {
            Some(facts) => numbers(relation, facts),
            None => vec![None; relation.columns.len()],
        };
        let columns = relation
            .columns
            .iter()
            .zip(numbers)
            .map(|(column, attnum)| {
                let known = known(attnum, column.name);
                let same_type = known.filter(|known| known.type_oid == column.type_oid);
                ShapeColumn {
                    name: column.name.to_owned(),
                    attnum,
                    type_oid: column.type_oid,
                    type_modifier: column.type_modifier,
                    type_name: same_type.map(|known| known.type_name.clone()).unwrap_or_default(),
                    not_null: known.is_some_and(|known| known.not_null),
                    default: known.and_then(|known| known.default.clone()),
                    in_identity: column.is_key,
                    // Of a column that is gone nobody asks any more.
                    older: match (known, same_type) {
                        (None, _) => OlderRows::Null,
                        (Some(_), None) => OlderRows::Unknown,
                        (_, Some(known)) => known.older.clone(),
                    },
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
            key_is_unique: false,
            read: false,
        }
    }

    /// Places of the key that rows had at this position, and whether no two could share it.
    ///
    /// Where the identity is the primary key or an index, the message itself names a key. Where it
    /// is the whole row, the catalog's is taken, by the numbers of its columns.
    fn key_at_position(
        &self,
        found: Option<&TableFacts>,
        before: Option<&TableFacts>,
    ) -> (Vec<usize>, bool) {
        let facts = found.or(before);
        let identity: Vec<usize> = (0..self.columns.len())
            .filter(|place| self.columns.get(*place).is_some_and(|column| column.in_identity))
            .collect();
        let placed = |facts: &TableFacts| Some((self.places(facts)?, facts.key_is_unique));
        let by_default = self.replica_identity == ReplicaIdentity::Default;
        if by_default && facts.is_none_or(|facts| !self.is_cut(facts)) {
            let same = |key: &[usize]| {
                key.len() == identity.len() && key.iter().all(|place| identity.contains(place))
            };
            let has_since = facts.is_some_and(|facts| facts.key_is_identity);
            return match facts.and_then(placed) {
                Some(known) if same(&known.0) => known,
                // The primary key is another one by now.
                _ if !identity.is_empty() => (identity, true),
                // It had none: one was added since, or rows are told apart by a unique index.
                Some(known) if !has_since => known,
                _ => (Vec::new(), false),
            };
        }
        if found.is_some_and(|found| self.is_without_key(found)) {
            return (Vec::new(), false);
        }
        let candidates = [found, before];
        if let Some(known) = candidates.into_iter().flatten().find_map(placed) {
            return known;
        }
        if self.replica_identity == ReplicaIdentity::Index && !identity.is_empty() {
            return (identity, true);
        }
        let place = |name: &String| self.columns.iter().position(|column| column.name == *name);
        (facts.map_or_else(Vec::new, |facts| facts.key.iter().filter_map(place).collect()), false)
    }

    /// Whether the catalog shows this very table without a key. Where the key was dropped behind
    /// the message, whole old rows still tell its rows apart; a key that is there no more would
    /// make one row of two.
    fn is_without_key(&self, found: &TableFacts) -> bool {
        let is_same = |column: &ShapeColumn| {
            let known = column.attnum.and_then(|attnum| found.numbered(attnum));
            known.is_some_and(|known| known.name == column.name)
        };
        self.replica_identity == ReplicaIdentity::Full
            && found.replica_identity == ReplicaIdentity::Full
            && found.key.is_empty()
            && self.columns.iter().all(is_same)
    }

    /// Places of a key's columns; `None` if there is no key, or one of its columns is not there.
    fn places(&self, facts: &TableFacts) -> Option<Vec<usize>> {
        let place = |name: &String| {
            let attnum = facts.column(name).map(|column| column.attnum);
            let numbered =
                |column: &ShapeColumn| column.attnum.is_some() && column.attnum == attnum;
            let named = |column: &ShapeColumn| column.attnum.is_none() && column.name == *name;
            let by_number = self.columns.iter().position(numbered);
            by_number.or_else(|| self.columns.iter().position(named))
        };
        facts.key.iter().map(place).collect::<Option<Vec<_>>>().filter(|key| !key.is_empty())
    }

    /// Whether the message lacks a column of the key that the table had then: a publication sends
    /// some columns only.
    fn is_cut(&self, facts: &TableFacts) -> bool {
        let last = self.columns.iter().filter_map(|column| column.attnum).max();
        let is_missing = |known: &ColumnFacts| {
            Some(known.attnum) < last
                && self.columns.iter().all(|column| column.attnum != Some(known.attnum))
        };
        facts.has_column_list
            && facts.key.iter().filter_map(|name| facts.column(name)).any(is_missing)
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
                older: column.older.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::pgoutput::RelationColumn;

    const INT4: Oid = Oid(23);

    fn facts(columns: &[(i16, &str)], key: &[&str]) -> TableFacts {
        TableFacts {
            oid: Oid(7),
            name: TableName::new("s", "t"),
            partitioned: false,
            replica_identity: ReplicaIdentity::Default,
            columns: columns
                .iter()
                .map(|(attnum, name)| ColumnFacts {
                    attnum: *attnum,
                    name: (*name).to_owned(),
                    type_oid: INT4,
                    type_modifier: -1,
                    type_name: "integer".to_owned(),
                    not_null: false,
                    default: None,
                    generated: false,
                    toastable: false,
                    older: OlderRows::Null,
                })
                .collect(),
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            key_is_unique: !key.is_empty(),
            key_is_identity: !key.is_empty(),
            has_column_list: false,
            dropped: Vec::new(),
            storage: Vec::new(),
        }
    }

    fn relation<'a>(identity: ReplicaIdentity, columns: &[(&'a str, bool)]) -> Relation<'a> {
        let column = |(name, is_key): &(&'a str, bool)| RelationColumn {
            is_key: *is_key || identity == ReplicaIdentity::Full,
            name,
            type_oid: INT4,
            type_modifier: -1,
        };
        Relation {
            id: Oid(7),
            namespace: "s",
            name: "t",
            replica_identity: identity,
            columns: columns.iter().map(column).collect(),
        }
    }

    /// Names of the key's columns, and whether it is unique.
    fn key(
        relation: &Relation<'_>,
        found: Option<&TableFacts>,
        before: Option<&TableFacts>,
    ) -> (Vec<String>, bool) {
        let shape = Shape::at_position(relation, found, before);
        let names = shape.key.iter().map(|place| shape.columns[*place].name.clone());
        (names.collect(), shape.key_is_unique)
    }

    fn names(names: &[&str]) -> (Vec<String>, bool) {
        (names.iter().map(|name| (*name).to_owned()).collect(), !names.is_empty())
    }

    #[test]
    fn the_key_is_the_primary_key_at_the_position() {
        use ReplicaIdentity::Default;
        let keyed = relation(Default, &[("id", true), ("v", false)]);
        // The table is gone, was renamed, has another key, or none by now.
        assert_eq!(key(&keyed, None, None), names(&["id"]));
        let renamed = facts(&[(1, "ident"), (2, "v")], &["ident"]);
        assert_eq!(key(&keyed, Some(&renamed), None), names(&["id"]));
        let other = facts(&[(1, "id"), (2, "v")], &["v"]);
        assert_eq!(key(&keyed, Some(&other), None), names(&["id"]));
        let wider = facts(&[(1, "id"), (2, "v")], &["v", "id"]);
        assert_eq!(key(&keyed, Some(&wider), None), names(&["id"]));
        let none = facts(&[(1, "id"), (2, "v")], &[]);
        assert_eq!(key(&keyed, Some(&none), None), names(&["id"]));
        // One that was added since was none then.
        let keyless = relation(Default, &[("id", false), ("v", false)]);
        assert_eq!(key(&keyless, Some(&other), None), names(&[]));
        // A unique index, or a deferrable primary key, is no identity.
        let by_index = TableFacts { key_is_identity: false, ..other };
        assert_eq!(key(&keyless, Some(&by_index), None), names(&["v"]));
        // The order is the key's own.
        let both = relation(Default, &[("id", true), ("v", true)]);
        assert_eq!(key(&both, Some(&wider), None), names(&["v", "id"]));
    }

    #[test]
    fn under_full_the_key_is_the_one_that_is_known() {
        use ReplicaIdentity::Full;
        let first = relation(Full, &[("id", false), ("a", false)]);
        let later = relation(Full, &[("id", false), ("a", false), ("b", false)]);
        let known = facts(&[(1, "id"), (2, "a")], &["id"]);
        assert_eq!(key(&first, Some(&known), None), names(&["id"]));
        assert_eq!(key(&later, None, Some(&known)), names(&["id"]));
        let renamed = facts(&[(1, "ident"), (2, "a")], &["ident"]);
        assert_eq!(key(&first, Some(&renamed), Some(&known)), names(&["id"]));
        // Its columns are others by now: what was known before has them.
        let replaced = facts(&[(1, "id"), (2, "a"), (3, "uid")], &["uid"]);
        assert_eq!(key(&first, Some(&replaced), Some(&known)), names(&["id"]));
        assert_eq!(key(&first, None, None), names(&[]));
    }

    #[test]
    fn under_an_index_the_key_is_known_or_the_index() {
        use ReplicaIdentity::Index;
        let by_index = relation(Index, &[("id", false), ("code", true)]);
        let known = facts(&[(1, "id"), (2, "code")], &["id"]);
        assert_eq!(key(&by_index, Some(&known), None), names(&["id"]));
        assert_eq!(key(&by_index, None, None), names(&["code"]));
    }

    #[test]
    fn a_key_that_was_dropped_makes_no_row_of_two() {
        use ReplicaIdentity::Full;
        let whole = relation(Full, &[("id", false), ("a", false)]);
        let before = facts(&[(1, "id"), (2, "a")], &["id"]);
        let mut found = facts(&[(1, "id"), (2, "a")], &[]);
        found.replica_identity = Full;
        assert_eq!(key(&whole, Some(&found), Some(&before)), names(&[]));
        // Another table by now: what was known says more.
        found.columns.pop();
        assert_eq!(key(&whole, Some(&found), Some(&before)), names(&["id"]));
    }

    #[test]
    fn a_list_of_columns_without_the_key_has_no_other() {
        let mut known = facts(&[(1, "id"), (2, "part"), (3, "v")], &["id", "part"]);
        known.has_column_list = true;
        let listed = relation(ReplicaIdentity::Default, &[("id", true), ("v", false)]);
        let (columns, unique) = key(&listed, Some(&known), None);
        assert_eq!((columns, unique), (vec!["id".to_owned()], false));
    }
}
