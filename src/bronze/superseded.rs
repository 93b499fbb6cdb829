//! Reading again: the rows that an object version once gave go in the commit that brings its new ones.
//!
//! Rows are named in delete files, and a data file that loses all of its rows goes with them. Silver sees from the
//! snapshot that rows were replaced: [`properties::SUPERSEDED`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;
use futures::TryStreamExt;
use roaring::RoaringTreemap;

use super::Bronze;
use crate::lake::read::rows::Rows;
use crate::lake::read::scan::{Bounds, FileTask};
use crate::lake::write::position_deletes::{DeleteFiles, DeletedRows};
use crate::lake::{LakeError, Table, Uncommitted};
use crate::source::ObjectId;

const URI: &str = "_source_uri";
const VERSION: &str = "_source_version";
const TIME: &str = "_event_time";
const SEQUENCE: &str = "_source_sequence";

/// Rows that go.
pub(super) struct Superseded {
    /// Object versions that are read again.
    pub(super) versions: usize,
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

/// Object versions, as the rows of bronze name them.
pub(super) struct Versions<'a>(HashSet<(&'a str, &'a str, i64)>);

impl<'a> Versions<'a> {
    pub(super) fn of(ids: impl IntoIterator<Item = &'a ObjectId>) -> Self {
        let version =
            |id: &'a ObjectId| (id.uri.as_str(), id.version.as_str(), id.last_modified.timestamp());
        Self(ids.into_iter().map(version).collect())
    }

    /// The rows of a batch that are of one of them; none where the batch does not say where its rows come from.
    pub(super) fn rows_in(&self, batch: &RecordBatch) -> impl Iterator<Item = usize> {
        let texts = |name| batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
        let time = batch.column_by_name(TIME);
        let time = time.and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        let columns = texts(URI).zip(texts(VERSION)).zip(time);
        (0..batch.num_rows()).filter(move |row| {
            columns.is_some_and(|((uri, version), time)| {
                let second = time.value(*row).div_euclid(1_000_000);
                // Rows that others appended have no source.
                let has_source = uri.is_valid(*row) && version.is_valid(*row);
                has_source && self.0.contains(&(uri.value(*row), version.value(*row), second))
            })
        })
    }

    /// What bounds their rows.
    fn bounds(&self) -> Vec<Bounds> {
        let uris = || self.0.iter().map(|(uri, ..)| *uri);
        let seconds = || self.0.iter().map(|(.., second)| *second);
        let text = |uri: &str| -> ArrayRef { Arc::new(StringArray::from(vec![uri])) };
        let micros = |second: i64| -> ArrayRef {
            let micros = TimestampMicrosecondArray::from(vec![second * 1_000_000]);
            Arc::new(micros.with_timezone("+00:00"))
        };
        let uri = uris().min().zip(uris().max()).map(|(least, greatest)| Bounds {
            column: URI.to_owned(),
            least: text(least),
            greatest: text(greatest),
        });
        let time = seconds().min().zip(seconds().max()).map(|(least, greatest)| Bounds {
            column: TIME.to_owned(),
            least: micros(least),
            greatest: micros(greatest + 1),
        });
        uri.into_iter().chain(time).collect()
    }
}

impl Bronze {
    /// The rows of these object versions in a state of bronze, as a commit on that state removes them.
    pub(super) async fn superseded(
        &self,
        base: &Table,
        ids: &HashSet<ObjectId>,
    ) -> Result<Superseded, LakeError> {
        let deletes = DeleteFiles::nothing(&self.lake);
        let mut superseded = Superseded { versions: ids.len(), deletes, removed: BTreeSet::new() };
        if ids.is_empty() {
            return Ok(superseded);
        }
        let versions = Versions::of(ids);
        for file in self.files_with(base, &versions).await? {
            let columns = [URI, VERSION, TIME].map(str::to_owned);
            let mut rows = self.lake.read_rows(base, base.schema(), &file, &columns).await?;
            let (mut positions, mut live) = (RoaringTreemap::new(), 0);
            while let Some(rows) = rows.try_next().await? {
                live += rows.batch.num_rows() as u64;
                let found = versions.rows_in(&rows.batch);
                positions.extend(found.map(|row| rows.positions.value(row)));
            }
            if positions.is_empty() {
                continue;
            }
            if positions.len() == live {
                superseded.removed.insert(file.path().to_owned());
                continue;
            }
            let rows = vec![DeletedRows { file, positions }];
            superseded.deletes.extend(self.lake.write_position_deletes(base, rows).await?);
        }
        Ok(superseded)
    }

    /// The sequences of the rows of these object versions, by object: those that have one.
    pub(super) async fn sequences(
        &self,
        base: &Table,
        ids: &HashSet<ObjectId>,
    ) -> Result<HashMap<ObjectId, String>, LakeError> {
        let mut sequences = HashMap::new();
        if base.schema().arrow().field_with_name(SEQUENCE).is_err() {
            return Ok(sequences);
        }
        let versions = Versions::of(ids);
        for file in self.files_with(base, &versions).await? {
            let columns = [URI, VERSION, TIME, SEQUENCE].map(str::to_owned);
            let mut rows = self.lake.read_rows(base, base.schema(), &file, &columns).await?;
            while let Some(Rows { batch, .. }) = rows.try_next().await? {
                let values = batch.column(3).as_string::<i32>();
                for row in versions.rows_in(&batch).filter(|row| values.is_valid(*row)) {
                    let text = |index: usize| batch.column(index).as_string::<i32>().value(row);
                    let time = batch.column(2).as_primitive::<TimestampMicrosecondType>();
                    let id = ObjectId {
                        uri: text(0).to_owned(),
                        version: text(1).to_owned(),
                        last_modified: time.value_as_datetime(row).unwrap_or_default().and_utc(),
                    };
                    sequences.entry(id).or_insert_with(|| values.value(row).to_owned());
                }
            }
        }
        Ok(sequences)
    }

    async fn files_with(
        &self,
        base: &Table,
        versions: &Versions<'_>,
    ) -> Result<Vec<FileTask>, LakeError> {
        self.lake.files_of(base, None, &versions.bounds()).await
    }
}
