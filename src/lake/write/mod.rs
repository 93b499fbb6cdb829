//! Writing data files: Parquet with field ids and metrics.

pub mod data;
mod metrics;
