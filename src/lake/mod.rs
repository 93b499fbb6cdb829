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
pub mod diff;
mod error;
mod manifests;
pub mod marks;
mod name;
pub mod provider;
mod s3_files;
pub mod scan;
mod schema;
mod table;
pub mod writer;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

pub use change::{Change, Operation, Removal};
pub use commit::Outcome;
pub use error::LakeError;
pub use iceberg::io::{FileIO, FileIOBuilder, StorageFactory};
pub use iceberg::spec::DataFile;
pub use name::{BadTableName, TableName};
pub use s3_files::s3_files;
pub use schema::{TableSchema, arrow_type, storable, type_name};
pub use table::{Ancestry, Snapshot, Table};

use arrow::datatypes::SchemaRef;
use catalog::{Catalog, Swap};
use error::Doing;
use iceberg::spec::{
    FormatVersion, TableMetadata, TableMetadataBuilder, Transform, UnboundPartitionSpec,
};
use iceberg::{MetadataLocation, TableCreation};

use crate::ambient::SharedAmbient;

/// Table properties that every table of ours starts with: snapshots are kept for a day
/// (Iceberg's table property `history.expire.max-snapshot-age-ms`), data is compressed with zstd.
const DEFAULT_PROPERTIES: [(&str, &str); 3] = [
    ("history.expire.max-snapshot-age-ms", "86400000"),
    ("write.parquet.compression-codec", "zstd"),
    ("write.format.default", "parquet"),
];

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
        let Some(pointer) = self.catalog.pointer(name).await.doing(name, "load")? else {
            return Ok(None);
        };
        let metadata = TableMetadata::read_from(&self.files, &pointer.metadata_location)
            .await
            .doing(name, "reading its metadata")?;
        Table::new(name.clone(), metadata, pointer, &self.files).map(Some)
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
        let metadata = self.first_metadata(name, schema, partition_by_day)?;
        let location = MetadataLocation::new_with_metadata(metadata.location(), &metadata);
        metadata.write_to(&self.files, &location).await.doing(name, "writing its metadata")?;
        let location = location.to_string();
        let answer = self.catalog.create(name, &location).await;
        // Whatever the answer was, the catalog's entry decides (I6).
        match (self.find(name).await?, answer) {
            (Some(table), _) => {
                if !table.descends_from(&location) {
                    self.discard(vec![location]).await;
                }
                Ok(table)
            }
            (None, Err(source)) => Err(LakeError::Catalog { table: name.clone(), source }),
            (None, Ok(Swap::Swapped | Swap::Refused)) => Err(LakeError::NotFound(name.clone())),
        }
    }

    /// Whether files of the warehouse can be written, read and deleted.
    pub async fn probe(&self) -> Result<(), ProbeError> {
        let path = format!("{}/silversmith-check-{}.txt", self.warehouse, self.ambient.uuid());
        let probed = async {
            self.files.new_output(&path)?.write("x".into()).await?;
            self.files.new_input(&path)?.read().await?;
            self.files.delete(&path).await
        };
        probed.await.map_err(|source| ProbeError { path: path.clone(), source: Box::new(source) })
    }

    fn first_metadata(
        &self,
        name: &TableName,
        schema: &SchemaRef,
        partition_by_day: Option<&str>,
    ) -> Result<TableMetadata, LakeError> {
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
        let path = name.namespace().replace('.', "/");
        let creation = TableCreation::builder()
            .name(name.table().to_owned())
            .location(format!("{}/{path}/{}", self.warehouse, name.table()))
            .schema(schema.iceberg().as_ref().clone())
            .partition_spec(spec)
            .properties(DEFAULT_PROPERTIES.map(|(key, value)| (key.to_owned(), value.to_owned())))
            .format_version(FormatVersion::V2)
            .build();
        let built = TableMetadataBuilder::from_table_creation(creation)
            .and_then(|builder| builder.assign_uuid(self.ambient.uuid()).build())
            .doing(name, "creating it")?;
        Ok(built.metadata)
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
