//! `hstore`: pairs of a key and an optional value.
//!
//! Source: PostgreSQL 18, "hstore — hstore key/value datatype".

use crate::capture::value::ValueError;

/// One pair, unescaped.
pub type Pair = (Vec<u8>, Option<Vec<u8>>);

fn syntax() -> ValueError {
    ValueError::Syntax { expected: "hstore pairs of the form \"key\"=>\"value\"" }
}

/// The pairs in the server's order.
pub fn pairs(text: &[u8]) -> Result<Vec<Pair>, ValueError> {
    let mut rest = text;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (key, after) = quoted(rest)?;
        let after = after.strip_prefix(b"=>").ok_or_else(syntax)?;
        let (value, after) = match after.strip_prefix(b"NULL") {
            Some(after) => (None, after),
            None => {
                let (value, after) = quoted(after)?;
                (Some(value), after)
            }
        };
        all.push((key, value));
        rest = match after.strip_prefix(b", ") {
            Some(after) if !after.is_empty() => after,
            Some(_) => return Err(syntax()),
            None if after.is_empty() => after,
            None => return Err(syntax()),
        };
    }
    Ok(all)
}

fn quoted(text: &[u8]) -> Result<(Vec<u8>, &[u8]), ValueError> {
    let mut rest = text.strip_prefix(b"\"").ok_or_else(syntax)?;
    let mut value = Vec::new();
    loop {
        match rest {
            [b'"', after @ ..] => return Ok((value, after)),
            [b'\\', escaped, after @ ..] => {
                value.push(*escaped);
                rest = after;
            }
            [byte, after @ ..] => {
                value.push(*byte);
                rest = after;
            }
            [] => return Err(syntax()),
        }
    }
}

/// The pairs in the order in which a Java `HashMap` that they were put into gives them back, which
/// is what Debezium writes.
pub fn pairs_in_java_order(text: &[u8]) -> Result<Vec<Pair>, ValueError> {
    let mut all = pairs(text)?;
    let mut buckets = 16_u32;
    while all.len() > usize::try_from(buckets).unwrap_or(usize::MAX) / 4 * 3 {
        buckets = buckets.saturating_mul(2);
    }
    // Within a bucket the order of insertion stays, so a stable sort by bucket is the map's order.
    all.sort_by_key(|(key, _)| {
        let hash = String::from_utf8_lossy(key)
            .encode_utf16()
            .fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
        (hash ^ hash >> 16) & (buckets - 1)
    });
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_escapes_and_nulls() {
        let all = pairs(br#""a"=>"1", "b\"\\"=>NULL, ""=>"""#).unwrap();
        assert_eq!(
            all,
            [
                (b"a".to_vec(), Some(b"1".to_vec())),
                (b"b\"\\".to_vec(), None),
                (b"".to_vec(), Some(b"".to_vec()))
            ]
        );
        for text in
            ["a", "\"a", "\"a\"", "\"a\"=>", "\"a\"=>\"b\",", "\"a\"=>\"b\", ", "\"a\"=>NUL"]
        {
            assert!(pairs(text.as_bytes()).is_err(), "{text}");
        }
    }
}
