//! Reading again: the rows that an object version once gave go in the commit that brings its new ones.
//!
//! Rows are named in delete files, and a data file that loses all of its rows goes with them. Silver sees from the
//! snapshot that rows were replaced: [`crate::lake::properties::SUPERSEDED`].

use std::collections::{BTreeSet, HashMap, HashSet};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use futures::{StreamExt, TryStreamExt};
use roaring::RoaringTreemap;

use super::Bronze;
use crate::lake::read::rows::Rows;
use crate::lake::read::scan::{Bounds, FileTask};
use crate::lake::write::position_deletes::{DeleteFiles, DeletedRows};
use crate::lake::{LakeError, Table, Uncommitted};
use crate::ledger::origin::{self, Origins};
use crate::source::ObjectId;

const SEQUENCE: &str = "_source_sequence";
/// Data files read at a time.
const AT_ONCE: usize = 8;

/// Rows that go.
pub(super) struct Superseded {
    /// Object versions that are read again.
    pub(super) versions: usize,
    /// How many rows.
    pub(super) rows: u64,
    /// Those of data files that keep others.
    pub(super) deletes: DeleteFiles,
    /// Data files that lose all of their rows, by path.
    pub(super) removed: BTreeSet<String>,
}

impl Superseded {
    pub(super) fn is_empty(&self) -> bool {
        self.deletes.is_empty() && self.removed.is_empty()
    }

    /// The paths of its delete files.
    pub(super) fn paths(&self) -> Vec<String> {
        self.deletes.paths().map(str::to_owned).collect()
    }
}

/// Takes files out of those of a change that lost, and deletes them: they were for the state that it was made on.
pub(super) async fn discard(files: &mut Uncommitted, paths: &[String]) {
    for path in paths {
        if let Some(file) = files.take(path) {
            file.discard().await;
        }
    }
}

/// The rows of object versions in data files, as they were found for an attempt at a commit: the next attempt reads
/// only the files that changed since.
#[derive(Default)]
pub(super) struct Found {
    ids: HashSet<ObjectId>,
    /// By path.
    files: HashMap<String, InFile>,
}

/// What a data file has of them.
struct InFile {
    /// The delete files that were applied.
    deletes: BTreeSet<String>,
    positions: RoaringTreemap,
    /// All rows of the file that are not deleted.
    live: u64,
}

impl Found {
    /// Forgets what was found of other object versions, or under other deletes.
    fn keep(&mut self, ids: &HashSet<ObjectId>, files: &[FileTask]) {
        if self.ids != *ids {
            *self = Self { ids: ids.clone(), files: HashMap::new() };
        }
        let now: HashMap<&str, &FileTask> = files.iter().map(|file| (file.path(), file)).collect();
        self.files.retain(|path, found| {
            now.get(path.as_str()).is_some_and(|file| file.delete_paths() == found.deletes)
        });
    }
}

/// Object versions, as the rows of bronze name them.
pub(super) struct Versions<'a>(HashSet<(&'a str, &'a str, i64)>);

impl<'a> Versions<'a> {
    pub(super) fn of(ids: impl IntoIterator<Item = &'a ObjectId>) -> Self {
        let version =
            |id: &'a ObjectId| (id.uri.as_str(), id.version.as_str(), id.last_modified.timestamp());
        Self(ids.into_iter().map(version).collect())
    }

    /// The rows of a batch that are of one of them; none where the batch does not say where its rows come from.
    fn rows_in(&self, batch: &RecordBatch) -> impl Iterator<Item = usize> {
        let origins = Origins::of(batch);
        (0..batch.num_rows()).filter(move |row| {
            let version = origins.as_ref().and_then(|origins| origins.at(*row));
            version.is_some_and(|version| self.0.contains(&version))
        })
    }

    /// For each row of a batch, whether it is of none of them.
    pub(super) fn others(&self, batch: &RecordBatch) -> BooleanArray {
        let mut others = vec![true; batch.num_rows()];
        self.rows_in(batch).for_each(|row| others[row] = false);
        BooleanArray::from(others)
    }

    /// What bounds their rows.
    fn bounds(&self) -> Vec<Bounds> {
        let uri = Bounds::of_texts(origin::URI, self.0.iter().map(|(uri, ..)| *uri));
        let time = Bounds::of_seconds(origin::MODIFIED, self.0.iter().map(|(.., second)| *second));
        uri.into_iter().chain(time).collect()
    }
}

impl Bronze {
    /// The rows of these object versions in a state of bronze, as a commit on that state removes them.
    pub(super) async fn superseded(
        &self,
        base: &Table,
        ids: &HashSet<ObjectId>,
        found: &mut Found,
    ) -> Result<Superseded, LakeError> {
        let (deletes, removed) = (DeleteFiles::nothing(&self.lake), BTreeSet::new());
        let mut superseded = Superseded { versions: ids.len(), rows: 0, deletes, removed };
        if ids.is_empty() {
            return Ok(superseded);
        }
        let versions = Versions::of(ids);
        let files = self.lake.files_of(base, None, &versions.bounds()).await?;
        found.keep(ids, &files);
        self.find(base, &versions, &files, found).await?;
        for file in files {
            let Some(InFile { positions, live, .. }) = found.files.get(file.path()) else {
                continue;
            };
            if positions.is_empty() {
                continue;
            }
            superseded.rows += positions.len();
            if positions.len() < *live {
                let rows = vec![DeletedRows { file, positions: positions.clone() }];
                superseded.deletes.extend(self.lake.write_position_deletes(base, rows).await?);
            } else {
                superseded.removed.insert(file.path().to_owned());
            }
        }
        Ok(superseded)
    }

    /// Looks for the rows of these object versions in the files that were not read yet.
    async fn find(
        &self,
        base: &Table,
        versions: &Versions<'_>,
        files: &[FileTask],
        found: &mut Found,
    ) -> Result<(), LakeError> {
        let new = files.iter().filter(|file| !found.files.contains_key(file.path()));
        let reads: Vec<_> = new.map(|file| self.find_in(base, versions, file)).collect();
        let mut reads = futures::stream::iter(reads).buffer_unordered(AT_ONCE);
        while let Some((path, in_file)) = reads.try_next().await? {
            found.files.insert(path, in_file);
        }
        Ok(())
    }

    /// What a file has of these object versions, by its path.
    async fn find_in(
        &self,
        base: &Table,
        versions: &Versions<'_>,
        file: &FileTask,
    ) -> Result<(String, InFile), LakeError> {
        let columns = Origins::COLUMNS.map(str::to_owned);
        let mut rows = self.lake.read_rows(base, base.schema(), file, &columns).await?;
        let (mut positions, mut live) = (RoaringTreemap::new(), 0);
        while let Some(rows) = rows.try_next().await? {
            live += rows.batch.num_rows() as u64;
            let found = versions.rows_in(&rows.batch);
            positions.extend(found.map(|row| rows.positions.value(row)));
        }
        Ok((file.path().to_owned(), InFile { deletes: file.delete_paths(), positions, live }))
    }

    /// The sequences of the rows of these object versions, by object: those that have one.
    pub(super) async fn sequences(
        &self,
        base: &Table,
        ids: &HashSet<ObjectId>,
    ) -> Result<HashMap<ObjectId, String>, LakeError> {
        let mut sequences = HashMap::new();
        if ids.is_empty() || base.schema().arrow().field_with_name(SEQUENCE).is_err() {
            return Ok(sequences);
        }
        let versions = Versions::of(ids);
        let mut columns = Origins::COLUMNS.map(str::to_owned).to_vec();
        columns.push(SEQUENCE.to_owned());
        for file in self.lake.files_of(base, None, &versions.bounds()).await? {
            let mut rows = self.lake.read_rows(base, base.schema(), &file, &columns).await?;
            while let Some(Rows { batch, .. }) = rows.try_next().await? {
                let values = batch.column_by_name(SEQUENCE).and_then(|c| c.as_string_opt::<i32>());
                let Some((values, origins)) = values.zip(Origins::of(&batch)) else { continue };
                for row in versions.rows_in(&batch).filter(|row| values.is_valid(*row)) {
                    if let Some(id) = origins.id(row) {
                        sequences.entry(id).or_insert_with(|| values.value(row).to_owned());
                    }
                }
            }
        }
        Ok(sequences)
    }
}
