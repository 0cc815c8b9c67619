//! The columns of one row.

use crate::capture::wire::DecodeError;
use crate::capture::wire::Reader;

/// A row as it was sent: checked whole when decoded, read column by column without copying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple<'a> {
    count: usize,
    bytes: &'a [u8],
}

/// One column of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TupleValue<'a> {
    /// SQL NULL, or in a key tuple a column that is not part of the identity.
    Null,
    /// A TOASTed value that the update left unchanged and the log does not hold.
    UnchangedToast,
    /// The type's text form, in the connection's encoding.
    Text(&'a [u8]),
    /// The type's binary form.
    Binary(&'a [u8]),
}

impl<'a> Tuple<'a> {
    #[inline]
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = reader.count16("TupleData.columns")?;
        let mut end = *reader;
        for _ in 0..count {
            TupleValue::decode(&mut end)?;
        }
        let length = reader.left().saturating_sub(end.left());
        Ok(Self { count, bytes: reader.bytes(length, "TupleData.values")? })
    }

    /// A row in the protocol's form that is nothing else: `TupleData` alone.
    ///
    /// # Errors
    ///
    /// It is not one.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let tuple = Self::decode(&mut reader)?;
        reader.finish("TupleData")?;
        Ok(tuple)
    }

    /// A row without columns.
    pub const EMPTY: Tuple<'static> = Tuple { count: 0, bytes: &[] };

    /// How many columns the row has.
    #[inline]
    pub fn columns(&self) -> usize {
        self.count
    }

    /// The columns, in the relation's order.
    #[inline]
    pub fn values(&self) -> TupleValues<'a> {
        TupleValues { left: self.count, reader: Reader::new(self.bytes) }
    }
}

impl<'a> TupleValue<'a> {
    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match reader.u8("TupleData.kind")? {
            b't' => {
                let length = reader.count32("TupleData.text_length")?;
                Ok(TupleValue::Text(reader.bytes(length, "TupleData.text")?))
            }
            b'n' => Ok(TupleValue::Null),
            b'u' => Ok(TupleValue::UnchangedToast),
            b'b' => {
                let length = reader.count32("TupleData.binary_length")?;
                Ok(TupleValue::Binary(reader.bytes(length, "TupleData.binary")?))
            }
            tag => Err(DecodeError::UnknownTag { field: "TupleData.kind", tag }),
        }
    }
}

/// The columns of a row, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct TupleValues<'a> {
    left: usize,
    reader: Reader<'a>,
}

impl<'a> Iterator for TupleValues<'a> {
    type Item = TupleValue<'a>;

    #[inline]
    fn next(&mut self) -> Option<TupleValue<'a>> {
        self.left = self.left.checked_sub(1)?;
        // Decoding the tuple has read these bytes once already, so this cannot fail.
        TupleValue::decode(&mut self.reader).ok()
    }
}
