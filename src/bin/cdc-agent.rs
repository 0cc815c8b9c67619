//! PostgreSQL to Kafka: reads the configuration, runs, turns the outcome into an exit status.

fn main() {}
