//! What the objects table says of each object version, by print, brought up to date by what its snapshots added.
//!
//! A batch reads the files that are new since the one before. Files that others replaced hold the same rows and are
//! not read again; where rows were removed or the table was rolled back, the index is read anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::TryStreamExt;
use tokio::sync::Mutex;

use super::print::Print;
use super::{Attempt, READ_FILES, rows};
use crate::lake::position::{Position, Standing, standing};
use crate::lake::read::diff::{Did, Since};
use crate::lake::read::scan::FileTask;
use crate::lake::{Lake, LakeError, Table};
use crate::source::ObjectId;

/// Attempts by print: the one that counts.
pub(super) type Attempts = BTreeMap<Print, Attempt>;

/// See the module.
#[derive(Debug)]
pub(super) struct Index {
    state: Mutex<State>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    /// The state of the objects table that was read.
    through: Option<Position>,
    published: Published,
    /// Of files that are not published yet, by path: few, and forgotten once no view names them.
    unpublished: HashMap<String, Arc<Attempts>>,
}

#[derive(Debug)]
enum Published {
    Known(Attempts),
    /// More than memory may hold: they are looked up in the files.
    TooMany,
}

impl Default for Published {
    fn default() -> Self {
        Self::Known(Attempts::new())
    }
}

/// An objects table, and the files beside it that bronze names and that are not published yet.
pub(super) struct Files<'a> {
    pub(super) lake: &'a Lake,
    pub(super) objects: &'a Table,
    pub(super) unpublished: &'a [FileTask],
}

/// What is asked of the index.
pub(super) enum Asked<'a> {
    /// These versions.
    Exactly(&'a [ObjectId]),
    /// These versions, whatever their LastModified was.
    AtAnyTime(&'a [ObjectId]),
}

impl Index {
    /// An index of at most so many object versions.
    pub(super) fn of(capacity: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), capacity })
    }

    /// The attempts that count, by their index in what is asked; none where there are too many object versions for
    /// an index.
    pub(super) async fn find(
        &self,
        files: &Files<'_>,
        asked: Asked<'_>,
    ) -> Result<Option<Vec<(usize, Attempt)>>, LakeError> {
        let mut state = self.state.lock().await;
        self.catch_up(&mut state, files).await?;
        let Published::Known(published) = &state.published else { return Ok(None) };
        let mut found = Vec::new();
        let known: Vec<&Attempts> =
            std::iter::once(published).chain(state.unpublished.values().map(|a| &**a)).collect();
        let ids = match &asked {
            Asked::Exactly(ids) | Asked::AtAnyTime(ids) => ids,
        };
        for (index, id) in ids.iter().enumerate() {
            let of_id = known.iter().flat_map(|attempts| {
                let (least, greatest) = match asked {
                    Asked::Exactly(_) => (Print::of(id), Print::of(id)),
                    Asked::AtAnyTime(_) => Print::of_version(&id.uri, &id.version),
                };
                attempts.range(least..=greatest).map(|(_, attempt)| *attempt)
            });
            found.extend(of_id.max_by_key(Attempt::rank).map(|attempt| (index, attempt)));
        }
        Ok(Some(found))
    }

    /// Brings the index up to a state of the objects table, and of the files that are not published.
    async fn catch_up(&self, state: &mut State, files: &Files<'_>) -> Result<(), LakeError> {
        // The ledger only grows.
        if matches!(state.published, Published::TooMany) {
            state.unpublished.clear();
            return Ok(());
        }
        let named = |path: &String| files.unpublished.iter().any(|file| file.path() == path);
        state.unpublished.retain(|path, _| named(path));
        for file in files.unpublished {
            if !state.unpublished.contains_key(file.path()) {
                let mut attempts = Attempts::new();
                read(files, vec![file.clone()], usize::MAX, &mut attempts).await?;
                state.unpublished.insert(file.path().to_owned(), Arc::new(attempts));
            }
        }
        let Some(tip) = files.objects.current() else {
            (state.through, state.published) = (None, Published::default());
            return Ok(());
        };
        let tip = Position::of(files.objects, &tip);
        // A view that is older than the index asks it all the same: what it knows more is in bronze, too.
        let is_ahead = |through| standing(files.objects, through) == Standing::Ahead;
        if state.through.as_ref() == Some(&tip) || state.through.as_ref().is_some_and(is_ahead) {
            return Ok(());
        }
        let added = self.added(state, files).await?;
        // A read that fails half-way is done again.
        if let Published::Known(known) = &mut state.published
            && !read(files, added, self.capacity, known).await?
        {
            state.published = Published::TooMany;
        }
        state.through = Some(tip);
        Ok(())
    }

    /// The files with rows that the index lacks; it is emptied where it may have too many.
    async fn added(
        &self,
        state: &mut State,
        files: &Files<'_>,
    ) -> Result<Vec<FileTask>, LakeError> {
        let Files { lake, objects, .. } = files;
        let anew = state.through.is_none();
        let since = match lake.since(objects, state.through.as_ref()).await {
            Ok(Since::Snapshots(snapshots)) if !anew => snapshots,
            Ok(_) | Err(LakeError::RolledBack { .. }) => return all(state, files).await,
            Err(error) => return Err(error),
        };
        if since.iter().any(|snapshot| Did::parse(&snapshot.operation).removes_rows()) {
            return all(state, files).await;
        }
        let mut added = Vec::new();
        for snapshot in &since {
            added.extend(lake.step(objects, snapshot).await?.new_rows());
        }
        Ok(added)
    }
}

async fn all(state: &mut State, files: &Files<'_>) -> Result<Vec<FileTask>, LakeError> {
    (state.through, state.published) = (None, Published::default());
    files.lake.files_of(files.objects, None, &[]).await
}

/// Adds what files say; false where it would be more than `capacity`.
async fn read(
    files: &Files<'_>,
    from: Vec<FileTask>,
    capacity: usize,
    attempts: &mut Attempts,
) -> Result<bool, LakeError> {
    // A file that does not say is taken for a large one.
    let more: usize = from.iter().map(|file| file.rows().unwrap_or(1 << 32) as usize).sum();
    if attempts.len().saturating_add(more) > capacity {
        return Ok(false);
    }
    let mut batches = batches(files.lake, files.objects, from);
    while let Some(batch) = batches.try_next().await? {
        for (id, attempt) in rows::attempts(files.objects.name(), &batch, None)? {
            keep_newest(attempts, Print::of(&id), attempt);
        }
    }
    Ok(true)
}

fn keep_newest(attempts: &mut Attempts, print: Print, attempt: Attempt) {
    let kept = attempts.entry(print).or_insert(attempt);
    if kept.rank() < attempt.rank() {
        *kept = attempt;
    }
}

/// The rows of files of the objects table, as [`rows::attempts`] reads them.
pub(super) fn batches(
    lake: &Lake,
    objects: &Table,
    files: Vec<FileTask>,
) -> crate::lake::read::scan::Batches {
    let columns = rows::ATTEMPT_COLUMNS.map(str::to_owned);
    lake.read_files(objects, objects.schema(), files, &columns, READ_FILES)
}
