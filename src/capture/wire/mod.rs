//! The frontend/backend protocol, version 3: bytes to messages and back.
//!
//! Takes bytes of a connection; gives frames, the server's messages and the walsender's. Holds
//! nothing. Spec: PostgreSQL 18, "Frontend/Backend Protocol". The client's own messages outside of
//! replication come from `postgres-protocol`.
//!
//! Refuses, with a [`DecodeError`]: short fields, negative lengths, unknown tags, bytes left over.
//! Struct fields are evaluated in the order written, so each decoder reads like the manual's table.

#![deny(clippy::arithmetic_side_effects)]

mod backend;
mod error;
mod reader;
mod walsender;

pub use backend::BackendMessage;
pub use backend::FRAME_HEADER_BYTES;
pub use backend::Frame;
pub use backend::ServerError;
pub use backend::frame_bytes;
pub use backend::split_frame;
pub use error::DecodeError;
pub use reader::Reader;
pub use walsender::PrimaryKeepalive;
pub use walsender::StandbyStatusUpdate;
pub use walsender::WalsenderMessage;
pub use walsender::XLogData;
