//! What the simulator does how often.

use std::str::FromStr;

/// Weights of statements and shares of transactions.
///
/// Written and read as `insert=30,update=45,...`; names left out keep their default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    /// Weight of inserting a row or a few.
    pub insert: u32,
    /// Weight of updating a row.
    pub update: u32,
    /// Weight of deleting a row.
    pub delete: u32,
    /// Weight of one statement that changes many rows.
    pub multi_row: u32,
    /// Weight of a COPY of many rows.
    pub copy: u32,
    /// Weight of changing a row's key.
    pub key_change: u32,
    /// Weight of swapping the keys of two rows by way of a third one.
    pub key_swap: u32,
    /// Weight of deleting a row and inserting another with its key.
    pub reinsert: u32,
    /// Weight of changing one row several times.
    pub repeat: u32,
    /// Weight of truncating the carts.
    pub truncate: u32,
    /// Percent of transactions that are rolled back as a whole.
    pub rollback: u32,
    /// Percent of transactions with a savepoint, half of them rolled back to it.
    pub savepoint: u32,
    /// Percent of transactions that stay open for a while.
    pub long: u32,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            insert: 34,
            update: 40,
            delete: 10,
            multi_row: 3,
            copy: 1,
            key_change: 3,
            key_swap: 1,
            reinsert: 3,
            repeat: 4,
            truncate: 1,
            rollback: 4,
            savepoint: 10,
            long: 1,
        }
    }
}

impl Mix {
    /// Nothing at all: for mixes of a few kinds, by struct update or by text after `none,`.
    pub const NONE: Self = Self {
        insert: 0,
        update: 0,
        delete: 0,
        multi_row: 0,
        copy: 0,
        key_change: 0,
        key_swap: 0,
        reinsert: 0,
        repeat: 0,
        truncate: 0,
        rollback: 0,
        savepoint: 0,
        long: 0,
    };

    /// The sum of the statements' weights.
    pub(super) fn statement_weight(&self) -> u32 {
        let Self { insert, update, delete, multi_row, copy, .. } = self;
        let Self { key_change, key_swap, reinsert, repeat, truncate, .. } = self;
        [insert, update, delete, multi_row, copy, key_change, key_swap, reinsert, repeat, truncate]
            .into_iter()
            .sum()
    }

    fn field(&mut self, name: &str) -> Option<&mut u32> {
        Some(match name {
            "insert" => &mut self.insert,
            "update" => &mut self.update,
            "delete" => &mut self.delete,
            "multi_row" => &mut self.multi_row,
            "copy" => &mut self.copy,
            "key_change" => &mut self.key_change,
            "key_swap" => &mut self.key_swap,
            "reinsert" => &mut self.reinsert,
            "repeat" => &mut self.repeat,
            "truncate" => &mut self.truncate,
            "rollback" => &mut self.rollback,
            "savepoint" => &mut self.savepoint,
            "long" => &mut self.long,
            _ => return None,
        })
    }
}

impl FromStr for Mix {
    type Err = String;

    /// `none` at the begin sets everything to 0, so that only what follows is done.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut mix = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            if part == "none" {
                mix = Self::NONE;
                continue;
            }
            let (name, value) = part.split_once('=').ok_or(format!("{part:?} is not NAME=N"))?;
            let field = mix.field(name).ok_or(format!("there is no {name:?} in a mix"))?;
            *field = value.parse().map_err(|_| format!("{value:?} is no number: {part}"))?;
        }
        if mix.statement_weight() == 0 {
            return Err("nothing is left to do".into());
        }
        Ok(mix)
    }
}

#[cfg(test)]
mod tests {
    use super::Mix;

    #[test]
    fn a_mix_is_read_from_text() {
        let mix: Mix = "insert=50,update=30".parse().expect("a good mix");
        assert_eq!(mix, Mix { insert: 50, update: 30, ..Mix::default() });
        let mix: Mix = "none,delete=1".parse().expect("a good mix");
        assert_eq!(mix, Mix { delete: 1, ..Mix::NONE });
        for wrong in ["insert", "inserts=1", "insert=x", "none", "none,long=5"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }
}
