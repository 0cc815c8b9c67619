//! Real servers, the shop simulator and comparisons for cdc-agent's tests, benches and demonstration.
