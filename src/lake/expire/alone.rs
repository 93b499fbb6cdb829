//! Expiry by itself: a commit that takes snapshots out and does nothing else.

use super::Expired;
use super::due::AtATime;
use crate::lake::commit::TakenOut;
use crate::lake::{Lake, LakeError, Table};

/// Conflicts in a row after which an expiry gives up.
const MAX_CONFLICTS: u32 = 10;

impl Lake {
    /// Takes out all snapshots that are due, and deletes the files that only they named.
    ///
    /// # Errors
    /// As of [`Lake::commit`]. What was taken out before stays out.
    pub async fn expire(&self, mut table: Table) -> Result<(Table, Expired), LakeError> {
        let (mut done, mut conflicts, began) = (Expired::default(), 0, self.ambient.now());
        loop {
            let due = self.due_now(&table, AtATime::ALONE).await?;
            if due.is_empty() {
                return Ok((table, done));
            }
            match self.take_out(&table, &due).await? {
                TakenOut::Committed { table: now, files } => {
                    done.snapshots += due.len();
                    done.files += files;
                    table = now;
                }
                TakenOut::Conflict(now) => {
                    table = now;
                    conflicts += 1;
                    if conflicts == MAX_CONFLICTS {
                        return Err(self.contended(table.name(), conflicts, began));
                    }
                    self.wait_after_conflict(conflicts).await;
                }
            }
        }
    }
}
