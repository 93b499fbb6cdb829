//! Amazon S3 Tables, by its own API: table bucket → namespace → table
//! ([Working with tables](https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-tables-tables.html)).
//!
//! The service gives each table a storage location of its own, where its metadata has to lie, and a
//! version token, which every `UpdateTableMetadataLocation` must present.

use async_trait::async_trait;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Catalog, CatalogError, Entry, Pointer, Proposal, Swap, Token, aws};
use crate::aws::service::{Call, CallError, Service};
use crate::error::Kind;
use crate::lake::TableName;

const CONFLICT: u16 = 409;
const NOT_FOUND: u16 = 404;
const DENIED: u16 = 403;

/// A table bucket.
#[derive(Debug)]
pub struct S3TablesCatalog {
    service: Service,
    bucket_arn: String,
}

/// A table that is there, with or without metadata
/// ([API](https://docs.aws.amazon.com/AmazonS3/latest/API/API_s3Buckets_GetTableMetadataLocation.html)).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    version_token: String,
    metadata_location: Option<String>,
    warehouse_location: String,
}

/// A page of a list: of namespaces, or of tables.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<T> {
    #[serde(alias = "namespaces", alias = "tables")]
    items: Vec<T>,
    continuation_token: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Namespace {
    namespace: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
}

impl S3TablesCatalog {
    /// The table bucket with this ARN.
    pub fn new(service: Service, bucket_arn: &str) -> Self {
        Self { service, bucket_arn: bucket_arn.to_owned() }
    }

    fn failed(&self, doing: &'static str, error: &CallError) -> CatalogError {
        aws::failed(&self.bucket_arn, doing, error)
    }

    /// The path of a table's metadata location.
    fn location_of<'a>(&'a self, table: &'a TableName) -> [&'a str; 5] {
        ["tables", &self.bucket_arn, table.namespace(), table.table(), "metadata-location"]
    }

    async fn table(&self, table: &TableName) -> Result<Option<Location>, CatalogError> {
        let asked = self.service.ask(&Call::get(&self.location_of(table), &[])).await;
        match asked.and_then(|reply| reply.json()) {
            Ok(there) => Ok(Some(there)),
            Err(error) if error.answer().status == NOT_FOUND => Ok(None),
            // A policy names a table by its id. A table that is not there has none, and may be denied instead.
            Err(error) if error.answer().status == DENIED && self.lacks(table).await => Ok(None),
            Err(error) => Err(self.failed("load a table", &error)),
        }
    }

    /// Whether the table bucket, by its list, has no such table. `false` where the list is denied as well.
    async fn lacks(&self, table: &TableName) -> bool {
        let of = [("namespace", table.namespace()), ("prefix", table.table())];
        match self.pages::<Listed>("tables", &of).await {
            Ok(found) => !found.iter().any(|listed| listed.name == table.table()),
            Err(error) => error.answer().status == NOT_FOUND,
        }
    }

    /// Creates the table, without metadata. `false` when its namespace is missing.
    async fn make(&self, table: &TableName) -> Result<bool, CatalogError> {
        let body = json!({"name": table.table(), "format": "ICEBERG"});
        let call = Call::put(&["tables", &self.bucket_arn, table.namespace()], body);
        match self.service.ask(&call).await {
            Ok(_) => Ok(true),
            Err(error) => match error.answer().status {
                CONFLICT => Ok(true),
                NOT_FOUND => Ok(false),
                _ => Err(self.failed("create a table", &error)),
            },
        }
    }

    async fn make_namespace(&self, namespace: &str) -> Result<(), CatalogError> {
        let body = json!({"namespace": [namespace]});
        match self.service.ask(&Call::put(&["namespaces", &self.bucket_arn], body)).await {
            Ok(_) => Ok(()),
            Err(error) if error.answer().status == CONFLICT => Ok(()),
            Err(error) => Err(self.failed("create the namespace", &error)),
        }
    }

    async fn update(
        &self,
        table: &TableName,
        token: &str,
        location: &str,
    ) -> Result<Swap, CatalogError> {
        let body = json!({"versionToken": token, "metadataLocation": location});
        // Sent once: the retry of a swap that won would be answered with a conflict.
        match self.service.send(&Call::put(&self.location_of(table), body)).await {
            Ok(_) => Ok(Swap::Swapped),
            Err(error) if matches!(error.answer().status, CONFLICT | NOT_FOUND) => {
                Ok(Swap::Refused)
            }
            Err(error) => Err(self.failed("swap a table's metadata", &error)),
        }
    }

    async fn list<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        kind: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, CatalogError> {
        self.pages(kind, query).await.map_err(|error| self.failed(doing, &error))
    }

    /// All pages of a list of this table bucket.
    async fn pages<T: DeserializeOwned>(
        &self,
        kind: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, CallError> {
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut query = query.to_vec();
            query.extend(token.as_deref().map(|token| ("continuationToken", token)));
            let reply = self.service.ask(&Call::get(&[kind, &self.bucket_arn], &query)).await?;
            let page: Page<T> = reply.json()?;
            found.extend(page.items);
            token = page.continuation_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(found);
            }
        }
    }
}

#[async_trait]
impl Catalog for S3TablesCatalog {
    async fn place(&self, table: &TableName) -> Result<Option<String>, CatalogError> {
        aws::one_level(&self.bucket_arn, table)?;
        if let Some(there) = self.table(table).await? {
            return Ok(Some(there.warehouse_location));
        }
        if !self.make(table).await? {
            self.make_namespace(table.namespace()).await?;
            self.make(table).await?;
        }
        match self.table(table).await? {
            Some(there) => Ok(Some(there.warehouse_location)),
            None => {
                let message = format!("{table} was made and is not there");
                Err(CatalogError::unanswered(
                    &self.bucket_arn,
                    "create a table",
                    message,
                    Kind::Retry,
                ))
            }
        }
    }

    async fn load(&self, table: &TableName) -> Result<Option<Entry>, CatalogError> {
        let Some(there) = self.table(table).await? else { return Ok(None) };
        // A table without metadata: another writer is about to create it, or has stopped in between.
        let Some(location) = there.metadata_location.filter(|l| !l.is_empty()) else {
            return Ok(None);
        };
        let pointer = Pointer { metadata_location: location, token: Token(there.version_token) };
        Ok(Some(Entry { pointer, metadata: None }))
    }

    async fn create(&self, table: &TableName, first: &Proposal) -> Result<Swap, CatalogError> {
        match self.table(table).await? {
            Some(there) if there.metadata_location.as_deref().is_none_or(str::is_empty) => {
                self.update(table, &there.version_token, &first.metadata_location).await
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
        let namespaces: Vec<Namespace> = self.list("list namespaces", "namespaces", &[]).await?;
        for Namespace { namespace } in namespaces {
            let namespace = namespace.join(".");
            let of = [("namespace", namespace.as_str())];
            let tables: Vec<Listed> = self.list("list tables", "tables", &of).await?;
            found.extend(tables.iter().map(|table| TableName::new(&namespace, &table.name)));
        }
        found.sort();
        Ok(found)
    }
}
