//! Which columns are sent, under which names and masks, and which are the key.
//!
//! Source: Debezium 3.6.1.Final, `column.*`, `datatype.propagate.source.type`,
//! `message.key.columns`.

use crate::capture::catalog::Shape;
use crate::capture::catalog::TableFacts;
use crate::capture::catalog::TypeCatalog;
use crate::capture::change::ColumnForm;
use crate::capture::change::Mask;
use crate::capture::change::TableForm;
use crate::capture::change::source_type;
use crate::capture::filter::NameList;
use crate::capture::naming::Naming;
use crate::table::TableName;

/// What is asked about columns.
#[derive(Clone, Debug, Default)]
pub struct ColumnRules {
    /// `column.include.list`.
    pub include: NameList,
    /// `column.exclude.list`.
    pub exclude: NameList,
    /// What is done to columns; of those that match one, the first is.
    pub mappers: Vec<ColumnMapper>,
    /// `message.key.columns`: columns of keys, in their order.
    pub keys: Vec<NameList>,
}

/// Something done to columns.
#[derive(Clone, Debug)]
pub enum ColumnMapper {
    /// Their values are masked.
    Mask(NameList, Mask),
    /// Their schemas say what they are in the source.
    SourceType(NameList),
    /// The same for columns by `schema.table.type`.
    SourceTypeByType(NameList),
}

impl ColumnRules {
    /// Whether rows have this column.
    fn sends(&self, name: &str) -> bool {
        (self.include.is_empty() || self.include.matches(name)) && !self.exclude.matches(name)
    }

    /// The table without columns that are neither sent nor part of the key.
    pub(super) fn needed(&self, mut facts: TableFacts) -> TableFacts {
        let key = self.key(&facts.name, facts.columns.iter().map(|column| column.name.as_str()));
        let key = if key.is_empty() { facts.key.clone() } else { key };
        facts.columns.retain(|column| {
            self.sends(&format!("{}.{}", facts.name, column.name)) || key.contains(&column.name)
        });
        facts
    }

    /// The shape with the key that is asked for.
    pub(super) fn keyed(&self, shape: &Shape) -> Shape {
        let key = self.key(&shape.table, shape.columns.iter().map(|column| column.name.as_str()));
        if key.is_empty() {
            return shape.clone();
        }
        let own: Vec<&str> = shape
            .key
            .iter()
            .filter_map(|place| Some(shape.columns.get(*place)?.name.as_str()))
            .collect();
        let unique =
            shape.key_is_unique && own.iter().all(|name| key.iter().any(|known| known == name));
        Shape { key_is_unique: unique, ..shape.clone() }.with_key(&key)
    }

    /// Columns of a table's key, if others than its own are asked for.
    fn key<'a>(
        &self,
        table: &TableName,
        columns: impl Iterator<Item = &'a str> + Clone,
    ) -> Vec<String> {
        let mut key: Vec<String> = Vec::new();
        for list in &self.keys {
            for column in columns.clone() {
                let known = key.iter().any(|known| known == column);
                if !known && list.matches(&format!("{table}.{column}")) {
                    key.push(column.to_owned());
                }
            }
        }
        key
    }

    /// How records of a shape are formed.
    pub(super) fn form(&self, shape: &Shape, types: &TypeCatalog, naming: &Naming) -> TableForm {
        let topic = naming.topic(&shape.table);
        let columns = shape
            .columns
            .iter()
            .map(|column| {
                let name = format!("{}.{}", shape.table, column.name);
                let mut form = ColumnForm {
                    name: naming.field(&column.name),
                    left_out: !self.sends(&name),
                    ..ColumnForm::default()
                };
                let type_name = || source_type::type_name(column, types, shape.read);
                let mapper = self.mappers.iter().find(|mapper| match mapper {
                    ColumnMapper::Mask(list, _) | ColumnMapper::SourceType(list) => {
                        list.matches(&name)
                    }
                    ColumnMapper::SourceTypeByType(list) => {
                        list.matches(&format!("{}.{}", shape.table, type_name()))
                    }
                });
                match mapper {
                    Some(ColumnMapper::Mask(_, mask)) => {
                        form.mask = Some(mask.clone());
                        form.length = source_type::known_length(types, column, shape.read);
                    }
                    Some(_) => {
                        form.parameters = source_type::parameters(column, types, shape.read);
                    }
                    None => {}
                }
                form
            })
            .collect();
        TableForm {
            key_name: naming.schema(&format!("{topic}.Key")),
            row_name: naming.schema(&format!("{topic}.Value")),
            envelope_name: naming.schema(&format!("{topic}.Envelope")),
            columns,
            key_field: naming.key_field(&shape.table),
        }
    }
}
