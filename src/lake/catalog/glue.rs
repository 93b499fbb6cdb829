//! The AWS Glue Data Catalog, by its own API
//! ([UpdateTable](https://docs.aws.amazon.com/glue/latest/webapi/API_UpdateTable.html)).
//!
//! A table is an Iceberg table when its parameter `table_type` says so; `metadata_location` is the
//! pointer, and `VersionId` makes the update a compare-and-swap. The layout is that of Iceberg's Java
//! `GlueCatalog`, so Athena, Spark and silversmith read one table.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_glue::Client;
use aws_sdk_glue::config::Builder;
use aws_sdk_glue::config::retry::RetryConfig;
use aws_sdk_glue::types::{Column, DatabaseInput, StorageDescriptor, Table, TableInput};
use iceberg::spec::{PrimitiveType, TableMetadata, Type};

use super::{Catalog, CatalogError, Entry, Pointer, Proposal, Swap, Token, aws};
use crate::aws::{Answer, Failed, ProvideErrorMetadata};
use crate::error::Kind;
use crate::lake::TableName;

const TABLE_TYPE: &str = "table_type";
const ICEBERG: &str = "ICEBERG";
const METADATA_LOCATION: &str = "metadata_location";
const PREVIOUS_METADATA_LOCATION: &str = "previous_metadata_location";
/// The longest comment that Glue takes.
const COMMENT_BYTES: usize = 255;

/// A Glue Data Catalog: the own one of an AWS account, or another's by its id.
#[derive(Debug)]
pub struct GlueCatalog {
    client: Client,
    catalog_id: Option<String>,
}

impl GlueCatalog {
    /// The catalog with this id; that of the AWS account when it is empty.
    pub fn new(client: Client, catalog_id: &str) -> Self {
        Self { client, catalog_id: Some(catalog_id.to_owned()).filter(|id| !id.is_empty()) }
    }

    fn shown(&self) -> String {
        format!("glue:{}", self.catalog_id.as_deref().unwrap_or_default())
    }

    fn failed<E>(&self, doing: &'static str, error: Failed<E>) -> CatalogError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        aws::failed(&self.shown(), doing, error)
    }

    async fn table(&self, table: &TableName) -> Result<Option<Table>, CatalogError> {
        let asked = self
            .client
            .get_table()
            .set_catalog_id(self.catalog_id.clone())
            .database_name(table.namespace())
            .name(table.table())
            .send()
            .await;
        match asked {
            Ok(answer) => Ok(answer.table),
            Err(error) if Answer::of(&error).code == "EntityNotFoundException" => Ok(None),
            Err(error) => Err(self.failed("load a table", error)),
        }
    }

    async fn make_database(&self, name: &str) -> Result<(), CatalogError> {
        const DOING: &str = "create the database";
        let input = DatabaseInput::builder().name(name).build();
        let input = input.map_err(|e| self.unbuildable(DOING, &e))?;
        let made = self
            .client
            .create_database()
            .set_catalog_id(self.catalog_id.clone())
            .database_input(input)
            .send()
            .await;
        match made {
            Ok(_) => Ok(()),
            Err(error) if Answer::of(&error).code == "AlreadyExistsException" => Ok(()),
            Err(error) => Err(self.failed(DOING, error)),
        }
    }

    async fn tables_of(&self, database: &str) -> Result<Vec<TableName>, CatalogError> {
        let mut found = Vec::new();
        let mut pages = self
            .client
            .get_tables()
            .set_catalog_id(self.catalog_id.clone())
            .database_name(database)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                // Another owner's, or gone since it was listed.
                Err(error)
                    if matches!(
                        Answer::of(&error).code.as_str(),
                        "AccessDeniedException" | "EntityNotFoundException"
                    ) =>
                {
                    tracing::debug!(database, "a database that cannot be looked into is left out");
                    break;
                }
                Err(error) => return Err(self.failed("list tables", error)),
            };
            let iceberg = page.table_list().iter().filter(|table| is_iceberg(table));
            found.extend(iceberg.map(|table| TableName::new(database, table.name())));
        }
        Ok(found)
    }

    /// Sends the creation once. `None` when the database is missing.
    async fn send_creation(
        &self,
        table: &TableName,
        input: TableInput,
    ) -> Result<Option<Swap>, CatalogError> {
        let sent = self
            .client
            .create_table()
            .set_catalog_id(self.catalog_id.clone())
            .database_name(table.namespace())
            .table_input(input)
            .customize()
            .config_override(Builder::new().retry_config(RetryConfig::disabled()))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(Some(Swap::Swapped)),
            Err(error) => match Answer::of(&error).code.as_str() {
                "AlreadyExistsException" => Ok(Some(Swap::Refused)),
                "EntityNotFoundException" => Ok(None),
                _ => Err(self.failed("create a table", error)),
            },
        }
    }

    fn unbuildable(&self, doing: &'static str, error: &dyn std::error::Error) -> CatalogError {
        CatalogError::no(self.shown(), doing, error.to_string(), Kind::Bug)
    }
}

#[async_trait]
impl Catalog for GlueCatalog {
    async fn load(&self, table: &TableName) -> Result<Option<Entry>, CatalogError> {
        let Some(there) = self.table(table).await? else { return Ok(None) };
        match pointer_of(&there) {
            Some((location, version)) => {
                let token = token(version, location);
                let pointer = Pointer { metadata_location: location.to_owned(), token };
                Ok(Some(Entry { pointer, metadata: None }))
            }
            None => {
                let message = format!("{table} is there and is not an Iceberg table");
                Err(CatalogError::no(self.shown(), "load a table", message, Kind::Configuration))
            }
        }
    }

    async fn create(&self, table: &TableName, first: &Proposal) -> Result<Swap, CatalogError> {
        aws::one_level(&self.shown(), table)?;
        let input = input(table, first, None)
            .map_err(|error| self.unbuildable("create a table", &error))?;
        if let Some(answer) = self.send_creation(table, input.clone()).await? {
            return Ok(answer);
        }
        self.make_database(table.namespace()).await?;
        Ok(self.send_creation(table, input).await?.unwrap_or(Swap::Refused))
    }

    async fn swap(
        &self,
        table: &TableName,
        base: &Pointer,
        next: &Proposal,
    ) -> Result<Swap, CatalogError> {
        const DOING: &str = "swap a table's metadata";
        // An update replaces the whole entry: what others have put there is carried over.
        let Some(there) = self.table(table).await? else { return Ok(Swap::Refused) };
        let version = match pointer_of(&there) {
            Some((location, version)) if token(version, location) == base.token => {
                version.to_owned()
            }
            _ => return Ok(Swap::Refused),
        };
        let input = input(table, next, Some((&there, base)))
            .map_err(|error| self.unbuildable(DOING, &error))?;
        let sent = self
            .client
            .update_table()
            .set_catalog_id(self.catalog_id.clone())
            .database_name(table.namespace())
            .table_input(input)
            .version_id(version)
            // Glue would keep each version of the entry, up to its limit.
            .skip_archive(true)
            .customize()
            // Sent once: a retry of a swap that won comes back as a conflict.
            .config_override(Builder::new().retry_config(RetryConfig::disabled()))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(Swap::Swapped),
            Err(error) => match Answer::of(&error).code.as_str() {
                "ConcurrentModificationException"
                | "VersionMismatchException"
                | "EntityNotFoundException" => Ok(Swap::Refused),
                _ => Err(self.failed(DOING, error)),
            },
        }
    }

    async fn tables(&self) -> Result<Vec<TableName>, CatalogError> {
        let mut found = Vec::new();
        let mut pages = self
            .client
            .get_databases()
            .set_catalog_id(self.catalog_id.clone())
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| self.failed("list databases", e))?;
            for database in page.database_list() {
                found.extend(self.tables_of(database.name()).await?);
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Where an entry points to, and its version; none where it is no Iceberg table.
fn pointer_of(table: &Table) -> Option<(&str, &str)> {
    let location = table.parameters()?.get(METADATA_LOCATION).filter(|_| is_iceberg(table))?;
    Some((location, table.version_id()?))
}

fn is_iceberg(table: &Table) -> bool {
    let kind = table.parameters().and_then(|parameters| parameters.get(TABLE_TYPE));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(ICEBERG))
}

/// Versions begin again for a table that is made anew; its location is another.
fn token(version: &str, location: &str) -> Token {
    Token(format!("{version} {location}"))
}

/// The entry of a table, with what stood in the entry before.
fn input(
    table: &TableName,
    next: &Proposal,
    before: Option<(&Table, &Pointer)>,
) -> Result<TableInput, aws_sdk_glue::error::BuildError> {
    let there = before.map(|(there, _)| there);
    let mut parameters: HashMap<String, String> =
        there.and_then(|t| t.parameters().cloned()).unwrap_or_default();
    parameters.insert(TABLE_TYPE.to_owned(), ICEBERG.to_owned());
    parameters.insert(METADATA_LOCATION.to_owned(), next.metadata_location.clone());
    if let Some((_, base)) = before {
        let location = base.metadata_location.clone();
        parameters.insert(PREVIOUS_METADATA_LOCATION.to_owned(), location);
    }
    let mut storage = there
        .and_then(|t| t.storage_descriptor().cloned())
        .unwrap_or_else(|| StorageDescriptor::builder().build());
    storage.location = Some(next.metadata.location().to_owned());
    storage.columns = Some(columns(&next.metadata, storage.columns())?);
    TableInput::builder()
        .name(table.table())
        .table_type("EXTERNAL_TABLE")
        .set_description(there.and_then(|t| t.description().map(str::to_owned)))
        .set_owner(there.and_then(|t| t.owner().map(str::to_owned)))
        .retention(there.map_or(0, Table::retention))
        .set_parameters(Some(parameters))
        .storage_descriptor(storage)
        .build()
}

/// The columns as Glue shows them; engines read the metadata file.
fn columns(
    metadata: &TableMetadata,
    before: &[Column],
) -> Result<Vec<Column>, aws_sdk_glue::error::BuildError> {
    let said = |name: &str| before.iter().find(|c| c.name() == name)?.comment().map(str::to_owned);
    let fields = metadata.current_schema().as_struct().fields();
    fields
        .iter()
        .map(|field| {
            Column::builder()
                .name(&field.name)
                .r#type(hive_type(&field.field_type))
                .set_comment(said(&field.name).or(field.doc.as_deref().map(comment)))
                .parameters("iceberg.field.id", field.id.to_string())
                .parameters("iceberg.field.current", "true")
                .parameters("iceberg.field.optional", (!field.required).to_string())
                .build()
        })
        .collect()
}

/// A comment that Glue takes: one line, of a length (Column structure, `SingleLineString`).
fn comment(doc: &str) -> String {
    let line = doc.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut comment = String::new();
    for c in line {
        if comment.len() + c.len_utf8() > COMMENT_BYTES {
            break;
        }
        comment.push(c);
    }
    comment
}

/// The Hive name of a type, as Iceberg's Java `IcebergToGlueConverter` writes it.
fn hive_type(field: &Type) -> String {
    let primitive = match field {
        Type::Primitive(primitive) => primitive,
        Type::List(list) => return format!("array<{}>", hive_type(&list.element_field.field_type)),
        Type::Map(map) => {
            let (key, value) = (&map.key_field.field_type, &map.value_field.field_type);
            return format!("map<{},{}>", hive_type(key), hive_type(value));
        }
        Type::Struct(of) => {
            let fields =
                of.fields().iter().map(|f| format!("{}:{}", f.name, hive_type(&f.field_type)));
            return format!("struct<{}>", fields.collect::<Vec<_>>().join(","));
        }
    };
    match primitive {
        PrimitiveType::Boolean => "boolean".to_owned(),
        PrimitiveType::Int => "int".to_owned(),
        PrimitiveType::Long => "bigint".to_owned(),
        PrimitiveType::Float => "float".to_owned(),
        PrimitiveType::Double => "double".to_owned(),
        PrimitiveType::Date => "date".to_owned(),
        PrimitiveType::Timestamp
        | PrimitiveType::Timestamptz
        | PrimitiveType::TimestampNs
        | PrimitiveType::TimestamptzNs => "timestamp".to_owned(),
        PrimitiveType::Fixed(_) | PrimitiveType::Binary => "binary".to_owned(),
        PrimitiveType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        PrimitiveType::Time | PrimitiveType::String | PrimitiveType::Uuid => "string".to_owned(),
    }
}
