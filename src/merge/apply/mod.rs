//! Carrying out plans: which files are written for them.
//!
//! The plans of a merge come one after another, each for a range of keys. Their new rows are written as they come.
//! Rows that go are collected, by data file; once all are known, the files are changed in the way of the mode.

mod copy_on_write;
mod merge_on_read;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use arrow::array::RecordBatch;

use super::lookup::Target;
use super::newest::Newest;
use super::output::{shaped, write_winners};
use super::plan::{Plan, RowAt};
use super::{MergeError, MergeMode};
use crate::lake::read::scan::FileTask;
use crate::lake::write::data::DataWriter;
use crate::lake::write::position_deletes::{DeleteFiles, DeletedRows};
use crate::lake::{Lake, Uncommitted};

/// Files written, and the paths of those that go.
pub(super) struct Applied {
    pub(super) add: Uncommitted,
    pub(super) deletes: DeleteFiles,
    pub(super) remove: BTreeSet<String>,
}

/// A merge in progress.
pub(super) struct Changes {
    lake: Lake,
    target: Target,
    threads: usize,
    /// New rows, and those that replace others.
    new: DataWriter,
    /// By path.
    gone: BTreeMap<String, DeletedRows>,
}

impl Changes {
    pub(super) fn new(lake: &Lake, target: &Target, threads: usize) -> Result<Self, MergeError> {
        let (lake, target) = (lake.clone(), target.clone());
        let new = writer(&lake, &target)?;
        Ok(Self { lake, target, threads, new, gone: BTreeMap::new() })
    }

    /// Adds what one plan does; `files` are those that were searched for it.
    pub(super) async fn add(
        &mut self,
        newest: &Newest,
        files: &[FileTask],
        plan: &Plan<'_>,
    ) -> Result<(), MergeError> {
        self.take_out(files, &plan.gone);
        let schema = self.target.schema.arrow();
        write_winners(&mut self.new, newest, &plan.written, (&self.target.rules, schema)).await
    }

    /// Adds rows of the source that are new.
    pub(super) async fn insert(&mut self, rows: RecordBatch) -> Result<(), MergeError> {
        let rows = shaped(rows, (&self.target.rules, self.target.schema.arrow()))?;
        Ok(self.new.write(&rows).await?)
    }

    /// Where rows that come are written.
    pub(super) fn new_rows(&mut self) -> &mut DataWriter {
        &mut self.new
    }

    /// Notes rows that go, sorted by file and position, in these files.
    pub(super) fn take_out(&mut self, files: &[FileTask], gone: &[RowAt]) {
        for of_file in gone.chunk_by(|a, b| a.file == b.file) {
            let Some(file) = of_file.first().and_then(|at| files.get(at.file)) else { continue };
            let positions = of_file.iter().map(|at| at.position);
            match self.gone.get_mut(file.path()) {
                Some(gone) => gone.positions.extend(positions),
                None => {
                    let gone = DeletedRows { file: file.clone(), positions: positions.collect() };
                    self.gone.insert(file.path().to_owned(), gone);
                }
            }
        }
    }

    /// Changes the files.
    pub(super) async fn finish(self) -> Result<Applied, MergeError> {
        let Self { lake, target, threads, new, gone } = self;
        let gone: Vec<DeletedRows> = gone.into_values().collect();
        match target.rules.mode {
            MergeMode::CopyOnWrite => {
                let (add, remove) =
                    copy_on_write::rewrite(&lake, &target, gone, new, threads).await?;
                Ok(Applied { add, deletes: DeleteFiles::nothing(&lake), remove })
            }
            MergeMode::MergeOnRead => {
                merge_on_read::delete(&lake, &target, gone, new, threads).await
            }
        }
    }
}

fn writer(lake: &Lake, target: &Target) -> Result<DataWriter, MergeError> {
    let writer = DataWriter::new(lake, &target.table, &target.schema)?;
    Ok(writer.with_bounds_on(&target.rules.kept()))
}
