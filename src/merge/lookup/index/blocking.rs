//! Work on an index that reads and writes the disk, away from the threads of the runtime.

use tokio::task::JoinError;

use super::error::IndexError;
use crate::key_index::KeyIndexError;
use crate::key_index::folder::Index;
use crate::merge::{MergeError, MergeRules};

/// Does work with an index and returns it. After an error it is closed, and opened again by the next look-up.
pub(super) async fn with<T: Send + 'static>(
    index: Index,
    rules: &MergeRules,
    work: impl FnOnce(&mut Index) -> Result<T, KeyIndexError> + Send + 'static,
) -> Result<(Index, T), IndexError> {
    joined(tokio::task::spawn_blocking(move || index.doing(work)).await, rules)
}

/// What a task came to.
pub(super) fn joined<T>(
    done: Result<Result<T, KeyIndexError>, JoinError>,
    rules: &MergeRules,
) -> Result<T, IndexError> {
    match done {
        Ok(result) => Ok(result?),
        Err(panic) => {
            let (table, why) = (rules.table.clone(), panic.to_string());
            Err(MergeError::Panicked { table, why }.into())
        }
    }
}
