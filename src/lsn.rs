//! A position in the write-ahead log.

use std::fmt;
use std::str::FromStr;

/// Log sequence number: a byte position in the server's write-ahead log.
///
/// Ordered within one timeline of one system only. [`Lsn::ZERO`] is PostgreSQL's invalid position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The invalid position, before every record.
    pub const ZERO: Lsn = Lsn(0);

    /// Bytes from `earlier` to this position; 0 if `earlier` is not earlier.
    pub fn bytes_since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    /// PostgreSQL's form, `16/B374D848`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// The text is not an LSN of the form `16/B374D848`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LsnSyntax;

impl fmt::Display for LsnSyntax {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("expected an LSN of two hexadecimal numbers, as in 16/B374D848")
    }
}

impl std::error::Error for LsnSyntax {}

impl FromStr for Lsn {
    type Err = LsnSyntax;

    fn from_str(text: &str) -> Result<Self, LsnSyntax> {
        let (high, low) = text.split_once('/').ok_or(LsnSyntax)?;
        let half = |digits: &str| {
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(LsnSyntax);
            }
            u32::from_str_radix(digits, 16).map_err(|_| LsnSyntax)
        };
        Ok(Lsn(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::Lsn;

    #[test]
    fn prints_and_parses_the_servers_form() {
        for (number, text) in
            [(0, "0/0"), (0x16_B374_D848, "16/B374D848"), (u64::MAX, "FFFFFFFF/FFFFFFFF")]
        {
            assert_eq!(Lsn(number).to_string(), text);
            assert_eq!(text.parse(), Ok(Lsn(number)));
        }
        for text in ["", "/", "1/", "/1", "1", "1/2/3", "+1/2", "1/123456789", "g/1"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }
}
