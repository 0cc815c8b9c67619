//! Change data capture from PostgreSQL to Kafka, and from Kafka to warehouses.
