//! What the target and its stored deletes have of the keys of a part: their key, order and end are read.
//!
//! The key index is not asked: it knows where a key is, and not which of its versions are neighbours.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use futures::TryStreamExt;

use super::chain::{Chains, Seen, Stored};
use super::columns::{IS_CURRENT, VALID_TO};
use crate::lake::Lake;
use crate::lake::read::rows::Rows;
use crate::lake::read::scan::{Bounds, FileTask};
use crate::merge::MergeError;
use crate::merge::lookup::Target;
use crate::merge::order::Encoder;
use crate::merge::output::{arrow_error, divided, joined};
use crate::merge::plan::RowAt;
use crate::merge::tombstones::TombstoneTable;

/// Reads the target of a merge.
#[derive(Clone)]
pub(super) struct Scan {
    lake: Lake,
    target: Target,
    threads: usize,
    chains: Arc<Chains>,
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
        Self { lake, target, threads, chains: chains.clone() }
    }

    /// The versions of the target, in the files that may have some.
    pub(super) async fn versions(
        &self,
        bounds: &[Bounds],
    ) -> Result<(Vec<FileTask>, Seen), MergeError> {
        let files = self.lake.files_of(&self.target.table, None, bounds).await?;
        let mut running = tokio::task::JoinSet::new();
        for share in divided(&files, self.threads) {
            let scan = self.clone();
            running.spawn(async move {
                let (encoders, mut seen) = (scan.encoders()?, Seen::default());
                for (index, file) in share {
                    scan.file(index, &file, &encoders, &mut seen).await?;
                }
                Ok::<_, MergeError>(seen)
            });
        }
        let mut all = Seen::default();
        for seen in joined(running, &self.target.rules).await? {
            all.absorb(seen);
        }
        Ok((files, all))
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
        seen: &mut Seen,
    ) -> Result<(), MergeError> {
        let Target { table, schema, rules } = &self.target;
        let mut columns = rules.kept();
        columns.extend([VALID_TO, IS_CURRENT].map(str::to_owned));
        let mut rows = self.lake.read_rows(table, schema, file, &columns).await?;
        while let Some(rows) = rows.try_next().await? {
            self.see(index, &rows, encoders, seen)?;
        }
        Ok(())
    }

    fn see(
        &self,
        file: usize,
        rows: &Rows,
        encoders: &Encoders,
        seen: &mut Seen,
    ) -> Result<(), MergeError> {
        let arrow = |e| arrow_error(&self.target.rules, e);
        let keys = encoders.keys.encode(&rows.batch).map_err(arrow)?;
        let found: Vec<usize> =
            (0..keys.num_rows()).filter(|row| self.chains.has(keys.row(*row).data())).collect();
        // Orders are long; most batches have no such key.
        if found.is_empty() {
            return Ok(());
        }
        let orders = encoders.order.encode(&rows.batch).map_err(arrow)?;
        let ends = encoders.end.encode(&rows.batch).map_err(arrow)?;
        let ended = rows.batch.column_by_name(VALID_TO);
        let current = rows.batch.column_by_name(IS_CURRENT).and_then(|c| c.as_boolean_opt());
        for row in found {
            let is_current = match current.filter(|current| current.is_valid(row)) {
                Some(current) => current.value(row),
                // Another program wrote it.
                None => ended.is_none_or(|ended| ended.is_null(row)),
            };
            let at = RowAt { file, position: rows.positions.value(row) };
            let end = (!is_current).then(|| ends.row(row).data().into());
            let (key, order) = (keys.row(row), orders.row(row));
            self.chains.see(key.data(), order.data(), Some(Stored { at, end }), seen);
        }
        Ok(())
    }

    /// The stored deletes.
    pub(super) async fn deletes(
        &self,
        deletes: &TombstoneTable,
        bounds: &[Bounds],
        seen: &mut Seen,
    ) -> Result<(), MergeError> {
        let TombstoneTable { table, schema, .. } = deletes;
        let rules = &self.target.rules;
        let arrow = |e| arrow_error(rules, e);
        let files = self.lake.files_of(table, None, bounds).await?;
        let (keys, order) = rules.encoders(schema.arrow()).map_err(arrow)?;
        let mut rows = self.lake.read_files(table, schema, files, &rules.kept(), self.threads);
        while let Some(batch) = rows.try_next().await? {
            let keys = keys.encode(&batch).map_err(arrow)?;
            let orders = order.encode(&batch).map_err(arrow)?;
            for row in 0..batch.num_rows() {
                let (key, order) = (keys.row(row), orders.row(row));
                self.chains.see(key.data(), order.data(), None, seen);
            }
        }
        Ok(())
    }
}
