//! How one table's records are formed beyond what its columns' types say: names, masks, what is
//! left out.

use std::borrow::Cow;

use crate::capture::catalog::Shape;
use crate::capture::change::mask::Mask;

/// Names of a table's schemas, and what becomes of its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableForm {
    /// Name of the key's schema.
    pub key_name: String,
    /// Name of the rows' schema.
    pub row_name: String,
    /// Name of the envelope's schema.
    pub envelope_name: String,
    /// The shape's columns, in its order.
    pub columns: Vec<ColumnForm>,
    /// Name and value of a member that follows the key's columns.
    pub key_field: Option<(String, String)>,
}

/// What becomes of one column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnForm {
    /// Name of the field.
    pub name: String,
    /// Rows lack it; the key does not.
    pub left_out: bool,
    /// What is done to its values in rows.
    pub mask: Option<Mask>,
    /// The column's length, as masks see it; `None`: any.
    pub length: Option<usize>,
    /// Parameters that its schema has in rows.
    pub parameters: Vec<(Cow<'static, str>, String)>,
}

impl TableForm {
    /// All columns as they are, under schemas whose names begin so.
    pub fn plain(shape: &Shape, schema_name: &str) -> Self {
        let column = |name: &String| ColumnForm { name: name.clone(), ..ColumnForm::default() };
        TableForm {
            key_name: format!("{schema_name}.Key"),
            row_name: format!("{schema_name}.Value"),
            envelope_name: format!("{schema_name}.Envelope"),
            columns: shape.columns.iter().map(|known| column(&known.name)).collect(),
            key_field: None,
        }
    }
}
