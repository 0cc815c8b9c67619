//! Geometric values as PostgreSQL's JDBC driver prints them.
//!
//! Debezium passes `line`, `lseg`, `box`, `path`, `polygon` and `circle` through the driver's
//! classes, which print every number as Java prints a `double`. Source: pgjdbc 42,
//! `org.postgresql.geometric`, as Debezium's recorded output shows it.

use crate::capture::value::ValueError;
use crate::capture::value::spatial;
use crate::envelope::json;
use crate::envelope::json::FloatDigits;

/// Appends a geometric value's text with its numbers in Java's spelling.
pub(super) fn geometry(
    text: &[u8],
    digits: FloatDigits,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        if matches!(first, b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>' | b',') {
            out.push(first);
            rest = after;
            continue;
        }
        let length = rest.iter().take_while(|&&byte| is_of_number(byte)).count().max(1);
        let (number, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        let mut printed = Vec::new();
        json::float64(spatial::float(number)?, digits, &mut printed);
        // NaN and the infinities are strings in JSON.
        out.extend(printed.into_iter().filter(|&byte| byte != b'"'));
        rest = after;
    }
    Ok(())
}

fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_javas_and_the_rest_stays() {
        for (text, expected) in [
            ("{1,2,3}", "{1.0,2.0,3.0}"),
            ("<(1,-2.5),3>", "<(1.0,-2.5),3.0>"),
            ("[(0,0),(1e+300,Infinity)]", "[(0.0,0.0),(1.0E300,Infinity)]"),
            ("", ""),
        ] {
            let mut out = Vec::new();
            geometry(text.as_bytes(), FloatDigits::Java, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        assert!(geometry(b"(1,?)", FloatDigits::Java, &mut Vec::new()).is_err());
    }
}
