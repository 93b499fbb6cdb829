//! The rows of files as entries, read by several tasks.

use futures::TryStreamExt;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;

use super::Files;
use super::entry::Row;
use super::error::IndexError;
use crate::key_index::entry::Hasher;
use crate::key_index::run::Covered;
use crate::lake::read::scan::FileTask;
use crate::lake::{Lake, Table};
use crate::ledger::{READ_FILES, rows};

/// A file, and its number.
pub(super) type Numbered = (FileTask, Covered);

/// The tasks that read.
pub(super) struct Readers(JoinSet<Result<(), IndexError>>);

impl Readers {
    /// Reads all rows of files, deleted ones included: they come in no particular order, and end after an error.
    pub(super) fn begin(
        files: &Files<'_>,
        hasher: &Hasher,
        work: Vec<Numbered>,
    ) -> (Self, Receiver<Vec<Row>>) {
        let (sender, receiver) = channel(READ_FILES);
        let mut shares: Vec<Vec<Numbered>> = (0..READ_FILES).map(|_| vec![]).collect();
        for (at, file) in work.into_iter().enumerate() {
            shares[at % READ_FILES].push(file);
        }
        let mut tasks = JoinSet::new();
        for share in shares.into_iter().filter(|share| !share.is_empty()) {
            let reader = Reader {
                lake: files.lake.clone(),
                objects: files.objects.clone(),
                hasher: hasher.clone(),
                sender: sender.clone(),
            };
            tasks.spawn(async move { reader.all(share).await });
        }
        (Self(tasks), receiver)
    }

    /// Whether all was read.
    pub(super) async fn ended(mut self) -> Result<(), IndexError> {
        while let Some(done) = self.0.join_next().await {
            done??;
        }
        Ok(())
    }
}

struct Reader {
    lake: Lake,
    objects: Table,
    hasher: Hasher,
    sender: Sender<Vec<Row>>,
}

impl Reader {
    async fn all(&self, share: Vec<Numbered>) -> Result<(), IndexError> {
        for (file, covered) in share {
            self.read(&file, &covered).await?;
        }
        Ok(())
    }

    async fn read(&self, file: &FileTask, covered: &Covered) -> Result<(), IndexError> {
        let columns = rows::ATTEMPT_COLUMNS.map(str::to_owned);
        let (table, whole) = (&self.objects, file.without_deletes());
        let mut batches = self.lake.read_file(table, table.schema(), &whole, &columns)?;
        let wrong =
            |found| IndexError::Rows { file: covered.path.clone(), expected: covered.rows, found };
        let mut found = 0;
        while let Some(batch) = batches.try_next().await? {
            let attempts = rows::attempts(table.name(), &batch, None)?;
            let mut read = Vec::with_capacity(attempts.len());
            for (id, attempt) in &attempts {
                let position = u32::try_from(found).map_err(|_| wrong(found))?;
                read.push(Row::new(&self.hasher, id, attempt, (covered.id, position)));
                found += 1;
            }
            // The receiver is gone after an error of its own.
            if self.sender.send(read).await.is_err() {
                return Ok(());
            }
        }
        if found == covered.rows { Ok(()) } else { Err(wrong(found)) }
    }
}
