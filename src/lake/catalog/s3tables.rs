//! Amazon S3 Tables, by its own API: table bucket → namespace → table
//! ([Working with tables](https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-tables-tables.html)).
//!
//! The service gives each table a storage location of its own, where its metadata has to lie, and a
//! version token, which every `UpdateTableMetadataLocation` must present.

use async_trait::async_trait;
use aws_sdk_s3tables::Client;
use aws_sdk_s3tables::config::Builder;
use aws_sdk_s3tables::config::retry::RetryConfig;
use aws_sdk_s3tables::operation::get_table_metadata_location::GetTableMetadataLocationOutput;
use aws_sdk_s3tables::types::OpenTableFormat;

use super::{Catalog, CatalogError, Entry, Pointer, Proposal, Swap, Token, aws};
use crate::aws::{Answer, Failed, ProvideErrorMetadata};
use crate::error::Kind;
use crate::lake::TableName;

const CONFLICT: u16 = 409;
const NOT_FOUND: u16 = 404;

/// A table bucket.
#[derive(Debug)]
pub struct S3TablesCatalog {
    client: Client,
    bucket_arn: String,
}

impl S3TablesCatalog {
    /// The table bucket with this ARN.
    pub fn new(client: Client, bucket_arn: &str) -> Self {
        Self { client, bucket_arn: bucket_arn.to_owned() }
    }

    fn failed<E>(&self, doing: &'static str, error: Failed<E>) -> CatalogError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        aws::failed(&self.bucket_arn, doing, error)
    }

    async fn table(
        &self,
        table: &TableName,
    ) -> Result<Option<GetTableMetadataLocationOutput>, CatalogError> {
        let asked = self
            .client
            .get_table_metadata_location()
            .table_bucket_arn(&self.bucket_arn)
            .namespace(table.namespace())
            .name(table.table())
            .send()
            .await;
        match asked {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if Answer::of(&error).status == NOT_FOUND => Ok(None),
            Err(error) => Err(self.failed("load a table", error)),
        }
    }

    /// Makes the table, without metadata. `false` when its namespace is missing.
    async fn make(&self, table: &TableName) -> Result<bool, CatalogError> {
        let made = self
            .client
            .create_table()
            .table_bucket_arn(&self.bucket_arn)
            .namespace(table.namespace())
            .name(table.table())
            .format(OpenTableFormat::Iceberg)
            .send()
            .await;
        match made {
            Ok(_) => Ok(true),
            Err(error) => match Answer::of(&error).status {
                CONFLICT => Ok(true),
                NOT_FOUND => Ok(false),
                _ => Err(self.failed("create a table", error)),
            },
        }
    }

    async fn make_namespace(&self, namespace: &str) -> Result<(), CatalogError> {
        let made = self
            .client
            .create_namespace()
            .table_bucket_arn(&self.bucket_arn)
            .namespace(namespace)
            .send()
            .await;
        match made {
            Ok(_) => Ok(()),
            Err(error) if Answer::of(&error).status == CONFLICT => Ok(()),
            Err(error) => Err(self.failed("create the namespace", error)),
        }
    }

    async fn update(
        &self,
        table: &TableName,
        token: &str,
        location: &str,
    ) -> Result<Swap, CatalogError> {
        let sent = self
            .client
            .update_table_metadata_location()
            .table_bucket_arn(&self.bucket_arn)
            .namespace(table.namespace())
            .name(table.table())
            .version_token(token)
            .metadata_location(location)
            .customize()
            // Sent once: a retry of a swap that won comes back as a conflict.
            .config_override(Builder::new().retry_config(RetryConfig::disabled()))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(Swap::Swapped),
            Err(error) if matches!(Answer::of(&error).status, CONFLICT | NOT_FOUND) => {
                Ok(Swap::Refused)
            }
            Err(error) => Err(self.failed("swap a table's metadata", error)),
        }
    }

    async fn namespaces(&self) -> Result<Vec<String>, CatalogError> {
        let mut pages = self
            .client
            .list_namespaces()
            .table_bucket_arn(&self.bucket_arn)
            .into_paginator()
            .items()
            .send();
        let mut found = Vec::new();
        while let Some(namespace) = pages.next().await {
            let namespace = namespace.map_err(|e| self.failed("list namespaces", e))?;
            found.push(namespace.namespace().join("."));
        }
        Ok(found)
    }
}

#[async_trait]
impl Catalog for S3TablesCatalog {
    async fn place(&self, table: &TableName) -> Result<Option<String>, CatalogError> {
        aws::one_level(&self.bucket_arn, table)?;
        if let Some(there) = self.table(table).await? {
            return Ok(Some(there.warehouse_location().to_owned()));
        }
        if !self.make(table).await? {
            self.make_namespace(table.namespace()).await?;
            self.make(table).await?;
        }
        match self.table(table).await? {
            Some(there) => Ok(Some(there.warehouse_location().to_owned())),
            None => {
                let message = format!("{table} was made and is not there");
                Err(CatalogError::lost(&self.bucket_arn, "create a table", message, Kind::Retry))
            }
        }
    }

    async fn load(&self, table: &TableName) -> Result<Option<Entry>, CatalogError> {
        let Some(there) = self.table(table).await? else { return Ok(None) };
        // Made and not yet given metadata: another writer is about to create it, or has stopped in between.
        let Some(location) = there.metadata_location().filter(|l| !l.is_empty()) else {
            return Ok(None);
        };
        let pointer = Pointer {
            metadata_location: location.to_owned(),
            token: Token(there.version_token().to_owned()),
        };
        Ok(Some(Entry { pointer, metadata: None }))
    }

    async fn create(&self, table: &TableName, first: &Proposal) -> Result<Swap, CatalogError> {
        match self.table(table).await? {
            Some(there) if there.metadata_location().is_none_or(str::is_empty) => {
                self.update(table, there.version_token(), &first.metadata_location).await
            }
            _ => Ok(Swap::Refused),
        }
    }

    async fn swap(
        &self,
        table: &TableName,
        base: &Pointer,
        next: &Proposal,
    ) -> Result<Swap, CatalogError> {
        self.update(table, &base.token.0, &next.metadata_location).await
    }

    async fn tables(&self) -> Result<Vec<TableName>, CatalogError> {
        let mut found = Vec::new();
        for namespace in self.namespaces().await? {
            let mut pages = self
                .client
                .list_tables()
                .table_bucket_arn(&self.bucket_arn)
                .namespace(&namespace)
                .into_paginator()
                .items()
                .send();
            while let Some(table) = pages.next().await {
                let table = table.map_err(|e| self.failed("list tables", e))?;
                found.push(TableName::new(&namespace, table.name()));
            }
        }
        found.sort();
        Ok(found)
    }
}
