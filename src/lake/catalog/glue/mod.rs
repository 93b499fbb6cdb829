//! The AWS Glue Data Catalog, by its own API
//! ([UpdateTable](https://docs.aws.amazon.com/glue/latest/webapi/API_UpdateTable.html)).
//!
//! A table is an Iceberg table when its parameter `table_type` says so; `metadata_location` is the
//! pointer, and `VersionId` makes the update a compare-and-swap. The layout is that of Iceberg's Java
//! `GlueCatalog`, so Athena, Spark and silversmith read one table.

mod entry;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use self::entry::{Parameters, Table, TableInput, is_iceberg};
use super::{Catalog, CatalogError, Entry, Pointer, Proposal, Swap, Token, aws};
use crate::aws::service::{Call, CallError, Reply, Service};
use crate::error::Kind;
use crate::lake::TableName;

/// What Glue answers about a table or a database that is not there.
const NOT_FOUND: &str = "EntityNotFoundException";
/// What it answers where IAM or Lake Formation says no.
const DENIED: &str = "AccessDeniedException";

/// A Glue Data Catalog: the one of the AWS account, or another one by its id.
#[derive(Debug)]
pub struct GlueCatalog {
    service: Service,
    catalog_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TableAnswer {
    table: Option<Table>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TablePage {
    table_list: Option<Vec<Listed>>,
    next_token: Option<String>,
}

/// What a list needs of an entry: entries of other formats have anything else.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    name: String,
    parameters: Option<Parameters>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DatabasePage {
    database_list: Vec<Database>,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Database {
    name: String,
}

impl GlueCatalog {
    /// The catalog with this id; the one of the AWS account when it is empty.
    pub fn new(service: Service, catalog_id: &str) -> Self {
        Self { service, catalog_id: Some(catalog_id.to_owned()).filter(|id| !id.is_empty()) }
    }

    fn shown(&self) -> String {
        format!("glue:{}", self.catalog_id.as_deref().unwrap_or_default())
    }

    fn failed(&self, doing: &'static str, error: &CallError) -> CatalogError {
        aws::failed(&self.shown(), doing, error)
    }

    /// An operation on this catalog.
    fn call(&self, target: &'static str, mut arguments: Value) -> Call {
        if let Some(id) = &self.catalog_id {
            arguments["CatalogId"] = id.as_str().into();
        }
        Call::operation(target, arguments)
    }

    async fn table(&self, table: &TableName) -> Result<Option<Table>, CatalogError> {
        const DOING: &str = "load a table";
        let arguments = json!({"DatabaseName": table.namespace(), "Name": table.table()});
        let asked = self.service.ask(&self.call("AWSGlue.GetTable", arguments)).await;
        let answer = match asked {
            Ok(reply) => reply.json::<TableAnswer>(),
            Err(error) if error.answer().code == NOT_FOUND => return Ok(None),
            // Lake Formation denies what is not there to those who may not see all of the database.
            Err(error) if error.answer().code == DENIED && self.lacks(table).await => {
                return Ok(None);
            }
            Err(error) => Err(error),
        };
        answer.map(|answer| answer.table).map_err(|error| self.failed(DOING, &error))
    }

    /// Whether the database, by its list, has no such table. `false` where the list is denied as well.
    async fn lacks(&self, table: &TableName) -> bool {
        let mut token = None;
        loop {
            let arguments = json!({"DatabaseName": table.namespace(), "Expression": table.table()});
            let page = self.page("AWSGlue.GetTables", arguments, token.as_ref()).await;
            let page = match page.and_then(|page| page.json::<TablePage>()) {
                Ok(page) => page,
                Err(error) => return error.answer().code == NOT_FOUND,
            };
            if page.table_list.unwrap_or_default().iter().any(|t| t.name == table.table()) {
                return false;
            }
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return true;
            }
        }
    }

    async fn make_database(&self, name: &str) -> Result<(), CatalogError> {
        let arguments = json!({"DatabaseInput": {"Name": name}});
        let made = self.service.ask(&self.call("AWSGlue.CreateDatabase", arguments)).await;
        match made {
            Ok(_) => Ok(()),
            Err(error) if error.answer().code == "AlreadyExistsException" => Ok(()),
            Err(error) => Err(self.failed("create the database", &error)),
        }
    }

    /// A page of a list.
    async fn page(
        &self,
        target: &'static str,
        mut arguments: Value,
        token: Option<&String>,
    ) -> Result<Reply, CallError> {
        if let Some(token) = token {
            arguments["NextToken"] = token.as_str().into();
        }
        self.service.ask(&self.call(target, arguments)).await
    }

    async fn tables_of(&self, database: &str) -> Result<Vec<TableName>, CatalogError> {
        let failed = |error| self.failed("list tables", &error);
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let arguments = json!({"DatabaseName": database});
            let page = match self.page("AWSGlue.GetTables", arguments, token.as_ref()).await {
                Ok(page) => page.json::<TablePage>().map_err(failed)?,
                // It belongs to another AWS account, or is gone since it was listed.
                Err(error) if matches!(error.answer().code.as_str(), DENIED | NOT_FOUND) => {
                    tracing::debug!(database, "a database that cannot be read is left out");
                    return Ok(found);
                }
                Err(error) => return Err(failed(error)),
            };
            let tables = page.table_list.unwrap_or_default();
            let iceberg = tables.iter().filter(|table| is_iceberg(table.parameters.as_ref()));
            found.extend(iceberg.map(|table| TableName::new(database, &table.name)));
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    async fn databases(&self) -> Result<Vec<String>, CatalogError> {
        let failed = |error| self.failed("list databases", &error);
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let page = self.page("AWSGlue.GetDatabases", json!({}), token.as_ref()).await;
            let page: DatabasePage = page.and_then(|page| page.json()).map_err(failed)?;
            found.extend(page.database_list.into_iter().map(|database| database.name));
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    /// Sends the creation once. `None` when the database is missing.
    async fn send_creation(
        &self,
        table: &TableName,
        input: &TableInput,
    ) -> Result<Option<Swap>, CatalogError> {
        let arguments = json!({"DatabaseName": table.namespace(), "TableInput": input});
        let sent = self.service.send(&self.call("AWSGlue.CreateTable", arguments)).await;
        match sent {
            Ok(_) => Ok(Some(Swap::Swapped)),
            Err(error) => match error.answer().code.as_str() {
                "AlreadyExistsException" => Ok(Some(Swap::Refused)),
                NOT_FOUND => Ok(None),
                _ => Err(self.failed("create a table", &error)),
            },
        }
    }
}

#[async_trait]
impl Catalog for GlueCatalog {
    async fn load(&self, table: &TableName) -> Result<Option<Entry>, CatalogError> {
        let Some(there) = self.table(table).await? else { return Ok(None) };
        match there.pointer() {
            Some((location, version)) => {
                let token = token(version, location);
                let pointer = Pointer { metadata_location: location.to_owned(), token };
                Ok(Some(Entry { pointer, metadata: None }))
            }
            None => {
                let message = format!("{table} is there and is not an Iceberg table");
                Err(CatalogError::refused(
                    self.shown(),
                    "load a table",
                    message,
                    Kind::Configuration,
                ))
            }
        }
    }

    async fn create(&self, table: &TableName, first: &Proposal) -> Result<Swap, CatalogError> {
        aws::one_level(&self.shown(), table)?;
        let input = TableInput::new(table, first, None);
        if let Some(answer) = self.send_creation(table, &input).await? {
            return Ok(answer);
        }
        self.make_database(table.namespace()).await?;
        Ok(self.send_creation(table, &input).await?.unwrap_or(Swap::Refused))
    }

    async fn swap(
        &self,
        table: &TableName,
        base: &Pointer,
        next: &Proposal,
    ) -> Result<Swap, CatalogError> {
        // An update replaces the whole entry: what other programs wrote there is carried over.
        let Some(there) = self.table(table).await? else { return Ok(Swap::Refused) };
        let version = match there.pointer() {
            Some((location, version)) if token(version, location) == base.token => version,
            _ => return Ok(Swap::Refused),
        };
        let arguments = json!({
            "DatabaseName": table.namespace(),
            "TableInput": TableInput::new(table, next, Some((&there, base))),
            "VersionId": version,
            // Glue would keep each version of the entry, up to its limit.
            "SkipArchive": true,
        });
        // Sent once: the retry of a swap that won would be answered with a conflict.
        let sent = self.service.send(&self.call("AWSGlue.UpdateTable", arguments)).await;
        match sent {
            Ok(_) => Ok(Swap::Swapped),
            Err(error) => match error.answer().code.as_str() {
                "ConcurrentModificationException" | "VersionMismatchException" | NOT_FOUND => {
                    Ok(Swap::Refused)
                }
                _ => Err(self.failed("swap a table's metadata", &error)),
            },
        }
    }

    async fn tables(&self) -> Result<Vec<TableName>, CatalogError> {
        let mut found = Vec::new();
        for database in self.databases().await? {
            found.extend(self.tables_of(&database).await?);
        }
        found.sort();
        Ok(found)
    }
}

/// Versions begin again for a table that is made anew; its location is another.
fn token(version: &str, location: &str) -> Token {
    Token(format!("{version} {location}"))
}
