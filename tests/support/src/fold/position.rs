//! The position of a change, from the header `cdc.position`.

use std::str::FromStr;

/// `EPOCH:COMMIT_LSN:ORD:SUB`, compared in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Incarnation of the source's history.
    pub epoch: u64,
    /// Start of the commit record; 0 for an initial read.
    pub commit_lsn: u64,
    /// Index of the change in its transaction; for an initial read its number.
    pub ord: u64,
    /// 1 for the second half of a change of key, else 0.
    pub sub: u64,
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not EPOCH:COMMIT_LSN:ORD:SUB in decimal");
        let number = |part: &str| {
            // Signs and leading zeros would give one position two spellings.
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let plain = digits && (part == "0" || !part.starts_with('0'));
            plain.then(|| part.parse::<u64>().ok()).flatten().ok_or_else(wrong)
        };
        let parts: Vec<&str> = text.split(':').collect();
        let [epoch, commit_lsn, ord, sub] = parts[..] else { return Err(wrong()) };
        let (epoch, commit_lsn) = (number(epoch)?, number(commit_lsn)?);
        Ok(Self { epoch, commit_lsn, ord: number(ord)?, sub: number(sub)? })
    }
}
