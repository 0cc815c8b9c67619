//! Arrays: the server's text form, element by element.
//!
//! Source: PostgreSQL 18, "Arrays", section "Array Input and Output Syntax". The delimiter is a
//! comma for every type but `box`.

use crate::capture::value::ValueError;

/// An element as it is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element<'a> {
    /// NULL.
    Null,
    /// A value's text.
    Text(&'a [u8]),
    /// An array of the next dimension, braces included.
    Nested(&'a [u8]),
}

/// Deepest nesting that is followed; the server allows six dimensions.
const DEPTH_MAX: usize = 6;

fn syntax() -> ValueError {
    ValueError::Syntax { expected: "an array of the form {1,2,3}" }
}

/// Calls `each` for every element of the outermost dimension, in order.
///
/// An element's text lies in `scratch` if it had to be unescaped. Lower bounds, which precede the
/// braces as in `[0:1]={1,2}`, are skipped.
///
/// # Errors
///
/// The text is not an array's, or `each` gave an error.
pub fn for_each_element(
    text: &[u8],
    delimiter: u8,
    mut each: impl FnMut(Element<'_>) -> Result<(), ValueError>,
) -> Result<(), ValueError> {
    let mut rest = body(text)?;
    let mut scratch = Vec::new();
    if rest.is_empty() {
        return Ok(());
    }
    loop {
        rest = match rest.first() {
            Some(b'{') => {
                let (nested, after) =
                    rest.split_at_checked(nested_bytes(rest)?).ok_or_else(syntax)?;
                each(Element::Nested(nested))?;
                after
            }
            Some(b'"') => {
                let after = unquote(rest, &mut scratch)?;
                each(Element::Text(&scratch))?;
                after
            }
            _ => {
                let end = rest.iter().position(|&byte| byte == delimiter).unwrap_or(rest.len());
                let (word, after) = rest.split_at_checked(end).ok_or_else(syntax)?;
                each(plain(word, &mut scratch)?)?;
                after
            }
        };
        match rest.split_first() {
            None => return Ok(()),
            Some((&byte, after)) if byte == delimiter && !after.is_empty() => rest = after,
            Some(_) => return Err(syntax()),
        }
    }
}

/// Whether the outermost elements are arrays themselves.
pub fn is_nested(text: &[u8]) -> bool {
    body(text).is_ok_and(|body| body.first() == Some(&b'{'))
}

/// What stands between the outermost braces.
fn body(text: &[u8]) -> Result<&[u8], ValueError> {
    let braced = match text.first() {
        Some(b'[') => {
            let equals = memchr::memchr(b'=', text).ok_or_else(syntax)?;
            text.get(equals + 1..).unwrap_or_default()
        }
        _ => text,
    };
    match braced {
        [b'{', body @ .., b'}'] => Ok(body),
        _ => Err(syntax()),
    }
}

/// An unquoted element: NULL, or text in which a backslash may still escape.
fn plain<'a>(word: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<Element<'a>, ValueError> {
    match word {
        b"NULL" => return Ok(Element::Null),
        b"" => return Err(syntax()),
        _ if !word.contains(&b'\\') => return Ok(Element::Text(word)),
        _ => {}
    }
    scratch.clear();
    let mut bytes = word.iter();
    while let Some(&byte) = bytes.next() {
        let literal = if byte == b'\\' { *bytes.next().ok_or_else(syntax)? } else { byte };
        scratch.push(literal);
    }
    Ok(Element::Text(scratch))
}

/// Unescapes the quoted element that starts `text` into `scratch`; gives what follows it.
fn unquote<'a>(text: &'a [u8], scratch: &mut Vec<u8>) -> Result<&'a [u8], ValueError> {
    scratch.clear();
    let mut rest = text.get(1..).ok_or_else(syntax)?;
    loop {
        let at = memchr::memchr2(b'"', b'\\', rest).ok_or_else(syntax)?;
        let (literal, after) = rest.split_at_checked(at).ok_or_else(syntax)?;
        scratch.extend_from_slice(literal);
        match after {
            [b'"', after @ ..] => return Ok(after),
            [_, escaped, after @ ..] => {
                scratch.push(*escaped);
                rest = after;
            }
            _ => return Err(syntax()),
        }
    }
}

/// Bytes of the braced array that starts `text`.
fn nested_bytes(text: &[u8]) -> Result<usize, ValueError> {
    let mut depth = 0_usize;
    let mut quoted = false;
    let mut escaped = false;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'{' if !quoted => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(syntax());
                }
            }
            b'}' if !quoted => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Ok(at + 1);
                }
            }
            _ => {}
        }
    }
    Err(syntax())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(text: &str) -> Result<Vec<String>, ValueError> {
        let mut all = Vec::new();
        for_each_element(text.as_bytes(), b',', |element| {
            all.push(match element {
                Element::Null => "-".to_owned(),
                Element::Text(text) => format!("t:{}", String::from_utf8_lossy(text)),
                Element::Nested(text) => format!("n:{}", String::from_utf8_lossy(text)),
            });
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn reads_every_form_that_the_server_prints() {
        for (text, expected) in [
            ("{}", vec![]),
            ("{1,NULL,\"NULL\",\"\"}", vec!["t:1", "-", "t:NULL", "t:"]),
            (
                r#"{a,"b,c","\"","\\"," ","{}"}"#,
                vec!["t:a", "t:b,c", "t:\"", "t:\\", "t: ", "t:{}"],
            ),
            ("[0:1]={1,2}", vec!["t:1", "t:2"]),
            (r#"{{1,"}"},{3,4}}"#, vec![r#"n:{1,"}"}"#, "n:{3,4}"]),
        ] {
            assert_eq!(elements(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn refuses_broken_forms_without_panic() {
        for text in
            ["", "{", "}", "{1", "1}", "{,}", "{1,}", "{\"a}", "{\"a\"b}", "{{1}", "[0:1]", "{\\}"]
        {
            assert!(elements(text).is_err(), "{text}");
        }
    }
}
