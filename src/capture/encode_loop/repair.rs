//! Values that the log does not hold, for changes that a later read has overtaken.
//!
//! After an interrupted read a table is read again under a later snapshot, and the stream still
//! begins where the first one did. An update in between that gives a row another key, and leaves an
//! out-of-line value alone, would then be completed from a row that is no longer there, or from
//! another row that has taken its place. Such values come from a snapshot at least as late as the
//! reads, from the row that has the new key there: once the stream has reached the snapshot, every
//! row is what it is there.

use std::collections::HashSet;

use crate::capture::catalog::Shape;
use crate::capture::catalog::TableFacts;
use crate::capture::pgoutput::ReplicaIdentity;
use crate::capture::pgoutput::Tuple;
use crate::capture::pgoutput::TupleValue;
use crate::capture::postgres::Connection;
use crate::capture::postgres::SourceError;
use crate::lsn::Lsn;
use crate::oid::Oid;
use crate::table::quote_identifier;
use crate::table::quote_literal;

/// A snapshot to look rows up in.
pub(in crate::capture) struct Repair {
    connection: Connection,
    until: Lsn,
    tables: HashSet<Oid>,
}

/// How a relation's rows are looked up.
pub(super) struct Lookup {
    /// `SELECT … FROM … WHERE`; columns in the order of tuples, NULL for those that are gone.
    select: String,
    /// Columns that the catalog still knows as the message has them.
    known: Vec<bool>,
    /// Place and quoted name of each key column.
    key: Vec<(usize, String)>,
}

/// Whether a table can need repair: its updates may leave values out that its old rows do not
/// carry, and its rows can be found.
pub(in crate::capture) fn needs_repair(facts: &TableFacts) -> bool {
    let identity = facts.replica_identity;
    let left_out = |column: &crate::capture::catalog::ColumnFacts| {
        column.toastable && !facts.key.contains(&column.name)
    };
    identity != ReplicaIdentity::Full && !facts.key.is_empty() && facts.columns.iter().any(left_out)
}

impl Repair {
    /// With a connection whose transaction sees everything that committed before `until` and
    /// nothing else.
    pub(in crate::capture) fn new(
        connection: Connection,
        until: Lsn,
        tables: HashSet<Oid>,
    ) -> Self {
        Repair { connection, until, tables }
    }

    /// Transactions that commit from here on need no repair.
    pub(super) fn until(&self) -> Lsn {
        self.until
    }

    /// How rows of a relation are looked up; `None` if they need not be.
    pub(super) fn lookup(&self, shape: &Shape, facts: Option<&TableFacts>) -> Option<Lookup> {
        let facts = facts.filter(|facts| self.tables.contains(&facts.oid))?;
        // A column whose type was changed since has another text.
        let known: Vec<bool> =
            shape.columns.iter().map(|column| !column.type_name.is_empty()).collect();
        let columns: Vec<String> = shape
            .columns
            .iter()
            .zip(&known)
            .map(|(column, known)| match known {
                true => quote_identifier(&column.name),
                false => "NULL".to_owned(),
            })
            .collect();
        let key = shape
            .key
            .iter()
            .map(|place| Some((*place, quote_identifier(&shape.columns.get(*place)?.name))))
            .collect::<Option<Vec<_>>>()
            .filter(|key| !key.is_empty())?;
        let only = if facts.partitioned { "" } else { "ONLY " };
        let select =
            format!("SELECT {} FROM {only}{} WHERE ", columns.join(", "), facts.name.quoted());
        Some(Lookup { select, known, key })
    }

    /// The row that has the new row's key in the snapshot, in the protocol's form; `None` if there
    /// is none, and then the stream still brings its end.
    pub(super) fn row(
        &mut self,
        lookup: &Lookup,
        new: &Tuple<'_>,
    ) -> Result<Option<Vec<u8>>, SourceError> {
        let values: Vec<TupleValue<'_>> = new.values().collect();
        let mut conditions = Vec::with_capacity(lookup.key.len());
        for (place, name) in &lookup.key {
            let Some(TupleValue::Text(text)) = values.get(*place) else { return Ok(None) };
            let literal = quote_literal(&String::from_utf8_lossy(text));
            conditions.push((name, literal));
        }
        let equal = |form: fn(&str, &str) -> String| {
            let parts: Vec<String> =
                conditions.iter().map(|(name, literal)| form(name, literal)).collect();
            format!("{}{} LIMIT 2", lookup.select, parts.join(" AND "))
        };
        // The type's own operator uses the key's index; a type of an extension may have none in
        // pg_catalog, and is then compared as text.
        self.connection.query("SAVEPOINT lookup")?;
        let found = match self.connection.query(&equal(|name, text| format!("{name} = {text}"))) {
            Err(SourceError::Server { error, .. }) if error.sqlstate == "42883" => {
                self.connection.query("ROLLBACK TO SAVEPOINT lookup")?;
                self.connection.query(&equal(|name, text| format!("{name}::text = {text}")))
            }
            found => found,
        }?;
        self.connection.query("RELEASE SAVEPOINT lookup")?;
        match found.as_slice() {
            [row] => Ok(Some(protocol_row(row, &lookup.known))),
            _ => Ok(None),
        }
    }
}

/// Source: PostgreSQL 18, "Logical Replication Message Formats", `TupleData`.
fn protocol_row(row: &[Option<String>], known: &[bool]) -> Vec<u8> {
    let mut bytes = u16::try_from(row.len()).unwrap_or_default().to_be_bytes().to_vec();
    for (value, known) in row.iter().zip(known) {
        match value {
            _ if !known => bytes.push(b'u'),
            None => bytes.push(b'n'),
            Some(text) => {
                bytes.push(b't');
                bytes.extend_from_slice(
                    &u32::try_from(text.len()).unwrap_or_default().to_be_bytes(),
                );
                bytes.extend_from_slice(text.as_bytes());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::protocol_row;
    use crate::capture::pgoutput::Tuple;
    use crate::capture::pgoutput::TupleValue;

    #[test]
    fn rows_take_the_protocols_form() {
        let row = [Some("é".to_owned()), None, None];
        let bytes = protocol_row(&row, &[true, true, false]);
        let tuple = Tuple::from_bytes(&bytes).unwrap();
        let values: Vec<TupleValue<'_>> = tuple.values().collect();
        let expected =
            [TupleValue::Text("é".as_bytes()), TupleValue::Null, TupleValue::UnchangedToast];
        assert_eq!(values, expected);
    }
}
