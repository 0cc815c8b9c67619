//! A row's values as text, all in one buffer.

/// Where a text lies in its batch's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// How many.
    pub len: usize,
}

/// One value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// The source did not send it: it keeps what the row has.
    Missing,
    /// NULL.
    Null,
    /// Its text, as [`super::value`] spells it.
    Text(Span),
}

/// Gives a row what it lacks, as far as another has it.
pub fn fill_missing(cells: &mut [Cell], from: &[Cell]) {
    for (cell, found) in cells.iter_mut().zip(from) {
        if *cell == Cell::Missing {
            *cell = *found;
        }
    }
}

/// The texts of a batch.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    bytes: Vec<u8>,
}

impl Texts {
    /// The bytes of a text.
    pub fn get(&self, span: Span) -> &[u8] {
        self.bytes.get(span.start..span.start + span.len).unwrap_or_default()
    }

    /// The text of a cell; `None` if it is NULL or missing.
    pub fn text(&self, cell: Cell) -> Option<&[u8]> {
        match cell {
            Cell::Text(span) => Some(self.get(span)),
            Cell::Null | Cell::Missing => None,
        }
    }

    /// Appends what `write` writes; on an error nothing is appended.
    ///
    /// # Errors
    ///
    /// What `write` says.
    pub fn append<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Span, E> {
        let start = self.bytes.len();
        match write(&mut self.bytes) {
            Ok(()) => Ok(Span { start, len: self.bytes.len() - start }),
            Err(error) => {
                self.bytes.truncate(start);
                Err(error)
            }
        }
    }

    /// Appends a text.
    pub fn push(&mut self, text: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(text);
        Span { start, len: text.len() }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
