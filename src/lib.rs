//! silversmith
pub mod ambient;
pub mod batch;
pub mod bronze;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod csv;
pub mod error;
pub mod gold;
pub mod lake;
pub mod ledger;
pub mod silver;
pub mod source;
pub mod sql;
pub mod telemetry;
pub mod wiring;
pub mod worker;
