//! New tables, and the test of the warehouse.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use iceberg::spec::{FormatVersion, TableMetadataBuilder};
use iceberg::{MetadataLocation, TableCreation, TableRequirement};

use super::catalog::{Proposal, Swap};
use super::error::Doing;
use super::expire;
use super::partition::{self, PartitionField};
use super::read::plan::SURE_BOUNDS;
use super::write::uncommitted::Written;
use super::{Lake, LakeError, Table, TableName, TableSchema};

/// How long silversmith's tables keep snapshots: a day.
const SNAPSHOTS_KEPT_MS: i64 = 86_400_000;

/// Table properties that every table of silversmith starts with (Iceberg's documentation, "Table properties").
fn first_properties() -> HashMap<String, String> {
    HashMap::from([
        (expire::MAX_AGE.to_owned(), SNAPSHOTS_KEPT_MS.to_string()),
        ("write.parquet.compression-codec".to_owned(), "zstd".to_owned()),
        ("write.format.default".to_owned(), "parquet".to_owned()),
        (expire::DELETE_METADATA.to_owned(), "true".to_owned()),
        (SURE_BOUNDS.to_owned(), "1".to_owned()),
    ])
}

impl Lake {
    /// The table; it is created with `schema` where it does not exist. Where another writer creates it first, that
    /// table is returned: the caller checks its schema.
    ///
    /// # Errors
    /// [`LakeError::NotWritable`] where it exists and is not silversmith's to write; [`LakeError::NameTaken`].
    pub async fn find_or_create(
        &self,
        name: &TableName,
        schema: &SchemaRef,
        partition_by: Option<&[PartitionField]>,
    ) -> Result<Table, LakeError> {
        if let Some(table) = self.find(name).await? {
            self.check_writable(&table)?;
            return Ok(table);
        }
        let placed = self.catalog.place(name).await.doing(name, "place")?;
        let is_ours = placed.is_none();
        let first = self.first(name, placed, schema, partition_by)?;
        let location = first.metadata.location().to_owned();
        // A catalog that was lost is not answered with a second table among the files of the first. Where the catalog
        // says the location, it knows what is there.
        if is_ours && self.is_taken(&location).await? {
            // Unless another writer has just made it.
            return match self.find(name).await? {
                Some(table) => Ok(table),
                None => Err(LakeError::Leftover { table: name.clone(), location }),
            };
        }
        let mut wrote = Written::nothing(self);
        if !self.catalog.writes_metadata() {
            wrote.push(first.metadata_location.clone());
        }
        self.write_metadata(name, &first).await?;
        // From here on the catalog may name it.
        let wrote = wrote.keep();
        let answer = self.catalog.create(name, &first).await;
        // Whatever the answer is, the catalog's entry decides (I6).
        let found = match answer {
            Ok(Swap::Swapped | Swap::Refused) => self.find_created(name).await?,
            Err(_) => self.find(name).await?,
        };
        match (found, answer) {
            (Some(table), _) => {
                if !table.descends_from(&first.metadata_location) {
                    self.delete_unnamed(wrote).await;
                }
                Ok(table)
            }
            (None, Err(source)) => Err(LakeError::Catalog { table: name.clone(), source }),
            (None, Ok(Swap::Refused)) => {
                self.delete_unnamed(wrote).await;
                Err(LakeError::NameTaken(name.clone()))
            }
            (None, Ok(Swap::Swapped)) => Err(LakeError::NotFound(name.clone())),
        }
    }

    /// Checks that files of the warehouse can be written, read and deleted.
    ///
    /// Where the catalog chooses the location of tables, there is nothing to test before the first table.
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

    /// A new table, at `location` or else below the warehouse.
    fn first(
        &self,
        name: &TableName,
        location: Option<String>,
        schema: &SchemaRef,
        partition_by: Option<&[PartitionField]>,
    ) -> Result<Proposal, LakeError> {
        let schema = TableSchema::first(name, schema)?;
        let spec = partition::spec(name, &schema, partition_by.unwrap_or_default())?;
        let location = location.unwrap_or_else(|| {
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
            metadata: Arc::new(built.metadata),
        })
    }
}

/// The warehouse cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("file {path} cannot be written, read and deleted")]
pub struct ProbeError {
    path: String,
    #[source]
    source: Box<iceberg::Error>,
}
