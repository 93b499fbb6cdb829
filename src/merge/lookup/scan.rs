//! Lookup by reading: the key columns of the files that may hold a key are compared with the newest rows.

use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt;

use super::{Found, KeyLookup, Target};
use crate::lake::Lake;
use crate::lake::read::rows::Rows;
use crate::lake::read::scan::{Bounds, FileTask};
use crate::merge::MergeError;
use crate::merge::newest::Newest;
use crate::merge::order::Encoder;
use crate::merge::output::{arrow_error, divided, joined};
use crate::merge::plan::{Hit, RowAt};

/// See the module.
#[derive(Debug)]
pub(in crate::merge) struct ScanLookup {
    lake: Lake,
    pub(super) threads: usize,
}

impl ScanLookup {
    pub(in crate::merge) fn new(lake: &Lake, threads: usize) -> Self {
        Self { lake: lake.clone(), threads }
    }

    /// The rows of all these files.
    pub(super) async fn among(
        &self,
        target: &Target,
        newest: &Arc<Newest>,
        files: Vec<FileTask>,
    ) -> Result<Found, MergeError> {
        let all: Vec<usize> = (0..files.len()).collect();
        let hits = self.hits_in(target, newest, &files, &all).await?;
        Ok(Found { files, hits })
    }

    /// The rows of some files, which are indexes into `files`.
    pub(super) async fn hits_in(
        &self,
        target: &Target,
        newest: &Arc<Newest>,
        files: &[FileTask],
        some: &[usize],
    ) -> Result<Vec<Hit>, MergeError> {
        let mut running = tokio::task::JoinSet::new();
        let read: Vec<FileTask> = some.iter().map(|index| files[*index].clone()).collect();
        for share in divided(&read, self.threads) {
            let reader =
                Reader { lake: self.lake.clone(), target: target.clone(), newest: newest.clone() };
            let share: Vec<_> = share.into_iter().map(|(at, file)| (some[at], file)).collect();
            running.spawn(async move {
                let mut hits = Vec::new();
                for (index, file) in share {
                    hits.extend(reader.hits(index, &file).await?);
                }
                Ok::<_, MergeError>(hits)
            });
        }
        let hits = joined(running, &target.rules).await?;
        Ok(hits.into_iter().flatten().collect())
    }
}

#[async_trait]
impl KeyLookup for ScanLookup {
    async fn find(
        &self,
        target: &Target,
        newest: &Arc<Newest>,
        bounds: &[Bounds],
    ) -> Result<Found, MergeError> {
        let files = self.lake.files_of(&target.table, None, bounds).await?;
        self.among(target, newest, files).await
    }
}

/// Reads files of the target.
struct Reader {
    lake: Lake,
    target: Target,
    newest: Arc<Newest>,
}

impl Reader {
    async fn hits(&self, index: usize, file: &FileTask) -> Result<Vec<Hit>, MergeError> {
        let Target { table, schema, rules } = &self.target;
        let mut rows = self.lake.read_rows(table, schema, file, &rules.kept()).await?;
        let mut encoders: Option<(Encoder, Encoder)> = None;
        let mut hits = Vec::new();
        while let Some(rows) = rows.try_next().await? {
            let encoders = match &mut encoders {
                Some(encoders) => encoders,
                none => {
                    let both = rules.encoders(&rows.batch.schema());
                    none.insert(both.map_err(|e| arrow_error(rules, e))?)
                }
            };
            self.compare(index, &rows, encoders, &mut hits)?;
        }
        Ok(hits)
    }

    fn compare(
        &self,
        file: usize,
        rows: &Rows,
        (keys, order): &(Encoder, Encoder),
        hits: &mut Vec<Hit>,
    ) -> Result<(), MergeError> {
        let arrow = |e| arrow_error(&self.target.rules, e);
        let keys = keys.encode(&rows.batch).map_err(arrow)?;
        let mut orders = None;
        for row in 0..rows.batch.num_rows() {
            let key = keys.row(row);
            let Some(winner) = self.newest.get(key.as_ref()) else { continue };
            // Orders are long; most batches have no hit.
            if orders.is_none() {
                orders = Some(order.encode(&rows.batch).map_err(arrow)?);
            }
            let Some(orders) = &orders else { continue };
            let verdict = orders.row(row).as_ref().cmp(&*winner.order).into();
            let at = RowAt { file, position: rows.positions.value(row) };
            hits.push(Hit { at, key: key.as_ref().into(), verdict });
        }
        Ok(())
    }
}
