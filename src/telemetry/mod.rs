//! What the process tells: metrics, log, health, and the HTTP port that shows them.

pub mod health;
pub mod hosts;
pub mod http;
mod labels;
pub mod log;
pub mod metrics;
mod process;
pub mod sink_lag;
pub mod sink_metrics;

pub use health::Health;
pub use labels::Labels;
pub use metrics::Metrics;
pub use sink_lag::SinkLag;
pub use sink_metrics::SinkMetrics;
