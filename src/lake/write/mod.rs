//! Writing data files: Parquet with field ids and metrics, and who owns what was written.

pub mod data;
mod file_ref;
mod metrics;
pub(in crate::lake) mod uncommitted;

pub use file_ref::FileRef;
pub use uncommitted::Uncommitted;
