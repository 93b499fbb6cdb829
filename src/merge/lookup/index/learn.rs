//! Covering files: the key and order columns of all their rows become entries, streamed and sorted on disk.

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinSet;

use super::blocking;
use super::error::IndexError;
use super::order::OrderPrefix;
use crate::key_index::entry::{Entry, Hasher};
use crate::key_index::folder::Index;
use crate::key_index::run::Covered;
use crate::lake::Lake;
use crate::lake::read::scan::FileTask;
use crate::merge::MergeError;
use crate::merge::lookup::Target;
use crate::merge::order::Encoder;
use crate::merge::output::{arrow_error, divided, joined};

/// Batches of entries that wait for the sorter, for each thread.
const WAITING: usize = 2;

/// How a reader ended.
type Read = Result<(), IndexError>;

/// Covers files, with `threads` readers.
pub(super) struct Learner<'a> {
    pub(super) lake: &'a Lake,
    pub(super) target: &'a Target,
    pub(super) prefix: &'a OrderPrefix,
    pub(super) threads: usize,
    /// Bytes for sorting.
    pub(super) memory: usize,
}

impl Learner<'_> {
    /// Adds all rows of the files to the index.
    pub(super) async fn learn(
        &self,
        mut index: Index,
        files: &[FileTask],
    ) -> Result<Index, IndexError> {
        let covered = index.numbered(files.iter().map(FileTask::identity));
        let expected = covered.iter().map(|file| file.rows).sum();
        let mut sorter = index.sorter(expected, self.memory);
        let (sender, mut batches) = channel::<Vec<Entry>>(WAITING * self.threads);
        let readers = self.readers(&index, files, &covered, sender);
        let sorting = tokio::task::spawn_blocking(move || {
            while let Some(entries) = batches.blocking_recv() {
                sorter.push(entries)?;
            }
            Ok(sorter)
        });
        // A sorter that fails hangs up, which ends the readers; its own error is the one that counts.
        let (read, sorted) = tokio::join!(joined(readers, &self.target.rules), sorting);
        let sorter = blocking::joined(sorted, &self.target.rules)?;
        for found in read? {
            found?;
        }
        let now = self.lake.ambient().now();
        let learned = blocking::with(index, &self.target.rules, move |index| {
            index.learn(sorter, &covered, now)
        });
        learned.await.map(|(index, ())| index)
    }

    /// A task for each share of the files.
    fn readers(
        &self,
        index: &Index,
        files: &[FileTask],
        covered: &[Covered],
        sender: Sender<Vec<Entry>>,
    ) -> JoinSet<Result<Read, MergeError>> {
        let mut running = JoinSet::new();
        for share in divided(files, self.threads) {
            let reader = Reader {
                lake: self.lake.clone(),
                target: self.target.clone(),
                hasher: index.hasher().clone(),
                prefix: self.prefix.clone(),
                sender: sender.clone(),
            };
            let work: Vec<_> =
                share.into_iter().map(|(at, file)| (file, covered[at].clone())).collect();
            running.spawn(async move { Ok(reader.all(work).await) });
        }
        running
    }
}

/// Reads files and sends their entries.
struct Reader {
    lake: Lake,
    target: Target,
    hasher: Hasher,
    prefix: OrderPrefix,
    sender: Sender<Vec<Entry>>,
}

impl Reader {
    async fn all(&self, work: Vec<(FileTask, Covered)>) -> Read {
        for (file, covered) in work {
            self.read(&file, &covered).await?;
        }
        Ok(())
    }

    async fn read(&self, file: &FileTask, covered: &Covered) -> Read {
        let Target { table, schema, rules } = &self.target;
        let all = file.without_deletes();
        let mut batches = self.lake.read_file(table, schema, &all, &rules.kept())?;
        let mut encoders: Option<(Encoder, Encoder)> = None;
        let mut rows = 0;
        while let Some(batch) = batches.try_next().await? {
            let encoders = match &mut encoders {
                Some(encoders) => encoders,
                none => {
                    let both = rules.encoders(&batch.schema());
                    none.insert(both.map_err(|e| arrow_error(rules, e))?)
                }
            };
            let entries = self.entries(&batch, encoders, covered, rows)?;
            rows += batch.num_rows() as u64;
            if self.sender.send(entries).await.is_err() {
                return Ok(());
            }
        }
        Ok(covered.has_all(rows)?)
    }

    /// The entries of a batch that begins at a position.
    fn entries(
        &self,
        batch: &RecordBatch,
        (keys, orders): &(Encoder, Encoder),
        covered: &Covered,
        first: u64,
    ) -> Result<Vec<Entry>, IndexError> {
        let arrow = |e| arrow_error(&self.target.rules, e);
        let (keys, orders) =
            (keys.encode(batch).map_err(arrow)?, orders.encode(batch).map_err(arrow)?);
        let mut entries = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let position = covered.position(first + row as u64)?;
            let key = self.hasher.key(keys.row(row).as_ref());
            let order = self.prefix.value(&self.hasher, orders.row(row).as_ref());
            entries.push(Entry::new(&key, &order.0, covered.id, position));
        }
        Ok(entries)
    }
}
