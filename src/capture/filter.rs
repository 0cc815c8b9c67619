//! Which tables are captured: Debezium's include and exclude lists.
//!
//! Lists of regular expressions, separated by commas, that must match the whole of `schema.table`,
//! whatever the case. Source: Debezium 3.6.1.Final, "Connector properties", `Predicates`.

use crate::capture::java_regex::JavaRegex;
use crate::table::TableName;

/// A list of regular expressions.
#[derive(Clone, Debug, Default)]
pub struct NameList {
    patterns: Vec<JavaRegex>,
}

impl NameList {
    /// Reads a list; a comma inside an expression is written `\,`.
    ///
    /// # Errors
    ///
    /// An expression is not valid.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut patterns = Vec::new();
        for text in split_list(list) {
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            patterns.push(JavaRegex::new(text, true)?);
        }
        Ok(NameList { patterns })
    }

    /// Takes the whole text for one expression.
    ///
    /// # Errors
    ///
    /// It is not valid.
    pub fn single(text: &str) -> Result<Self, String> {
        Ok(NameList { patterns: vec![JavaRegex::new(text, true)?] })
    }

    /// Whether there is no expression in it.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether any expression matches the whole name.
    pub fn matches(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    /// Place of the first expression that matches the whole name.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.patterns.iter().position(|pattern| pattern.is_match(name))
    }
}

/// Splits at commas that no backslash precedes.
fn split_list(list: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for character in list.chars() {
        let Some(last) = parts.last_mut() else { break };
        match character {
            ',' if escaped => {
                last.pop();
                last.push(',');
            }
            ',' => parts.push(String::new()),
            _ => last.push(character),
        }
        escaped = character == '\\' && !escaped;
    }
    parts
}

/// Include and exclude lists of schemas and tables; of each pair at most one is given.
#[derive(Clone, Debug, Default)]
pub struct TableFilter {
    /// `schema.include.list`.
    pub schema_include: NameList,
    /// `schema.exclude.list`.
    pub schema_exclude: NameList,
    /// `table.include.list`.
    pub table_include: NameList,
    /// `table.exclude.list`.
    pub table_exclude: NameList,
}

impl TableFilter {
    /// Whether a table passes.
    pub fn allows(&self, table: &TableName) -> bool {
        let name = table.to_string();
        let schema = &table.namespace;
        (self.schema_include.is_empty() || self.schema_include.matches(schema))
            && !self.schema_exclude.matches(schema)
            && (self.table_include.is_empty() || self.table_include.matches(&name))
            && !self.table_exclude.matches(&name)
    }

    /// Whether it lets everything pass.
    pub fn is_open(&self) -> bool {
        [&self.schema_include, &self.schema_exclude, &self.table_include, &self.table_exclude]
            .iter()
            .all(|list| list.is_empty())
    }

    /// Order in which tables are read: by the expression of `table.include.list` that names them,
    /// then by name.
    pub fn order(&self, table: &TableName) -> usize {
        self.table_include.place(&table.to_string()).unwrap_or(usize::MAX)
    }
}

/// Which logical decoding messages are sent, by their prefixes; at most one list is given.
#[derive(Clone, Debug, Default)]
pub struct MessageFilter {
    /// `message.prefix.include.list`.
    pub include: NameList,
    /// `message.prefix.exclude.list`.
    pub exclude: NameList,
}

impl MessageFilter {
    /// Whether a message passes.
    pub fn allows(&self, prefix: &str) -> bool {
        (self.include.is_empty() || self.include.matches(prefix)) && !self.exclude.matches(prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &str, exclude: &str) -> TableFilter {
        TableFilter {
            table_include: NameList::parse(include).unwrap(),
            table_exclude: NameList::parse(exclude).unwrap(),
            ..TableFilter::default()
        }
    }

    #[test]
    fn expressions_match_whole_names_in_any_case() {
        let orders = TableName::new("public", "Orders");
        assert!(filter("public.orders", "").allows(&orders));
        assert!(filter(" public\\.ord.* , x", "").allows(&orders));
        assert!(!filter("public.order", "").allows(&orders));
        assert!(!filter("", "public\\..*").allows(&orders));
        assert!(filter("", "").allows(&orders));
        assert!(filter("a\\,b.c", "").allows(&TableName::new("a,b", "c")));
        assert!(filter("(?!public\\.audit).*", "").allows(&orders));
        assert!(!filter("(?!public\\.ord).*", "").allows(&orders));
        assert!(NameList::parse("a(").is_err());
    }
}
