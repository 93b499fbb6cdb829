//! The ledger: which object versions have been dealt with, for good (I2).
//!
//! It is an Iceberg table of its own, `<bronze>_objects`: one row per finished attempt. A batch's rows
//! are written as one data file *before* the bronze commit and named in its properties; after it they
//! are *published* (`publish.rs`). So at any moment
//!
//! > known = the objects table ∪ the ledger files named by bronze snapshots after published-through
//!
//! and a crash between any two steps loses nothing (I3).

pub mod folder;
mod index;
pub mod origin;
mod outcome;
mod publish;
mod rejections;
mod repair;
mod rows;
mod view;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

pub use index::IndexSettings;
pub use outcome::ObjectOutcome;
pub use rejections::rejections;
pub use rows::{Attempt, ObjectRow};
pub use view::View;

use index::Index;

use crate::lake::position::{Position, consumed};
use crate::lake::read::provider::LakeTable;
use crate::lake::write::FileRef;
use crate::lake::write::data::DataWriter;
use crate::lake::{
    CommitProperties, DataFile, Lake, LakeError, SequenceNumber, Snapshot, Table, TableName,
    Uncommitted, properties,
};
use crate::source::ObjectId;
use crate::telemetry::metrics::Layer;

/// Bronze: the batch's ledger file, as JSON.
pub const FILE: &str = "silversmith.ledger-file";
/// Bronze, by older versions: the batch's ledger files, one for each day, as a JSON list.
pub const FILES: &str = "silversmith.ledger-files";
/// Objects table: where bronze was published through (a position's prefix).
pub const PUBLISHED: &str = "silversmith.published";

/// What the ledger knows of object versions: the attempt that counts.
pub type Known = HashMap<ObjectId, Attempt>;

/// The ledger of one pipeline.
#[derive(Debug, Clone)]
pub struct Ledger {
    lake: Lake,
    pipeline: String,
    bronze: TableName,
    objects: TableName,
    index: Arc<Index>,
}

impl Ledger {
    /// The ledger of the pipeline that writes `bronze`.
    pub fn new(lake: &Lake, pipeline: &str, bronze: &TableName, index: IndexSettings) -> Self {
        Self {
            lake: lake.clone(),
            pipeline: pipeline.to_owned(),
            bronze: bronze.clone(),
            objects: bronze.with_suffix("_objects"),
            index: Index::of(index, lake.ambient().clone()),
        }
    }

    /// The objects table's name.
    pub fn table(&self) -> &TableName {
        &self.objects
    }

    /// The bronze table, where there is one.
    pub async fn bronze(&self) -> Result<Option<Table>, LakeError> {
        self.lake.find(&self.bronze).await
    }

    /// The objects table, made where it is missing. Tables of older versions were partitioned by day, which made
    /// a batch write a file for each day; from now on they are not.
    pub async fn open(&self) -> Result<Table, LakeError> {
        let schema: SchemaRef = rows::schema();
        let table = self.lake.find_or_create(&self.objects, &schema, None).await?;
        let schema = table.schema().clone();
        self.lake.partitioned(table, Some(&[]), &schema).await
    }

    /// What is known of `wanted`, as of a state of bronze that was loaded before this call: see
    /// [`Ledger::view`].
    pub async fn known(
        &self,
        bronze: Option<&Table>,
        wanted: &HashSet<ObjectId>,
    ) -> Result<Known, LakeError> {
        self.view(bronze).await?.known(wanted).await
    }

    /// How far this state of bronze is published: what is above it, the ledger still needs snapshot by snapshot.
    /// Nothing is consumed where bronze was rolled back or made anew.
    pub async fn consumed(&self, bronze: &Table) -> Result<SequenceNumber, LakeError> {
        let objects = self.lake.find(&self.objects).await?;
        let published = objects.map(|objects| objects.position(PUBLISHED)).transpose()?.flatten();
        Ok(consumed(bronze, published.as_ref()))
    }

    async fn published_through(
        &self,
        bronze: &Table,
        objects: &Table,
    ) -> Result<Option<Position>, LakeError> {
        let through = objects.position(PUBLISHED)?;
        let Some(position) = &through else { return Ok(None) };
        let (_, set_back) = self.lake.set_back(bronze.clone(), position).await?;
        if set_back {
            return Err(LakeError::RolledBack {
                table: self.bronze.clone(),
                snapshot: position.snapshot,
                sequence: position.sequence,
            });
        }
        Ok(through)
    }

    /// What is to be published of this state of bronze. That a file exists is checked, unless it was `written` just
    /// now: there is none in most cases, and one after a crash.
    async fn unpublished(
        &self,
        bronze: &Table,
        objects: &Table,
        through: Option<&Position>,
        written: &[DataFile],
    ) -> Result<Unpublished, LakeError> {
        let mut files = named_after(bronze, through)?;
        let is_new = |file: &FileRef| written.iter().any(|new| new.file_path() == file.path);
        let old = files.iter().filter(|file| !is_new(file)).map(|file| file.path.as_str());
        let gone = self.lake.gone(objects, old.collect()).await?;
        let gone: HashSet<String> = gone.into_iter().map(str::to_owned).collect();
        files.retain(|file| !gone.contains(&file.path));
        if !gone.is_empty() {
            tracing::warn!(
                objects = %self.objects, files = gone.len(),
                "ledger files are gone that were not published yet: the next batch rebuilds their rows from bronze"
            );
        }
        Ok(Unpublished { files, gone: gone.len() })
    }

    /// Writes rows as a data file of the objects table, without adding it: the file, and how a snapshot property
    /// names it. There is none for no rows.
    pub async fn write(
        &self,
        objects: &Table,
        rows: &[ObjectRow],
    ) -> Result<(Uncommitted, Option<FileRef>), LakeError> {
        let mut writer = DataWriter::new(&self.lake, objects, objects.schema())?;
        writer.write(&rows::batch(rows, objects.schema().arrow(), objects.name())?).await?;
        let files = writer.close().await?;
        let named = files.files().first();
        let named = named.map(|file| FileRef::of(objects, file, rows::LAST_MODIFIED));
        Ok((files, named))
    }

    /// Records outcomes that have no rows in bronze (rejected, missing, skipped): durable when this
    /// returns. Done twice, the newest counts.
    pub async fn record(&self, rows: &[ObjectRow]) -> Result<(), LakeError> {
        if rows.is_empty() {
            return Ok(());
        }
        let objects = self.open().await?;
        let (files, _) = self.write(&objects, rows).await?;
        let own = properties::of_pipeline(&self.pipeline);
        let own = CommitProperties::of_snapshot(Layer::Ledger, own);
        self.lake.append_until_in(objects, files, None, own).await.map(drop)
    }

    /// The whole ledger as a table to query, unpublished rows included; `None` before the first run.
    pub async fn as_table(&self) -> Result<Option<LakeTable>, LakeError> {
        let bronze = self.lake.find(&self.bronze).await?;
        let Some(objects) = self.lake.find(&self.objects).await? else { return Ok(None) };
        let mut files = self.lake.files_of(&objects, None, &[]).await?;
        let unpublished = match &bronze {
            Some(bronze) => match self.published_through(bronze, &objects).await {
                // Not an error: the published rows are needed most when something is wrong.
                Err(LakeError::RolledBack { table, snapshot, .. }) => {
                    tracing::warn!(%table, %snapshot, "bronze was rolled back behind what is published");
                    vec![]
                }
                through => self.unpublished(bronze, &objects, through?.as_ref(), &[]).await?.files,
            },
            None => vec![],
        };
        files.extend(unpublished.iter().map(|f| f.to_task(&objects)));
        let schema = objects.schema().clone();
        Ok(Some(LakeTable::of_files(&self.lake, &objects, schema, files)))
    }
}

/// Ledger files that bronze names and the objects table does not have yet.
#[derive(Debug, Default)]
struct Unpublished {
    /// Those that exist, oldest first.
    files: Vec<FileRef>,
    /// How many are gone: a program that deletes what no table lists takes them, as only a property names them.
    gone: usize,
}

/// Ledger files that bronze's snapshots after `through` name, oldest first.
fn named_after(bronze: &Table, through: Option<&Position>) -> Result<Vec<FileRef>, LakeError> {
    let after = through.map_or(SequenceNumber::default(), |p| p.sequence);
    let line: Vec<Snapshot> = bronze.newer_than(after).collect();
    let mut files = Vec::new();
    for snapshot in line.iter().rev() {
        let bad =
            |e| bronze.bad_property(format!("the ledger file of snapshot {}: {e}", snapshot.id));
        if let Some(json) = snapshot.summary.get(FILE) {
            files.push(serde_json::from_str(json).map_err(bad)?);
        } else if let Some(json) = snapshot.summary.get(FILES) {
            files.extend(serde_json::from_str::<Vec<FileRef>>(json).map_err(bad)?);
        }
    }
    Ok(files)
}

/// A query for the state of every object version: the newest of its rows, `ingested` before all others.
pub fn states(ledger: &str) -> String {
    format!(
        "SELECT * FROM (SELECT *, row_number() OVER (
           PARTITION BY source_uri, source_version, date_trunc('second', last_modified)
           ORDER BY CASE outcome WHEN 'ingested' THEN 1 ELSE 0 END DESC, finished_at DESC) AS nth
         FROM {ledger}) WHERE nth = 1"
    )
}

/// Ledger files read at a time.
const READ_FILES: usize = 8;
