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
