//! Copy-on-write: files with rows that go are written again, without those rows and with their replacements.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use futures::TryStreamExt;

use super::Applied;
use crate::lake::read::scan::FileTask;
use crate::lake::write::data::DataWriter;
use crate::lake::{Lake, Uncommitted};
use crate::merge::MergeError;
use crate::merge::lookup::{Found, Target};
use crate::merge::newest::{Newest, Winner};
use crate::merge::output::{arrow_error, divided, joined, write_winners};
use crate::merge::plan::{Gone, Key};

/// What happens to one file.
#[derive(Default)]
struct Rewrite {
    gone: HashSet<u64>,
    instead: Vec<Key>,
}

/// Carries out a plan: rows that go, and keys that are new; new rows go to the first thread, sorted by key.
pub(in crate::merge) async fn apply(
    lake: &Lake,
    target: &Target,
    newest: &Arc<Newest>,
    found: &Found,
    (gone, mut inserts): (Vec<Gone>, Vec<Key>),
    threads: usize,
) -> Result<Applied, MergeError> {
    let mut rewrites: HashMap<usize, Rewrite> = HashMap::new();
    for Gone { at, instead } in gone {
        let rewrite = rewrites.entry(at.file).or_default();
        rewrite.gone.insert(at.position);
        rewrite.instead.extend(instead);
    }
    let mut touched: Vec<usize> = rewrites.keys().copied().collect();
    touched.sort_unstable();
    let files: Vec<FileTask> = touched.iter().map(|index| found.files[*index].clone()).collect();
    let remove = files.iter().map(|file| file.path().to_owned()).collect();
    let mut running = tokio::task::JoinSet::new();
    for share in divided(&files, threads) {
        let writer = DataWriter::new(lake, &target.table, &target.schema)?;
        let writer = writer.with_bounds_on(&target.rules.kept());
        let mut rewriter =
            Rewriter { lake: lake.clone(), target: target.clone(), newest: newest.clone(), writer };
        let work: Vec<(FileTask, Rewrite)> = share
            .into_iter()
            .filter_map(|(index, file)| Some((file, rewrites.remove(&touched[index])?)))
            .collect();
        let inserts = std::mem::take(&mut inserts);
        running.spawn(async move {
            rewriter.run(work, &inserts).await?;
            Ok(rewriter.writer.close().await?)
        });
    }
    let mut add = Uncommitted::nothing(lake);
    for files in joined(running, &target.rules).await? {
        add.extend(files);
    }
    Ok(Applied { remove, ..Applied::added(lake, add) })
}

struct Rewriter {
    lake: Lake,
    target: Target,
    newest: Arc<Newest>,
    writer: DataWriter,
}

impl Rewriter {
    async fn run(
        &mut self,
        work: Vec<(FileTask, Rewrite)>,
        inserts: &[Key],
    ) -> Result<(), MergeError> {
        for (file, rewrite) in work {
            if file.rows() != Some(rewrite.gone.len() as u64) {
                self.rest_of(&file, &rewrite.gone).await?;
            }
            self.winners(&rewrite.instead).await?;
        }
        self.winners(inserts).await
    }

    /// The rows of a file that stay.
    async fn rest_of(&mut self, file: &FileTask, gone: &HashSet<u64>) -> Result<(), MergeError> {
        let Target { table, schema, rules } = &self.target;
        let columns: Vec<String> =
            schema.arrow().fields().iter().map(|f| f.name().clone()).collect();
        let mut rows = self.lake.read_rows(table, schema, file, &columns).await?;
        while let Some(rows) = rows.try_next().await? {
            let positions = rows.positions.values().iter();
            let stays: BooleanArray = positions.map(|p| Some(!gone.contains(p))).collect();
            let rest =
                filter_record_batch(&rows.batch, &stays).map_err(|e| arrow_error(rules, e))?;
            self.writer.write(&rest).await?;
        }
        Ok(())
    }

    async fn winners(&mut self, keys: &[Key]) -> Result<(), MergeError> {
        let newest = self.newest.clone();
        let winners: Vec<&Winner> = keys.iter().filter_map(|key| newest.get(key)).collect();
        let target = (&self.target.rules, self.target.schema.arrow());
        write_winners(&mut self.writer, &newest, &winners, target).await
    }
}
