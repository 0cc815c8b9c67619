//! Sockets and SQL to the source database.
//!
//! Takes settings and commands; gives connections, rows, COPY data and the replication stream, and
//! what the catalog says. Holds connections. Refuses, with a [`SourceError`] that says what to do:
//! a server, a role, a slot or a publication that is not as it must be.

mod authentication;
mod candidates;
pub mod catalog_query;
pub mod conninfo;
mod connect;
mod connection;
mod error;
mod handover;
pub mod partitions;
pub mod publication;
pub mod replication;
mod require_auth;
mod settings;
pub mod slot;
mod socket;
mod socket_option;
mod sql;
mod tls;

pub use connection::Connection;
pub use connection::Purpose;
pub use error::SourceError;
pub use require_auth::RequireAuth;
pub use settings::ChannelBinding;
pub use settings::Host;
pub use settings::Place;
pub use settings::SourceSettings;
pub use settings::SslMode;
pub use settings::TargetSession;
pub use socket::Socket;
pub use sql::Ended;
pub use sql::Sql;
