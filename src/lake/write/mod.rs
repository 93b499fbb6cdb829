//! Writing data files: Parquet with field ids and metrics, and the ownership of what was written.

pub mod data;
mod file_properties;
mod file_ref;
pub mod filtered;
mod metrics;
mod open_file;
pub mod position_deletes;
mod split;
pub(in crate::lake) mod uncommitted;
mod waiting;

pub use file_ref::{AdoptedFile, FileRef, TimeBounds};
pub use uncommitted::Uncommitted;
