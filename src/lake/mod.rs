//! The lake: Iceberg tables, read and committed to. The only folder that names the `iceberg` crate.
//!
//! - [`catalog`]: the port where commits meet (load with token, swap), and its backends
//! - [`Table`]: a table as it was loaded: one metadata file, which never changes under the reader
//! - [`mod@write`]: Parquet data files with field ids and metrics, and who owns them until a commit does
//! - [`Change`] → `prepare` → [`Lake::commit`]: silversmith's own commits, by the protocol of I6
//! - [`properties`]: what a commit records about itself
//! - [`read`]: live files, what snapshots added and removed, rows, for silversmith and for DataFusion
//! - `files/`: where tables' files are kept

pub mod catalog;
mod change;
mod commit;
mod create;
mod elsewhere;
mod error;
mod expire;
mod files;
mod ids;
mod kept;
mod missing;
mod name;
mod orphans;
mod partition;
pub mod position;
pub mod properties;
pub mod read;
mod replica;
mod schema;
mod table;
mod writable;
pub mod write;

use std::str::FromStr;
use std::sync::{Arc, OnceLock};

pub use change::{Change, CommitProperties, Removed, Replacement};
pub use commit::CommitOutcome;
pub use create::ProbeError;
pub use error::{BoxedError, LakeError, UnknownCommit};
pub use expire::{Consumers, Expired};
pub use files::{
    FileListing, Listed, ListingError, local_files, local_listing, memory_files, s3_files,
    s3_listing,
};
pub use iceberg::io::{FileIO, FileIOBuilder, StorageFactory};
pub use iceberg::spec::DataFile;
pub use ids::{SequenceNumber, SnapshotId};
pub use name::{BadTableName, TableName};
pub use orphans::{Orphan, Orphans};
pub use partition::{BadPartitionField, PartitionField};
pub use schema::{TableSchema, arrow_type, storable, type_name, widened};
pub use table::{Properties, Snapshot, Table};
pub use write::Uncommitted;

use catalog::{Catalog, Proposal};
use error::Doing;
use expire::Expiring;
use futures::future::join_all;
use iceberg::MetadataLocation;
use iceberg::spec::TableMetadata;
use kept::kept;
use moka::sync::Cache;
use read::manifests::{self, KeptManifests};

use crate::ambient::SharedAmbient;

/// A catalog, the files of its tables, and where new tables go. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lake {
    catalog: Arc<dyn Catalog>,
    files: FileIO,
    warehouse: Arc<str>,
    ambient: SharedAmbient,
    /// Metadata by the location of its file, which never changes.
    metadata: Arc<Cache<String, Arc<TableMetadata>>>,
    manifests: KeptManifests,
    expiring: Arc<OnceLock<Expiring>>,
    listing: Arc<OnceLock<Arc<dyn FileListing>>>,
}

/// Deletes under way at a time.
const DELETES: usize = 16;
/// Snapshots in the metadata that is kept in memory: some 1.5 KiB each.
const CACHED_SNAPSHOTS: u64 = 8_000;

impl Lake {
    /// A lake whose new tables go below `warehouse`, a location that `files` can write.
    pub fn new(
        catalog: Arc<dyn Catalog>,
        files: FileIO,
        warehouse: &str,
        ambient: SharedAmbient,
    ) -> Self {
        let weight =
            |_: &String, metadata: &Arc<TableMetadata>| 1 + metadata.snapshots().len() as u32;
        let metadata = kept(CACHED_SNAPSHOTS, weight);
        let warehouse = warehouse.trim_end_matches('/').into();
        Self {
            catalog,
            files,
            warehouse,
            ambient,
            metadata,
            manifests: manifests::kept_manifests(),
            expiring: Arc::default(),
            listing: Arc::default(),
        }
    }

    /// From now on the files of its tables can be listed. The lake and its clones have one such port; a second one
    /// is ignored.
    pub fn list_by(&self, listing: Arc<dyn FileListing>) {
        drop(self.listing.set(listing));
    }

    /// The clock and the ids that this lake uses.
    pub fn ambient(&self) -> &SharedAmbient {
        &self.ambient
    }

    /// The tables of the catalog, sorted by name.
    pub async fn tables(&self) -> Result<Vec<TableName>, catalog::CatalogError> {
        self.catalog.tables().await
    }

    /// The table's current state in the catalog; `None` when it does not exist.
    pub async fn find(&self, name: &TableName) -> Result<Option<Table>, LakeError> {
        let Some(entry) = self.catalog.load(name).await.doing(name, "load")? else {
            return Ok(None);
        };
        let metadata = match entry.metadata {
            Some(metadata) => Arc::new(metadata),
            None => self.metadata_at(name, &entry.pointer.metadata_location).await?,
        };
        Table::new(name.clone(), metadata, entry.pointer, &self.files).map(Some)
    }

    async fn metadata_at(
        &self,
        name: &TableName,
        location: &str,
    ) -> Result<Arc<TableMetadata>, LakeError> {
        if let Some(metadata) = self.metadata.get(location) {
            return Ok(metadata);
        }
        let read = TableMetadata::read_from(&self.files, location).await;
        let metadata = Arc::new(read.doing(name, "reading its metadata")?);
        self.metadata.insert(location.to_owned(), metadata.clone());
        Ok(metadata)
    }

    /// The table's current state in the catalog.
    ///
    /// # Errors
    /// [`LakeError::NotFound`] when it does not exist.
    pub async fn load(&self, name: &TableName) -> Result<Table, LakeError> {
        self.find(name).await?.ok_or_else(|| LakeError::NotFound(name.clone()))
    }

    /// Writes the metadata file of a proposal, unless the catalog does.
    async fn write_metadata(&self, name: &TableName, proposal: &Proposal) -> Result<(), LakeError> {
        if self.catalog.writes_metadata() {
            return Ok(());
        }
        let location = MetadataLocation::from_str(&proposal.metadata_location)
            .doing(name, "naming its metadata")?;
        let written = proposal.metadata.write_to(&self.files, &location).await;
        written.doing(name, "writing its metadata")?;
        // What the table is after the swap needs not be read back.
        self.metadata.insert(proposal.metadata_location.clone(), proposal.metadata.clone());
        Ok(())
    }

    /// Deletes files that no committed metadata can name. A failure is only logged: it leaves an orphan, which
    /// harms nothing.
    async fn delete_unnamed(&self, paths: Vec<String>) {
        for some in paths.chunks(DELETES) {
            join_all(some.iter().map(|path| self.delete(path))).await;
        }
    }

    async fn delete(&self, path: &str) {
        if let Err(error) = self.files.delete(path).await {
            tracing::debug!(path, %error, "an unused file could not be deleted");
        }
    }

    fn next_metadata_location(&self, table: &Table) -> Result<MetadataLocation, LakeError> {
        // Another engine may name its files differently: then the versions start again at 0.
        let metadata = table.metadata();
        Ok(match MetadataLocation::from_str(table.metadata_location()) {
            Ok(location) => location.with_next_version(),
            Err(_) => MetadataLocation::new_with_metadata(metadata.location(), metadata),
        }
        .with_new_metadata(metadata))
    }
}
