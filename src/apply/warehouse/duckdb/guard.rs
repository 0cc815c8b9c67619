//! What a reader may ask: one statement that reads, and no function that does anything else.
//!
//! Takes DuckDB's own parse of a statement, as `json_serialize_sql` writes it, and names what is in
//! it that is not answered. Functions of tables are refused unless they are known to read only what
//! is stored: others open files, write a log, change settings of the whole process or run text as
//! SQL, also inside a SELECT.

/// Functions in FROM that are answered: the catalog, and rows made of arguments.
const TABLE_FUNCTIONS: [&str; 26] = [
    "duckdb_columns",
    "duckdb_constraints",
    "duckdb_databases",
    "duckdb_dependencies",
    "duckdb_functions",
    "duckdb_indexes",
    "duckdb_keywords",
    "duckdb_schemas",
    "duckdb_sequences",
    "duckdb_tables",
    "duckdb_types",
    "duckdb_views",
    "generate_series",
    "json_each",
    "json_tree",
    "pg_timezone_names",
    "pragma_collations",
    "pragma_database_size",
    "pragma_platform",
    "pragma_show",
    "pragma_storage_info",
    "pragma_table_info",
    "pragma_version",
    "range",
    "summary",
    "unnest",
];

/// Functions of values that do something, tell of the process, or sleep.
const REFUSED: [&str; 8] = [
    "current_setting",
    "getenv",
    "nextval",
    "pg_sleep",
    "setseed",
    "sleep_ms",
    "stats",
    "write_log",
];

/// Functions that make one large value of a number.
const GROWS: [&str; 9] = [
    "array_resize",
    "bitstring",
    "generate_series",
    "list_resize",
    "lpad",
    "range",
    "repeat",
    "rpad",
    "space",
];

/// A value grows no larger.
pub(super) const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a container of the parse is.
#[derive(Debug, Default)]
struct Frame {
    /// Its key in the container around it.
    key: String,
    /// Name of the function that it is, if it is one.
    function: String,
    /// Key of the value that comes next.
    next: String,
}

/// Why a statement is not answered, by its parse; `None` if it is.
pub(super) fn refusal(parsed: &str) -> Option<String> {
    let mut stack: Vec<Frame> = Vec::new();
    let mut statements = 0;
    let mut rest = parsed;
    while let Some(first) = rest.chars().next() {
        let here = rest;
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
        match first {
            '{' | '[' => {
                let key = stack.last_mut().map(|frame| std::mem::take(&mut frame.next));
                let key = key.unwrap_or_default();
                // The list of statements: each is an object right in it.
                let listed =
                    stack.len() == 2 && stack.last().is_some_and(|f| f.key == "statements");
                statements += usize::from(listed && first == '{');
                stack.push(Frame { key, ..Frame::default() });
            }
            '}' | ']' => drop(stack.pop()),
            '"' => {
                let (text, after) = string(rest)?;
                let is_key = after.starts_with(':');
                rest = after;
                let Some(frame) = stack.last_mut() else { continue };
                if is_key {
                    frame.next = text.to_owned();
                    continue;
                }
                if std::mem::take(&mut frame.next) == "function_name" {
                    frame.function = text.to_lowercase();
                    let refused = refused_function(&frame.function, frame.key == "function");
                    if refused.is_some() {
                        return refused;
                    }
                }
            }
            '0'..='9' | '-' => {
                let end = here.find([',', '}', ']']).unwrap_or(here.len());
                let (number, after) = here.split_at(end);
                rest = after;
                let key = stack.last_mut().map(|frame| std::mem::take(&mut frame.next));
                let grows = |frame: &Frame| GROWS.contains(&frame.function.as_str());
                if key.as_deref() == Some("value")
                    && is_too_large(number)
                    && let Some(frame) = stack.iter().rev().find(|frame| grows(frame))
                    && frame.key != "function"
                {
                    return Some(format!(
                        "{} would make a value of more than {VALUE_BYTES_MAX} bytes",
                        frame.function
                    ));
                }
            }
            _ => {}
        }
    }
    (statements != 1).then(|| format!("expected one statement, found {statements}"))
}

fn refused_function(name: &str, in_from: bool) -> Option<String> {
    let known = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\' && byte != b'"');
    if known && !REFUSED.contains(&name) && (!in_from || TABLE_FUNCTIONS.contains(&name)) {
        return None;
    }
    Some(format!(
        "{name}() is not answered here: a query reads what is stored, and neither opens files nor \
         changes the process"
    ))
}

/// More bytes, or elements, than a value may have.
fn is_too_large(number: &str) -> bool {
    number.parse::<f64>().is_ok_and(|number| number > 16_777_216.0)
}

/// A JSON string's text as it is written, and what follows it.
fn string(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some((text.get(..at)?, text.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::refusal;

    fn parse(node: &str) -> String {
        format!(r#"{{"error":false,"statements":[{{"node":{node},"named_param_map":[]}}]}}"#)
    }

    #[test]
    fn a_function_is_known_wherever_it_stands() {
        let from = |name: &str| {
            parse(&format!(
                r#"{{"from_table":{{"type":"TABLE_FUNCTION","function":{{"class":"FUNCTION","function_name":"{name}","children":[]}}}}}}"#
            ))
        };
        assert_eq!(refusal(&from("range")), None);
        assert_eq!(refusal(&from("DUCKDB_TABLES")), None);
        for name in ["enable_logging", "read_csv", "checkpoint", "query", "no_such", r"a\u0062"] {
            assert!(refusal(&from(name)).is_some(), "{name}");
        }
        let value = |name: &str| {
            parse(&format!(r#"{{"select_list":[{{"children":[{{"function_name":"{name}"}}]}}]}}"#))
        };
        assert_eq!(refusal(&value("lower")), None);
        assert!(refusal(&value("write_log")).is_some());
    }

    #[test]
    fn texts_that_look_like_functions_are_texts() {
        let text = r#"{"value":"\",\"function_name\":\"write_log"}"#;
        assert_eq!(refusal(&parse(text)), None);
    }

    #[test]
    fn large_numbers_count_only_where_they_make_large_values() {
        let of = |name: &str, number: &str| {
            parse(&format!(
                r#"{{"select_list":[{{"function_name":"{name}","children":[{{"value":{{"value":{number}}}}}]}}]}}"#
            ))
        };
        assert!(refusal(&of("repeat", "900000000")).is_some());
        assert_eq!(refusal(&of("repeat", "900")), None);
        assert_eq!(refusal(&of("abs", "900000000")), None);
    }

    #[test]
    fn there_is_one_statement() {
        let two = r#"{"error":false,"statements":[{"node":{}},{"node":{}}]}"#;
        assert!(refusal(two).is_some());
        assert!(refusal("").is_some());
        assert_eq!(refusal(&parse("{}")), None);
    }
}
