//! What ids and names mean at a position of the log.
//!
//! Takes Relation messages and what was read from the server's catalog; gives a [`Shape`] for each
//! version of a relation and a [`TypeCatalog`]. Holds what it was given and never asks the server.

mod facts;
mod numbers;
mod shape;
mod types;

pub use facts::ColumnFacts;
pub use facts::OlderRows;
pub use facts::Storage;
pub use facts::TableFacts;
pub use shape::Shape;
pub use shape::ShapeColumn;
pub use types::TypeCatalog;
pub use types::TypeFacts;
pub use types::TypeKind;
