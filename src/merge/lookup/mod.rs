//! Finding the rows of the target whose keys a merge brings.

pub(super) mod scan;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::newest::Newest;
use super::plan::Hit;
use super::{MergeError, MergeRules};
use crate::lake::read::scan::{Bounds, FileTask};
use crate::lake::{Table, TableSchema};

/// A table to be merged into.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) table: Table,
    /// The schema that rows are read and written under.
    pub(super) schema: TableSchema,
    pub(super) rules: MergeRules,
}

/// Rows of the target, and the files that they are in.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: Vec<FileTask>,
    pub(super) hits: Vec<Hit>,
}

/// Finds rows by key.
///
/// # Contract
/// - Every live row of the target whose key `newest` has is found, each once, with its physical position and
///   what it says about the newest row. The order of hits is of no meaning.
/// - `bounds` contain the keys of `newest`; a backend may leave them aside.
/// - Nothing is changed. It may be repeated.
#[async_trait]
pub(super) trait KeyLookup: Debug + Send + Sync {
    /// Finds the rows.
    async fn find(
        &self,
        target: &Target,
        newest: &Arc<Newest>,
        bounds: &[Bounds],
    ) -> Result<Found, MergeError>;
}
