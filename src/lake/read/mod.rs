//! Reading tables: which files are live, what a snapshot added and removed, and the rows of files.

pub mod arrow;
mod deletes;
pub mod diff;
pub mod live;
pub(in crate::lake) mod plan;
pub mod provider;
pub mod rows;
pub mod scan;
