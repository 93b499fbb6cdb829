//! The lake: Iceberg tables, read and committed to. The only folder that names the `iceberg` crate.
//!
//! - [`catalog`]: the port where commits meet (load with token, swap), and its backends
//! - [`Table`]: a table as it was loaded: one metadata file, never moving under the reader
//! - [`Change`] → `prepare` → [`Lake::commit`]: our own commits, by the protocol of I6
//! - [`diff`]: the files that appends added between two positions
//! - [`scan`], [`provider`]: reading, for ourselves and for DataFusion
//! - [`writer`]: Parquet data files with field ids and metrics

pub mod catalog;
mod change;
mod commit;
mod error;
mod files;
mod name;
pub mod properties;
pub mod read;
mod schema;
mod table;
pub mod write;

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use std::sync::Arc;

pub use change::{Change, Operation, Removal};
pub use commit::Outcome;
pub use error::LakeError;
pub use files::s3_files;
pub use iceberg::io::{FileIO, FileIOBuilder, StorageFactory};
pub use iceberg::spec::DataFile;
pub use name::{BadTableName, TableName};
pub use schema::{TableSchema, arrow_type, storable, type_name};
pub use table::{Ancestry, Snapshot, Table};

use arrow::datatypes::SchemaRef;
use catalog::{Catalog, Proposal, Swap};
use error::Doing;
use iceberg::spec::{
    FormatVersion, TableMetadata, TableMetadataBuilder, Transform, UnboundPartitionSpec,
};
use iceberg::{MetadataLocation, TableCreation, TableRequirement};

use crate::ambient::SharedAmbient;

/// How long our tables keep snapshots: a day.
const SNAPSHOTS_KEPT_MS: i64 = 86_400_000;

/// Table properties that every table of ours starts with (Iceberg's documentation, "Table properties").
fn first_properties() -> HashMap<String, String> {
    HashMap::from([
        ("history.expire.max-snapshot-age-ms".to_owned(), SNAPSHOTS_KEPT_MS.to_string()),
        ("write.parquet.compression-codec".to_owned(), "zstd".to_owned()),
        ("write.format.default".to_owned(), "parquet".to_owned()),
        (read::plan::SURE_BOUNDS.to_owned(), "1".to_owned()),
    ])
}

/// A catalog, the files of its tables, and where new tables go. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lake {
    catalog: Arc<dyn Catalog>,
    files: FileIO,
    warehouse: Arc<str>,
    ambient: SharedAmbient,
}

impl Lake {
    /// A lake whose new tables go below `warehouse`, a location that `files` can write.
    pub fn new(
        catalog: Arc<dyn Catalog>,
        files: FileIO,
        warehouse: &str,
        ambient: SharedAmbient,
    ) -> Self {
        Self { catalog, files, warehouse: warehouse.trim_end_matches('/').into(), ambient }
    }

    /// The clock and the ids that this lake uses.
    pub fn ambient(&self) -> &SharedAmbient {
        &self.ambient
    }

    /// The tables of the catalog, sorted by name.
    pub async fn tables(&self) -> Result<Vec<TableName>, catalog::CatalogError> {
        self.catalog.tables().await
    }

    /// The table as the catalog has it now; `None` when it does not exist.
    pub async fn find(&self, name: &TableName) -> Result<Option<Table>, LakeError> {
        let Some(entry) = self.catalog.load(name).await.doing(name, "load")? else {
            return Ok(None);
        };
        let metadata = match entry.metadata {
            Some(metadata) => metadata,
            None => TableMetadata::read_from(&self.files, &entry.pointer.metadata_location)
                .await
                .doing(name, "reading its metadata")?,
        };
        Table::new(name.clone(), metadata, entry.pointer, &self.files).map(Some)
    }

    /// The table as the catalog has it now.
    ///
    /// # Errors
    /// [`LakeError::NotFound`] when it does not exist.
    pub async fn load(&self, name: &TableName) -> Result<Table, LakeError> {
        self.find(name).await?.ok_or_else(|| LakeError::NotFound(name.clone()))
    }

    /// The table, made with `schema` when it does not exist. Where somebody else makes it first,
    /// theirs is returned: the caller looks at the schema that it got.
    pub async fn find_or_create(
        &self,
        name: &TableName,
        schema: &SchemaRef,
        partition_by_day: Option<&str>,
    ) -> Result<Table, LakeError> {
        if let Some(table) = self.find(name).await? {
            return Ok(table);
        }
        let place = self.catalog.place(name).await.doing(name, "place")?;
        let first = self.first(name, place, schema, partition_by_day)?;
        let wrote = self.write_metadata(name, &first).await?;
        let answer = self.catalog.create(name, &first).await;
        // Whatever the answer was, the catalog's entry decides (I6).
        match (self.find(name).await?, answer) {
            (Some(table), _) => {
                if !table.descends_from(&first.metadata_location) {
                    self.discard(wrote.into_iter().collect()).await;
                }
                Ok(table)
            }
            (None, Err(source)) => Err(LakeError::Catalog { table: name.clone(), source }),
            (None, Ok(Swap::Swapped | Swap::Refused)) => Err(LakeError::NotFound(name.clone())),
        }
    }

    /// Writes the metadata file of a proposal, unless the catalog does. The file that was written.
    async fn write_metadata(
        &self,
        name: &TableName,
        proposal: &Proposal,
    ) -> Result<Option<String>, LakeError> {
        if self.catalog.writes_metadata() {
            return Ok(None);
        }
        let location = MetadataLocation::from_str(&proposal.metadata_location)
            .doing(name, "naming its metadata")?;
        let written = proposal.metadata.write_to(&self.files, &location).await;
        written.doing(name, "writing its metadata")?;
        Ok(Some(proposal.metadata_location.clone()))
    }

    /// Whether files of the warehouse can be written, read and deleted.
    ///
    /// Where the catalog places tables, there is nothing to try before there is one.
    pub async fn probe(&self) -> Result<(), ProbeError> {
        if self.warehouse.is_empty() {
            return Ok(());
        }
        let path = format!("{}/silversmith-check-{}.txt", self.warehouse, self.ambient.uuid());
        let probed = async {
            self.files.new_output(&path)?.write("x".into()).await?;
            self.files.new_input(&path)?.read().await?;
            self.files.delete(&path).await
        };
        probed.await.map_err(|source| ProbeError { path: path.clone(), source: Box::new(source) })
    }

    /// A new table, at `place` or else below the warehouse.
    fn first(
        &self,
        name: &TableName,
        place: Option<String>,
        schema: &SchemaRef,
        partition_by_day: Option<&str>,
    ) -> Result<Proposal, LakeError> {
        let schema = TableSchema::first(name, schema)?;
        let spec = match partition_by_day {
            Some(column) => {
                let id = schema.id_of(column).ok_or_else(|| LakeError::Schema {
                    table: name.clone(),
                    column: column.to_owned(),
                    is: "missing".to_owned(),
                    wanted: "a partition column".to_owned(),
                })?;
                UnboundPartitionSpec::builder()
                    .add_partition_field(id, format!("{column}_day"), Transform::Day)
                    .doing(name, "partitioning it")?
                    .build()
            }
            None => UnboundPartitionSpec::builder().build(),
        };
        let location = place.unwrap_or_else(|| {
            let path = name.namespace().replace('.', "/");
            format!("{}/{path}/{}", self.warehouse, name.table())
        });
        let creation = TableCreation::builder()
            .name(name.table().to_owned())
            .location(location.trim_end_matches('/').to_owned())
            .schema(schema.iceberg().as_ref().clone())
            .partition_spec(spec)
            .properties(first_properties())
            .format_version(FormatVersion::V2)
            .build();
        let built = TableMetadataBuilder::from_table_creation(creation)
            .and_then(|builder| builder.assign_uuid(self.ambient.uuid()).build())
            .doing(name, "creating it")?;
        let location =
            MetadataLocation::new_with_metadata(built.metadata.location(), &built.metadata);
        Ok(Proposal {
            metadata_location: location.to_string(),
            requirements: vec![TableRequirement::NotExist],
            updates: built.changes,
            metadata: built.metadata,
        })
    }

    /// Deletes files that no committed metadata can name. A failure leaves an orphan, which harms
    /// nobody, so it is logged and passed over.
    pub async fn discard(&self, paths: Vec<String>) {
        for path in paths {
            let deleted = match self.files.new_input(&path) {
                Ok(_) => self.files.delete(&path).await,
                Err(error) => Err(error),
            };
            if let Err(error) = deleted {
                tracing::debug!(path, %error, "an unused file could not be deleted");
            }
        }
    }

    fn next_metadata_location(&self, table: &Table) -> Result<MetadataLocation, LakeError> {
        // A foreign engine may name its files otherwise: then ours start again at version 0.
        let metadata = table.metadata();
        Ok(match MetadataLocation::from_str(table.metadata_location()) {
            Ok(location) => location.with_next_version(),
            Err(_) => MetadataLocation::new_with_metadata(metadata.location(), metadata),
        }
        .with_new_metadata(metadata))
    }
}

/// The warehouse cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("a file {path} cannot be written, read and deleted")]
pub struct ProbeError {
    path: String,
    #[source]
    source: Box<iceberg::Error>,
}

/// Properties or summary entries, by name.
pub type Facts = BTreeMap<String, String>;

/// The files of this machine.
pub fn local_files() -> FileIO {
    FileIOBuilder::new(Arc::new(iceberg::io::LocalFsStorageFactory)).build()
}

/// Files in memory, gone with the last clone: for tests and simulations.
pub fn memory_files() -> FileIO {
    FileIO::new_with_memory()
}
