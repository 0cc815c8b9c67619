//! Messages from the server, outside of replication.
//!
//! Spec: PostgreSQL 18, "Message Formats", protocol 3.0.

use std::fmt;
use std::ops::RangeInclusive;

use crate::capture::wire::DecodeError;
use crate::capture::wire::Reader;

/// What a frame may announce: a length counts its own four bytes, and no body is above 1 GiB, the
/// server's limit on a message.
const FRAME_LENGTHS: RangeInclusive<usize> = 4..=(1 << 30) + 4;

/// One framed message: its tag and its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Kind of message.
    pub tag: u8,
    /// What follows the length.
    pub body: &'a [u8],
}

/// Bytes of tag and length that precede a body.
pub const FRAME_HEADER_BYTES: usize = 5;

/// Length of the frame that starts `bytes`, header included; `None` while the header itself is
/// incomplete.
#[inline]
pub fn frame_bytes(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    if bytes.len() < FRAME_HEADER_BYTES {
        return Ok(None);
    }
    let mut reader = Reader::new(bytes);
    let _tag = reader.u8("Frame.tag")?;
    let length = reader.count32("Frame.length")?;
    if !FRAME_LENGTHS.contains(&length) {
        return Err(DecodeError::WrongLength { field: "Frame.length", value: length });
    }
    Ok(Some(length.saturating_add(1)))
}

/// Splits the first whole frame off `bytes`; `None` if there is none.
#[inline]
pub fn split_frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, &[u8])>, DecodeError> {
    let Some(length) = frame_bytes(bytes)? else { return Ok(None) };
    let Some((frame, rest)) = bytes.split_at_checked(length) else { return Ok(None) };
    let mut reader = Reader::new(frame);
    let tag = reader.u8("Frame.tag")?;
    let _length = reader.u32("Frame.length")?;
    Ok(Some((Frame { tag, body: reader.rest() }, rest)))
}

/// A message that the conversation before and around replication knows.
#[derive(Debug, PartialEq, Eq)]
pub enum BackendMessage<'a> {
    /// Authentication is complete.
    AuthenticationOk,
    /// The password is wanted in clear text.
    AuthenticationCleartextPassword,
    /// The password is wanted as md5 with this salt.
    AuthenticationMd5Password([u8; 4]),
    /// SASL may begin with one of these mechanisms.
    AuthenticationSasl(Vec<&'a str>),
    /// The server's challenge.
    AuthenticationSaslContinue(&'a [u8]),
    /// The server's proof.
    AuthenticationSaslFinal(&'a [u8]),
    /// A method that is not spoken here, by its number.
    AuthenticationOther(i32),
    /// A setting's value.
    ParameterStatus(&'a str, &'a str),
    /// What would cancel a query.
    BackendKeyData,
    /// The server waits for a command.
    ReadyForQuery,
    /// Columns of a result.
    RowDescription,
    /// One row of a result, as text.
    DataRow(Vec<Option<&'a [u8]>>),
    /// A command is complete.
    CommandComplete,
    /// An empty command is complete.
    EmptyQueryResponse,
    /// The query failed, or the connection is about to end.
    ErrorResponse(ServerError),
    /// Something worth knowing.
    NoticeResponse(ServerError),
    /// COPY TO STDOUT begins.
    CopyOutResponse,
    /// Replication begins.
    CopyBothResponse,
    /// A piece of it.
    CopyData(&'a [u8]),
    /// Its end.
    CopyDone,
    /// Older protocol wanted, or options not known.
    NegotiateProtocolVersion,
}

impl<'a> BackendMessage<'a> {
    /// Reads one frame.
    pub fn decode(frame: Frame<'a>) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame.body);
        let message = match frame.tag {
            b'R' => authentication(&mut reader)?,
            b'S' => BackendMessage::ParameterStatus(
                reader.c_str("ParameterStatus.name")?,
                reader.c_str("ParameterStatus.value")?,
            ),
            b'K' => skip(&mut reader, BackendMessage::BackendKeyData),
            b'Z' => {
                let _status = reader.u8("ReadyForQuery.status")?;
                BackendMessage::ReadyForQuery
            }
            b'T' => skip(&mut reader, BackendMessage::RowDescription),
            b'D' => BackendMessage::DataRow(data_row(&mut reader)?),
            b'C' => skip(&mut reader, BackendMessage::CommandComplete),
            b'I' => BackendMessage::EmptyQueryResponse,
            b'E' => BackendMessage::ErrorResponse(ServerError::decode(&mut reader)?),
            b'N' => BackendMessage::NoticeResponse(ServerError::decode(&mut reader)?),
            b'H' => skip(&mut reader, BackendMessage::CopyOutResponse),
            b'W' => skip(&mut reader, BackendMessage::CopyBothResponse),
            b'd' => BackendMessage::CopyData(reader.rest()),
            b'c' => BackendMessage::CopyDone,
            b'v' => skip(&mut reader, BackendMessage::NegotiateProtocolVersion),
            tag => return Err(DecodeError::UnknownTag { field: "Frame.tag", tag }),
        };
        reader.finish("the server's message")?;
        Ok(message)
    }
}

/// Gives `message` and drops a body that nobody here reads.
fn skip<'a>(reader: &mut Reader<'a>, message: BackendMessage<'a>) -> BackendMessage<'a> {
    let _unread = reader.rest();
    message
}

fn authentication<'a>(reader: &mut Reader<'a>) -> Result<BackendMessage<'a>, DecodeError> {
    Ok(match reader.i32("Authentication.method")? {
        0 => BackendMessage::AuthenticationOk,
        3 => BackendMessage::AuthenticationCleartextPassword,
        5 => {
            let salt = reader.u32("AuthenticationMD5Password.salt")?;
            BackendMessage::AuthenticationMd5Password(salt.to_be_bytes())
        }
        10 => {
            let mut mechanisms = Vec::new();
            loop {
                match reader.c_str("AuthenticationSASL.mechanism")? {
                    "" => break,
                    mechanism => mechanisms.push(mechanism),
                }
            }
            BackendMessage::AuthenticationSasl(mechanisms)
        }
        11 => BackendMessage::AuthenticationSaslContinue(reader.rest()),
        12 => BackendMessage::AuthenticationSaslFinal(reader.rest()),
        method => skip(reader, BackendMessage::AuthenticationOther(method)),
    })
}

fn data_row<'a>(reader: &mut Reader<'a>) -> Result<Vec<Option<&'a [u8]>>, DecodeError> {
    let count = reader.count16("DataRow.columns")?;
    let mut row = Vec::with_capacity(count.min(reader.left() / 4));
    for _ in 0..count {
        row.push(match reader.i32("DataRow.length")? {
            -1 => None,
            length => {
                let length = usize::try_from(length).map_err(|_| DecodeError::NegativeLength {
                    field: "DataRow.length",
                    value: i64::from(length),
                })?;
                Some(reader.bytes(length, "DataRow.value")?)
            }
        });
    }
    Ok(row)
}

/// An error or a notice as the server words it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, `FATAL`, `PANIC`, `WARNING`, …, never translated.
    pub severity: String,
    /// Five characters, as in `57P01`.
    pub sqlstate: String,
    /// What is wrong.
    pub message: String,
    /// More about it.
    pub detail: String,
    /// What to do.
    pub hint: String,
}

impl ServerError {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut error = ServerError::default();
        loop {
            let field = reader.u8("ErrorResponse.field")?;
            if field == 0 {
                return Ok(error);
            }
            // Before the client's encoding is settled the server may send its own.
            let text = String::from_utf8_lossy(reader.c_bytes("ErrorResponse.text")?).into_owned();
            match field {
                b'V' => error.severity = text,
                b'S' if error.severity.is_empty() => error.severity = text,
                b'C' => error.sqlstate = text,
                b'M' => error.message = text,
                b'D' => error.detail = text,
                b'H' => error.hint = text,
                _ => {}
            }
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} ({})", self.severity, self.message, self.sqlstate)?;
        if !self.detail.is_empty() {
            write!(formatter, "; {}", self.detail)?;
        }
        if !self.hint.is_empty() {
            write!(formatter, "; hint: {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for ServerError {}
