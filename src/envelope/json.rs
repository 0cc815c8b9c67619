//! JSON as Kafka's JsonConverter spells it, written piece by piece.
//!
//! Spelling is Jackson's: short escapes where JSON has them, `\u00XX` in upper case for other
//! control characters, characters beyond the basic plane as an escaped surrogate pair, everything
//! else as it is; floating-point numbers as Java prints them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE;

use crate::envelope::java_float;
use crate::envelope::java_float::Digits;

/// Appends a JSON string, quotes included. `text` is UTF-8; bytes that are not are replaced by
/// U+FFFD.
#[inline]
pub fn string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    string_content(text, out);
    out.push(b'"');
}

/// Appends what stands between a JSON string's quotes.
#[inline]
pub fn string_content(text: &[u8], out: &mut Vec<u8>) {
    let (plain, ascii) = plain_bytes(text);
    // "char" of PostgreSQL 14 prints a byte of no encoding.
    if !ascii && std::str::from_utf8(text).is_err() {
        escaped(text, out);
        return;
    }
    match text.split_at_checked(plain) {
        Some((all, [])) => out.extend_from_slice(all),
        Some((start, rest)) => {
            out.extend_from_slice(start);
            escaped(rest, out);
        }
        None => {}
    }
}

/// Length of the start of `text` that needs no escape: no control character, quote or backslash
/// and no lead byte of a character beyond the basic plane; and whether all of it is ASCII.
#[inline]
fn plain_bytes(text: &[u8]) -> (usize, bool) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let (chunks, rest) = text.as_chunks::<8>();
    let mut high = 0;
    for (at, chunk) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk);
        high |= word;
        // Each term has the high bit of the bytes that it looks for (and may have more above).
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = word ^ (ONES * 0x22);
        let quote = quote.wrapping_sub(ONES) & !quote;
        let backslash = word ^ (ONES * 0x5C);
        let backslash = backslash.wrapping_sub(ONES) & !backslash;
        let beyond = word & word << 1 & word << 2 & word << 3;
        if (control | quote | backslash | beyond) & HIGHS != 0 {
            let inside = chunk.iter().position(|&byte| needs_escape(byte)).unwrap_or(8);
            if inside < 8 {
                return (at * 8 + inside, high & HIGHS == 0);
            }
        }
    }
    let tail = rest.iter().position(|&byte| needs_escape(byte)).unwrap_or(rest.len());
    let ascii = high & HIGHS == 0 && rest.is_ascii();
    (chunks.len() * 8 + tail, ascii)
}

#[inline]
fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\' || byte >= 0xF0
}

#[cold]
fn escaped(text: &[u8], out: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(text);
    let mut rest: &str = &text;
    loop {
        let (plain, _) = plain_bytes(rest.as_bytes());
        let (run, after) = rest.split_at_checked(plain).unwrap_or((rest, ""));
        out.extend_from_slice(run.as_bytes());
        let mut characters = after.chars();
        match characters.next() {
            Some(character) => escape(character, out),
            None => return,
        }
        rest = characters.as_str();
    }
}

fn escape(character: char, out: &mut Vec<u8>) {
    let short = match character {
        '"' => b'"',
        '\\' => b'\\',
        '\u{8}' => b'b',
        '\t' => b't',
        '\n' => b'n',
        '\u{C}' => b'f',
        '\r' => b'r',
        _ => {
            const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let digit = |shift: u16| {
                    DIGITS.get(usize::from(*unit >> shift & 15)).copied().unwrap_or(b'0')
                };
                out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
            }
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Appends a whole number.
#[inline]
pub fn integer(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a whole number of any size that the server has.
pub fn wide_integer(number: i128, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends bytes as base64 in quotes.
pub fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    encode(&STANDARD, bytes, out);
}

/// Appends bytes as base64 of the alphabet for URLs, in quotes.
pub fn base64_url_safe(bytes: &[u8], out: &mut Vec<u8>) {
    encode(&URL_SAFE, bytes, out);
}

/// Reads base64.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

fn encode(alphabet: &impl Engine, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    let length = base64::encoded_len(bytes.len(), true).unwrap_or_default();
    out.resize(start + length, b'=');
    if let Some(slot) = out.get_mut(start..) {
        let written = alphabet.encode_slice(bytes, slot).unwrap_or_default();
        out.truncate(start + written);
    }
    out.push(b'"');
}

/// Which of the decimals that read back as the same float is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatDigits {
    /// The shortest one.
    Shortest,
    /// The one that Java 17 writes: rarely a digit longer, at many times the cost.
    Java,
}

/// Appends a 64-bit float in the spelling of Java's `Double.toString`; NaN and infinities in
/// quotes.
pub fn float64(number: f64, choice: FloatDigits, out: &mut Vec<u8>) {
    if let Some(special) = special(number.is_nan(), number.is_infinite(), number < 0.0) {
        out.extend_from_slice(special);
        return;
    }
    if number.is_sign_negative() {
        out.push(b'-');
    }
    match choice {
        _ if number == 0.0 => out.extend_from_slice(b"0.0"),
        FloatDigits::Shortest => respell(zmij::Buffer::new().format_finite(number.abs()), out),
        FloatDigits::Java => spell(java_float::digits64(number), out),
    }
}

/// Appends a 32-bit float in the spelling of Java's `Float.toString`; NaN and infinities in quotes.
pub fn float32(number: f32, choice: FloatDigits, out: &mut Vec<u8>) {
    if let Some(special) = special(number.is_nan(), number.is_infinite(), number < 0.0) {
        out.extend_from_slice(special);
        return;
    }
    if number.is_sign_negative() {
        out.push(b'-');
    }
    match choice {
        _ if number == 0.0 => out.extend_from_slice(b"0.0"),
        FloatDigits::Shortest => respell(zmij::Buffer::new().format_finite(number.abs()), out),
        FloatDigits::Java => spell(java_float::digits32(number), out),
    }
}

fn special(nan: bool, infinite: bool, negative: bool) -> Option<&'static [u8]> {
    match (nan, infinite, negative) {
        (true, _, _) => Some(b"\"NaN\""),
        (_, true, false) => Some(b"\"Infinity\""),
        (_, true, true) => Some(b"\"-Infinity\""),
        _ => None,
    }
}

/// Takes a positive decimal apart, with or without an exponent, and spells it as Java does.
fn respell(decimal: &str, out: &mut Vec<u8>) {
    let (mantissa, exponent) = decimal.split_once('e').unwrap_or((decimal, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    let leading_zeros = all.len() - all.trim_start_matches('0').len();
    let length = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let exponent = exponent.parse::<i32>().unwrap_or_default();
    spell(
        Digits {
            exponent: exponent + length(whole.len()) - length(leading_zeros),
            digits: all.trim_matches('0').as_bytes().to_vec(),
        },
        out,
    );
}

/// Appends a plain fraction from 10^-3 to below 10^7, otherwise one digit before the point and an
/// exponent.
fn spell(Digits { digits, exponent }: Digits, out: &mut Vec<u8>) {
    let distance = usize::try_from(exponent.unsigned_abs()).unwrap_or(usize::MAX);
    if (-2..=0).contains(&exponent) {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', distance));
        out.extend_from_slice(&digits);
    } else if (1..=7).contains(&exponent) {
        let (before, after) = digits.split_at_checked(distance).unwrap_or((&digits, &[]));
        out.extend_from_slice(before);
        out.extend(std::iter::repeat_n(b'0', distance.saturating_sub(digits.len())));
        out.push(b'.');
        out.extend_from_slice(if after.is_empty() { b"0" } else { after });
    } else {
        let (first, after) = digits.split_at_checked(1).unwrap_or((&digits, &[]));
        out.extend_from_slice(first);
        out.push(b'.');
        out.extend_from_slice(if after.is_empty() { b"0" } else { after });
        out.push(b'E');
        integer(i64::from(exponent) - 1, out);
    }
}

/// Appends lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    out.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_are_escaped_as_jackson_does_and_read_back_by_serde_json() {
        let mut texts: Vec<String> =
            (0..0x300_u32).filter_map(char::from_u32).map(String::from).collect();
        texts.extend(
            ["", "a", "0123456789é", "12345678\"12345678\\", "é\u{2028}\u{7f}", "x😀y"]
                .map(String::from),
        );
        for length in 0..40 {
            for at in 0..length {
                let mut text = "x".repeat(length).into_bytes();
                text[at] = b'\n';
                texts.push(String::from_utf8(text).unwrap());
            }
        }
        for text in texts {
            let json = written(|out| string(text.as_bytes(), out));
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text, "{json}");
        }
        assert_eq!(
            written(|out| string("\u{1}\u{1F}😀".as_bytes(), out)),
            r#""\u0001\u001F\uD83D\uDE00""#
        );
        assert_eq!(written(|out| string(&[b'a', 0xFF, b'\n'], out)), "\"a\u{FFFD}\\n\"");
        assert_eq!(written(|out| string(&[b'a', 0xE4], out)), "\"a\u{FFFD}\"");
    }

    #[test]
    fn floats_are_spelled_as_java_does() {
        for (number, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (0.001, "0.001"),
            (0.000_999, "9.99E-4"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (123_456_789.123_456_79, "1.2345678912345679E8"),
            (1e21, "1.0E21"),
            (-1.5e300, "-1.5E300"),
            (100.0, "100.0"),
            (f64::NAN, "\"NaN\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            for choice in [FloatDigits::Shortest, FloatDigits::Java] {
                assert_eq!(written(|out| float64(number, choice, out)), text);
            }
        }
        assert_eq!(written(|out| float64(5e-324, FloatDigits::Java, out)), "4.9E-324");
        assert_eq!(written(|out| float32(3.402_823_5e38, FloatDigits::Java, out)), "3.4028235E38");
    }

    /// Every line of the fixture is a float's bits and what Java 17 prints for it.
    #[test]
    fn java_digits_equal_java_17() {
        let cases = include_str!("../../proto-fixtures/value/java-17-floats.txt");
        let mut count = 0;
        for line in cases.lines() {
            let mut words = line.split(' ');
            let (kind, bits, text) =
                (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            let bits = u64::from_str_radix(bits, 16).unwrap();
            let ours = written(|out| match kind {
                "d" => float64(f64::from_bits(bits), FloatDigits::Java, out),
                _ => {
                    let bits = u32::try_from(bits).unwrap();
                    float32(f32::from_bits(bits), FloatDigits::Java, out)
                }
            });
            assert_eq!(ours, text, "{line}");
            count += 1;
        }
        assert!(count > 4000);
    }

    #[test]
    fn base64_is_padded() {
        assert_eq!(written(|out| base64(&[0, 0xFF, 0x10], out)), "\"AP8Q\"");
        assert_eq!(written(|out| base64(&[1], out)), "\"AQ==\"");
        assert_eq!(written(|out| base64_url_safe(&[0xFB, 0xEF], out)), "\"--8=\"");
        assert_eq!(written(|out| base64(&[], out)), "\"\"");
    }
}
