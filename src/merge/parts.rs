//! The source of a merge, read once: the newest row of each key, or its versions, as much as fits into memory at a
//! time (I7).

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};

use super::judge::Screen;
use super::newest::{Newest, Reduction};
use super::output::{arrow_error, nullable};
use super::spill::{Merging, Part, Runs};
use super::{MergeError, MergeRules};
use crate::lake::read::arrow::conform;
use crate::sql::SqlError;
use crate::sql::select::DELETED;

/// A range of keys.
pub(super) enum Piece {
    /// To be compared with the target.
    Part(Box<Part>),
    /// For a target that has no rows, sorted by key; the last column says which rows delete.
    Sorted(RecordBatch),
}

/// The newest rows, or the versions, of a source, in pieces, in the order of the keys.
pub(super) struct Parts {
    rest: Rest,
    rules: MergeRules,
    /// Rows of the source.
    pub(super) rows: u64,
    /// Rows skipped because of a null in their key.
    pub(super) null_key_rows: u64,
}

/// What is left of them.
enum Rest {
    Nothing,
    Whole(Box<Newest>),
    /// The next piece is made while the one before is merged.
    Spilled(BoxFuture<'static, Result<(Merging, Option<Piece>), MergeError>>),
}

impl Parts {
    /// Reads the source, as rows of `schema`: those that the screen lets in. They are sorted only, as far as that will
    /// do, where the target is made `from_nothing`.
    pub(super) async fn read(
        (rules, from_nothing): (&MergeRules, bool),
        schema: &SchemaRef,
        mut rows: SendableRecordBatchStream,
        screen: &mut Screen<'_>,
    ) -> Result<Self, MergeError> {
        // A null may come where the target allows none: see `write_winners`.
        let reduction = Reduction::of(rules, &nullable(schema));
        let arrow = |e| arrow_error(rules, e);
        let failed = |e| SqlError::of(&format!("silver table {}: its SQL", rules.table), e);
        let sorted_only = from_nothing && !reduction.versions;
        let mut gathering = Gathering::new(rules, reduction)?;
        while let Some(batch) = rows.try_next().await.map_err(failed)? {
            let batch = screen.pass(batch).map_err(arrow)?;
            let deleted = flags(&batch, DELETED);
            let batch = conform(&rules.table, batch, &gathering.reduction.schema)?;
            gathering.newest.push(batch, &deleted).map_err(arrow)?;
            gathering.spill_if_full().await?;
        }
        gathering.finish(sorted_only).await
    }

    /// The next piece; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>, MergeError> {
        match std::mem::replace(&mut self.rest, Rest::Nothing) {
            Rest::Nothing => Ok(None),
            Rest::Whole(newest) if newest.is_empty() => Ok(None),
            Rest::Whole(newest) => Ok(Some(Piece::Part(Box::new(Part::whole(*newest))))),
            Rest::Spilled(coming) => {
                let (merging, piece) = coming.await?;
                if let Some(piece) = &piece {
                    let sorted_only = matches!(piece, Piece::Sorted(_));
                    self.rest = Rest::Spilled(next_piece(&self.rules, merging, sorted_only));
                }
                Ok(piece)
            }
        }
    }
}

/// A column of flags; where there is none, none is set.
fn flags(batch: &RecordBatch, name: &str) -> BooleanArray {
    match batch.column_by_name(name) {
        Some(flags) => flags.as_boolean().clone(),
        None => BooleanArray::from(vec![false; batch.num_rows()]),
    }
}

/// A part takes half of the memory: the one before it is merged meanwhile.
fn next_piece(
    rules: &MergeRules,
    mut merging: Merging,
    sorted_only: bool,
) -> BoxFuture<'static, Result<(Merging, Option<Piece>), MergeError>> {
    let half = rules.memory / 2;
    blocking(rules, move || {
        let piece = match sorted_only {
            true => merging.next_rows()?.map(Piece::Sorted),
            false => merging.next_part(half)?.map(|part| Piece::Part(Box::new(part))),
        };
        Ok((merging, piece))
    })
}

/// Work with files, beside what goes on; it starts at once.
fn blocking<T: Send + 'static>(
    rules: &MergeRules,
    work: impl FnOnce() -> Result<T, ArrowError> + Send + 'static,
) -> BoxFuture<'static, Result<T, MergeError>> {
    let (running, table) = (tokio::task::spawn_blocking(work), rules.table.clone());
    let ended = async move {
        match running.await {
            Ok(done) => done.map_err(|source| MergeError::Spill { table, source }),
            Err(panic) => Err(MergeError::Panicked { table, why: panic.to_string() }),
        }
    };
    ended.boxed()
}

/// Rows as they come: what does not fit is written to disk.
struct Gathering<'a> {
    rules: &'a MergeRules,
    reduction: Reduction,
    newest: Newest,
    /// On disk, or on the way there.
    spilled: Option<BoxFuture<'static, Result<Runs, MergeError>>>,
    rows: u64,
    null_key_rows: u64,
}

impl<'a> Gathering<'a> {
    fn new(rules: &'a MergeRules, reduction: Reduction) -> Result<Self, MergeError> {
        let newest = Newest::new(&reduction).map_err(|e| arrow_error(rules, e))?;
        Ok(Self { rules, reduction, newest, spilled: None, rows: 0, null_key_rows: 0 })
    }

    async fn spill_if_full(&mut self) -> Result<(), MergeError> {
        let arrow = |e| arrow_error(self.rules, e);
        let memory = match self.spilled {
            None => self.rules.memory,
            Some(_) => self.rules.memory / 2,
        };
        if !self.newest.is_full(memory).map_err(arrow)? {
            return Ok(());
        }
        let full = Newest::new(&self.reduction).map_err(arrow)?;
        let full = std::mem::replace(&mut self.newest, full);
        self.spill(full).await
    }

    async fn spill(&mut self, newest: Newest) -> Result<(), MergeError> {
        self.rows += newest.rows;
        self.null_key_rows += newest.null_key_rows;
        let half = self.rules.memory / 2;
        let is_first = self.spilled.is_none();
        let mut runs = match self.spilled.take() {
            None => Runs::new(&self.reduction, half),
            Some(spilled) => spilled.await?,
        };
        let written = blocking(self.rules, move || {
            runs.add(newest)?;
            Ok(runs)
        });
        // The first one takes all of the memory; beside a later one the next is gathered.
        self.spilled = Some(match is_first {
            true => futures::future::ready(Ok(written.await?)).boxed(),
            false => written,
        });
        Ok(())
    }

    async fn finish(mut self, sorted_only: bool) -> Result<Parts, MergeError> {
        if self.spilled.is_some() {
            let nothing = Newest::new(&self.reduction).map_err(|e| arrow_error(self.rules, e))?;
            let last = std::mem::replace(&mut self.newest, nothing);
            self.spill(last).await?;
        }
        let (rows, null_key_rows) =
            (self.rows + self.newest.rows, self.null_key_rows + self.newest.null_key_rows);
        let rest = match self.spilled {
            None => Rest::Whole(Box::new(self.newest)),
            Some(spilled) => {
                let runs = spilled.await?;
                tracing::debug!(table = %self.rules.table, rows, "source rows spilled to disk");
                let merging = blocking(self.rules, move || runs.merged()).await?;
                Rest::Spilled(next_piece(self.rules, merging, sorted_only))
            }
        };
        Ok(Parts { rest, rules: self.rules.clone(), rows, null_key_rows })
    }
}
