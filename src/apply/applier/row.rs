//! A row's JSON to cells, in the order of its table's columns.

use crate::apply::applier::record::RecordProblem;
use crate::apply::merge::Cell;
use crate::apply::merge::Spelling;
use crate::apply::merge::Target;
use crate::apply::merge::Texts;
use crate::apply::merge::fold::absent;
use crate::apply::merge::value;
use crate::apply::merge::version::Version;
use crate::envelope::read;
use crate::envelope::uuid;
use crate::position::Position;

/// The forms in which Debezium says that a value was left out, as JSON.
#[derive(Clone, Debug)]
pub(super) struct Placeholders(Vec<String>);

impl Placeholders {
    /// Of a placeholder's text.
    pub(super) fn new(text: &str) -> Self {
        use base64::Engine;
        let string = serde_json::Value::from(text).to_string();
        let base64 = base64::engine::general_purpose::STANDARD.encode(text);
        let object = format!("{{{string}:{string}}}");
        let numbers: Vec<String> = text.bytes().map(|byte| byte.to_string()).collect();
        Placeholders(vec![
            format!("[{string}]"),
            format!("[\"{base64}\"]"),
            format!("[\"{}\"]", uuid::of_name(text.as_bytes())),
            format!("[{}]", numbers.join(",")),
            serde_json::Value::from(object.as_str()).to_string(),
            format!("{{\"scale\":0,\"value\":\"{base64}\"}}"),
            format!("\"{base64}\""),
            object,
            string,
        ])
    }

    fn matches(&self, json: &str) -> bool {
        self.0.iter().any(|form| form.len() == json.len() && form == json)
    }
}

/// How rows of one version become rows of one target.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowReader<'a> {
    pub(super) version: &'a Version,
    pub(super) places: &'a [Option<usize>],
    pub(super) target: &'a Target,
    pub(super) placeholders: &'a Placeholders,
    /// Columns that mean the placeholder when they have it.
    pub(super) literals: &'a [String],
    pub(super) spelling: Spelling,
    /// The other columns are NULL, whatever the row says: of a deleted row they may be stand-ins
    /// that no value of their type is.
    pub(super) key_only: bool,
}

impl RowReader<'_> {
    /// Reads a row whose table was at this position as the version says. Columns that the version
    /// has and the row lacks are missing.
    pub(super) fn read(
        &self,
        json: &str,
        position: Position,
        texts: &mut Texts,
    ) -> Result<Vec<Cell>, RecordProblem> {
        let at = (position, self.target.is_keyed());
        let mut cells: Vec<Cell> =
            self.target.columns.iter().map(|column| absent(column, at, texts)).collect();
        for place in self.places.iter().flatten() {
            if let Some(cell) = cells.get_mut(*place) {
                *cell = Cell::Missing;
            }
        }
        let mut expected = 0;
        let mut problem = None;
        read::for_each_member(json, |name, value| {
            if problem.is_some() {
                return;
            }
            let columns = &self.version.columns;
            let at = match columns.get(expected) {
                Some(column) if column.name == name => Some(expected),
                _ => columns.iter().position(|column| column.name == name),
            };
            let Some(at) = at else {
                problem = Some(format!("column \"{name}\" is not in its schema"));
                return;
            };
            expected = at + 1;
            match self.cell(at, value.get(), texts) {
                Ok(Some((place, cell))) => {
                    if let Some(known) = cells.get_mut(place) {
                        *known = cell;
                    }
                }
                Ok(None) => {}
                Err(reason) => problem = Some(format!("column \"{name}\": {reason}")),
            }
        })
        .map_err(|_| RecordProblem::new("expected a row as a JSON object"))?;
        match problem {
            Some(problem) => Err(RecordProblem(problem)),
            None => Ok(cells),
        }
    }

    fn cell(
        &self,
        at: usize,
        json: &str,
        texts: &mut Texts,
    ) -> Result<Option<(usize, Cell)>, value::ValueProblem> {
        let Some(Some(place)) = self.places.get(at).copied() else { return Ok(None) };
        let (Some(column), Some(known)) =
            (self.target.columns.get(place), self.version.columns.get(at))
        else {
            return Ok(None);
        };
        if json == "null" || (self.key_only && !self.target.key.contains(&place)) {
            return Ok(Some((place, Cell::Null)));
        }
        let is_placeholder = column.column_type.is_toastable() && self.placeholders.matches(json);
        if is_placeholder && !self.literals.contains(&known.name) {
            return Ok(Some((place, Cell::Missing)));
        }
        let span = texts.append(|out| value::write(&known.encoding, json, self.spelling, out))?;
        Ok(Some((place, Cell::Text(span))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_placeholder_is_known() {
        let placeholders = Placeholders::new("__debezium_unavailable_value");
        for form in [
            r#""__debezium_unavailable_value""#,
            r#""X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==""#,
            r#"["__debezium_unavailable_value"]"#,
            r#"{"__debezium_unavailable_value":"__debezium_unavailable_value"}"#,
            r#""{\"__debezium_unavailable_value\":\"__debezium_unavailable_value\"}""#,
        ] {
            assert!(placeholders.matches(form), "{form}");
        }
        assert!(!placeholders.matches(r#""__debezium_unavailable_valuE""#));
    }
}
