//! Names of tables, and their quoting in SQL.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

/// A table's schema (PostgreSQL's namespace) and name, unquoted, as the catalog has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// Schema.
    pub namespace: String,
    /// Name within the schema.
    pub name: String,
}

impl TableName {
    /// From the two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        TableName { namespace: namespace.into(), name: name.into() }
    }

    /// `"schema"."name"`, safe in SQL.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote_identifier(&self.namespace), quote_identifier(&self.name))
    }
}

impl fmt::Display for TableName {
    /// `schema.name`, for people and for the filters' regular expressions; not for SQL.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.namespace, self.name)
    }
}

/// `"name"`, with inner quotes doubled.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `'text'`, with inner quotes doubled; ` E'…'` with backslashes doubled where there are any, so
/// that it holds whatever `standard_conforming_strings` is.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!(" E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_could_end_a_name_or_a_literal() {
        assert_eq!(TableName::new("a\"b", "c.d").quoted(), "\"a\"\"b\".\"c.d\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal("a\\'b"), " E'a\\\\''b'");
    }
}
