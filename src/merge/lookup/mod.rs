//! Finding the rows of the target that have the keys of a merge.

pub mod index;
pub(super) mod scan;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::newest::Newest;
use super::plan::Hit;
use super::{MergeError, MergeRules};
use crate::lake::read::scan::{Bounds, FileTask};
use crate::lake::{Table, TableSchema};

/// A table to merge into.
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
/// - Every live row of the target whose key is in `newest` is found once, with its physical position and its
///   verdict on the newest row. The order of hits has no meaning.
/// - `bounds` contain the keys of `newest`; a backend may ignore them.
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
