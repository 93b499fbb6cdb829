//! Writing a merge: files with replaced rows again without them, replacements and new rows.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use futures::TryStreamExt;

use crate::lake::write::data::DataWriter;
use crate::lake::{DataFile, Lake, Table, TableSchema};
use crate::merge::newest::{Newest, Winner};
use crate::merge::output::{arrow_error, joined, shares, write_winners};
use crate::merge::plan::Rewrite;
use crate::merge::{MergeError, MergeRules};

/// Writes all of it; new rows go to the first lane, sorted by key.
pub(in crate::merge) async fn rewrite(
    (lake, target, schema): (&Lake, &Table, &TableSchema),
    rules: &MergeRules,
    newest: &Arc<Newest>,
    rewrites: Vec<Rewrite>,
    inserts: &[Box<[u8]>],
    lanes: usize,
) -> Result<Vec<DataFile>, MergeError> {
    let files = rewrites.iter().map(|r| r.file.clone()).collect();
    let mut by_path: std::collections::HashMap<String, Rewrite> =
        rewrites.into_iter().map(|r| (r.file.path().to_owned(), r)).collect();
    let mut running = tokio::task::JoinSet::new();
    for (index, share) in shares(files, lanes).into_iter().enumerate() {
        let mut lane = Lane {
            lake: lake.clone(),
            target: target.clone(),
            schema: schema.clone(),
            rules: rules.clone(),
            newest: newest.clone(),
            writer: DataWriter::new(lake, target, schema)?.with_bounds_on(&rules.kept()),
        };
        let work: Vec<Rewrite> =
            share.iter().filter_map(|file| by_path.remove(file.path())).collect();
        let inserts = if index == 0 { inserts.to_vec() } else { vec![] };
        running.spawn(async move {
            match lane.run(work, &inserts).await {
                Ok(()) => Ok(lane.writer.close().await?),
                Err(error) => {
                    lane.writer.abandon().await;
                    Err(error)
                }
            }
        });
    }
    joined(running, rules).await
}

struct Lane {
    lake: Lake,
    target: Table,
    schema: TableSchema,
    rules: MergeRules,
    newest: Arc<Newest>,
    writer: DataWriter,
}

impl Lane {
    async fn run(&mut self, work: Vec<Rewrite>, inserts: &[Box<[u8]>]) -> Result<(), MergeError> {
        for rewrite in work {
            self.rest_of(&rewrite).await?;
            self.winners(&rewrite.instead).await?;
        }
        self.winners(inserts).await
    }

    /// The rows of a file that stay.
    async fn rest_of(&mut self, rewrite: &Rewrite) -> Result<(), MergeError> {
        let fields = self.schema.arrow().fields();
        let columns: Vec<String> = fields.iter().map(|f| f.name().clone()).collect();
        let gone: HashSet<u64> = rewrite.gone.iter().copied().collect();
        let mut batches =
            self.lake.read_file(&self.target, &self.schema, &rewrite.file, &columns)?;
        let mut position = 0;
        while let Some(batch) = batches.try_next().await? {
            let rows = batch.num_rows() as u64;
            let stays: BooleanArray =
                (position..position + rows).map(|p| Some(!gone.contains(&p))).collect();
            position += rows;
            let rest =
                filter_record_batch(&batch, &stays).map_err(|e| arrow_error(&self.rules, e))?;
            self.writer.write(&rest).await?;
        }
        Ok(())
    }

    async fn winners(&mut self, keys: &[Box<[u8]>]) -> Result<(), MergeError> {
        let newest = self.newest.clone();
        let winners: Vec<&Winner> = keys.iter().filter_map(|key| newest.get(key)).collect();
        let place = (&self.rules, self.schema.arrow());
        write_winners(&mut self.writer, &newest, &winners, place).await
    }
}
