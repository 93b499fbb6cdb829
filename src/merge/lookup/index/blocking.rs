//! Work on an index that reads and writes the disk, away from the threads of the runtime.

use tokio::task::JoinError;

use super::error::IndexError;
use super::folder::Index;
use crate::merge::{MergeError, MergeRules};

/// Does work with an index and returns it. After an error it is closed, and opened again by the next look-up; a
/// damaged one is forgotten: no one asks it again.
pub(super) async fn with<T: Send + 'static>(
    mut index: Index,
    rules: &MergeRules,
    work: impl FnOnce(&mut Index) -> Result<T, IndexError> + Send + 'static,
) -> Result<(Index, T), IndexError> {
    let done = tokio::task::spawn_blocking(move || match work(&mut index) {
        Ok(result) => Ok((index, result)),
        Err(error) => {
            if error.is_lost() {
                index.forget()?;
            }
            Err(error)
        }
    });
    joined(done.await, rules)
}

/// What a task came to.
pub(super) fn joined<T>(
    done: Result<Result<T, IndexError>, JoinError>,
    rules: &MergeRules,
) -> Result<T, IndexError> {
    done.unwrap_or_else(|panic| {
        let (table, why) = (rules.table.clone(), panic.to_string());
        Err(MergeError::Panicked { table, why }.into())
    })
}
