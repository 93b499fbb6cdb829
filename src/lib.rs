//! silversmith
pub mod ambient;
pub mod error;
pub mod lake;
pub mod csv;
pub mod checkpoint;
pub mod ledger;
pub mod source;
pub mod batch;
pub mod bronze;
pub mod silver;
pub mod sql;
pub mod gold;
pub mod config;
pub mod telemetry;
pub mod wiring;
pub mod worker;
pub mod cli;
