//! Checked reads: the only place where bytes from the server become integers.

use crate::capture::wire::DecodeError;

/// A cursor over one message. Every read names its field, so that an error tells what was missing.
///
/// Copying it is how to look ahead.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes }
    }

    #[inline]
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        match self.bytes.split_first_chunk::<N>() {
            Some((chunk, rest)) => {
                self.bytes = rest;
                Ok(*chunk)
            }
            None => Err(DecodeError::Truncated { field, needed: N, left: self.bytes.len() }),
        }
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    /// Two bytes, signed.
    #[inline]
    pub fn i16(&mut self, field: &'static str) -> Result<i16, DecodeError> {
        self.array(field).map(i16::from_be_bytes)
    }

    /// Four bytes, signed.
    #[inline]
    pub fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.array(field).map(i32::from_be_bytes)
    }

    /// Four bytes, unsigned.
    #[inline]
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// Eight bytes, signed.
    #[inline]
    pub fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.array(field).map(i64::from_be_bytes)
    }

    /// Eight bytes, unsigned.
    #[inline]
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// A count of two bytes, never negative.
    #[inline]
    pub fn count16(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let value = self.i16(field)?;
        usize::try_from(value)
            .map_err(|_| DecodeError::NegativeLength { field, value: i64::from(value) })
    }

    /// A length or a count of four bytes, never negative.
    #[inline]
    pub fn count32(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let value = self.i32(field)?;
        usize::try_from(value)
            .map_err(|_| DecodeError::NegativeLength { field, value: i64::from(value) })
    }

    /// The next `count` bytes.
    #[inline]
    pub fn bytes(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        match self.bytes.split_at_checked(count) {
            Some((taken, rest)) => {
                self.bytes = rest;
                Ok(taken)
            }
            None => Err(DecodeError::Truncated { field, needed: count, left: self.bytes.len() }),
        }
    }

    /// Bytes up to a NUL, which is consumed too.
    pub fn c_bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        match memchr::memchr(0, self.bytes).and_then(|at| self.bytes.split_at_checked(at)) {
            Some((text, rest)) => {
                self.bytes = rest.get(1..).unwrap_or_default();
                Ok(text)
            }
            None => Err(DecodeError::Truncated {
                field,
                needed: self.bytes.len().saturating_add(1),
                left: self.bytes.len(),
            }),
        }
    }

    /// A NUL-terminated string of UTF-8.
    pub fn c_str(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.c_bytes(field)?).map_err(|_| DecodeError::NotUtf8 { field })
    }

    /// Everything that is left.
    #[inline]
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// Bytes not read yet.
    #[inline]
    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    /// Ends the message: nothing may be left.
    #[inline]
    pub fn finish(self, message: &'static str) -> Result<(), DecodeError> {
        match self.bytes.len() {
            0 => Ok(()),
            left => Err(DecodeError::TrailingBytes { message, left }),
        }
    }
}
