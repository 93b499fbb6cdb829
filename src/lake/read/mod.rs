//! Reading tables: which files are live, what a snapshot added and removed, and the rows of files.

pub mod arrow;
pub mod deleted_rows;
mod deletes;
pub mod diff;
pub mod live;
pub(in crate::lake) mod manifests;
pub(in crate::lake) mod plan;
pub mod position_deletes;
pub(in crate::lake) mod promoted;
pub mod provider;
mod pushdown;
pub mod rows;
pub mod scan;
