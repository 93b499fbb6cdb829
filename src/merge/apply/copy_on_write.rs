//! Copy-on-write: files with rows that go are written again, without those rows.

use std::collections::{BTreeSet, HashMap};

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use futures::TryStreamExt;

use super::writer;
use crate::lake::read::scan::FileTask;
use crate::lake::write::data::DataWriter;
use crate::lake::write::position_deletes::DeletedRows;
use crate::lake::{Lake, Uncommitted};
use crate::merge::MergeError;
use crate::merge::lookup::Target;
use crate::merge::output::{arrow_error, divided, joined};

/// Writes files again without their rows that go; the first thread goes on with the writer of the new rows. Returns
/// what is written, and the paths of the files that it replaces.
pub(super) async fn rewrite(
    lake: &Lake,
    target: &Target,
    gone: Vec<DeletedRows>,
    new: DataWriter,
    threads: usize,
) -> Result<(Uncommitted, BTreeSet<String>), MergeError> {
    let remove = gone.iter().map(|gone| gone.file.path().to_owned()).collect();
    // A file that loses all rows is not read.
    let loses_all = |gone: &DeletedRows| gone.file.rows() == Some(gone.positions.len());
    let mut gone: HashMap<String, DeletedRows> = gone
        .into_iter()
        .filter(|gone| !loses_all(gone))
        .map(|gone| (gone.file.path().to_owned(), gone))
        .collect();
    let files: Vec<FileTask> = gone.values().map(|gone| gone.file.clone()).collect();
    let mut running = tokio::task::JoinSet::new();
    let mut new = Some(new);
    for share in divided(&files, threads) {
        let writer = match new.take() {
            Some(writer) => writer,
            None => writer(lake, target)?,
        };
        let mut rewriter = Rewriter { lake: lake.clone(), target: target.clone(), writer };
        let mut work: Vec<DeletedRows> =
            share.iter().filter_map(|(_, file)| gone.remove(file.path())).collect();
        work.sort_by(|a, b| a.file.path().cmp(b.file.path()));
        running.spawn(async move {
            for gone in &work {
                rewriter.rest_of(gone).await?;
            }
            Ok(rewriter.writer.close().await?)
        });
    }
    let mut add = Uncommitted::nothing(lake);
    for files in joined(running, &target.rules).await? {
        add.extend(files);
    }
    Ok((add, remove))
}

struct Rewriter {
    lake: Lake,
    target: Target,
    writer: DataWriter,
}

impl Rewriter {
    /// Writes the rows of a file that stay.
    async fn rest_of(&mut self, gone: &DeletedRows) -> Result<(), MergeError> {
        let Target { table, schema, rules } = &self.target;
        let columns = schema.column_names();
        let mut rows = self.lake.read_rows(table, schema, &gone.file, &columns).await?;
        while let Some(rows) = rows.try_next().await? {
            let positions = rows.positions.values().iter();
            let stays: BooleanArray =
                positions.map(|p| Some(!gone.positions.contains(*p))).collect();
            let rest =
                filter_record_batch(&rows.batch, &stays).map_err(|e| arrow_error(rules, e))?;
            self.writer.write(&rest).await?;
        }
        Ok(())
    }
}
