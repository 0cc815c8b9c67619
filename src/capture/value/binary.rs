//! Bytes: `bytea`, bit strings, and geometry in hexadecimal.
//!
//! Source: PostgreSQL 18, "Binary Data Types", "Bit String Types".

use crate::capture::value::ValueError;

/// Appends the bytes that a `bytea` prints as `\x…` under `bytea_output=hex`.
pub fn bytea(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let digits =
        text.strip_prefix(b"\\x").ok_or(ValueError::Syntax { expected: "bytea as \\x and hex" })?;
    hex(digits, out)
}

/// Appends the bytes of pairs of hexadecimal digits, of either case.
pub fn hex(digits: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let syntax = ValueError::Syntax { expected: "pairs of hexadecimal digits" };
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(syntax);
    }
    out.reserve(digits.len() / 2);
    for pair in pairs {
        match pair {
            [high, low] => {
                out.push(nibble(*high).ok_or(syntax)? << 4 | nibble(*low).ok_or(syntax)?)
            }
            _ => return Err(syntax),
        }
    }
    Ok(())
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Appends a bit string as Debezium's `Bits`: read as one number, its bytes from the least
/// significant to the highest that is not zero.
pub fn bits(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let start = out.len();
    for group in text.rchunks(8) {
        let mut byte = 0_u8;
        for &bit in group {
            byte = byte << 1
                | match bit {
                    b'0' => 0,
                    b'1' => 1,
                    _ => return Err(ValueError::Syntax { expected: "bits, 0 or 1" }),
                };
        }
        out.push(byte);
    }
    while out.len() > start && out.last() == Some(&0) {
        out.pop();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_little_endian_and_trimmed() {
        for (text, bytes) in [
            ("11", vec![3]),
            ("00", vec![]),
            ("1000000", vec![64]),
            ("000000110000001000000001", vec![1, 2, 3]),
            ("", vec![]),
        ] {
            let mut out = vec![0];
            bits(text.as_bytes(), &mut out).unwrap();
            assert_eq!(out[1..], bytes, "{text}");
        }
    }

    #[test]
    fn hex_needs_whole_pairs() {
        let mut out = Vec::new();
        bytea(b"\\x00fF10", &mut out).unwrap();
        assert_eq!(out, [0, 0xFF, 0x10]);
        for text in ["", "\\", "\\x0", "\\xzz", "00"] {
            assert!(bytea(text.as_bytes(), &mut out).is_err(), "{text}");
        }
    }
}
