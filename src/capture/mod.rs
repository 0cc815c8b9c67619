//! PostgreSQL to Kafka.

mod deliveries;
mod encode_loop;
mod error;
mod filter;
mod monitor;
mod naming;
mod pipeline;
mod prepare;
pub mod removal;
mod read;
mod session;
mod settings;
mod status;
mod stream_loop;
mod supervisor;
mod tables;

pub mod wire;
pub mod postgres;
mod snapshot;
pub mod pgoutput;
pub mod catalog;
pub mod value;
pub mod change;
pub mod publisher;
pub mod progress;
pub mod state;

pub use error::Blame;
pub use error::CaptureError;
pub use error::Disposition;
pub use filter::NameList;
pub use filter::TableFilter;
pub use settings::CaptureSettings;
pub use settings::ConversionFailure;
pub use settings::Destination;
pub use settings::PublicationAutocreate;
pub use settings::SnapshotMode;
pub use settings::Times;
pub use status::Status;
pub use supervisor::CaptureFailure;
pub use supervisor::Process;
pub use supervisor::run;
