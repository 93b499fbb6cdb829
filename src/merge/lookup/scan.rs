//! The key columns of the target's files are read and compared with the newest source rows.

use std::sync::Arc;

use futures::TryStreamExt;

use crate::lake::read::scan::FileTask;
use crate::lake::{Lake, Table, TableSchema};
use crate::merge::newest::Newest;
use crate::merge::order::Encoder;
use crate::merge::output::arrow_error;
use crate::merge::plan::{Probed, Verdict};
use crate::merge::{MergeError, MergeRules};

/// Reads files of the target.
pub(in crate::merge) struct Prober {
    pub(in crate::merge) lake: Lake,
    pub(in crate::merge) target: Table,
    pub(in crate::merge) schema: TableSchema,
    pub(in crate::merge) rules: MergeRules,
    pub(in crate::merge) newest: Arc<Newest>,
}

impl Prober {
    /// What a file holds of the source's keys.
    pub(in crate::merge) async fn probe(
        &self,
        file: FileTask,
    ) -> Result<Option<Probed>, MergeError> {
        let arrow = |e| arrow_error(&self.rules, e);
        let columns = self.rules.kept();
        let mut batches = self.lake.read_file(&self.target, &self.schema, &file, &columns)?;
        let mut encoders: Option<(Encoder, Encoder)> = None;
        let mut hits = Vec::new();
        let mut position = 0;
        while let Some(batch) = batches.try_next().await? {
            if encoders.is_none() {
                let schema = batch.schema();
                encoders = Some((
                    Encoder::new(&schema, &self.rules.keys).map_err(arrow)?,
                    Encoder::new(&schema, &self.rules.order).map_err(arrow)?,
                ));
            }
            let Some((keys, order)) = &encoders else { continue };
            let keys = keys.encode(&batch).map_err(arrow)?;
            let mut orders = None;
            for row in 0..batch.num_rows() {
                let key = keys.row(row);
                let Some(winner) = self.newest.get(key.as_ref()) else { continue };
                // Orders are long; most batches have no hit.
                if orders.is_none() {
                    orders = Some(order.encode(&batch).map_err(arrow)?);
                }
                let Some(orders) = &orders else { continue };
                let verdict = match orders.row(row).as_ref().cmp(&*winner.order) {
                    std::cmp::Ordering::Less => Verdict::Replace,
                    std::cmp::Ordering::Equal => Verdict::Same,
                    std::cmp::Ordering::Greater => Verdict::Late,
                };
                hits.push((position + row as u64, key.as_ref().into(), verdict));
            }
            position += batch.num_rows() as u64;
        }
        Ok((!hits.is_empty()).then_some(Probed { file, hits }))
    }
}
