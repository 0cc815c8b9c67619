//! Where a record stands in the history of the source, and which of two is later.

use std::fmt;
use std::str::FromStr;

use crate::lsn::Lsn;

/// Position and version of a record: the header `cdc.position`, `EPOCH:COMMIT_LSN:ORD:SUB`.
///
/// Compared part by part; the same at every redelivery. A row that was there before streaming has
/// `EPOCH:0:N:0`, below every change of the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Incarnation of the source's history; from 1.
    pub epoch: u64,
    /// Start of the transaction's commit record; zero for a row that was read.
    pub commit_lsn: Lsn,
    /// Place of the change in its transaction, from 0, counted before any filter; for a row that
    /// was read, its place in the order of publication.
    pub ord: u64,
    /// 1 for the create half of a key change, 0 for everything else.
    pub sub: u8,
}

/// Name of the header that carries a position.
pub const POSITION_HEADER: &str = "cdc.position";

/// Name of the header that names the entry of `PREFIX.__schemas`.
pub const SCHEMA_HEADER: &str = "cdc.schema";

/// Name of the header that names columns, as a JSON array, whose value is itself the text that
/// stands for one that was left out.
pub const LITERAL_HEADER: &str = "cdc.literal";

impl Position {
    /// Appends the header's text.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut buffer = itoa::Buffer::new();
        for (number, end) in [(self.epoch, b':'), (self.commit_lsn.0, b':'), (self.ord, b':')] {
            out.extend_from_slice(buffer.format(number).as_bytes());
            out.push(end);
        }
        out.extend_from_slice(buffer.format(self.sub).as_bytes());
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}:{}", self.epoch, self.commit_lsn.0, self.ord, self.sub)
    }
}

/// The text is not a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionSyntax;

impl fmt::Display for PositionSyntax {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("expected a position of the form EPOCH:COMMIT_LSN:ORD:SUB in decimals")
    }
}

impl std::error::Error for PositionSyntax {}

impl FromStr for Position {
    type Err = PositionSyntax;

    fn from_str(text: &str) -> Result<Self, PositionSyntax> {
        let mut parts = text.split(':');
        let mut next = || match parts.next() {
            Some(part) if part.bytes().all(|byte| byte.is_ascii_digit()) => {
                part.parse::<u64>().map_err(|_| PositionSyntax)
            }
            _ => Err(PositionSyntax),
        };
        let position = Position {
            epoch: next()?,
            commit_lsn: Lsn(next()?),
            ord: next()?,
            sub: u8::try_from(next()?).map_err(|_| PositionSyntax)?,
        };
        if parts.next().is_some() { Err(PositionSyntax) } else { Ok(position) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_parses_and_orders() {
        let position = Position { epoch: 1, commit_lsn: Lsn(24_023_128), ord: 3, sub: 0 };
        assert_eq!(position.to_string(), "1:24023128:3:0");
        let mut written = Vec::new();
        position.write(&mut written);
        assert_eq!(written, position.to_string().as_bytes());
        assert_eq!("1:24023128:3:0".parse(), Ok(position));
        for text in ["", "1", "1:2:3", "1:2:3:4:5", "1:2:3:-1", "1:2:x:0", "1:2:3:256", "+1:2:3:0"]
        {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
        let text = ["1:0:7:0", "1:5:0:0", "1:5:0:1", "1:5:1:0", "1:6:0:0", "2:0:0:0"];
        let parsed: Vec<Position> = text.iter().map(|text| text.parse().unwrap()).collect();
        assert!(parsed.is_sorted());
    }
}
