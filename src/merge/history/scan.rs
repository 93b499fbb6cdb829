//! What the target and its stored deletes have of the keys of a part: their key, order and end are read.
//!
//! The key index is not asked: it knows where a key is, and not which of its versions are neighbours.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, AsArray};
use futures::TryStreamExt;

use super::chain::{Chains, Seen, Stored};
use crate::lake::Lake;
use crate::lake::read::rows::Rows;
use crate::lake::read::scan::{Bounds, FileTask};
use crate::merge::MergeError;
use crate::merge::lookup::Target;
use crate::merge::order::Encoder;
use crate::merge::output::{arrow_error, divided, joined};
use crate::merge::plan::RowAt;
use crate::merge::rules::{IS_CURRENT, VALID_TO};
use crate::merge::tombstones::TombstoneTable;

/// Reads the target of a merge.
#[derive(Clone)]
pub(super) struct Scan {
    lake: Lake,
    target: Target,
    threads: usize,
    chains: Arc<Chains>,
    /// Of all threads: what is held follows the source, not them (I7).
    seen: Arc<Mutex<Seen>>,
}

/// What encodes rows of the target.
struct Encoders {
    keys: Encoder,
    order: Encoder,
    end: Encoder,
}

impl Scan {
    pub(super) fn new(
        (lake, threads): (&Lake, usize),
        target: &Target,
        chains: &Arc<Chains>,
    ) -> Self {
        let (lake, target) = (lake.clone(), target.clone());
        Self { lake, target, threads, chains: chains.clone(), seen: Arc::default() }
    }

    /// What was seen so far.
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks for the versions of the target, in the files that may have some: these.
    pub(super) async fn versions(&self, bounds: &[Bounds]) -> Result<Vec<FileTask>, MergeError> {
        let files = self.lake.files_of(&self.target.table, None, bounds).await?;
        let mut running = tokio::task::JoinSet::new();
        for share in divided(&files, self.threads) {
            let scan = self.clone();
            running.spawn(async move {
                let encoders = scan.encoders()?;
                for (index, file) in share {
                    scan.file(index, &file, &encoders).await?;
                }
                Ok::<_, MergeError>(())
            });
        }
        joined(running, &self.target.rules).await?;
        Ok(files)
    }

    fn encoders(&self) -> Result<Encoders, MergeError> {
        let Target { schema, rules, .. } = &self.target;
        let arrow = |e| arrow_error(rules, e);
        let (keys, order) = rules.encoders(schema.arrow()).map_err(arrow)?;
        let end = Encoder::new(schema.arrow(), &[VALID_TO.to_owned()]).map_err(arrow)?;
        Ok(Encoders { keys, order, end })
    }

    async fn file(
        &self,
        index: usize,
        file: &FileTask,
        encoders: &Encoders,
    ) -> Result<(), MergeError> {
        let Target { table, schema, rules } = &self.target;
        let mut columns = rules.kept();
        columns.extend([VALID_TO, IS_CURRENT].map(str::to_owned));
        let mut rows = self.lake.read_rows(table, schema, file, &columns).await?;
        while let Some(rows) = rows.try_next().await? {
            self.see(index, &rows, encoders)?;
        }
        Ok(())
    }

    fn see(&self, file: usize, rows: &Rows, encoders: &Encoders) -> Result<(), MergeError> {
        let arrow = |e| arrow_error(&self.target.rules, e);
        let keys = encoders.keys.encode(&rows.batch).map_err(arrow)?;
        let of = |row| Some((row, self.chains.of(keys.row(row).data())?));
        let found: Vec<(usize, usize)> = (0..keys.num_rows()).filter_map(of).collect();
        // Orders are long; most batches have no such key.
        if found.is_empty() {
            return Ok(());
        }
        let orders = encoders.order.encode(&rows.batch).map_err(arrow)?;
        let ends = encoders.end.encode(&rows.batch).map_err(arrow)?;
        let ended = rows.batch.column_by_name(VALID_TO);
        let current = rows.batch.column_by_name(IS_CURRENT).and_then(|c| c.as_boolean_opt());
        let mut seen = self.seen();
        for (row, versions) in found {
            let is_current = match current.filter(|current| current.is_valid(row)) {
                Some(current) => current.value(row),
                // Another program wrote it.
                None => ended.is_none_or(|ended| ended.is_null(row)),
            };
            let at = RowAt { file, position: rows.positions.value(row) };
            let end = (!is_current).then(|| ends.row(row).data().into());
            self.chains.see(versions, orders.row(row).data(), Some(Stored { at, end }), &mut seen);
        }
        Ok(())
    }

    /// Looks for the stored deletes.
    pub(super) async fn deletes(
        &self,
        deletes: &TombstoneTable,
        bounds: &[Bounds],
    ) -> Result<(), MergeError> {
        let mut found = |key: &[u8], order: &[u8]| {
            if let Some(versions) = self.chains.of(key) {
                self.chains.see(versions, order, None, &mut self.seen());
            }
        };
        let reader = (&self.lake, self.threads);
        deletes.each(reader, &self.target.rules, bounds, &mut found).await
    }
}
